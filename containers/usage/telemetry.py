"""What a container used: curves, areas, maxima. First the arithmetic, then the meter that collects one run's samples.

Time is never assumed: each sample carries its own timestamp, areas use the real Δt (FLARE's published script multiplies the
number of samples by 0.1 s and so under-counts), and a gap of more than one second between samples marks the measurement
invalid. Peak memory and CPU seconds are the kernel's own counters, read through `cgroups`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from containers.engines import Measured
from containers.usage.cgroups import Cgroup, Totals
from containers.usage_record import Curve, Usage

LARGEST_GAP_SECONDS = 1.0
STABLE_SHARE = 0.02
CURVE_POINTS = 600


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a cgroup. `memory_bytes` is what cannot be dropped: all but the page cache."""

    at_seconds: float
    memory_bytes: int
    cpu_seconds: float


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def area(*, seconds: Sequence[float], values: Sequence[float], tolerance: float = 0.0) -> float:
    """Area under max(0, value − tolerance) over real time, by trapezoids between samples."""
    above = [max(0.0, value - tolerance) for value in values]
    steps = zip(seconds, seconds[1:], above, above[1:], strict=False)
    return sum((later - earlier) * (left + right) / 2 for earlier, later, left, right in steps)


def stable_maximum(values: Sequence[float], *, share: float = STABLE_SHARE) -> float:
    """The largest value seen in more than `share` of the samples (FLARE21/22). 0 without samples.

    FLARE counts equal readings, which are whole MiB. A level held by ever-changing readings above it counts here too: a
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


def thin_out(*, seconds: Sequence[float], values: Sequence[float], points: int = CURVE_POINTS) -> Curve:
    """At most `points` samples for storage and plotting, keeping the largest of each bucket: peaks survive, areas do
    not.
    """
    size = max(1, -(-len(values) // points))
    keep = [max(range(at, min(at + size, len(values))), key=values.__getitem__) for at in range(0, len(values), size)]
    return Curve(seconds=tuple(round(seconds[at], 3) for at in keep), values=tuple(round(values[at], 3) for at in keep))


# ---- one run's measurement -----------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Meter:
    """Collects the samples of one run. The only mutable thing here. Lives in the watch loop."""

    samples: list[Sample] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    def look(self, cgroup: Cgroup, *, at_seconds: float) -> None:
        """Take one sample. A cgroup that has just gone leaves the last values standing."""
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

    def take(self, measured: Measured | None) -> None:
        """What an engine measured where the container ran, in place of what could be seen from here."""
        if measured is None:
            return
        self.samples = [
            Sample(at_seconds=at, memory_bytes=memory, cpu_seconds=cpu) for at, memory, cpu in measured.samples
        ]
        self.totals = Totals(peak_memory_bytes=measured.peak_memory_bytes, cpu_seconds=measured.cpu_seconds)

    def usage(self, *, wall_seconds: float, startup_seconds: float, cpus: int) -> Usage:
        """What is known without a GPU."""
        seconds = [sample.at_seconds for sample in self.samples]
        memory = [float(sample.memory_bytes) for sample in self.samples]
        gap = largest_gap(seconds, start=0.0, end=wall_seconds)
        cpu_seconds = self.totals.cpu_seconds or 0.0
        return Usage(
            wall_seconds=round(wall_seconds, 3),
            startup_seconds=round(startup_seconds, 3),
            cpu_seconds=round(cpu_seconds, 3),
            cpu_area_percent_seconds=round(100.0 * cpu_seconds / max(1, cpus), 3),
            cpus=cpus,
            peak_memory_bytes=self.totals.peak_memory_bytes or int(max(memory, default=0)),
            stable_memory_bytes=int(stable_maximum(memory)),
            memory_area_byte_seconds=round(area(seconds=seconds, values=memory)),
            memory_curve=thin_out(seconds=seconds, values=memory),
            cpu_curve=thin_out(seconds=seconds, values=[sample.cpu_seconds for sample in self.samples]),
            sample_count=len(self.samples),
            largest_gap_seconds=round(gap, 3),
            is_valid=gap <= LARGEST_GAP_SECONDS,
        )
