"""Our own way of writing a volume: one NIfTI-1 file, gzip level 1, no time stamp, so equal volumes are equal bytes.

What a container wrote is never stored or scored as it is: it is parsed strictly and written again by us, on the grid of the
input image. Whatever hid in headers, extensions or compression stays behind.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from evaluator.volumes.geometry import Grid

_TYPE_CODES = {"u1": (2, 8), "i2": (4, 16), "i4": (8, 32), "f4": (16, 32), "f8": (64, 64), "i1": (256, 8), "u2": (512, 16),
               "u4": (768, 32), "i8": (1024, 64), "u8": (1280, 64)}  # fmt: skip
_GZIP_WINDOW = 31
_UNIT_MM = 2


@dataclass(frozen=True, kw_only=True)
class CanonicalFile:
    """A file we wrote: where, its hash and its size."""

    path: Path
    sha256: str
    bytes: int


def write_canonical_channels(channels: Iterable[npt.NDArray[Any]], *, grid: Grid, count: int, target: BinaryIO) -> None:
    """Write `count` channels one after the other: memory is one channel, however many there are."""
    packer = zlib.compressobj(level=1, wbits=_GZIP_WINDOW, strategy=zlib.Z_RLE)
    header_written = False
    for channel in channels:
        if not header_written:
            target.write(packer.compress(canonical_header(grid, channels=count, stored=channel.dtype)))
            header_written = True
        target.write(packer.compress(channel.ravel(order="F").view(np.uint8).data))
    target.write(packer.flush())


def write_canonical_array(array: npt.NDArray[Any], *, grid: Grid, path: Path) -> CanonicalFile:
    """Write one array on `grid` and say what came of it."""
    with path.open("wb") as target:
        write_canonical_channels([array], grid=grid, count=1, target=target)
    return describe(path)


def describe(path: Path) -> CanonicalFile:
    """Hash and size of a finished file."""
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256")
    return CanonicalFile(path=path, sha256=digest.hexdigest(), bytes=path.stat().st_size)


def canonical_header(grid: Grid, *, channels: int, stored: np.dtype[Any]) -> bytes:
    """The bytes before the voxels."""
    code, bits = _TYPE_CODES[stored.newbyteorder("=").str[1:]]
    axes = 4 if channels > 1 else len(grid.shape)
    lengths = [*grid.shape, 1, 1, 1, 1, 1, 1, 1][:7]
    lengths[3] = channels
    spacing = [*grid.spacing_mm, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0][:7]
    raw = bytearray(352)
    struct.pack_into("<i", raw, 0, 348)
    struct.pack_into("<8h", raw, 40, axes, *lengths)
    struct.pack_into("<2h", raw, 70, code, bits)
    struct.pack_into("<8f", raw, 76, 1.0, *spacing)
    struct.pack_into("<3f", raw, 108, 352.0, 1.0, 0.0)
    raw[123] = _UNIT_MM
    struct.pack_into("<2h", raw, 252, 0, 1)
    struct.pack_into("<12f", raw, 280, *(value for row in grid.affine[:3] for value in row))
    raw[344:348] = b"n+1\0"
    return bytes(raw)
