"""Work for a site without a network: orders, rules and images in one file for a stick, and the result that comes back as a file.

The orders are the same signed orders, each with a nonce and an end. They are leased until that end, so nobody else is given them.
Where a site named a key for it when it signed the terms, images are sealed: whoever carries the stick cannot read them. The result is
signed by the site, goes through the same checks as one that the site's program sends, and counts once.
"""

import io
import json
import secrets
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.evaluation_sites.agreements import require_standing
from assay.evaluation_sites.joining import find_site_of
from assay.evaluation_sites.models import Site, SiteEvaluation
from assay.evaluation_sites.services import LONGEST_REASON, require_approved
from assay.evaluation_sites.signing import check_said
from assay.evaluation_sites.work import (
    claim_evaluation,
    decline_evaluation,
    order_body,
    release_evaluation,
    sealing_key_of,
)
from assay.sealing import seal, sealed_size
from assay.submissions.models import AlgorithmImage
from assay.testsets import storage

USUAL_DAYS, LONGEST_DAYS = 30, 90
USUAL_ORDERS, MOST_ORDERS = 10, 50
MOST_RECEIPTS = 100
STICK = "stick-"
CONTENTS = "bundle.json"
PIECE_BYTES = 1 << 20
DECLINE = "assay-site-decline"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of a bundle."""

    name: str
    size: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What goes on the stick. `orders` counts the submissions."""

    filename: str
    orders: int
    members: tuple[Member, ...]

    def pieces(self) -> Iterator[bytes]:
        """The file, an uncompressed tar, piece by piece."""
        for member in self.members:
            head = tarfile.TarInfo(member.name)
            head.size = member.size
            yield head.tobuf(format=tarfile.GNU_FORMAT)
            yield from member.pieces()
            yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
        yield b"\0" * (2 * tarfile.BLOCKSIZE)


def make_bundle(
    site: Site, *, by: User | None, now: datetime, days: int = USUAL_DAYS, most: int = USUAL_ORDERS
) -> Bundle:
    """Claim up to `most` submissions for a stick, for `days`, and add our receipts for earlier results.

    Raises ConflictError where the site may not work, or where there is neither work nor a receipt for it.
    """
    if not 1 <= days <= LONGEST_DAYS or not 1 <= most <= MOST_ORDERS:
        raise InvalidError(
            gettext("Such a bundle cannot be made."),
            found=gettext("%(days)s days, %(most)s submissions") % {"days": days, "most": most},
            expected=gettext("1 to %(days)s days, 1 to %(most)s submissions")
            % {"days": LONGEST_DAYS, "most": MOST_ORDERS},
        )
    _require_key(site)
    with transaction.atomic():
        agreement = require_standing(site, now=now)
        agent, held = f"{STICK}{secrets.token_hex(8)}", list[SiteEvaluation]()
        while len(held) < most and (
            found := claim_evaluation(
                site=site,
                dataset=agreement.dataset,
                agent=agent,
                skip=[evaluation.pk for evaluation in held],
                for_days=days,
                now=now,
            )
        ):
            held.append(found)
        receipts = receipts_for(site)
        if not held and not receipts:
            raise ConflictError(gettext("No submission waits for this site."), code="nothing_waits")
        receiver = sealing_key_of(agreement.acceptance or {})
        images = {_image_of(evaluation).pk: _image_of(evaluation) for evaluation in held}
        members = {pk: _image_member(image, receiver=receiver) for pk, image in images.items()}
        contents = {
            "site_bundle": 1,
            "site": site.name,
            "challenge": site.phase.challenge.slug,
            "phase": site.phase.slug,
            "receipts": receipts,
            "orders": [order_body(evaluation, image_at=members[_image_of(evaluation).pk].name) for evaluation in held],
        }
        record_event(
            verb="site.bundle_made",
            subject=site,
            now=now,
            actor=by,
            actor_label="" if by else "operator",
            challenge_slug=site.phase.challenge.slug,
            submissions=[str(evaluation.submission_id) for evaluation in held],
            days=days,
        )
    text = json.dumps(contents, ensure_ascii=False).encode()
    first = Member(name=CONTENTS, size=len(text), pieces=lambda: iter((text,)))
    filename = f"{site.phase.challenge.slug}-{site.phase.slug}-{site.name}-{now:%Y-%m-%d}.bundle.tar"
    return Bundle(filename=filename, orders=len(held), members=(first, *members.values()))


