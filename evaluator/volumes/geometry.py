"""Where a volume lies in the patient, and whether two volumes lie in the same place.

A grid is the shape of the stored array, its spacing and the affine that takes a voxel index to millimetres (RAS+, as NIfTI
has it). Two grids match when their shapes are equal, their spacings agree to a thousandth, and no corner voxel of one lies
further from its twin than a tenth of the smallest spacing. Comparing corners, not matrix entries, makes the tolerance mean
the same thing on a 20-slice scan and on a 600-slice one.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluator.errors import Reason

Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Shape, spacing and position of a volume, in the order of the stored array axes (x, y, z)."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    affine: Affine

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the platform stores them with a case."""
        return {
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing_mm),
            "affine": [list(row) for row in self.affine],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Grid":
        """The inverse of `to_json`."""
        rows = tuple(tuple(float(value) for value in row) for row in document["affine"])
        return cls(
            shape=tuple(int(length) for length in document["shape"]),
            spacing_mm=tuple(float(spacing) for spacing in document["spacing_mm"]),
            affine=rows,  # type: ignore[arg-type]  # four rows of four by construction of to_json
        )

    @property
    def diagonal_mm(self) -> float:
        """Length of the volume's space diagonal: the largest distance any metric can report for this case."""
        return math.sqrt(sum((n * s) ** 2 for n, s in zip(self.shape, self.spacing_mm, strict=True)))

    @property
    def voxels(self) -> int:
        """How many voxels the grid has."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class GridTolerance:
    """How far two grids may differ and still be the same grid."""

    corner_voxels: float = 0.1
    """Largest distance between two corresponding corner voxels, in units of the smallest spacing."""
    spacing_relative: float = 1e-3
    shape_only: bool = False
    """True where a challenge never compares headers (FLARE): then only the shapes have to be equal."""
    reorient: bool = False
    """True where a challenge takes the same space in another orientation: axes are exchanged and reversed, nothing is interpolated."""


@dataclass(frozen=True, kw_only=True)
class GridMismatch:
    """What differs first between two grids."""

    reason: Reason
    found: str
    expected: str


def grids_match(reference: Grid, prediction: Grid, tolerance: GridTolerance | None = None) -> GridMismatch | None:
    """None when the two grids are the same grid within `tolerance`. Otherwise the first difference."""
    tolerance = tolerance or GridTolerance()
    if reference.shape != prediction.shape:
        return GridMismatch(
            reason=Reason.SHAPE_MISMATCH, found=_times(prediction.shape), expected=_times(reference.shape)
        )
    if tolerance.shape_only:
        return None
    pairs = zip(reference.spacing_mm, prediction.spacing_mm, strict=True)
    if any(abs(expected - found) > tolerance.spacing_relative * expected for expected, found in pairs):
        return GridMismatch(
            reason=Reason.SPACING_MISMATCH,
            found=f"{_times(prediction.spacing_mm)} mm",
            expected=f"{_times(reference.spacing_mm)} mm",
        )
    furthest_mm = max(math.dist(a, b) for a, b in zip(_corners(reference), _corners(prediction), strict=True))
    allowed_mm = tolerance.corner_voxels * min(reference.spacing_mm)
    if not furthest_mm <= allowed_mm:
        return GridMismatch(
            reason=Reason.AFFINE_MISMATCH,
            found=f"{_what_is_off(reference, prediction)}a corner {furthest_mm:.4g} mm off",
            expected=f"{_codes_if_off(reference, prediction)}at most {allowed_mm:.4g} mm: copy origin and orientation from the input image",
        )
    return None


def _what_is_off(reference: Grid, prediction: Grid) -> str:
    """Another orientation by its axis codes, else how far the first voxel is off along each axis."""
    found = axis_codes(prediction)
    if axis_codes(reference) != found:
        return f"axes {found}, "
    shifts = [p[3] - r[3] for r, p in zip(reference.affine[:3], prediction.affine[:3], strict=True)]
    moved = ", ".join(
        f"{shift:+.4g} mm along {axis}" for axis, shift in zip("xyz", shifts, strict=True) if abs(shift) > 1e-6
    )
    return f"{moved}, " if moved else "other directions, "


def _codes_if_off(reference: Grid, prediction: Grid) -> str:
    wanted = axis_codes(reference)
    return f"axes {wanted}, " if axis_codes(prediction) != wanted else ""


def axis_codes(grid: Grid) -> str:
    """Where each stored axis runs, as nibabel names it: `RAS`, `LPS` … The nearest anatomical axis where it is oblique."""
    letters = []
    for axis in range(len(grid.shape)):
        steps = [row[axis] for row in grid.affine[:3]]
        largest = max(range(3), key=lambda place: abs(steps[place]))
        letters.append(("LR", "PA", "IS")[largest][steps[largest] > 0])
    return "".join(letters)


def _corners(grid: Grid) -> list[tuple[float, ...]]:
    """Positions in mm of the corner voxels' centres, always in the same order.

    Those of a 2-D grid lie in their plane. The height of the slice is not compared: SimpleITK, which reads references, has none.
    """
    rows = grid.affine[: 2 if len(grid.shape) == 2 else 3]
    ends = [(0, length - 1) for length in grid.shape] + [(0,)] * (3 - len(grid.shape))
    return [
        tuple(sum(row[axis] * index[axis] for axis in range(3)) + row[3] for row in rows)
        for index in itertools.product(*ends)
    ]


def _times(values: tuple[int, ...] | tuple[float, ...]) -> str:
    return " × ".join(f"{value:g}" for value in values)
