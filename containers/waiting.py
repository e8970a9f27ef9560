"""Waiting for a program that starts, for as long as it works: no guess at how fast a machine is.

Theory of operation. The starter of a program asks it a question (`is_ready`) until the answer is yes. Meanwhile we look for
signs of work: its log grows, or it and its children use the processor. A program that tells its `state` is judged by the changes of
it instead. Only these end the wait without a yes:

* the program has ended: reported at once, with the end of its log.
* it shows no sign of work for `silent_seconds`: it hangs.
* `at_most_seconds` are over: the upper bound, a setting (`ASSAY_START_SECONDS`).
* the starter itself does not want it any more (`should_stop`).

A program that waits long says so once in a while, so that nobody has to guess. Standard library only: `make setup` uses this
before anything is installed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NotStartedError", "Patience", "Program", "patience_from", "processor_seconds", "wait_until_ready"]

SETTING = "ASSAY_START_SECONDS"
AT_MOST_SECONDS = 1800.0
SILENT_SECONDS = 180.0
POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0
TELL_SECONDS = 30.0
WORK_SECONDS = 0.1
"""So much processor time is a sign of work. A program that only sleeps and looks uses less."""
LAST_LINES = 15


class NotStartedError(Exception):
    """A program did not become ready. The message says why, with the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a program that starts is waited for, and how long one that shows no sign of work."""

    at_most_seconds: float = AT_MOST_SECONDS
    silent_seconds: float = SILENT_SECONDS


def patience_from(environment: Mapping[str, str]) -> Patience:
    """As `ASSAY_START_SECONDS` says. Raises NotStartedError when it is no number of seconds."""
    text = environment.get(SETTING, "").strip() or str(AT_MOST_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise NotStartedError(f"{SETTING} is {text!r}; a number of seconds above 0 is expected.")
    return Patience(at_most_seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that was started: how it is called, its process (`None`: somebody else watches it), and its log."""

    name: str
    process: subprocess.Popen[bytes] | None
    log: Path

    def ending(self) -> str:
        """How it ended. Empty while it runs."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            return ""
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def written_bytes(self) -> int:
        """The size of its log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def last_words(self) -> str:
        """The end of its log, for a message."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"(its log {self.log} cannot be read: {error.strerror})"
        return f"The end of {self.log}:\n" + ("\n".join(lines[-LAST_LINES:]) or "(nothing was written)")


def wait_until_ready(
    program: Program,
    *,
    is_ready: Callable[[], bool],
    patience: Patience,
    state: Callable[[], object] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201  people wait for this
) -> None:
    """Wait until `is_ready()`, or until `should_stop()`. Raises NotStartedError: see the top of this file.

    `state` is what the program tells of itself while it is not ready. As long as it is not None, a change of it is the sign
    of work, and log and processor time are not: a server that keeps answering "not ready" uses the processor for that.
    """
    began = told = looked = time.monotonic()
    seen, silent_seconds = _Signs.of(program, state), 0.0
    while True:
        ending = program.ending()  # looked at before the question: who ends right after a yes is the caller's concern
        if is_ready() or should_stop():
            return
        if ending:
            raise NotStartedError(f"{program.name} {ending} before it was ready. {program.last_words()}")
        now = time.monotonic()
        if now - looked >= min(LOOK_SECONDS, patience.silent_seconds):
            silent_seconds += min(now - looked, 2 * LOOK_SECONDS)  # who is held up itself has not seen the others rest
            looked, signs = now, _Signs.of(program, state)
            if signs.shows_work_since(seen):
                seen, silent_seconds = signs, 0.0
        if now - began > patience.at_most_seconds:
            raise NotStartedError(
                f"{program.name} runs and is not ready after {patience.at_most_seconds:.0f} s. If it only needs longer "
                f"here, set {SETTING} to more. {program.last_words()}"
            )
        if silent_seconds > patience.silent_seconds:
            said = f" It says: {seen.state}." if seen.state is not None else ""
            raise NotStartedError(
                f"{program.name} runs, but there was no sign of work for {patience.silent_seconds:.0f} s.{said} "
                f"{program.last_words()}"
            )
        if now - told > TELL_SECONDS:
            told = now
            tell(f"  {program.name} is still starting after {now - began:.0f} s; its log: {program.log}")
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True, kw_only=True)
class _Signs:
    state: object
    written_bytes: int
    busy_seconds: float

    @classmethod
    def of(cls, program: Program, state: Callable[[], object]) -> "_Signs":
        busy = processor_seconds(program.process.pid) if program.process is not None else 0.0
        return cls(state=state(), written_bytes=program.written_bytes(), busy_seconds=busy)

    def shows_work_since(self, before: "_Signs") -> bool:
        if self.state is not None or before.state is not None:
            return self.state != before.state
        return (
            self.written_bytes != before.written_bytes or abs(self.busy_seconds - before.busy_seconds) >= WORK_SECONDS
        )


def processor_seconds(pid: int) -> float:
    """What a process and its living descendants have used of the processor, their ended children included. Linux only, else 0."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        number = int(entry.parent.name)
        parents[number] = int(fields[1])
        used[number] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    total, family = 0.0, {pid}
    while family:
        total += sum(used.get(number, 0.0) for number in family)
        family = {number for number, parent in parents.items() if parent in family}
    return total