def receipts_for(site: Site) -> list[dict[str, Any]]:
    """Our receipts for what came back on sticks, newest first. The site keeps each beside its release, and ignores those that it has."""
    taken = site.evaluations.filter(agent__startswith=STICK, receipt__isnull=False).order_by("-released_at")
    rows = taken.values_list("id", "receipt")[:MOST_RECEIPTS]
    return [{"evaluation_id": str(evaluation_id), "receipt": receipt} for evaluation_id, receipt in rows]


def _image_of(evaluation: SiteEvaluation) -> AlgorithmImage:
    image = evaluation.submission.image
    if image is None or not image.rewritten_key:
        raise ConflictError(
            gettext("The image of a submission is not there any more."),
            code="image_gone",
            found=f"#{evaluation.submission.number}",
        )
    return image


def _image_member(image: AlgorithmImage, *, receiver: bytes | None) -> Member:
    size, key = storage.size(image.rewritten_key), image.rewritten_key

    def plain() -> Iterator[bytes]:
        with storage.open_file(key) as file:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")

    def sealed() -> Iterator[bytes]:
        with storage.open_file(key) as file:
            yield from seal(file, receiver=receiver or b"")

    name = f"images/{image.rewritten_sha256}"
    if receiver is None:
        return Member(name=f"{name}.tar", size=size, pieces=plain)
    return Member(name=f"{name}.sealed", size=sealed_size(size), pieces=sealed)


def _require_key(site: Site) -> None:
    require_approved(site)
    if not site.public_key or site.revoked_at is not None:
        raise ConflictError(
            gettext("Only a site with an approved key works without a network."),
            code="site_not_approved",
            what_to_do=gettext("Let it join with a code, and approve its words."),
        )


RESULT_FIELDS = ("evaluation_id", "fence", "action", "said")


def take_result(phase: Phase, *, name: str, paper: Any, by: User, now: datetime) -> SiteEvaluation:
    """Take what a site wrote for a stick: a signed release, or a signed decline. Raises InvalidError, ConflictError, LeaseLost."""
    if not isinstance(paper, dict) or paper.get("site_result") != 1 or any(key not in paper for key in RESULT_FIELDS):
        raise _no_result(gettext("something else"))
    site = find_site_of(phase, name)
    _require_key(site)
    evaluation_id, fence, said = _read_ids(paper)
    evaluation = SiteEvaluation.objects.filter(pk=evaluation_id, site=site).first()
    order = (evaluation.order if evaluation else None) or {}
    if evaluation is None or not order:
        raise ConflictError(
            gettext("No such work was ordered from this site."), code="not_ordered", found=str(evaluation_id)
        )
    is_open = evaluation.status in (SiteEvaluation.Status.RUNNING, SiteEvaluation.Status.REVIEW)
    if is_open and datetime.fromisoformat(order["expires_at"]) <= now:
        raise ConflictError(
            gettext("The order of this result has ended."),
            code="order_ended",
            found=order["expires_at"],
            what_to_do=gettext("Make a new bundle for the site."),
        )
    if paper["action"] == "decline":
        reason = " ".join(str(said.get("reason", "")).split())[:LONGEST_REASON]
        expected = {"kind": DECLINE, "evaluation_id": str(evaluation_id), "nonce": order["nonce"], "reason": reason}
        check_said(said, site=site, expected=expected)
        taken = decline_evaluation(site=site, evaluation_id=evaluation_id, fence=fence, reason=reason, now=now)
    else:
        taken = release_evaluation(
            site=site,
            evaluation_id=evaluation_id,
            fence=fence,
            aggregates=_dictionary(said.get("metrics")),
            failures=_dictionary(said.get("failures")),
            said=said,
            now=now,
        )
    record_event(
        verb="site.result_taken",
        subject=evaluation,
        now=now,
        actor=by,
        challenge_slug=phase.challenge.slug,
        action=str(paper["action"])[:20],
    )
    return taken


def _no_result(found: str) -> InvalidError:
    return InvalidError(
        gettext("This is no result of a site."),
        code="result_invalid",
        found=found,
        expected=gettext("the file that the site's program wrote into its folder outbox"),
    )


def _read_ids(paper: dict[str, Any]) -> tuple[UUID, int, dict[str, Any]]:
    try:
        return UUID(str(paper["evaluation_id"])), int(paper["fence"]) % 2**63, _dictionary(paper["said"])
    except (ValueError, TypeError) as error:
        raise _no_result(str(error)[:80]) from error


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_paper(content: bytes) -> Any:
    """The document in a file that somebody handed in. Raises InvalidError."""
    try:
        return json.load(io.BytesIO(content))
    except (ValueError, RecursionError) as error:
        raise _no_result(str(error)[:80]) from error
