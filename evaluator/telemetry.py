"""What a run consumed, by the names metrics have."""

from collections.abc import Mapping
from typing import Any


def measured_of(usage: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that `usage` (the runner's figures) answers; only what was measured without a gap."""
    if not usage.get("is_valid", True):
        usage = {"wall_seconds": usage.get("wall_seconds")}
    area = usage.get("gpu_memory_area_over_tolerance_byte_seconds")
    measured = {
        "wall_seconds": usage.get("wall_seconds"),
        "cpu_seconds": usage.get("cpu_seconds"),
        "cpu_percent_seconds": usage.get("cpu_area_percent_seconds"),
        "peak_memory_mb": _megabytes(usage.get("peak_memory_bytes")),
        "gpu_memory_mb": _megabytes(usage.get("gpu_peak_memory_bytes")),
        "gpu_stable_memory_mb": _megabytes(usage.get("gpu_stable_memory_bytes")),
        "gpu_memory_mb_seconds": _megabytes(area) if usage.get("gpu_is_valid", True) else None,
    }
    return {name: float(value) for name, value in measured.items() if value is not None}


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / 2**20
