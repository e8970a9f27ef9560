"""Every interval of the machinery, in one place. Tests shrink them; operators override them through the settings."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Seconds. A lease must outlast several heartbeats, so that one lost request never costs a case."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 3.0
    reaper_seconds: float = 15.0
    evaluation_lease_seconds: float = 120.0
    check_deadline_seconds: float = 7200.0
    """How long an upload may stay unchecked before we call it a fault of ours."""
    node_alive_seconds: float = 90.0
    """A node that was silent for longer counts as gone."""
    signed_url_seconds: float = 3600.0


def current_intervals() -> Intervals:
    """The intervals in force."""
    return Intervals(
        lease_seconds=settings.LEASE_SECONDS,
        heartbeat_seconds=settings.HEARTBEAT_SECONDS,
        reaper_seconds=settings.REAPER_SECONDS,
        evaluation_lease_seconds=2 * settings.LEASE_SECONDS,
    )
