"""Waiting for something another process does. The bound only ends a test that hangs: no machine may be too slow for one that works."""

import time
from collections.abc import Callable

HANGS_AFTER_SECONDS = 900.0
POLL_SECONDS = 0.05
SOON_SECONDS = 45.0
"""Much less than the ten minutes of what hangs, and more than a busy machine needs to end it."""


def until(claim: Callable[[], object], *, meanwhile: Callable[[], object] = lambda: None) -> float:
    """Wait until the claim is true. How many seconds that took."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < HANGS_AFTER_SECONDS, "this did not come true"
        meanwhile()
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def is_judged_by_its_own_time(result, *, wall_seconds: float) -> bool:
    """Whether a case ended well, or was ended because it ran for longer than it may by its own clock.

    A test that lets a case wait gives it less time than it waits. On a busy machine Python alone may need that time.
    """
    return str(result.verdict) == "ok" or result.usage.wall_seconds >= wall_seconds
