"""Small volumes on disk, written by other people's libraries, for tests that read them with ours."""

from pathlib import Path

import nibabel
import numpy as np


def save_nifti(path: Path, array, *, spacing_mm=(1.0, 1.0, 1.0), affine=None) -> Path:
    """Write an array with nibabel and return the path."""
    if affine is None:
        affine = np.diag([*spacing_mm, 1.0, 1.0][:4]) if len(spacing_mm) < 3 else np.diag([*spacing_mm, 1.0])
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    nibabel.save(image, path)
    return path


def box(shape, *corners) -> np.ndarray:
    """A mask that is true inside [start, stop) along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(start, stop) for start, stop in corners)] = True
    return mask
