"""The same space stored in another orientation: which axes to exchange and which to turn round, without interpolating anything.

A volume written `LPS` and one written `RAS` may hold the same voxels in another order. Where each stored axis of one runs along an axis of
the other, exchanging and reversing axes is exact, and this says how. What is oblique between them stays as it is.
"""

import math
from dataclasses import dataclass
from typing import Any

from evaluator.volumes.geometry import Affine, Grid


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How to bring an array onto another grid's axes, and the grid that it then lies on."""

    axes: tuple[int, ...]
    """For each axis afterwards, which one it was."""
    flips: tuple[bool, ...]
    """For each axis afterwards, whether it was turned round."""
    grid: Grid

    def apply(self, array: Any) -> Any:
        """A view of the array in the other order."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(self.axes)[steps]


def turn_onto(reference: Grid, found: Grid) -> Turn | None:
    """The exchange and reversal of `found`'s axes that comes nearest to `reference`. None where nothing has to be turned."""
    count = len(found.shape)
    if count != len(reference.shape):
        return None
    wanted, stored = _directions(reference), _directions(found)
    axes, flips = [], []
    for direction in wanted:
        along = [sum(a * b for a, b in zip(direction, other, strict=True)) for other in stored]
        best = max(range(count), key=lambda axis: abs(along[axis]))
        axes.append(best)
        flips.append(along[best] < 0)
    if sorted(axes) != list(range(count)) or (axes == list(range(count)) and not any(flips)):
        return None
    return Turn(axes=tuple(axes), flips=tuple(flips), grid=_turned(found, axes, flips))


def _directions(grid: Grid) -> list[tuple[float, ...]]:
    """A unit vector in mm for each stored axis."""
    found = []
    for axis in range(len(grid.shape)):
        steps = tuple(row[axis] for row in grid.affine[:3])
        length = math.hypot(*steps) or 1.0
        found.append(tuple(step / length for step in steps))
    return found


def _turned(grid: Grid, axes: list[int], flips: list[bool]) -> Grid:
    count = len(axes)
    rows: list[tuple[float, ...]] = []
    for row in grid.affine[:3]:
        steps = [-row[axis] if flip else row[axis] for axis, flip in zip(axes, flips, strict=True)]
        start = row[3] + sum(row[axis] * (grid.shape[axis] - 1) for axis, flip in zip(axes, flips, strict=True) if flip)
        rows.append((*steps, *row[count:3], start))
    affine: Affine = (*rows, grid.affine[3])  # type: ignore[arg-type]  # rows of four
    return Grid(
        shape=tuple(grid.shape[axis] for axis in axes),
        spacing_mm=tuple(grid.spacing_mm[axis] for axis in axes),
        affine=affine,
    )
