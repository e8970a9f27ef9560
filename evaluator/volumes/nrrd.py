"""The NRRD header, strictly, and only with the voxels in the same file: https://teem.sourceforge.net/nrrd/format.html

NRRD lets a header name any other file or a list of files, and skip lines and bytes. None of it is looked at here: a header that
names another file is refused by its text. Directions are read in the three spaces of patients. A space without a name counts as
LPS, as ITK has it. A header without any voxel size is refused, where others assume 1 mm.
"""

import math
import re

from evaluator.errors import Reason
from evaluator.volumes.geometry import Affine, Grid
from evaluator.volumes.header import VolumeHeader, checked_shape, checked_spacing, refuse

MAGIC = b"NRRD000"
MAX_HEADER_BYTES = 1 << 20
"""3D Slicer writes names, colours and extents of every segment into the header."""
_TYPES = {
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i1": "signed char, int8, int8_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i4": "int, signed int, int32, int32_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "f4": "float",
    "f8": "double",
}
_STORED = {name: stored for stored, names in _TYPES.items() for name in names.split(", ")}
_TO_RAS = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps", ""), (-1.0, -1.0, 1.0)),
}
_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")
_NO_DIRECTION = "none"
Vector = tuple[float, ...] | None
"""The step of one axis in the patient. None for an axis that is no direction, such as a list of channels."""


def parse_nrrd_header(raw: bytes) -> VolumeHeader:
    """The checked header at the start of `raw`, or InvalidVolume."""
    fields, data_offset = _fields(raw)
    _check_layout(fields)
    lengths = _whole_numbers(fields, "sizes")
    if fields.get("dimension") != str(len(lengths)):
        raise refuse(
            Reason.DIMENSIONS_INVALID, found=f"dimension: {fields.get('dimension')}", expected="as many as sizes lists"
        )
    steps = _steps(fields, axes=len(lengths))
    if len(lengths) > 1 and lengths[0] == 1 and steps[0] is None:  # one channel, stored voxel by voxel
        lengths, steps = lengths[1:], steps[1:]
    shape, channels = checked_shape(lengths)
    directions = [step for step in steps[: len(shape)] if step is not None]
    if len(directions) != len(shape) or any(step is not None for step in steps[len(shape) :]):
        raise refuse(Reason.DIMENSIONS_INVALID, found="interleaved channels", expected="channels as the last axis")
    return VolumeHeader(
        grid=_grid(fields, shape=shape, directions=directions),
        channels=channels,
        stored_type=_stored_type(fields),
        data_offset=data_offset,
        is_gzip=fields["encoding"].lower() in ("gzip", "gz"),
    )


def _fields(raw: bytes) -> tuple[dict[str, str], int]:
    """`field: value` lines after the first up to the blank one, and the offset of the byte after it."""
    fields: dict[str, str] = {}
    position = raw.find(b"\n", 0, MAX_HEADER_BYTES) + 1
    while position:
        end = raw.find(b"\n", position, MAX_HEADER_BYTES)
        if end < 0:
            break
        line = raw[position:end].removesuffix(b"\r").decode("latin-1")
        position = end + 1
        if not line:
            return fields, position
        if line.startswith("#") or ":=" in line:  # a comment, or a key of somebody's own
            continue
        key, separator, value = line.partition(": ")
        if not separator or key.lower() in fields:
            raise refuse(Reason.HEADER_INVALID, found=f"the line {key!r}", expected="'field: value', each field once")
        fields[key.lower()] = value.strip()
    raise refuse(Reason.HEADER_INVALID, found="no end of the header", expected="a blank line before the voxels")


def _check_layout(fields: dict[str, str]) -> None:
    for key in _ELSEWHERE:
        if fields.get(key, "0") != "0":
            raise refuse(Reason.EXTERNAL_DATA, found=f"a {key}", expected="voxels right after the header")
    if fields.get("encoding", "").lower() not in ("raw", "gzip", "gz"):
        raise refuse(
            Reason.FORMAT_UNSUPPORTED, found=f"encoding: {fields.get('encoding')}", expected="encoding: raw or gzip"
        )


