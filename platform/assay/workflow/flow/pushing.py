"""Pushing a challenge file, with what follows from it: boards that have to be ranked by other rules are ranked again."""

from datetime import datetime

from django.db import transaction

from assay.accounts.models import User
from assay.challenges.models import Challenge
from assay.challenges.services import Change
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
