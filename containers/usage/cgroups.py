"""The kernel's own account of a container: memory, CPU seconds and OOM kills, from cgroups of version 1 and 2.

Where we may, the container is put under a parent cgroup of ours, named by the workspace's random key. Its counters can still be
read after the container has gone, so even a run of a few milliseconds is measured, and it answers the question that the engine
answers wrongly under load: was something killed for memory? (Docker 20.10 learns of the kill and of the exit over two channels;
when the exit wins, `OOMKilled` stays false. Measured on two cores: never on an idle machine, one run of 32 with
four at a time, eight of eight with a load of ten. The event log misses them too.)

version 2   `memory.events` of the parent counts the kills of all descendants.
version 1   counts stay with the victim's own cgroup, which the engine removes at once. But a process that reaches a limit notifies
            everybody who asked at *that* cgroup. So the parent gets the limit, a little below the container's own, and an
            event counter from the kernel is registered there before the container exists.

Where we may not (an ordinary user, systemd's cgroup driver), the container's own cgroup is polled and the last value read
stands. An OOM kill is then the engine's record, its event log, a kill counted while somebody looked, or a SIGKILL that was not
ours after the kernel had counted the limit as reached.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from containers.engines import EngineFacts

CGROUP_ROOT = Path("/sys/fs/cgroup")
NANOSECONDS = 1e9
MICROSECONDS = 1e6
BELOW_THE_CONTAINERS_OWN_BYTES = 64 * 2**10
"""The kernel charges a container first and its parent second: the parent must be the one to refuse."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The kernel's counters over the whole life of a cgroup. `None` where the kernel does not say."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    oom_kills: int = 0
    limit_hits: int = 0
    """How often an allocation found the memory limit reached. The page cache may have been what was given up for it."""


class Cgroup(Protocol):
    """One cgroup's memory and CPU counters, whichever version the kernel speaks."""

    @property
    def name(self) -> str:
        """Its path below the root of the hierarchy."""

    def memory_bytes(self) -> int:
        """What is in use now and cannot be dropped: the exact counter less the page cache.

        The kernel's statistics lag by up to two seconds, its counter does not. Only the page cache comes from the former.
        """

    def totals(self) -> Totals:
        """The counters over its whole life."""

    def tasks(self) -> Iterator[int]:
        """The tasks that are in it or below it now."""

    def remove(self) -> None:
        """Remove the (empty) cgroup. One that is not ours or not there is no error."""


