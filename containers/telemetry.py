"""What a container used: curves, areas, maxima. First the arithmetic, then the two readers of the kernel's cgroups.

Time is never assumed: each sample carries its own timestamp, areas use the real Δt (FLARE's published script
multiplies the number of samples by 0.1 s and so under-counts), and a gap of more than one second between samples
marks the measurement invalid. Peak memory and CPU seconds are the kernel's own counters. Where we may, the container
is put into a parent cgroup of ours: its counters can still be read after the container has gone, so even a run of a
few milliseconds is measured. Where we may not (an ordinary user, systemd's cgroup driver), the container's own cgroup
is polled and the last value read stands.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from containers.engine import EngineFacts

CGROUP_ROOT = Path("/sys/fs/cgroup")
LARGEST_GAP_SECONDS = 1.0
STABLE_SHARE = 0.02
CURVE_POINTS = 600
NANOSECONDS = 1e9


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a cgroup. `memory_bytes` is what cannot be dropped: all but the page cache."""

    at_seconds: float
    memory_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The kernel's counters over the whole life of a cgroup; `None` where the kernel does not say."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    oom_kills: int = 0


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def area(*, seconds: Sequence[float], values: Sequence[float], tolerance: float = 0.0) -> float:
    """Area under max(0, value − tolerance) over real time, by trapezoids between samples."""
    above = [max(0.0, value - tolerance) for value in values]
    steps = zip(seconds, seconds[1:], above, above[1:], strict=False)
    return sum((later - earlier) * (left + right) / 2 for earlier, later, left, right in steps)


def stable_maximum(values: Sequence[float], *, share: float = STABLE_SHARE) -> float:
    """The largest value seen in more than `share` of the samples (FLARE21/22); 0 without samples.

    FLARE counts equal readings, which are whole MiB; a level held by ever-changing readings above it counts here too: a
    sample supports every level up to its own.
    """
    needed = len(values) * share
    for supporters, value in enumerate(sorted(values, reverse=True), start=1):
        if supporters > needed:
            return value
    return 0.0


def largest_gap(seconds: Sequence[float], *, start: float, end: float) -> float:
    """The longest stretch of [start, end] without a sample."""
    marks = [start, *seconds, end]
    return max((later - earlier for earlier, later in pairwise(marks)), default=0.0)


