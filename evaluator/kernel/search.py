"""The rows around a corner, nearest first, as `nearest.h` wants them: the plan that C makes in distances.c, for devices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.kernel.library import CMetric

ROW_REACH = 14
WINDOW_REACH = 28
WINDOW_EMPTY = 63
ROW_GROUP = np.dtype([("dy", "i4"), ("dz", "i4"), ("y", "f8"), ("z", "f8"), ("row", "f8")])


@dataclass(frozen=True)
class SearchPlan:
    """What a search needs to know about voxel sizes."""

    groups: NDArray[np.void]
    window: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    last_axis: int
    settled: float

    @property
    def group_count(self) -> int:
        return int(self.groups.size)


def plan_search(*, shape: tuple[int, ...], metric: CMetric) -> SearchPlan:
    """All rows within ROW_REACH steps of the finer of y and z. `shape` and the metric are along x, y, z."""
    x_mm, y_mm, z_mm = metric.spacing_mm
    finer = y_mm if shape[2] == 1 else min(y_mm, z_mm)
    limit = (ROW_REACH * finer) * (ROW_REACH * finer)
    y = np.square(np.arange(min(shape[1], _steps(limit, y_mm)) + 1) * y_mm)
    z = np.square(np.arange(min(shape[2], _steps(limit, z_mm)) + 1) * z_mm)
    row = y[None, :] + z[:, None]
    dz, dy = np.nonzero(row <= limit)
    groups = np.zeros(dy.size, ROW_GROUP)
    groups["dy"], groups["dz"], groups["y"], groups["z"], groups["row"] = dy, dz, y[dy], z[dz], row[dz, dy]
    groups = groups[np.argsort(groups["row"], kind="stable")]
    steps = np.arange(WINDOW_EMPTY + 1)
    window = np.where(steps <= WINDOW_REACH, np.square(steps * x_mm), np.inf)
    beyond_window = ((WINDOW_REACH + 1) * x_mm) * ((WINDOW_REACH + 1) * x_mm)
    return SearchPlan(
        groups=groups,
        window=window,
        spacing_mm=np.array([x_mm, y_mm, z_mm]),
        last_axis=metric.last_axis,
        settled=min(limit, beyond_window),
    )


def _steps(limit: float, size_mm: float) -> int:
    return int(np.sqrt(limit) / size_mm) + 1
