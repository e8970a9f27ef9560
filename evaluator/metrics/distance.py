"""Surface metrics, all read off the same `SurfaceDistances`: NSD, percentiles, Hausdorff and mean distances.

Definitions are those of google-deepmind/surface-distance. Like there, an empty surface gives infinite distances. NaN
stands where nothing can be said (both surfaces empty). What such a value is *worth* is decided in `conventions.py`,
never here.
"""

import math

import numpy as np

from evaluator.kernel import reductions
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances


def normalised_surface_dice(surface: SurfaceDistances, *, tolerance_mm: float) -> float:
    """NSD: the share (by area) of both surfaces within the tolerance (`<=`) of each other. NaN if both are empty."""
    sums = [_sums(directed, tolerance_mm) for directed in _directions(surface)]
    total = sum(each.total for each in sums)
    return sum(each.within for each in sums) / total if total else math.nan


def percentile_distance(surface: SurfaceDistances, *, percent: float) -> float:
    """The larger of the two directed, area-weighted percentiles (HD95 at 95). Infinite when a surface is empty."""
    return max(
        directed_percentile(surface.reference_to_prediction, percent=percent),
        directed_percentile(surface.prediction_to_reference, percent=percent),
    )


def hausdorff_distance(surface: SurfaceDistances) -> float:
    """The largest distance from any element of one surface to the other. Infinite when a surface is empty."""
    return max(_largest(surface.reference_to_prediction), _largest(surface.prediction_to_reference))


def mean_distances(surface: SurfaceDistances) -> tuple[float, float]:
    """Area-weighted mean distance there and back. NaN from an empty surface, infinite towards one."""
    return _mean(surface.reference_to_prediction), _mean(surface.prediction_to_reference)


def average_symmetric_surface_distance(surface: SurfaceDistances) -> float:
    """ASSD: the area-weighted mean over both surfaces pooled. Infinite when one is empty, NaN when both are."""
    sums = [_sums(directed) for directed in _directions(surface)]
    total = sum(each.total for each in sums)
    return sum(each.weighted for each in sums) / total if total else math.nan


def directed_percentile(directed: DirectedDistances, *, percent: float) -> float:
    """The smallest distance within which `percent` of the surface's area lies (no interpolation). Infinite if empty."""
    if directed.is_empty:
        return math.inf
    certain = reductions.percentile(directed, share=percent / 100.0)
    if certain is not None:
        return certain
    order = np.lexsort((directed.areas, directed.distances_mm))
    areas = directed.areas[order]
    # Summed and divided exactly as the reference implementation does, so that ties at the percentile fall the same way.
    position = int(np.searchsorted(np.cumsum(areas) / np.sum(areas), percent / 100.0))
    return float(directed.distances_mm[order[min(position, areas.size - 1)]])


def _directions(surface: SurfaceDistances) -> tuple[DirectedDistances, DirectedDistances]:
    return surface.reference_to_prediction, surface.prediction_to_reference


def _sums(directed: DirectedDistances, tolerance_mm: float = math.inf) -> reductions.AreaSums:
    return reductions.sum_areas(directed, tolerance_mm=tolerance_mm) or reductions.AreaSums(
        total=float(np.sum(directed.areas)),
        within=float(np.sum(directed.areas[directed.distances_mm <= tolerance_mm])),
        weighted=float(np.sum(directed.distances_mm * directed.areas)),
    )


def _mean(directed: DirectedDistances) -> float:
    sums = _sums(directed)
    return sums.weighted / sums.total if sums.total else math.nan


def _largest(directed: DirectedDistances) -> float:
    return math.inf if directed.is_empty else float(directed.distances_mm.max())
