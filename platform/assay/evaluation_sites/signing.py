"""Whether a site signed exactly what it is said to have signed."""

from typing import Any

from django.utils.translation import gettext

from assay.accounts.errors import InvalidError
from assay.evaluation_sites.models import Site
from assay.signatures import SignatureInvalid, check_signature


def check_said(said: dict[str, Any] | None, *, site: Site, expected: dict[str, Any]) -> None:
    """Return quietly when the site's key signed exactly `expected`. Raise InvalidError, code `signature_invalid`, if not."""
    what_to_do = gettext(
        "Use the agent on the machine that joined. If the key was changed there, nothing else may sign."
    )
    if said is None or {name: said[name] for name in said.keys() - {"public_key", "signature"}} != expected:
        raise InvalidError(
            gettext("This is not signed by the site's key."),
            code="signature_invalid",
            found=gettext("no signature") if said is None else gettext("a signature of something else"),
            expected=gettext("the same document, signed with the key that was approved"),
            what_to_do=what_to_do,
        )
    try:
        check_signature(said, public_key=site.public_key)
    except SignatureInvalid as error:
        raise InvalidError(
            gettext("This is not signed by the site's key."),
            code="signature_invalid",
            found=str(error),
            expected=gettext("the same document, signed with the key that was approved"),
            what_to_do=what_to_do,
        ) from error
