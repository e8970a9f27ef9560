"""How a surface element is packed into 64 bits: the same table as elements.h.

Bits 0..17 are x of the corner, 18..35 y, 36..53 z, 54..61 the neighbour code. The functions take Python integers, and NumPy
or CuPy arrays of `uint64`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COORDINATE_BITS = 18
LARGEST_EXTENT = 2**COORDINATE_BITS - 2
"""Voxels along one axis: their corners, one more on each side, have to fit in COORDINATE_BITS."""
_COORDINATE_MASK = 2**COORDINATE_BITS - 1
_CODE_SHIFT = 3 * COORDINATE_BITS


def pack_corners(points: NDArray[np.int64], *, fastest_first: Sequence[int]) -> NDArray[np.uint64]:
    """Elements without a code. `points` has one row per corner. `fastest_first` says which of its columns are x, y, z."""
    packed = np.zeros(len(points), np.int64)
    for place, column in enumerate(fastest_first):
        packed |= points[:, column] << (COORDINATE_BITS * place)
    return packed.astype(np.uint64)


def coordinate(elements: Any, axis: int) -> Any:
    """The corners along x (axis 0), y (1) or z (2)."""
    return (elements >> _like(elements, COORDINATE_BITS * axis)) & _like(elements, _COORDINATE_MASK)


def neighbour_codes(elements: Any) -> Any:
    """The neighbour codes, in the kernel's order of bits."""
    return elements >> _like(elements, _CODE_SHIFT)


def _like(elements: Any, number: int) -> Any:
    return number if isinstance(elements, int) else np.uint64(number)
