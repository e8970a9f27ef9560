"""Which status may follow which, for runs and case runs. Pure. Everything that changes a status asks here.

Theory of operation. A case run is the unit that is claimed, leased, fenced and retried:

    waiting ──► queued ──► running ──► done | failed
                   ▲          │
                   └──────────┘   requeued: lease expired, or released by its node

`waiting` means "the canary has not ended". `failed` also holds the cases that were never run (`verdict = unrun`). A run's
status is derived from its case runs. Nothing leaves a final status: running a case again means a new run, which
keeps what the other cases came to.
"""

from collections.abc import Mapping

CASE_RUN_TRANSITIONS: Mapping[str, frozenset[str]] = {
    "waiting": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"queued", "done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

RUN_TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "done", "failed", "cancelled"}),
    "running": frozenset({"done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


def sources(transitions: Mapping[str, frozenset[str]], *, to: str) -> frozenset[str]:
    """The statuses from which `to` may be reached: the WHERE of every conditional update."""
    found = frozenset(status for status, targets in transitions.items() if to in targets)
    if not found:
        raise ValueError(f"no status may become {to!r}; expected one of {sorted(set().union(*transitions.values()))}")
    return found