def _stored_type(fields: dict[str, str]) -> str:
    stored = _STORED.get(fields.get("type", "").lower())
    if stored is None:
        raise refuse(
            Reason.DATA_TYPE_UNSUPPORTED,
            found=f"type: {fields.get('type')}",
            expected="whole numbers, or floats that are whole",
        )
    orders = {"little": "<", "big": ">"}
    if stored[1] == "1":
        return "<" + stored
    if fields.get("endian", "").lower() not in orders:
        raise refuse(Reason.HEADER_INVALID, found=f"endian: {fields.get('endian')}", expected="endian: little or big")
    return orders[fields["endian"].lower()] + stored


def _whole_numbers(fields: dict[str, str], key: str) -> list[int]:
    words = fields.get(key, "").split()
    if not words or not all(re.fullmatch("[0-9]{1,9}", word) for word in words):
        raise refuse(Reason.DIMENSIONS_INVALID, found=f"{key}: {fields.get(key)}", expected="whole numbers")
    return [int(word) for word in words]


def _numbers(text: str, key: str) -> list[float]:
    try:
        values = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) for value in values):
        raise refuse(Reason.HEADER_INVALID, found=f"{key}: {text}", expected="finite numbers")
    return values


def _steps(fields: dict[str, str], *, axes: int) -> list[Vector]:
    """One vector per axis: from the directions, else from the spacings."""
    steps: list[Vector]
    if "space directions" in fields:
        words = re.findall(r"\([^()]*\)|[^\s()]+", fields["space directions"])
        steps = [
            None if word.lower() == _NO_DIRECTION else tuple(_numbers(word.strip("()"), "space directions"))
            for word in words
        ]
    elif "spacings" in fields:
        if any(key in fields for key in ("axis mins", "axismins", "axis maxs", "axismaxs")):
            raise refuse(Reason.HEADER_INVALID, found="axis mins", expected="space directions and space origin")
        words = fields["spacings"].split()
        sizes = [None if word.lower() == "nan" else float(_numbers(word, "spacings")[0]) for word in words]
        width = max(2, min(3, sum(size is not None for size in sizes)))
        steps, place = [], 0
        for size in sizes:
            steps.append(None if size is None else tuple(size * (axis == place) for axis in range(width)))
            place += size is not None
    else:
        raise refuse(Reason.SPACING_INVALID, found="no size of a voxel", expected="space directions or spacings")
    if len(steps) != axes:
        raise refuse(Reason.HEADER_INVALID, found=f"{len(steps)} steps for {axes} axes", expected="one per axis")
    return steps


def _grid(fields: dict[str, str], *, shape: tuple[int, ...], directions: list[tuple[float, ...]]) -> Grid:
    width = len(directions[0])
    if width not in (2, 3) or width < len(shape) or any(len(step) != width for step in directions):
        raise refuse(
            Reason.AFFINE_INVALID, found=f"directions of {width} numbers", expected=f"{len(shape)} numbers per axis"
        )
    space = fields.get("space", "").lower()
    if space not in _TO_RAS:
        raise refuse(Reason.AFFINE_INVALID, found=f"space: {space}", expected="space: RAS, LAS or LPS")
    origin = [0.0] * width
    if "space origin" in fields:
        origin = _numbers(fields["space origin"].strip("()"), "space origin")
    if len(origin) != width:
        raise refuse(Reason.AFFINE_INVALID, found=f"an origin of {len(origin)} numbers", expected=f"{width} numbers")
    spacing_mm = checked_spacing([math.hypot(*step) for step in directions])
    return Grid(shape=shape, spacing_mm=spacing_mm, affine=_affine(directions, origin, signs=_TO_RAS[space]))


def _affine(directions: list[tuple[float, ...]], origin: list[float], *, signs: tuple[float, ...]) -> Affine:
    rows = []
    for world, sign in enumerate(signs):
        row = [
            sign * directions[axis][world]
            if axis < len(directions) and world < len(origin)
            else float(axis == world) * (axis >= len(directions))
            for axis in range(3)
        ]
        rows.append((row[0], row[1], row[2], sign * origin[world] if world < len(origin) else 0.0))
    return (*rows, (0.0, 0.0, 0.0, 1.0))
