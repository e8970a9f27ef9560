"""Starting, watching and stopping the processes one installation is made of."""

import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger("assay.serve")

SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h
CRASHES_TOLERATED = 5
CRASH_WINDOW_SECONDS = 60.0
WATCH_SECONDS = 0.2


class CrashedTooOftenError(Exception):
    """A process keeps ending right after its start."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process: what to run, where its output goes, and how long it may take to stop."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    stop_seconds: float = 20.0
    kept_descriptors: tuple[int, ...] = ()
    stops_first: bool = False
    """It hands its work back through the others, which wait for it."""
    is_essential: bool = True
    """Whether the rest is of no use without it. What is not is given up when it keeps ending."""


@dataclass(kw_only=True)
class Supervisor:
    """Keeps processes running: one that ends is started again, unless it keeps ending."""

    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    specs: dict[str, ProcessSpec] = field(default_factory=dict)
    crashes: dict[str, list[float]] = field(default_factory=dict)

    def start(self, spec: ProcessSpec) -> None:
        """Start a process in a session of its own: Ctrl-C reaches it only through us, in our order."""
        spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with spec.log.open("ab") as sink:
            self.running[spec.name] = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(spec.environment),
                start_new_session=True,
                pass_fds=spec.kept_descriptors,
                preexec_fn=die_with_parent,  # noqa: PLW1509  we have one thread
            )
        self.specs[spec.name] = spec

    def watch(self, *, should_stop: Callable[[], bool], chores: Sequence[Callable[[], None]] = ()) -> None:
        """Start again what ends, and do the chores, until `should_stop`. Raises when something ends again and again."""
        while not should_stop():
            for chore in chores:
                chore()
            for name, process in list(self.running.items()):
                if process.poll() is not None:
                    self.start_again(name=name, exit_code=process.returncode)
            time.sleep(WATCH_SECONDS)

    def start_again(self, *, name: str, exit_code: int) -> None:
        """Start a process that ended by itself."""
        now = time.monotonic()
        recent = [moment for moment in self.crashes.get(name, []) if moment > now - CRASH_WINDOW_SECONDS] + [now]
        self.crashes[name] = recent
        logger.warning("serve.process_ended", extra={"program": name, "exit_code": exit_code})
        if len(recent) <= CRASHES_TOLERATED:
            self.start(self.specs[name])
            return
        error = CrashedTooOftenError(
            f"{name} ended {len(recent)} times within {CRASH_WINDOW_SECONDS:.0f} s (exit code {exit_code}). "
            f"The end of {self.specs[name].log}:\n{last_lines(self.specs[name].log)}"
        )
        if self.specs[name].is_essential:
            raise error
        del self.running[name]
        logger.error("serve.process_given_up", extra={"program": name, "why": error})

    def stop(self) -> None:
        """Stop everything: first what needs the others for it, then the rest at once."""
        for stops_first in (True, False):
            wave = [
                name for name, spec in self.specs.items() if spec.stops_first is stops_first and name in self.running
            ]
            for name in wave:
                self.running[name].terminate()
            for name in wave:
                end(self.running[name], within_seconds=self.specs[name].stop_seconds)
        self.running.clear()


def end(process: subprocess.Popen[bytes], *, within_seconds: float) -> None:
    """Wait for a process that was told to stop. Kill it and its session when it does not."""
    try:
        process.wait(within_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def die_with_parent() -> None:
    """In a new child: be told to stop when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def last_lines(path: Path, *, count: int = 15) -> str:
    """The end of a log."""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
