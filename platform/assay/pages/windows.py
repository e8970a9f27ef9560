"""Where a phase is in its life, and a challenge with it."""

from collections.abc import Iterable
from datetime import datetime

from assay.challenges.models import Challenge, Phase


def window_status(phase: Phase, *, now: datetime) -> str:
    """`upcoming`, `open`, `paused`, `closed` or `archived`."""
    if phase.is_archived:
        return "archived"
    if now < phase.opens_at:
        return "upcoming"
    if now >= phase.closes_at:
        return "closed"
    return "paused" if phase.is_paused else "open"


def challenge_status(challenge: Challenge, phases: Iterable[Phase], *, now: datetime) -> str:
    """`draft`, `archived`, or the liveliest of its phases."""
    if challenge.status != Challenge.Status.PUBLISHED:
        return challenge.status
    statuses = {window_status(phase, now=now) for phase in phases}
    return next((status for status in ("open", "paused", "upcoming") if status in statuses), "closed")
