"""The other definition of a surface: boundary voxels. For challenges and papers that used it. `surface.py` is our own.

A boundary voxel belongs to the mask and has a neighbour outside it. Outside the image is outside the mask. With 6 neighbours
this is what medpy, MONAI and MetricsReloaded measure (erosion with border value 0), with 26 what SimpleITK's fully connected
LabelContour of a padded image gives (TopCoW). Distances run between voxel centres and every voxel weighs the same.
"""

import itertools

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Mask
from evaluator.backends import nearest_distances
from evaluator.errors import too_fragmented
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances

MAX_BOUNDARY_VOXELS = 1 << 23
_EQUAL_WEIGHT = np.ones(1)


def measure_boundaries(
    *, reference: Mask, prediction: Mask, spacing_mm: tuple[float, ...], neighbours: int
) -> SurfaceDistances:
    """Two-way distances between the boundary voxels of two masks."""
    in_reference = boundary_voxels(reference, neighbours=neighbours)
    in_prediction = boundary_voxels(prediction, neighbours=neighbours)
    return SurfaceDistances(
        reference_to_prediction=_directed(in_reference, in_prediction, spacing_mm=spacing_mm),
        prediction_to_reference=_directed(in_prediction, in_reference, spacing_mm=spacing_mm),
    )


def boundary_voxels(mask: Mask, *, neighbours: int) -> npt.NDArray[np.int64]:
    """Indices of the mask's voxels that have one of their `neighbours` (6 or 26) outside the mask."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
        if np.count_nonzero(step) == 0 or (neighbours == 6 and np.count_nonzero(step) > 1):
            continue
        inner &= padded[tuple(slice(1 + d, 1 + d + n) for d, n in zip(step, mask.shape, strict=True))]
    boundary = mask & ~inner
    count = int(np.count_nonzero(boundary))
    if count > MAX_BOUNDARY_VOXELS:
        raise too_fragmented(found=count, allowed=MAX_BOUNDARY_VOXELS, what="boundary voxels")
    return np.stack(np.nonzero(boundary), axis=1)


def _directed(
    sources: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], *, spacing_mm: tuple[float, ...]
) -> DirectedDistances:
    distances_mm = nearest_distances(sources=sources, targets=targets, spacing_mm=spacing_mm)
    return DirectedDistances(distances_mm, np.zeros(len(sources), np.uint8), _EQUAL_WEIGHT)
