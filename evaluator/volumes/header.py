"""What a volume file says about itself, once every statement has been checked."""

import math
from dataclasses import dataclass

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes.geometry import Grid

MAX_AXIS_LENGTH = 32767
"""NIfTI-1 stores lengths as signed 16-bit numbers. Nothing in this field needs more."""


@dataclass(frozen=True, kw_only=True)
class VolumeHeader:
    """The layout of the voxels and the grid they lie on. `channels` is 1 for a label map."""

    grid: Grid
    channels: int
    stored_type: str
    """As NumPy writes types: byte order, kind, bytes, such as `<i2`. A text, so that headers are read without NumPy."""
    data_offset: int
    """Where the voxels begin, in bytes of the (inflated) NIfTI stream or of the MHA file."""
    scaling: tuple[float, float] = (1.0, 0.0)
    """Slope and intercept: a voxel means slope times what is stored, plus the intercept."""
    is_deflated: bool = False
    """True for an MHA whose voxels are one zlib stream."""
    is_gzip: bool = False
    """True for an NRRD whose voxels are gzipped behind a plain header."""

    @property
    def data_bytes(self) -> int:
        """How many bytes of voxels the header announces."""
        return self.grid.voxels * self.channels * int(self.stored_type[2:])


def refuse(reason: Reason, *, found: object, expected: str) -> InvalidVolume:
    """An InvalidVolume with bounded text: headers are attacker input and must not flood a message."""
    text = str(found)
    return InvalidVolume(reason=reason, found=text if len(text) <= 80 else f"{text[:77]}...", expected=expected)


def checked_shape(lengths: list[int]) -> tuple[tuple[int, ...], int]:
    """Spatial shape and channel count of the stored lengths: 2-D, 3-D, or 4-D whose last axis counts channels."""
    if not all(1 <= length <= MAX_AXIS_LENGTH for length in lengths):
        raise refuse(Reason.DIMENSIONS_INVALID, found=lengths, expected=f"lengths from 1 to {MAX_AXIS_LENGTH}")
    while len(lengths) > 4 and lengths[-1] == 1:
        lengths = lengths[:-1]
    if not 2 <= len(lengths) <= 4:
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"{len(lengths)} axes", expected="two or three axes, or four for channels"
        )
    return tuple(lengths[:3]), (lengths[3] if len(lengths) == 4 else 1)


def checked_spacing(spacing_mm: list[float]) -> tuple[float, ...]:
    """Spacings that are finite and positive: other readers turn a bad one silently into 1 mm."""
    if not all(math.isfinite(value) and 1e-6 <= value <= 1e6 for value in spacing_mm):
        raise refuse(Reason.SPACING_INVALID, found=spacing_mm, expected="finite positive spacings in mm")
    return tuple(spacing_mm)
