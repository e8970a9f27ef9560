"""What a run consumed, by the names metrics have, and what a gap in the sampling kept from being known."""

from typing import Protocol


class Figures(Protocol):
    """What is read of a run's usage. None where it was not measured. `containers.spec.Usage` has all of it."""

    @property
    def wall_seconds(self) -> float | None: ...
    @property
    def cpu_seconds(self) -> float | None: ...
    @property
    def cpu_area_percent_seconds(self) -> float | None: ...
    @property
    def peak_memory_bytes(self) -> int | None: ...
    @property
    def is_valid(self) -> bool | None: ...
    @property
    def gpu_peak_memory_bytes(self) -> int | None: ...
    @property
    def gpu_stable_memory_bytes(self) -> int | None: ...
    @property
    def gpu_memory_area_over_tolerance_byte_seconds(self) -> float | None: ...
    @property
    def gpu_is_valid(self) -> bool | None: ...


def measured_of(usage: Figures) -> dict[str, float]:
    """The metrics that `usage` (the runner's figures) answers, in their units: seconds, percent seconds, MiB, MiB seconds.

    The clock and the kernel's counters are exact however late a sample came. Memory is sampled where the kernel keeps no peak, and a
    GPU always: those answer only when they were measured without a gap.
    """
    found = _exact(usage)
    if usage.is_valid is not False:
        found |= _of_memory(usage)
    if usage.gpu_is_valid is not False:
        found |= _of_gpu(usage)
    return _known(found)


def lost_to_gaps(usage: Figures) -> frozenset[str]:
    """The metrics that `usage` would answer, had nothing kept the sampling waiting."""
    whole = _known(_exact(usage) | _of_memory(usage) | _of_gpu(usage))
    return frozenset(whole) - frozenset(measured_of(usage))


def _exact(usage: Figures) -> dict[str, float | None]:
    return {
        "wall_seconds": usage.wall_seconds,
        "cpu_seconds": usage.cpu_seconds,
        "cpu_percent_seconds": usage.cpu_area_percent_seconds,
    }


def _of_memory(usage: Figures) -> dict[str, float | None]:
    return {"peak_memory_mb": _megabytes(usage.peak_memory_bytes)}


def _of_gpu(usage: Figures) -> dict[str, float | None]:
    return {
        "gpu_memory_mb": _megabytes(usage.gpu_peak_memory_bytes),
        "gpu_stable_memory_mb": _megabytes(usage.gpu_stable_memory_bytes),
        "gpu_memory_mb_seconds": _megabytes(usage.gpu_memory_area_over_tolerance_byte_seconds),
    }


def _known(found: dict[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if value is not None}


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / 2**20
