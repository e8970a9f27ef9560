"""Our own volumes in the format an algorithm expects: the voxels of a canonical `.nii.gz` behind another header.

Only files we wrote come here. NIfTI and MetaImage store voxels in the same order, so nothing but the header changes.
"""

import gzip
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from evaluator.errors import EvaluatorError
from evaluator.volumes.geometry import Grid
from evaluator.volumes.header import VolumeHeader
from evaluator.volumes.nifti import HEADER_BYTES, parse_nifti_header
from evaluator.volumes.tiff import (
    BITS,
    COMPRESSION,
    HEIGHT,
    PHOTOMETRIC,
    PLAIN,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    TIFF_SUFFIXES,
    WIDTH,
)

CANONICAL_SUFFIX = ".nii.gz"
_ELEMENT_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "u4": "MET_UINT", "i4": "MET_INT",
    "u8": "MET_ULONG_LONG", "i8": "MET_LONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip


def write_as_named(*, source: Path, destination: Path) -> None:
    """Write the canonical `source` to `destination` in the format of its name: `.nii.gz`, `.nii`, `.mha`, and flat images as `.tif`."""
    name = destination.name.lower()
    if name.endswith(CANONICAL_SUFFIX):
        shutil.copyfile(source, destination)
        return
    with gzip.open(source, "rb") as voxels, destination.open("wb") as target:
        if name.endswith(".mha"):
            _write_metaimage(voxels, target)  # type: ignore[arg-type]  # GzipFile reads as any binary file
        elif name.endswith(".nii"):
            shutil.copyfileobj(voxels, target)
        elif name.endswith(TIFF_SUFFIXES):
            _write_tiff(voxels, target)  # type: ignore[arg-type]  # as above
        else:
            raise EvaluatorError(f"found the input name {destination.name!r}; expected .nii.gz, .nii, .mha or .tif")


def _write_metaimage(voxels: BinaryIO, target: BinaryIO) -> None:
    start = voxels.read(HEADER_BYTES)
    header = parse_nifti_header(start)
    voxels.read(header.data_offset - HEADER_BYTES)
    target.write(_metaimage_header(header).encode())
    shutil.copyfileobj(voxels, target)


def _write_tiff(voxels: BinaryIO, target: BinaryIO) -> None:
    """One page in one strip. Only a flat image has a place in it."""
    start = voxels.read(HEADER_BYTES)
    header = parse_nifti_header(start)
    if len(header.grid.shape) != 2 or header.channels != 1:
        raise EvaluatorError(f"found a volume of {len(header.grid.shape)} axes; expected a flat image for a .tif")
    voxels.read(header.data_offset - HEADER_BYTES)
    width, height = header.grid.shape
    kind, size = header.stored_type[1], int(header.stored_type[2:])
    entries = [
        (WIDTH, width), (HEIGHT, height), (BITS, 8 * size), (COMPRESSION, PLAIN), (PHOTOMETRIC, 1), (STRIPS, 0), (SAMPLES, 1),
        (ROWS_PER_STRIP, height), (STRIP_BYTES, header.data_bytes), (SAMPLE_FORMAT, {"u": 1, "i": 2, "f": 3}[kind]),
    ]  # fmt: skip
    begin = 8 + 2 + 12 * len(entries) + 4
    target.write(struct.pack("<2sHIH", b"II", 42, 8, len(entries)))
    for tag, value in entries:
        target.write(struct.pack("<HHII", tag, 4, 1, begin if tag == STRIPS else value))
    target.write(bytes(4))
    shutil.copyfileobj(voxels, target)


def _metaimage_header(header: VolumeHeader) -> str:
    """LPS+ where NIfTI is RAS+. The matrix is written axis by axis."""
    grid, lengths = header.grid, list(header.grid.shape)
    directions, offset = _lps(grid)
    spacing = list(grid.spacing_mm)
    if header.channels > 1:
        lengths.append(header.channels)
        spacing.append(1.0)
        directions = [[*axis, 0.0] for axis in directions] + [[0.0] * len(directions) + [1.0]]
        offset = [*offset, 0.0]
    fields = {
        "ObjectType": "Image",
        "NDims": str(len(lengths)),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": _words(value for axis in directions for value in axis),
        "Offset": _words(offset),
        "ElementSpacing": _words(spacing),
        "DimSize": " ".join(map(str, lengths)),
        "ElementType": _ELEMENT_TYPES[header.stored_type[1:]],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items())


def _lps(grid: Grid) -> tuple[list[list[float]], list[float]]:
    axes = len(grid.shape)
    signs = (-1.0, -1.0, 1.0)[:axes]
    directions = [
        [signs[row] * grid.affine[row][axis] / grid.spacing_mm[axis] for row in range(axes)] for axis in range(axes)
    ]
    return directions, [signs[row] * grid.affine[row][3] for row in range(axes)]


def _words(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
