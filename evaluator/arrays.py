"""The types of arrays, by what they hold."""

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Index", "Mask"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
"""True where a condition holds: the voxels of a structure, the values that count."""
Index = npt.NDArray[np.intp]
"""Positions in another array."""
