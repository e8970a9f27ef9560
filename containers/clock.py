"""Time as the sandbox sees it: the machine's own clock, or one that a test moves."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Time as the watcher sees it. Tests bring their own."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True)
class SystemClock:
    """The machine's."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`."""
        time.sleep(seconds)
