"""What a case run used, as a node reports it: the names, types and ranges that are stored, and careful readers of what was
stored before they were checked.

Figures of a usage decide ranks (efficiency metrics), shares of the queue and charts, so a stolen node's token must not put
anything else there. A field that is not listed is left out and not refused: a node of a newer version may report more.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

LONGEST_SECONDS = 10_000_000.0
"""About 116 days; no run may take that long."""
LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact in JSON readers everywhere. Bytes: 8 PiB."""
LARGEST_AREA = 1e24
"""The largest count, held for the longest time, is below it."""
MOST_POINTS = 1000
"""Of a curve; `containers.usage` keeps at most 600."""

Seconds = Annotated[FiniteFloat, Field(ge=0, le=LONGEST_SECONDS)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Area = Annotated[FiniteFloat, Field(ge=0, le=LARGEST_AREA)]
Point = Annotated[FiniteFloat, Field(ge=0, le=LARGEST_COUNT)]
Word = Annotated[str, Field(max_length=60)]
STRICT = ConfigDict(strict=True, extra="ignore", frozen=True)


class Curve(BaseModel):
    """Values over time, thinned out."""

    model_config = STRICT

    seconds: list[Seconds] = Field(default=[], max_length=MOST_POINTS)
    values: list[Point] = Field(default=[], max_length=MOST_POINTS)

    @model_validator(mode="after")
    def _is_aligned(self) -> Self:
        if len(self.seconds) != len(self.values):
            raise ValueError(f"{len(self.seconds)} moments and {len(self.values)} values; expected as many of both")
        return self


class Round(BaseModel):
    """How one round of an interactive case ended."""

    model_config = STRICT

    verdict: Word
    reason: Word = ""
    wall_seconds: Seconds | None = None


class Usage(BaseModel):
    """The record a node sends with an ending; see `containers.usage.telemetry` for what each figure means."""

    model_config = STRICT

    wall_seconds: Seconds | None = None
    startup_seconds: Seconds | None = None
    cpu_seconds: Area | None = None
    cpu_area_percent_seconds: Area | None = None
    cpus: Count | None = None
    peak_memory_bytes: Count | None = None
    stable_memory_bytes: Count | None = None
    memory_area_byte_seconds: Area | None = None
    memory_curve: Curve | None = None
    cpu_curve: Curve | None = None
    sample_count: Count | None = None
    largest_gap_seconds: Seconds | None = None
    is_valid: bool | None = None
    gpu_baseline_bytes: Count | None = None
    gpu_peak_memory_bytes: Count | None = None
    gpu_stable_memory_bytes: Count | None = None
    gpu_memory_area_byte_seconds: Area | None = None
    gpu_memory_area_over_tolerance_byte_seconds: Area | None = None
    gpu_utilisation_area_percent_seconds: Area | None = None
    gpu_memory_curve: Curve | None = None
    gpu_utilisation_curve: Curve | None = None
    gpu_sample_count: Count | None = None
    gpu_largest_gap_seconds: Seconds | None = None
    gpu_is_valid: bool | None = None
    output_bytes: Count | None = None
    output_files: Count | None = None
    store: Word | None = None
    failed_cases: dict[Word, Annotated[list[Word], Field(min_length=2, max_length=2)]] | None = Field(
        default=None, max_length=100_000
    )
    rounds: list[Round] | None = Field(default=None, max_length=1000)

    def document(self) -> dict[str, Any]:
        """What is stored: the figures that were sent."""
        return self.model_dump(exclude_none=True)


# ---- readers of stored rows, which may be older than the checks ------------------------------------------------------


def number_in(usage: Mapping[str, Any], name: str) -> float | None:
    """A figure, or None where there is none that can be used."""
    return usable_number(usage.get(name))


def usable_number(value: Any) -> float | None:
    """The stored value as a number, or None where it is none that can be reckoned with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LARGEST_AREA and math.isfinite(value) else None


def figures_in(usage: Mapping[str, Any]) -> dict[str, float | bool]:
    """The figures alone, without what is no number and no claim."""
    found: dict[str, float | bool] = {name: value for name, value in usage.items() if isinstance(value, bool)}
    return found | {name: number for name in usage if (number := number_in(usage, name)) is not None}


def curve_in(usage: Mapping[str, Any], name: str) -> dict[str, list[float]] | None:
    """A curve with points, or None where there is none that can be drawn."""
    stored = usage.get(name)
    try:
        curve = Curve.model_validate(stored) if isinstance(stored, Mapping) else None
    except ValueError:
        return None
    return {"seconds": list(curve.seconds), "values": list(curve.values)} if curve and curve.seconds else None


def failed_cases_in(usage: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """By position, verdict and reason of the cases a cohort failed; what cannot be read is left out."""
    stored = usage.get("failed_cases")
    return {
        str(position): (str(said[0]), str(said[1]))
        for position, said in (stored.items() if isinstance(stored, Mapping) else ())
        if isinstance(said, list) and len(said) == 2
    }
