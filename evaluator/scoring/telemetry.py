"""What a run consumed, by the names metrics have; and what a gap in the sampling kept from being known."""

from collections.abc import Mapping
from typing import Any


def measured_of(usage: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that `usage` (the runner's figures) answers.

    The clock and the kernel's counters are exact however late a sample came; memory is sampled where the kernel keeps no peak, and a
    GPU always: those answer only when they were measured without a gap.
    """
    measured = {
        "wall_seconds": usage.get("wall_seconds"),
        "cpu_seconds": usage.get("cpu_seconds"),
        "cpu_percent_seconds": usage.get("cpu_area_percent_seconds"),
    }
    if usage.get("is_valid", True):
        measured["peak_memory_mb"] = _megabytes(usage.get("peak_memory_bytes"))
    if usage.get("gpu_is_valid", True):
        measured |= {
            "gpu_memory_mb": _megabytes(usage.get("gpu_peak_memory_bytes")),
            "gpu_stable_memory_mb": _megabytes(usage.get("gpu_stable_memory_bytes")),
            "gpu_memory_mb_seconds": _megabytes(usage.get("gpu_memory_area_over_tolerance_byte_seconds")),
        }
    return {name: float(value) for name, value in measured.items() if value is not None}


def lost_to_gaps(usage: Mapping[str, Any]) -> frozenset[str]:
    """The metrics that `usage` would answer, had nothing kept the sampling waiting."""
    whole = {**usage, "is_valid": True, "gpu_is_valid": True}
    return frozenset(measured_of(whole)) - frozenset(measured_of(usage))


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / 2**20
