"""The one table of what a value is worth when a formula cannot say: empty masks and cases without a usable prediction.

| situation          | means                                                                    |
| ------------------ | ------------------------------------------------------------------------ |
| `both_empty`       | the structure is absent and nothing was predicted                        |
| `reference_empty`  | the structure is absent, something was predicted (false positive)        |
| `prediction_empty` | the structure is there, nothing was predicted (missed)                   |
| `failed`           | no usable prediction at all: file missing, unreadable, wrong grid, time-out, … |

A protocol may set each cell per metric: a number, `diagonal` (the case's space diagonal in mm), `compute` (what the formula
gives; for a failed case, as if the prediction were empty, or what was measured of its run) or null (undefined, not counted).
Two more are what published scripts do by accident: `spoil` (not-a-number that spreads: the metric is undefined for the whole
case) and `abort` (the script stops: nothing of the whole submission counts). What a protocol leaves out follows `default_value`.
Every substituted value carries its situation, or the failure, as its reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from evaluator.measurements.overlap import Overlap
from evaluator.metrics.registry import Direction, Metric

Worth = float | str | None
DIAGONAL = "diagonal"
COMPUTE = "compute"
SPOIL = "spoil"
ABORT = "abort"


class Situation(StrEnum):
    """When a formula cannot say what a value is worth."""

    BOTH_EMPTY = "both_empty"
    REFERENCE_EMPTY = "reference_empty"
    PREDICTION_EMPTY = "prediction_empty"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """Situation → metric id → worth, with overrides for single failures: `timeout`, or `output_invalid:shape_mismatch`."""

    table: Mapping[Situation, Mapping[str, Worth]]
    by_failure: Mapping[str, Mapping[str, Worth]]

    def worth(self, situation: Situation, *, metric_id: str, failure: str | None = None) -> Worth:
        """What the protocol says the metric is worth in this situation."""
        if failure is not None:
            for named in (failure, failure.partition(":")[0]):  # `output_invalid:truncated` before `output_invalid`
                if metric_id in self.by_failure.get(named, {}):
                    return self.by_failure[named][metric_id]
        return self.table[situation][metric_id]


def situation_of(overlap: Overlap) -> Situation | None:
    """Which masks are empty, if any."""
    if not overlap.reference_voxels:
        return Situation.REFERENCE_EMPTY if overlap.prediction_voxels else Situation.BOTH_EMPTY
    return None if overlap.prediction_voxels else Situation.PREDICTION_EMPTY


def default_value(metric: Metric, situation: Situation) -> Worth:
    """The default table: nothing there and nothing predicted is perfect. Everything else that is empty or failed is worst.

    Statistics that are summed, and areas over rounds, always follow their formula. Metrics whose formula is defined on empty
    masks do so unless both are empty. A metric without a worst value has no default for a failed case: its protocol has to
    state one.
    """
    if metric.direction is Direction.NONE or metric.base:
        return COMPUTE
    if situation is Situation.FAILED:
        return metric.worst
    if situation is Situation.BOTH_EMPTY:
        return metric.best
    return COMPUTE if metric.is_total else metric.worst


def resolve(worth: Worth, *, computed: float, diagonal_mm: float) -> float | None:
    """The number a worth stands for in this case. None when it is undefined or the formula gives no finite number."""
    if worth in (SPOIL, ABORT):
        return None
    if worth == DIAGONAL:
        return diagonal_mm
    if worth == COMPUTE:
        return computed if math.isfinite(computed) else None
    return None if worth is None else float(worth)
