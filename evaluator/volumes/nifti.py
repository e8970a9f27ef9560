"""The NIfTI-1 header, strictly: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h

Only single files (`n+1`) are read: a pair names its other half, and a header may not make us open anything. The affine is
the sform when its code is positive, else the qform, else spacings only: the order nibabel uses and most writers intend.
"""

import math
import struct

from evaluator.errors import Reason
from evaluator.volumes.geometry import Affine, Grid
from evaluator.volumes.header import VolumeHeader, checked_shape, checked_spacing, refuse

HEADER_BYTES = 348
MIN_DATA_OFFSET = 352
MAX_EXTENSION_BYTES = 1 << 20
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip


def parse_nifti_header(raw: bytes) -> VolumeHeader:
    """The checked header, or InvalidVolume."""
    order = _byte_order(raw)
    _check_magic(raw[344:348])
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    if not 2 <= dim[0] <= 7:
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"{dim[0]} axes", expected="two or three axes, or four for channels"
        )
    shape, channels = checked_shape(list(dim[1 : 1 + dim[0]]))
    pixdim = struct.unpack_from(f"{order}8f", raw, 76)
    spacing_mm = checked_spacing(list(pixdim[1 : 1 + len(shape)]))
    _check_scaling(*struct.unpack_from(f"{order}2f", raw, 112))
    affine = _affine(raw, order, pixdim=pixdim, axes=len(shape))
    if not all(math.isfinite(value) for row in affine for value in row):
        raise refuse(Reason.AFFINE_INVALID, found="a number that is not finite", expected="a finite affine")
    return VolumeHeader(
        grid=Grid(shape=shape, spacing_mm=spacing_mm, affine=affine),
        channels=channels,
        stored_type=_stored_type(order, *struct.unpack_from(f"{order}2h", raw, 70)),
        data_offset=_data_offset(*struct.unpack_from(f"{order}f", raw, 108)),
    )


def _byte_order(raw: bytes) -> str:
    if len(raw) < HEADER_BYTES:
        raise refuse(Reason.TRUNCATED, found=f"{len(raw)} bytes", expected=f"a NIfTI-1 header of {HEADER_BYTES} bytes")
    for order in "<>":
        if struct.unpack_from(f"{order}i", raw)[0] == HEADER_BYTES:
            return order
    raise refuse(Reason.FORMAT_UNSUPPORTED, found="no NIfTI-1 header", expected="a NIfTI-1 file (.nii.gz or .nii)")


def _check_magic(magic: bytes) -> None:
    if magic == b"ni1\0":
        raise refuse(Reason.EXTERNAL_DATA, found="a header/image pair", expected="one single NIfTI file")
    if magic != b"n+1\0":
        raise refuse(Reason.FORMAT_UNSUPPORTED, found=f"magic {magic!r}", expected="a NIfTI-1 file (.nii.gz or .nii)")


def _stored_type(order: str, code: int, bits: int) -> str:
    if code not in _TYPES:
        raise refuse(
            Reason.DATA_TYPE_UNSUPPORTED, found=f"NIfTI type {code}", expected="whole numbers, or floats that are whole"
        )
    stored = order + _TYPES[code]
    if bits != 8 * int(stored[2:]):
        raise refuse(
            Reason.HEADER_INVALID, found=f"{bits} bits per voxel", expected=f"{8 * int(stored[2:])} for this type"
        )
    return stored


def _data_offset(offset: float) -> int:
    if not (
        math.isfinite(offset) and MIN_DATA_OFFSET <= offset <= MIN_DATA_OFFSET + MAX_EXTENSION_BYTES and offset % 1 == 0
    ):
        raise refuse(
            Reason.HEADER_INVALID,
            found=f"voxels at byte {offset}",
            expected=f"byte {MIN_DATA_OFFSET}, or a little later",
        )
    return int(offset)


def _check_scaling(slope: float, intercept: float) -> None:
    """No scaling: slope 0 or not-a-number means "none" by the standard, 1 with intercept 0 changes nothing."""
    if slope == 0 or math.isnan(slope):
        return
    if slope != 1 or not (intercept == 0 or math.isnan(intercept)):
        raise refuse(
            Reason.SCALED, found=f"slope {slope:g}, intercept {intercept:g}", expected="labels stored as they are"
        )


def _affine(raw: bytes, order: str, *, pixdim: tuple[float, ...], axes: int) -> Affine:
    qform_code, sform_code = struct.unpack_from(f"{order}2h", raw, 252)
    spacing = [*pixdim[1 : 1 + axes], 1.0][:3]
    if sform_code > 0:
        values = struct.unpack_from(f"{order}12f", raw, 280)
        rows = [values[0:4], values[4:8], values[8:12]]
    elif qform_code > 0:
        rows = _quaternion_rows(raw, order, spacing=spacing, handedness=-1.0 if pixdim[0] < 0 else 1.0)
    else:
        rows = [(spacing[0], 0.0, 0.0, 0.0), (0.0, spacing[1], 0.0, 0.0), (0.0, 0.0, spacing[2], 0.0)]
    return (*((row[0], row[1], row[2], row[3]) for row in rows), (0.0, 0.0, 0.0, 1.0))


def _quaternion_rows(raw: bytes, order: str, *, spacing: list[float], handedness: float) -> list[tuple[float, ...]]:
    b, c, d, *offset = struct.unpack_from(f"{order}6f", raw, 256)
    squared = 1.0 - (b * b + c * c + d * d)
    if not squared > -1e-5:  # float32 rounding of a rotation by half a turn; also refuses what is not a number
        raise refuse(Reason.AFFINE_INVALID, found="a quaternion longer than one", expected="a unit quaternion")
    a = math.sqrt(max(squared, 0.0))
    rotation = [
        (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
        (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
        (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b),
    ]
    scale = (spacing[0], spacing[1], spacing[2] * handedness)
    return [(*(r * s for r, s in zip(row, scale, strict=True)), o) for row, o in zip(rotation, offset, strict=True)]
