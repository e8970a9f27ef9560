"""Why a container ended: the closed list, whose fault each verdict is, and whether it is tried again.

The order of `Verdict` is the order of precedence: when several causes hold at once, the first one listed wins. A cancelled
run that also ran out of time is `cancelled`; a run that was killed for memory and also left no output is `out_of_memory`.
Exit code 137 is not evidence of anything: only the engine's own OOM record is.
"""

from enum import StrEnum


class Fault(StrEnum):
    """Who has to act. Only `PLATFORM` is retried, and it never costs a participant an attempt."""

    NONE = ""
    PARTICIPANT = "participant"
    ORGANIZER = "organizer"
    PLATFORM = "platform"


class Verdict(StrEnum):
    """Why a case run ended, most important first."""

    CANCELLED = "cancelled"
    INFRASTRUCTURE = "infrastructure"
    IMAGE_INVALID = "image_invalid"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_TOO_LARGE = "output_too_large"
    NONZERO_EXIT = "nonzero_exit"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_INVALID = "output_invalid"
    UNRUN = "unrun"
    OK = "ok"

    @property
    def fault(self) -> Fault:
        """Whose fault this verdict is."""
        if self in (Verdict.OK, Verdict.CANCELLED):
            return Fault.NONE
        return Fault.PLATFORM if self is Verdict.INFRASTRUCTURE else Fault.PARTICIPANT

    @property
    def is_retried(self) -> bool:
        """Only our own faults are tried again; what an algorithm did is final for its case."""
        return self is Verdict.INFRASTRUCTURE


def most_important(causes: list[Verdict]) -> Verdict:
    """The verdict that stands when several causes hold at once; `OK` when none does."""
    order = list(Verdict)
    return min(causes, key=order.index, default=Verdict.OK)
