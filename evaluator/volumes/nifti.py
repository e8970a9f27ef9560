"""The NIfTI-1 and NIfTI-2 headers, strictly: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h

Single files (`n+1`) are read, and headers of pairs (`ni1`) where the caller has both halves. A header never makes us open anything.
The affine is the sform when its code is positive, else the qform, else spacings only: the order nibabel uses and most writers intend.
"""

import math
import struct
from dataclasses import dataclass

from evaluator.errors import Reason
from evaluator.volumes.geometry import Affine, Grid
from evaluator.volumes.header import VolumeHeader, checked_shape, checked_spacing, refuse

HEADER_BYTES = 348
HEADER2_BYTES = 540
MIN_DATA_OFFSET = 352
MIN_DATA_OFFSET2 = 544
_LINE_ENDS = b"\r\n\x1a\n"
"""What the magic of NIfTI-2 ends with: a transfer as text would have changed it."""
MAX_EXTENSION_BYTES = 1 << 20
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Fields:
    """What a header of either version states, unchecked."""

    order: str
    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    stored: tuple[int, int]
    offset: float
    scaling: tuple[float, float]
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]
    first_offset: int


def parse_nifti_header(raw: bytes) -> VolumeHeader:
    """The checked header of a NIfTI-1 file whose voxels are labels as they are stored, or InvalidVolume."""
    header = parse_any_nifti_header(raw)
    if header.scaling != (1.0, 0.0):
        slope, intercept = header.scaling
        raise refuse(
            Reason.SCALED, found=f"slope {slope:g}, intercept {intercept:g}", expected="labels stored as they are"
        )
    return header


def parse_any_nifti_header(raw: bytes, *, is_pair: bool = False) -> VolumeHeader:
    """The checked header of a NIfTI-1 or NIfTI-2 file or of a pair, its scaling stated, or InvalidVolume."""
    is_second = header_bytes(raw) == HEADER2_BYTES
    return _checked(_fields2(raw, is_pair=is_pair) if is_second else _fields1(raw, is_pair=is_pair))


def header_bytes(start: bytes) -> int:
    """How long the header is that begins like this: NIfTI-2's only where its own size says so."""
    is_second = len(start) >= 4 and HEADER2_BYTES in (
        int.from_bytes(start[:4], "little"),
        int.from_bytes(start[:4], "big"),
    )
    return HEADER2_BYTES if is_second else HEADER_BYTES


def _fields1(raw: bytes, *, is_pair: bool) -> _Fields:
    order = _byte_order(raw)
    _check_magic(raw[344:348], single=b"n+1\0", pair=b"ni1\0", is_pair=is_pair)
    return _Fields(
        order=order,
        dim=struct.unpack_from(f"{order}8h", raw, 40),
        pixdim=struct.unpack_from(f"{order}8f", raw, 76),
        stored=struct.unpack_from(f"{order}2h", raw, 70),
        offset=struct.unpack_from(f"{order}f", raw, 108)[0],
        scaling=struct.unpack_from(f"{order}2f", raw, 112),
        codes=struct.unpack_from(f"{order}2h", raw, 252),
        quaternion=struct.unpack_from(f"{order}6f", raw, 256),
        rows=struct.unpack_from(f"{order}12f", raw, 280),
        first_offset=0 if is_pair else MIN_DATA_OFFSET,
    )


def _fields2(raw: bytes, *, is_pair: bool) -> _Fields:
    if len(raw) < HEADER2_BYTES:
        raise refuse(Reason.TRUNCATED, found=f"{len(raw)} bytes", expected=f"a NIfTI-2 header of {HEADER2_BYTES} bytes")
    order = "<" if int.from_bytes(raw[:4], "little") == HEADER2_BYTES else ">"
    _check_magic(raw[4:12], single=b"n+2\0" + _LINE_ENDS, pair=b"ni2\0" + _LINE_ENDS, is_pair=is_pair)
    return _Fields(
        order=order,
        dim=struct.unpack_from(f"{order}8q", raw, 16),
        pixdim=struct.unpack_from(f"{order}8d", raw, 104),
        stored=struct.unpack_from(f"{order}2h", raw, 12),
        offset=float(struct.unpack_from(f"{order}q", raw, 168)[0]),
        scaling=struct.unpack_from(f"{order}2d", raw, 176),
        codes=struct.unpack_from(f"{order}2i", raw, 344),
        quaternion=struct.unpack_from(f"{order}6d", raw, 352),
        rows=struct.unpack_from(f"{order}12d", raw, 400),
        first_offset=0 if is_pair else MIN_DATA_OFFSET2,
    )


