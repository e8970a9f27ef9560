"""The oracle: every measurement in plain NumPy, slow, short, and written to be checked by reading.

Nearest distances use one table and a walk. The table holds, for every lattice corner, how many corners away the nearest
surface element of its row is, a row running along axis 0. The walk visits the rows around a source in order of their
distance and stops as soon as the row itself is further away than the best element found.

Exactness: a squared distance is `((d0·s0)² + (d1·s1)²) + (d2·s2)²` in float64, in array-axis order. Rounding is
monotone, so the smallest of these rounded sums is what the walk finds, whatever the order of visits: all backends
agree to the last bit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.measurements.overlap import Overlap
from evaluator.measurements.records import LabelArray, LabelMeasurements, LabelValues, PairMeasurements
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances, element_areas

_NO_ELEMENT_IN_ROW = -1


def measure_pair(
    *, reference: LabelArray, prediction: LabelArray, spacing_mm: tuple[float, ...], labels: Sequence[LabelValues]
) -> PairMeasurements:
    """Overlap and surface distances of every label, one label at a time."""
    measured = []
    for values in labels:
        reference_mask, prediction_mask = np.isin(reference, values), np.isin(prediction, values)
        overlap = Overlap(
            reference_voxels=int(reference_mask.sum()),
            prediction_voxels=int(prediction_mask.sum()),
            intersection_voxels=int((reference_mask & prediction_mask).sum()),
        )
        surface = measure_surfaces(reference=reference_mask, prediction=prediction_mask, spacing_mm=spacing_mm)
        measured.append(LabelMeasurements(values=tuple(values), overlap=overlap, surface=surface))
    return PairMeasurements(labels=tuple(measured), backend="numpy")


def measure_surfaces(
    *, reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> SurfaceDistances:
    """Two-way distances between the surfaces of two masks."""
    reference_corners, reference_codes = surface_elements(reference)
    prediction_corners, prediction_codes = surface_elements(prediction)
    areas = element_areas(spacing_mm)
    forward_mm = nearest_distances(sources=reference_corners, targets=prediction_corners, spacing_mm=spacing_mm)
    backward_mm = nearest_distances(sources=prediction_corners, targets=reference_corners, spacing_mm=spacing_mm)
    return SurfaceDistances(
        reference_to_prediction=DirectedDistances(forward_mm, reference_codes, areas),
        prediction_to_reference=DirectedDistances(backward_mm, prediction_codes, areas),
    )


def surface_elements(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Corners that carry a surface element (one row of indices each) and their neighbour codes.

    Corner i along an axis lies between voxels i-1 and i.
    """
    box = _bounding_box(mask)
    if box is None:
        return np.empty((0, mask.ndim), np.int64), np.empty(0, np.uint8)
    padded = np.pad(mask[box], 1).astype(np.uint8)
    corners_shape = tuple(size - 1 for size in padded.shape)
    codes = np.zeros(corners_shape, np.uint8)
    neighbours = list(np.ndindex(*(2,) * mask.ndim))
    for bit, neighbour in enumerate(reversed(neighbours)):
        view = tuple(slice(step, step + size) for step, size in zip(neighbour, corners_shape, strict=True))
        codes |= padded[view] << bit
    found = np.nonzero((codes != 0) & (codes != 2 ** len(neighbours) - 1))
    corners = np.stack(found, axis=1) + np.array([axis.start for axis in box])
    return corners, codes[found]


def nearest_distances(
    *, sources: NDArray[np.int64], targets: NDArray[np.int64], spacing_mm: tuple[float, ...]
) -> NDArray[np.float64]:
    """Distance in mm from every source point to the nearest target point. Infinite without targets."""
    best = np.full(len(sources), np.inf)
    if not len(sources) or not len(targets):
        return best
    origin = np.minimum(sources.min(axis=0), targets.min(axis=0))
    shape = np.maximum(sources.max(axis=0), targets.max(axis=0)) - origin + 1
    steps_in_row = _steps_to_nearest_in_row(targets - origin, tuple(shape))
    sources = sources - origin
    squares = [np.square(np.arange(size) * size_mm) for size, size_mm in zip(shape, spacing_mm, strict=True)]
    pending = np.arange(len(sources))
    for row_distance, offset in _rows_by_distance(squares[1:]):
        pending = pending[best[pending] > row_distance]
        if not pending.size:
            break
        rows = sources[pending, 1:] + offset
        inside = np.all((rows >= 0) & (rows < shape[1:]), axis=1)
        hit = pending[inside]
        steps = steps_in_row[(sources[hit, 0], *rows[inside].T)]
        hit, steps = hit[steps != _NO_ELEMENT_IN_ROW], steps[steps != _NO_ELEMENT_IN_ROW]
        squared = squares[0][steps]
        for axis_squares, step in zip(squares[1:], offset, strict=True):
            squared = squared + axis_squares[abs(step)]
        best[hit] = np.minimum(best[hit], squared)
    distances: NDArray[np.float64] = np.sqrt(best)
    return distances


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """As `metrics.boxes.bounding_box`, written again: the oracle shares no code with what it checks."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not used.size:
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)


def _steps_to_nearest_in_row(points: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int32]:
    far = 2 * shape[0] + 1
    position = np.arange(shape[0], dtype=np.int32).reshape(-1, *(1,) * (len(shape) - 1))
    before = np.full(shape, -far, np.int32)
    before[tuple(points.T)] = points[:, 0]
    after = np.where(before < 0, far, before)
    steps_back = position - np.maximum.accumulate(before, axis=0)
    steps_ahead = np.minimum.accumulate(after[::-1], axis=0)[::-1] - position
    steps = np.minimum(steps_back, steps_ahead)
    return np.where(steps < shape[0], steps, _NO_ELEMENT_IN_ROW).astype(np.int32)


def _rows_by_distance(squares: list[NDArray[np.float64]]) -> list[tuple[float, tuple[int, ...]]]:
    """Every offset to another row (steps along axes 1 and 2), nearest first, with its squared distance in mm²."""
    reach = [np.arange(1 - len(axis_squares), len(axis_squares)) for axis_squares in squares]
    offsets = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, len(squares))
    distance = np.zeros(len(offsets))
    for axis, axis_squares in enumerate(squares):
        distance = distance + axis_squares[np.abs(offsets[:, axis])]
    order = np.argsort(distance, kind="stable")
    return list(zip(distance[order].tolist(), map(tuple, offsets[order].tolist()), strict=True))
