"""What `assay verify` says of a hospital's papers: a release with its receipt, and the log of a phase's sites."""

from collections.abc import Mapping
from typing import Any

from assay.client.errors import ClientError
from assay.signatures import SignatureInvalid, check_signature, document_hash
from assay.site_log import LogInvalid, check_log


def release_words(paper: Mapping[str, Any], *, key: str) -> str:
    """Check a release that a site kept. Raises ClientError.

    The site signed the numbers. The installation, whose key is `key`, signed that it took exactly them. Whose key the site's is says
    the log.
    """
    release, receipt = paper.get("release"), paper.get("receipt")
    if not isinstance(release, dict) or not isinstance(receipt, dict):
        raise ClientError(
            "This release is not signed", expected="`release` and `receipt`, as a site with a key keeps them"
        )
    try:
        check_signature(release, public_key=str(release.get("public_key", "")))
        check_signature(receipt, public_key=key)
    except SignatureInvalid as error:
        raise ClientError("The release does not hold", found=str(error)) from error
    if receipt.get("release_sha256") != document_hash(release):
        raise ClientError("The receipt is about another release", found=document_hash(release))
    return (
        f"The release holds: submission {release['submission']}, evaluator {release['evaluator']},\n"
        f"  signed by {receipt['site']} with key {release['public_key']},\n"
        f"  taken {receipt['received_at']} as line {receipt['log_number']} of the log."
    )


def log_words(log: Mapping[str, Any], *, key: str, older: Mapping[str, Any] | None) -> str:
    """Check a log of sites. Raises ClientError."""
    try:
        facts = check_log(log, public_key=key, older=older)
    except LogInvalid as error:
        raise ClientError("The log does not hold", found=str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ClientError("This is no log of sites", found=f"{type(error).__name__}: {error}") from error
    hidden = f", {facts.withheld} of them with a document that is not public yet" if facts.withheld else ""
    continues = ", and continues the older copy" if older is not None else ""
    return (
        f"The log holds{continues}: {facts.lines} lines{hidden}, {facts.releases} releases, {facts.recalls} recalls,\n"
        f"  newest hash {facts.sha256 or 'none'}."
    )
