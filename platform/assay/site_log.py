"""The public log of a phase's sites: how its lines are chained, and how anybody checks a copy of it. No Django here.

Each line names the hash of the line before. The newest hash is signed by the installation. Somebody who kept an older copy sees
whether lines were changed or taken out since: the older copy has to be the beginning of the newer one. A release is signed by the
key of its site, which an earlier line made known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.signatures import SignatureInvalid, check_signature, document_hash

HEAD_KIND = "assay-site-log-head"
KEY_KINDS = frozenset({"approved", "key_changed"})
"""Lines that make a site's key known. Their documents are ours; they are covered by the head's signature."""
SIGNED_KINDS = frozenset({"agreement", "release", "recall"})
"""Lines whose documents the site signed."""


class LogInvalid(Exception):
    """The log is not what it should be. The text names the line."""


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """What a log that holds says: how many lines, releases and recalls, and the newest hash."""

    lines: int
    releases: int
    recalls: int
    withheld: int
    sha256: str


def line_hash(line: Mapping[str, Any]) -> str:
    """The hash of one line: of everything but its document, whose own hash stands for it, so that a document may be withheld."""
    return document_hash({name: line[name] for name in ("number", "at", "kind", "site", "document_sha256", "previous")})


def check_log(log: Mapping[str, Any], *, public_key: str, older: Mapping[str, Any] | None = None) -> LogFacts:
    """Check every line, every signature and the head. `older` is a copy that was kept earlier. Raises LogInvalid."""
    lines: Sequence[Mapping[str, Any]] = log["entries"]
    previous, keys, released = "", dict[str, str](), set[str]()
    counts = {"release": 0, "recall": 0, "withheld": 0}
    for place, line in enumerate(lines, start=1):
        if line["number"] != place or line["previous"] != previous or line_hash(line) != line["sha256"]:
            raise LogInvalid(f"line {place}: it does not follow the line before: changed, left out or put in")
        previous = line["sha256"]
        if line["kind"] in counts:
            counts[line["kind"]] += 1
        document = line.get("document")
        if document is None:
            counts["withheld"] += 1
            if line["kind"] == "release":
                released.add(line["document_sha256"])
            continue
        if document_hash(document) != line["document_sha256"]:
            raise LogInvalid(f"line {place}: its document is not the one that was logged")
        _check_document(line, document, place=place, keys=keys, released=released)
    head = log["head"]
    try:
        check_signature(head, public_key=public_key)
    except SignatureInvalid as error:
        raise LogInvalid(f"its head: {error}") from error
    if head.get("kind") != HEAD_KIND or head["number"] != len(lines) or head["sha256"] != previous:
        raise LogInvalid(f"its head names line {head.get('number')} with another hash than the last line here")
    if older is not None and [line["sha256"] for line in older["entries"]] != [
        line["sha256"] for line in lines[: len(older["entries"])]
    ]:
        raise LogInvalid("the older copy is not the beginning of this one: the log was rewritten")
    return LogFacts(
        lines=len(lines),
        releases=counts["release"],
        recalls=counts["recall"],
        withheld=counts["withheld"],
        sha256=previous,
    )


def _check_document(
    line: Mapping[str, Any], document: Mapping[str, Any], *, place: int, keys: dict[str, str], released: set[str]
) -> None:
    kind, site = line["kind"], line["site"]
    if kind in KEY_KINDS:
        keys[site] = document["site_key"]
    if kind in SIGNED_KINDS:
        if site not in keys:
            raise LogInvalid(f"line {place}: no earlier line names the key of {site}")
        try:
            check_signature(document, public_key=keys[site])
        except SignatureInvalid as error:
            raise LogInvalid(f"line {place}, {kind} of {site}: {error}") from error
    if kind == "release":
        released.add(line["document_sha256"])
    if kind == "recall" and document["release_sha256"] not in released:
        raise LogInvalid(f"line {place}: recalls a release that is not in the log")