@dataclass(kw_only=True)
class CgroupV1:
    """One folder per controller."""

    name: str
    root: Path = CGROUP_ROOT
    oom_counter: int | None = None
    """A descriptor of the kernel's event counter, when one is registered."""
    counted_oom_kills: int = 0

    def memory_bytes(self) -> int:
        """See `Cgroup`."""
        folder = self.root / "memory" / self.name
        stat = _table(folder / "memory.stat")
        page_cache = stat.get("total_cache", 0) - stat.get("total_shmem", 0)
        return max(0, (_number(folder / "memory.usage_in_bytes") or 0) - page_cache)

    def totals(self) -> Totals:
        """`max_usage` includes the page cache."""
        if self.oom_counter is not None:
            with contextlib.suppress(BlockingIOError):  # nothing new
                self.counted_oom_kills += os.eventfd_read(self.oom_counter)
        folder = self.root / "memory" / self.name
        return Totals(
            peak_memory_bytes=_number(folder / "memory.max_usage_in_bytes"),
            cpu_seconds=_scaled(_number(self.root / "cpuacct" / self.name / "cpuacct.usage"), NANOSECONDS),
            oom_kills=self.counted_oom_kills or _table(folder / "memory.oom_control").get("oom_kill", 0),
            limit_hits=_number(folder / "memory.failcnt") or 0,
        )

    def tasks(self) -> Iterator[int]:
        """See `Cgroup`."""
        return _tasks(self.root / "memory" / self.name, file="tasks")

    @contextlib.contextmanager
    def limited(self, memory_bytes: int) -> Iterator[None]:
        """Make this cgroup with a memory limit and count how often it is reached for good."""
        folder = self.root / "memory" / self.name
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            stack.callback(self.remove)
            limit = memory_bytes - BELOW_THE_CONTAINERS_OWN_BYTES
            (folder / "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
            self.oom_counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            stack.callback(self._stop_counting)
            control = os.open(folder / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, control)
            (folder / "cgroup.event_control").write_text(f"{self.oom_counter} {control}", encoding="ascii")
            yield

    def _stop_counting(self) -> None:
        if self.oom_counter is not None:
            os.close(self.oom_counter)
            self.oom_counter = None

    def remove(self) -> None:
        """In every controller."""
        for controller in self.root.iterdir():
            with contextlib.suppress(OSError):
                (controller / self.name).rmdir()


@dataclass(frozen=True, kw_only=True)
class CgroupV2:
    """One folder for all controllers."""

    name: str
    root: Path = CGROUP_ROOT

    def memory_bytes(self) -> int:
        """See `Cgroup`."""
        stat = _table(self.root / self.name / "memory.stat")
        page_cache = stat.get("file", 0) - stat.get("shmem", 0)
        return max(0, (_number(self.root / self.name / "memory.current") or 0) - page_cache)

    def totals(self) -> Totals:
        """`memory.peak` needs Linux 5.19."""
        folder = self.root / self.name
        events = _table(folder / "memory.events")
        return Totals(
            peak_memory_bytes=_number(folder / "memory.peak"),
            cpu_seconds=_scaled(_table(folder / "cpu.stat").get("usage_usec"), MICROSECONDS),
            oom_kills=events.get("oom_kill", 0),
            limit_hits=events.get("max", 0),
        )

    def tasks(self) -> Iterator[int]:
        """See `Cgroup`."""
        return _tasks(self.root / self.name, file="cgroup.threads")

    @contextlib.contextmanager
    def limited(self, memory_bytes: int) -> Iterator[None]:  # noqa: ARG002 - version 2 counts without a limit of its own
        """For as long as the context lasts. The engine makes the folder, we remove it."""
        try:
            yield
        finally:
            self.remove()

    def remove(self) -> None:
        """The one folder."""
        with contextlib.suppress(OSError):
            (self.root / self.name).rmdir()


@contextlib.contextmanager
def parent_cgroup(
    *, key: str, facts: EngineFacts, memory_bytes: int, is_root: bool, root: Path = CGROUP_ROOT
) -> Iterator[Cgroup | None]:
    """A cgroup of our own to put the container under, gone at the end. `None` where we may not."""
    if facts.is_scripted or not is_root or facts.cgroup_driver != "cgroupfs":
        yield None
        return
    name = f"assay-{key}"
    cgroup = CgroupV1(name=name, root=root) if facts.cgroup_version == 1 else CgroupV2(name=name, root=root)
    with cgroup.limited(memory_bytes):
        yield cgroup


def remove_parent_cgroup(*, key: str, root: Path = CGROUP_ROOT) -> None:
    """What a killed process left behind, in either version."""
    for cgroup in (CgroupV1(name=f"assay-{key}", root=root), CgroupV2(name=f"assay-{key}", root=root)):
        cgroup.remove()


def cgroup_of_process(*, process_id: int, facts: EngineFacts, proc: Path = Path("/proc")) -> Cgroup | None:
    """The cgroup a running container is in. `None` when it has gone already or lives on another machine."""
    try:
        lines = (proc / str(process_id) / "cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    paths = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    if facts.cgroup_version == 1:
        return CgroupV1(name=paths["memory"]) if paths.get("memory") else None
    return CgroupV2(name=paths[""]) if paths.get("") else None


def _tasks(folder: Path, *, file: str) -> Iterator[int]:
    for path in folder.rglob(file):
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError:  # it has gone meanwhile
            continue
        yield from (int(line) for line in lines if line.isdigit())


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _scaled(number: int | None, scale: float) -> float | None:
    return None if number is None else number / scale


def _table(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines) if value.isdigit()}
