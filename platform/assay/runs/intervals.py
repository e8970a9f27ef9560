"""Every interval of the machinery, in one place. Tests shrink them. Operators override them through the settings."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

RETRY_GROWTH, RETRY_MOST = 4, 10
"""Each pause is four times the one before, and at most ten times the first."""


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Seconds. A lease must outlast several heartbeats, so that one lost request never costs a case."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 2.0
    reaper_seconds: float = 15.0
    evaluation_lease_seconds: float = 120.0
    retry_seconds: float = 30.0
    """How long a fault that a living node or worker reports is waited out the first time. Four times as long the next."""
    check_deadline_seconds: float = 7200.0
    """How long an upload may stay unchecked before we call it a fault of ours."""
    node_alive_seconds: float = 90.0
    """A node that was silent for longer counts as gone."""
    signed_url_seconds: float = 3600.0

    def retry_delay(self, *, failures: int) -> timedelta:
        """How long to wait after so many faults of ours: an outage must not use up the tries in a moment."""
        return timedelta(seconds=self.retry_seconds * min(RETRY_MOST, RETRY_GROWTH ** max(0, failures - 1)))


def current_intervals() -> Intervals:
    """The intervals in force."""
    return Intervals(
        lease_seconds=settings.LEASE_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        reaper_seconds=settings.REAPER_SECONDS,
        evaluation_lease_seconds=2 * settings.LEASE_SECONDS,
        retry_seconds=settings.LEASE_SECONDS / 2,
    )
