"""How long a container waited for processors that others of this machine used: a run that was starved says nothing about its algorithm.

Two witnesses have to agree. The kernel says of each task how long it was ready to run and did not (`schedstat`). It says of each processor
how long it was busy; what the container did not use of the processors that it was given, others used, or the hypervisor took. A container
that sleeps waits for nothing. One that starts more tasks than it has processors waits for itself, and others use nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from containers.usage.cgroups import NANOSECONDS, Cgroup

MOST_TASKS = 256
"""Looked at in one container. Its waiting is underestimated where it has more."""
STARVED_SHARE = 0.25
"""From this share of its time on, a timeout is not the algorithm's."""
BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of a processor in /proc/stat: user, nice, system, interrupts of both kinds, and what the hypervisor gave to others."""


@dataclass(kw_only=True)
class Starvation:
    """The waiting of one container from the moment on when this was made."""

    cpu_ids: Sequence[int]
    proc: Path = Path("/proc")
    waited: dict[int, float] = field(default_factory=dict)
    most_at_once: int = 1
    busy_before: float = field(init=False)

    def __post_init__(self) -> None:
        self.busy_before = busy_seconds(self.cpu_ids, proc=self.proc)

    def look(self, cgroup: Cgroup) -> None:
        """Note how long each task has waited so far. One that has ended keeps what was seen last."""
        seen = 0
        for task in islice(cgroup.tasks(), MOST_TASKS):
            try:
                words = (self.proc / str(task) / "schedstat").read_text(encoding="ascii").split()
                self.waited[task] = int(words[1]) / NANOSECONDS
            except (OSError, ValueError, IndexError):  # it has ended, or this kernel does not say
                continue
            seen += 1
        self.most_at_once = max(self.most_at_once, seen)

    def lost_seconds(self, *, cpu_seconds: float | None) -> float:
        """How much longer the container took because others used its processors. 0 where that is not known."""
        if cpu_seconds is None or not self.waited:
            return 0.0
        others = busy_seconds(self.cpu_ids, proc=self.proc) - self.busy_before - cpu_seconds
        return max(0.0, min(others, sum(self.waited.values()))) / min(len(self.cpu_ids), self.most_at_once)


def busy_seconds(cpu_ids: Sequence[int], *, proc: Path = Path("/proc")) -> float:
    """How long these processors have been busy since the machine started. 0 where the kernel does not say."""
    wanted = {f"cpu{number}" for number in cpu_ids}
    try:
        lines = (proc / "stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    rows = [line.split() for line in lines if line.startswith("cpu")]
    ticks = sum(int(row[1 + column]) for row in rows if row[0] in wanted for column in BUSY if 1 + column < len(row))
    return ticks / os.sysconf("SC_CLK_TCK")