def thin_out(
    *, seconds: Sequence[float], values: Sequence[float], points: int = CURVE_POINTS
) -> dict[str, list[float]]:
    """At most `points` samples for storage and plotting, keeping the largest of each bucket: peaks survive, areas do
    not.
    """
    size = max(1, -(-len(values) // points))
    keep = [max(range(at, min(at + size, len(values))), key=values.__getitem__) for at in range(0, len(values), size)]
    return {"seconds": [round(seconds[at], 3) for at in keep], "values": [round(values[at], 3) for at in keep]}


# ---- cgroups -------------------------------------------------------------------------------------------------------


class Cgroup(Protocol):
    """One cgroup's memory and CPU counters, whichever version the kernel speaks."""

    @property
    def name(self) -> str:
        """Its path below the root of the hierarchy."""

    def memory_bytes(self) -> int:
        """What is in use now and cannot be dropped: no page cache."""

    def totals(self) -> Totals:
        """The counters over its whole life."""

    def remove(self) -> None:
        """Remove the (empty) cgroup; one that is not ours or not there is no error."""


@dataclass(frozen=True, kw_only=True)
class CgroupV1:
    """One folder per controller."""

    name: str
    root: Path = CGROUP_ROOT

    def memory_bytes(self) -> int:
        """The exact counter less the page cache: the kernel's statistics lag by up to two seconds, its counter does not."""
        folder = self.root / "memory" / self.name
        stat = _table(folder / "memory.stat")
        page_cache = stat.get("total_cache", 0) - stat.get("total_shmem", 0)
        return max(0, (_number(folder / "memory.usage_in_bytes") or 0) - page_cache)

    def totals(self) -> Totals:
        """`max_usage` includes page cache; OOM kills in a child are not counted in a parent here, so they are not
        read.
        """
        return Totals(
            peak_memory_bytes=_number(self.root / "memory" / self.name / "memory.max_usage_in_bytes"),
            cpu_seconds=_scaled(_number(self.root / "cpuacct" / self.name / "cpuacct.usage"), NANOSECONDS),
        )

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
        """As for version 1: exact counter less page cache."""
        stat = _table(self.root / self.name / "memory.stat")
        page_cache = stat.get("file", 0) - stat.get("shmem", 0)
        return max(0, (_number(self.root / self.name / "memory.current") or 0) - page_cache)

    def totals(self) -> Totals:
        """`memory.peak` needs Linux 5.19; `memory.events` counts kills in all descendants."""
        folder = self.root / self.name
        return Totals(
            peak_memory_bytes=_number(folder / "memory.peak"),
            cpu_seconds=_scaled(_table(folder / "cpu.stat").get("usage_usec"), 1e6),
            oom_kills=_table(folder / "memory.events").get("oom_kill", 0),
        )

    def remove(self) -> None:
        """The one folder."""
        with contextlib.suppress(OSError):
            (self.root / self.name).rmdir()


def parent_cgroup(*, key: str, facts: EngineFacts, is_root: bool) -> Cgroup | None:
    """A cgroup of our own to put the container under, named by the workspace's random key; `None` where we may not."""
    if facts.is_scripted or not is_root or facts.cgroup_driver != "cgroupfs":
        return None
    return CgroupV2(name=f"assay-{key}") if facts.cgroup_version == 2 else CgroupV1(name=f"assay-{key}")


def cgroup_of_process(*, process_id: int, facts: EngineFacts, proc: Path = Path("/proc")) -> Cgroup | None:
    """The cgroup a running container is in; `None` when it has gone already or lives on another machine."""
    try:
        lines = (proc / str(process_id) / "cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    paths = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    if facts.cgroup_version == 2:
        return CgroupV2(name=paths[""]) if paths.get("") else None
    return CgroupV1(name=paths["memory"]) if paths.get("memory") else None


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


# ---- one run's measurement -----------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Meter:
    """Collects the samples of one run. The only mutable thing here; lives in the watch loop."""

    samples: list[Sample] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    def look(self, cgroup: Cgroup, *, at_seconds: float) -> None:
        """Take one sample; a cgroup that has just gone leaves the last values standing."""
        totals = cgroup.totals()
        if totals.cpu_seconds is None:
            return
        self.totals = totals
        self.samples.append(
            Sample(at_seconds=at_seconds, memory_bytes=cgroup.memory_bytes(), cpu_seconds=totals.cpu_seconds)
        )

    def close(self, cgroup: Cgroup) -> None:
        """The final counters, read from a cgroup that outlives the container."""
        totals = cgroup.totals()
        self.totals = totals if totals.cpu_seconds is not None else self.totals

    def usage(self, *, wall_seconds: float, startup_seconds: float, cpus: int) -> dict[str, Any]:
        """The JSON record stored with the case run."""
        seconds = [sample.at_seconds for sample in self.samples]
        memory = [float(sample.memory_bytes) for sample in self.samples]
        gap = largest_gap(seconds, start=0.0, end=wall_seconds)
        cpu_seconds = self.totals.cpu_seconds or 0.0
        return {
            "wall_seconds": round(wall_seconds, 3),
            "startup_seconds": round(startup_seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "cpu_area_percent_seconds": round(100.0 * cpu_seconds / max(1, cpus), 3),
            "cpus": cpus,
            "peak_memory_bytes": self.totals.peak_memory_bytes or int(max(memory, default=0)),
            "stable_memory_bytes": int(stable_maximum(memory)),
            "memory_area_byte_seconds": round(area(seconds=seconds, values=memory)),
            "memory_curve": thin_out(seconds=seconds, values=memory),
            "cpu_curve": thin_out(seconds=seconds, values=[sample.cpu_seconds for sample in self.samples]),
            "sample_count": len(self.samples),
            "largest_gap_seconds": round(gap, 3),
            "is_valid": gap <= LARGEST_GAP_SECONDS,
        }
