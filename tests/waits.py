"""Waiting for something another process does. The bound only ends a test that hangs: no machine may be too slow for one that works."""

import time
from collections.abc import Callable

HANGS_AFTER_SECONDS = 900.0
POLL_SECONDS = 0.05


def until(claim: Callable[[], object], *, meanwhile: Callable[[], object] = lambda: None) -> float:
    """Wait until the claim is true. How many seconds that took."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < HANGS_AFTER_SECONDS, "this did not come true"
        meanwhile()
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began
