"""Why a container ended: the closed list, whose fault each verdict is, and whether it is tried again.

The order of `Verdict` is the order of precedence: when several causes hold at once, the first one listed wins. A
cancelled run that also ran out of time is `cancelled`. A run that was killed for memory and also left no output is
`out_of_memory`. Exit code 137 is not evidence of anything: only the engine's own OOM record is.

`judge` is the whole rule: it is given everything that was observed (`Ending`) and names the verdict.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Ending", "Fault", "Reason", "Verdict", "judge", "most_important"]


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
    REFERENCE_INVALID = "reference_invalid"
    """Given by the platform when scoring meets a reference that cannot be used; no container ends so."""
    METRICS_FAILED = "metrics_failed"
    """Given by the platform when the organizers' metric image fails; no submitted container ends so."""
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
        others = {
            Verdict.OK: Fault.NONE,
            Verdict.CANCELLED: Fault.NONE,
            Verdict.INFRASTRUCTURE: Fault.PLATFORM,
            Verdict.REFERENCE_INVALID: Fault.ORGANIZER,
            Verdict.METRICS_FAILED: Fault.ORGANIZER,
        }
        return others.get(self, Fault.PARTICIPANT)

    @property
    def is_retried(self) -> bool:
        """Only our own faults are tried again. What an algorithm did is final for its case."""
        return self is Verdict.INFRASTRUCTURE


class Reason(StrEnum):
    """The closed vocabulary behind a verdict. Says what kind of thing happened, never a path, name or number."""

    NONE = ""
    # infrastructure
    ENGINE_UNREACHABLE = "engine_unreachable"
    ENGINE_REFUSED = "engine_refused"
    ENGINE_RESTARTED = "engine_restarted"
    IMAGE_ABSENT = "image_absent"
    NAME_TAKEN = "name_taken"
    CONTAINER_STUCK = "container_stuck"
    SCRATCH_FAILED = "scratch_failed"
    DISK_FULL = "disk_full"
    MEASUREMENT_GAP = "measurement_gap"
    MACHINE_BUSY = "machine_busy"
    # image_invalid
    ENTRY_POINT_NOT_RUNNABLE = "entry_point_not_runnable"
    MOUNT_POINT_BLOCKED = "mount_point_blocked"
    WORKING_DIR_TOO_LARGE = "working_dir_too_large"
    USER_UNKNOWN = "user_unknown"
    # timeout, out_of_memory
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    CHILD_KILLED_FOR_MEMORY = "child_killed_for_memory"
    # output_too_large
    BYTES_LIMIT = "bytes_limit"
    FILES_LIMIT = "files_limit"
    FILE_TOO_LARGE = "file_too_large"
    # output_missing, output_invalid
    MISSING = "missing"
    SYMLINK = "symlink"
    HARD_LINK = "hard_link"
    NOT_A_FILE = "not_a_file"
    NOT_ONE_FILE = "not_one_file"
    UNREADABLE = "unreadable"
    CHANGED_WHILE_READ = "changed_while_read"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Everything that was observed about how one container ended."""

    is_cancelled: bool = False
    platform_problem: Reason = Reason.NONE
    image_problem: Reason = Reason.NONE
    wall_seconds: float = 0.0
    wall_limit_seconds: float = float("inf")
    is_out_of_memory: bool = False
    """The engine or the kernel's cgroup recorded that a process of this container was killed for memory."""
    output_excess: Reason = Reason.NONE
    exit_code: int | None = 0
    output_problem: tuple[Verdict, Reason] | None = None


def judge(ending: Ending) -> tuple[Verdict, Reason]:
    """The verdict that stands and its reason; `OK` when nothing went wrong."""
    child_only = ending.exit_code == 0
    causes = {
        Verdict.CANCELLED: (ending.is_cancelled, Reason.NONE),
        Verdict.INFRASTRUCTURE: (bool(ending.platform_problem), ending.platform_problem),
        Verdict.IMAGE_INVALID: (bool(ending.image_problem), ending.image_problem),
        Verdict.TIMEOUT: (ending.wall_seconds > ending.wall_limit_seconds, Reason.TIME_LIMIT),
        Verdict.OUT_OF_MEMORY: (
            ending.is_out_of_memory,
            Reason.CHILD_KILLED_FOR_MEMORY if child_only else Reason.MEMORY_LIMIT,
        ),
        Verdict.OUTPUT_TOO_LARGE: (bool(ending.output_excess), ending.output_excess),
        Verdict.NONZERO_EXIT: (ending.exit_code != 0, Reason.NONE),
    }
    found = {verdict: reason for verdict, (holds, reason) in causes.items() if holds}
    if ending.output_problem is not None:
        verdict, reason = ending.output_problem
        found.setdefault(verdict, reason)
    verdict = most_important(list(found))
    return verdict, found.get(verdict, Reason.NONE)


def most_important(causes: list[Verdict]) -> Verdict:
    """The verdict that stands when several causes hold at once; `OK` when none does."""
    order = list(Verdict)
    return min(causes, key=order.index, default=Verdict.OK)
