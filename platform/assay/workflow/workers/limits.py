"""Limits of what a worker's process may use for one piece of work, within the process itself."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

AGAIN_SECONDS = 5.0
"""Of processor time until the signal comes once more, should somebody have swallowed the first."""


class OutOfTimeError(Exception):
    """The processor time is used up."""


@contextmanager
def limited_memory(most_bytes: int) -> Iterator[None]:
    """No more private memory than this on top of what the process has. Beyond it Python raises MemoryError.

    `RLIMIT_DATA` counts memory that can be written and is nobody else's, since Linux 4.7. Address space would be the wrong measure: the
    driver of a GPU reserves far more of it than there is memory.
    """
    data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = data_pages * resource.getpagesize() + most_bytes
    hard = before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def limited_processor_time(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` here once the process has used so much more processor time, all its threads together.

    The signal is handled between two operations of the interpreter, so one long array operation is finished first. Signals belong to
    the main thread, where Celery runs tasks. In another thread there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"more than {seconds:g} seconds of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
