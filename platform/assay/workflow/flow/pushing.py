"""Pushing a challenge file, with what follows from it: boards that have to be ranked by other rules are ranked again."""

from datetime import datetime

from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from assay.accounts.errors import ConflictError
from assay.accounts.models import AuditEvent, User
from assay.challenges.editing import fingerprint
from assay.challenges.models import Challenge
from assay.challenges.services import Change
from assay.challenges.writing import current_file
from assay.evaluations import pushing
from assay.leaderboards.services import ask_for_rebuild
from assay.workflow.flow import doorbells

DECIDES_A_BOARD = ("leaderboard_shows", "divisions", "freeze_hours", "public_percent", "closes_at", "testset")
"""Keys of a phase by which its board is made, beside the protocol, whose change waits for a rejudgement."""


def push_challenge(
    *, user: User, slug: str, source: str, is_dry_run: bool, now: datetime
) -> tuple[list[Change], Challenge | None]:
    """Push a `challenge.yaml`: see `evaluations.pushing.push_challenge`."""
    with transaction.atomic():
        changes, challenge = pushing.push_challenge(user=user, slug=slug, source=source, is_dry_run=is_dry_run, now=now)
        if challenge is not None and not is_dry_run:
            paths = [change.path.split(".") for change in changes]
            slugs = {path[1] for path in paths if len(path) == 3 and path[2] in DECIDES_A_BOARD}
            for phase_id in challenge.phases.filter(slug__in=slugs).values_list("pk", flat=True):
                ask_for_rebuild(phase_id=phase_id, now=now)
                doorbells.ring_leaderboard(phase_id)
    return changes, challenge


def push_edit(
    *, challenge: Challenge, user: User, source: str, made_from: str, is_dry_run: bool, now: datetime
) -> list[Change]:
    """Push what was made from the file with the fingerprint `made_from`. Raises `ConflictError` where it is another file by now.

    The challenge's row is locked from the look to the end, so of two who edit at once one is told, and neither overwrites the other.
    """
    with transaction.atomic():
        locked = Challenge.objects.select_for_update().get(pk=challenge.pk)
        if fingerprint(current_file(locked)) != made_from:
            raise ConflictError(
                _(
                    "The challenge was changed while you edited. Nothing was overwritten, and what you typed is still here."
                ),
                code="changed_meanwhile",
                found=_last_change(locked),
                what_to_do=_("Look at what is different, and save again."),
            )
        changes, _pushed = push_challenge(user=user, slug=challenge.slug, source=source, is_dry_run=is_dry_run, now=now)
    return changes


def _last_change(challenge: Challenge) -> str:
    last = AuditEvent.objects.filter(challenge_slug=challenge.slug).order_by("-at", "-pk").first()
    if last is None:
        return ""
    return _("%(person)s, %(moment)s UTC") % {"person": last.actor_label, "moment": date_format(last.at, "d M Y H:i")}