def _checked(fields: _Fields) -> VolumeHeader:
    dim, pixdim = fields.dim, fields.pixdim
    if not 2 <= dim[0] <= 7:
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"{dim[0]} axes", expected="two or three axes, or four for channels"
        )
    shape, channels = checked_shape(list(dim[1 : 1 + dim[0]]))
    spacing_mm = checked_spacing(list(pixdim[1 : 1 + len(shape)]))
    affine = _affine(fields, axes=len(shape))
    if not all(math.isfinite(value) for row in affine for value in row):
        raise refuse(Reason.AFFINE_INVALID, found="a number that is not finite", expected="a finite affine")
    return VolumeHeader(
        grid=Grid(shape=shape, spacing_mm=spacing_mm, affine=affine),
        channels=channels,
        stored_type=_stored_type(fields.order, *fields.stored),
        data_offset=_data_offset(fields.offset, first=fields.first_offset),
        scaling=_scaling(*fields.scaling),
    )


def _byte_order(raw: bytes) -> str:
    if len(raw) < HEADER_BYTES:
        raise refuse(Reason.TRUNCATED, found=f"{len(raw)} bytes", expected=f"a NIfTI-1 header of {HEADER_BYTES} bytes")
    for order in "<>":
        if struct.unpack_from(f"{order}i", raw)[0] == HEADER_BYTES:
            return order
    raise refuse(Reason.FORMAT_UNSUPPORTED, found="no NIfTI-1 header", expected="a NIfTI-1 file (.nii.gz or .nii)")


def _check_magic(magic: bytes, *, single: bytes, pair: bytes, is_pair: bool) -> None:
    if magic[:4] == pair[:4] and not is_pair:
        raise refuse(Reason.EXTERNAL_DATA, found="a header/image pair", expected="one single NIfTI file")
    if magic != (pair if is_pair else single):
        expected = "a NIfTI header (.hdr with .img)" if is_pair else "a NIfTI file (.nii.gz or .nii)"
        raise refuse(Reason.FORMAT_UNSUPPORTED, found=f"magic {magic!r}", expected=expected)


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


def _data_offset(offset: float, *, first: int) -> int:
    if not (math.isfinite(offset) and first <= offset <= first + MAX_EXTENSION_BYTES and offset % 1 == 0):
        raise refuse(
            Reason.HEADER_INVALID,
            found=f"voxels at byte {offset}",
            expected=f"byte {first}, or a little later",
        )
    return int(offset)


def _scaling(slope: float, intercept: float) -> tuple[float, float]:
    """Slope and intercept. Slope 0 or not-a-number means "none" by the standard."""
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    intercept = 0.0 if math.isnan(intercept) else intercept
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise refuse(
            Reason.SCALED, found=f"slope {slope:g}, intercept {intercept:g}", expected="a finite scaling, or none"
        )
    return slope, intercept


def _affine(fields: _Fields, *, axes: int) -> Affine:
    (qform_code, sform_code), pixdim = fields.codes, fields.pixdim
    spacing = [*pixdim[1 : 1 + axes], 1.0][:3]
    if sform_code > 0:
        values = fields.rows
        rows = [values[0:4], values[4:8], values[8:12]]
    elif qform_code > 0:
        rows = _quaternion_rows(fields.quaternion, spacing=spacing, handedness=-1.0 if pixdim[0] < 0 else 1.0)
    else:
        rows = [(spacing[0], 0.0, 0.0, 0.0), (0.0, spacing[1], 0.0, 0.0), (0.0, 0.0, spacing[2], 0.0)]
    return (*((row[0], row[1], row[2], row[3]) for row in rows), (0.0, 0.0, 0.0, 1.0))


def _quaternion_rows(stated: tuple[float, ...], *, spacing: list[float], handedness: float) -> list[tuple[float, ...]]:
    b, c, d, *offset = stated
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
