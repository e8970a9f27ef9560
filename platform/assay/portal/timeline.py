"""What happens when in a challenge: the moments of all its phases in one order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from assay.challenges.models import Phase


@dataclass(frozen=True, kw_only=True)
class Step:
    """One moment of one phase."""

    at: datetime
    phase: Phase
    words: str | Promise
    is_past: bool


def timeline(phases: Iterable[Phase], *, now: datetime) -> list[Step]:
    """Everything with a date, the earliest first."""
    found = [
        Step(at=at, phase=phase, words=words, is_past=at <= now)
        for phase in phases
        for at, words in (
            (phase.opens_at, _("opens")),
            (phase.freezes_at, _("leaderboard frozen")),
            (phase.closes_at, _("closes")),
            (phase.late_until, _("late submissions end")),
            (phase.released_at or phase.releases_at, _("results released")),
            (phase.review_ends_at, _("review ends")),
        )
        if at is not None
    ]
    return sorted(found, key=lambda step: (step.at, step.phase.position))
