"""The MetaImage header, strictly, and only with the voxels in the same file (`ElementDataFile = LOCAL`).

MetaIO lets a header name any other file, a list of files or a printf pattern, and jump over bytes: that is how a prediction
once read the reference it was scored against. None of it is looked at here. Anything but LOCAL is refused by its text.
"""

import math

import numpy as np

from evaluator.errors import Reason
from evaluator.volumes.geometry import Affine, Grid
from evaluator.volumes.header import VolumeHeader, checked_shape, checked_spacing, refuse

MAX_HEADER_BYTES = 1 << 16
_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_SYNONYMS = {"Position": "Offset", "Origin": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
             "BinaryDataByteOrderMSB": "ElementByteOrderMSB"}  # fmt: skip


def parse_metaimage_header(raw: bytes) -> VolumeHeader:
    """The checked header at the start of `raw`, or InvalidVolume."""
    fields, data_offset = _fields(raw)
    _check_layout(fields)
    lengths = [int(value) if value % 1 == 0 else 0 for value in _numbers(fields, "DimSize")]
    shape, channels = checked_shape(lengths)
    axes = len(lengths)
    spacing_mm = _numbers(fields, "ElementSpacing", count=axes)
    affine = _affine(
        matrix=_numbers(fields, "TransformMatrix", count=axes * axes, default=np.eye(axes).ravel().tolist()),
        offset=_numbers(fields, "Offset", count=axes, default=[0.0] * axes),
        spacing_mm=checked_spacing(spacing_mm),
        axes=axes,
    )
    order = ">" if _is_true(fields, "ElementByteOrderMSB") else "<"
    return VolumeHeader(
        grid=Grid(shape=shape, spacing_mm=tuple(spacing_mm[: len(shape)]), affine=affine),
        channels=channels,
        stored_type=order + _TYPES[fields["ElementType"]],
        data_offset=data_offset,
        is_deflated=_is_true(fields, "CompressedData"),
    )


def _fields(raw: bytes) -> tuple[dict[str, str], int]:
    """`Key = value` lines up to and including `ElementDataFile`, and the offset of the byte after them."""
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = raw.find(b"\n", position, MAX_HEADER_BYTES)
        if end < 0:
            raise refuse(
                Reason.HEADER_INVALID, found="no end of the header", expected="a line 'ElementDataFile = LOCAL'"
            )
        key, separator, value = raw[position:end].decode("latin-1").partition("=")
        key = _SYNONYMS.get(key.strip(), key.strip())
        if not separator or key in fields:
            raise refuse(Reason.HEADER_INVALID, found=f"the line {key!r}", expected="'Key = value', each key once")
        fields[key] = value.strip()
        position = end + 1
    return fields, position


def _check_layout(fields: dict[str, str]) -> None:
    if fields["ElementDataFile"] != "LOCAL":
        raise refuse(Reason.EXTERNAL_DATA, found="voxels in another file", expected="ElementDataFile = LOCAL")
    if fields.get("HeaderSize", "0") != "0":
        raise refuse(Reason.EXTERNAL_DATA, found="a HeaderSize", expected="voxels right after the header")
    if fields.get("ObjectType", "Image") != "Image" or not _is_true(fields, "BinaryData", default=True):
        raise refuse(
            Reason.FORMAT_UNSUPPORTED, found="no binary image", expected="ObjectType = Image, BinaryData = True"
        )
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise refuse(Reason.DIMENSIONS_INVALID, found="interleaved channels", expected="channels as a fourth axis")
    if fields.get("ElementType") not in _TYPES:
        raise refuse(
            Reason.DATA_TYPE_UNSUPPORTED,
            found=fields.get("ElementType", "none"),
            expected="whole numbers, or floats that are whole",
        )
    if fields.get("NDims") != str(len(fields.get("DimSize", "").split())):
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"NDims = {fields.get('NDims')}", expected="as many as DimSize lists"
        )


def _is_true(fields: dict[str, str], key: str, *, default: bool = False) -> bool:
    text = fields.get(key)
    if text not in (None, "True", "False"):
        raise refuse(Reason.HEADER_INVALID, found=f"{key} = {text}", expected="True or False")
    return default if text is None else text == "True"


def _numbers(
    fields: dict[str, str], key: str, *, count: int | None = None, default: list[float] | None = None
) -> list[float]:
    if key not in fields and default is not None:
        return default
    words = fields.get(key, "").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    wrong_count = len(values) != (len(words) if count is None else count) or not values
    if wrong_count or not all(math.isfinite(value) for value in values):
        raise refuse(
            Reason.HEADER_INVALID, found=f"{key} = {fields.get(key)}", expected=f"{count or 'some'} finite numbers"
        )
    return values


def _affine(*, matrix: list[float], offset: list[float], spacing_mm: tuple[float, ...], axes: int) -> Affine:
    """RAS+ affine. MetaImage is LPS+, and row `i` of its matrix is the direction of axis `i`."""
    rows = []
    for world in range(3):
        sign = -1.0 if world < 2 else 1.0
        row = [
            sign * matrix[axis * axes + world] * spacing_mm[axis] if max(axis, world) < axes else float(axis == world)
            for axis in range(3)
        ]
        rows.append((row[0], row[1], row[2], sign * offset[world] if world < axes else 0.0))
    return (*rows, (0.0, 0.0, 0.0, 1.0))
