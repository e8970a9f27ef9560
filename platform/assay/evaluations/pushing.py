"""Pushing and publishing a challenge, with a look at whether the images and wheels that its protocols name are here.

A first push comes before any image can: the challenge it makes is what an image is pushed to. So a draft is told what is missing, and
is neither published without it nor, once published, given a protocol that cannot score.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.errors import ConflictError
from assay.accounts.models import User
from assay.challenges import pools, publication
from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge, Phase, PublicationRequest
from assay.challenges.protocols import rules_of
from assay.challenges.services import Change
from assay.evaluations.selectors import metric_images_of
from assay.runs.nodes import served_pools
from assay.submissions.code_parts import code_parts_of
from assay.testsets import services as testsets
from evaluator.protocol import Protocol


def push_challenge(
    *, user: User, slug: str, source: str, is_dry_run: bool, now: datetime
) -> tuple[list[Change], Challenge | None]:
    """Push a `challenge.yaml` (see `challenges.services.push_challenge`). The plan names images and wheels that are not here."""
    with transaction.atomic():
        before = dict(Phase.objects.filter(challenge__slug=slug).values_list("slug", "pool"))
        changes, challenge = testsets.push_challenge(
            user=user, slug=slug, source=source, is_dry_run=is_dry_run, now=now
        )
        known = challenge or Challenge.objects.filter(slug=slug).first()
        pools.refuse_foreign_pools(
            phases=parse_definition(source).phases, before=before, challenge=known, user=user, served=served_pools()
        )
        rules = {phase.slug: phase.protocol for phase in parse_definition(source).phases}
        missing = [*_missing(challenge, rules=rules), *_missing_code(challenge, rules=rules)]
        if missing and challenge is not None and challenge.status == Challenge.Status.PUBLISHED:
            raise _refusal(missing[0])
    return [*changes, *missing], challenge


def publish_challenge(*, challenge: Challenge, user: User, now: datetime) -> Challenge:
    """Let everybody see a draft that can be scored."""
    if missing := [*missing_metric_images(challenge), *missing_code_parts(challenge)]:
        raise _refusal(missing[0])
    return publication.publish_challenge(challenge=challenge, user=user, now=now)


def decide_publication(*, slug: str, approves: bool, reason: str, by: User | None, now: datetime) -> PublicationRequest:
    """An operator's answer. A challenge that cannot be scored is not published, as if its organizers had tried."""
    with transaction.atomic():
        request = publication.decide_publication(slug=slug, approves=approves, reason=reason, by=by, now=now)
        challenge = request.challenge
        if approves and (missing := [*missing_metric_images(challenge), *missing_code_parts(challenge)]):
            raise _refusal(missing[0])
    return request


def missing_metric_images(challenge: Challenge) -> list[Change]:
    """Phases whose protocol names a metric image that was not pushed, one line each."""
    return list(_missing(challenge, rules=_rules_by_phase(challenge)))


def missing_code_parts(challenge: Challenge) -> list[Change]:
    """Phases whose protocol names a base image or wheels that were not pushed, one line each."""
    return list(_missing_code(challenge, rules=_rules_by_phase(challenge)))


def _rules_by_phase(challenge: Challenge) -> dict[str, Protocol]:
    return {phase.slug: rules_of(phase.protocol) for phase in challenge.phases.select_related("protocol")}


def _missing_code(challenge: Challenge | None, *, rules: Mapping[str, Protocol]) -> Iterator[Change]:
    wanted = [
        (phase, name, identity)
        for phase, protocol in rules.items()
        for name in ("code_base", "code_wheels")
        if (identity := getattr(protocol.resources, name))
    ]
    here = {part.identity for part in code_parts_of(challenge)} if challenge and wanted else set()
    for phase, name, identity in wanted:
        if identity not in here:
            yield Change(path=f"phases.{phase}.resources.{name}", before=None, after=identity, note="not pushed yet")


def _missing(challenge: Challenge | None, *, rules: Mapping[str, Protocol]) -> Iterator[Change]:
    wanted = {slug: protocol.evaluation.image for slug, protocol in rules.items() if protocol.evaluation}
    here = {image.image_id for image in metric_images_of(challenge=challenge)} if challenge and wanted else set()
    for phase, image_id in wanted.items():
        if image_id not in here:
            yield Change(path=f"phases.{phase}.evaluation", before=None, after=image_id, note="not pushed yet")


def _refusal(missing: Change) -> ConflictError:
    if ".code_" in missing.path:
        return ConflictError(
            _("A protocol names a base image or wheels that were not pushed."),
            code="code_part_missing",
            found=missing.text,
            what_to_do=_("Push them with `assay code push-base` or `assay code push-wheels`, then try again."),
        )
    return ConflictError(
        _("A protocol names a metric image that was not pushed."),
        code="metric_image_missing",
        found=missing.text,
        what_to_do=_("Push it with `assay metric-image push ARCHIVE --challenge SLUG`, then try again."),
    )
