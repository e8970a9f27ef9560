"""Topology of a mask: Euler number and Betti numbers, and how far a prediction's differ from the reference's.

A voxel is a closed cube, so voxels that share only a corner are connected (26-neighbourhood) and cavities are closed off by
diagonals (6-neighbourhood of the background). Euler number = corners − edges + faces − cubes of the union of these cubes
= b0 (components) − b1 (tunnels) + b2 (cavities). This is the complex FeTA's topology script builds with gudhi.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Mask
from evaluator.metrics.boxes import bounding_box
from evaluator.metrics.components import label_components


@dataclass(frozen=True)
class Betti:
    """Components, tunnels and cavities. In 2-D there are components and holes (`tunnels`). Cavities are 0."""

    components: int
    tunnels: int
    cavities: int


def euler_number(mask: Mask) -> int:
    """Alternating count of the corners, edges, faces and cubes of the mask's voxels."""
    mask = _cropped(mask)
    total = 0
    for free_axes in itertools.product((False, True), repeat=mask.ndim):
        cells = np.pad(mask, [(0, 0) if is_free else (1, 1) for is_free in free_axes])
        for axis, is_free in enumerate(free_axes):
            if not is_free:
                ahead = [slice(None)] * mask.ndim
                behind = [slice(None)] * mask.ndim
                ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
                cells = cells[tuple(ahead)] | cells[tuple(behind)]
        total += (-1) ** sum(free_axes) * int(np.count_nonzero(cells))
    return total


def betti_numbers(mask: Mask) -> Betti:
    """Components and cavities are counted. Tunnels follow from the Euler number."""
    mask = _cropped(mask)
    components = label_components(mask, neighbourhood=26).count
    background = label_components(np.pad(~mask, 1, constant_values=True), neighbourhood=6).count - 1
    if mask.ndim == 2:
        return Betti(components=components, tunnels=background, cavities=0)
    return Betti(components=components, tunnels=components + background - euler_number(mask), cavities=background)


def _cropped(mask: Mask) -> Mask:
    """The mask within its bounding box. A single empty voxel when there is nothing."""
    box = bounding_box(mask)
    return np.zeros((1,) * mask.ndim, bool) if box is None else mask[box]
