"""The limited process for the most common file there is: one gzipped NIfTI label map of bytes, sound, on the expected grid.

It starts without NumPy and without site packages, inflates with the kernel's own decoder (native code that reads what a stranger
wrote: here, and only here, it may), and copies the voxels behind a header that its parent made. Whatever is anything else, or is
unsound in any way, it leaves to the strict reader by answering `{"unsupported": true}`, having written nothing: the strict reader
reads it, or says what is wrong. Equal volumes become equal bytes on both ways.
"""

import ctypes
import mmap
import os
import zlib
from typing import Any

from evaluator.errors import InvalidVolume
from evaluator.volumes.confinement import serve
from evaluator.volumes.geometry import Grid, GridTolerance, grids_match
from evaluator.volumes.nifti import HEADER_BYTES, parse_nifti_header

_GZIP_WINDOW = 31
_HEAD_BYTES = 1 << 16
_SLACK_BYTES = 512
_UNSUPPORTED = {"unsupported": True}


def main(library: str) -> None:
    """One request. The kernel is loaded while files can still be opened."""
    kernel = ctypes.CDLL(library)
    kernel.assay_inflate.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
    kernel.assay_holds_only.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p]
    serve(lambda request: copy_voxels(request, kernel))


def copy_voxels(request: dict[str, Any], kernel: ctypes.CDLL) -> dict[str, Any]:
    """Read, check and write, or answer that this file is not for us."""
    with os.fdopen(request["source"], "rb") as source, os.fdopen(request["target"], "wb") as target:
        content = source.read()  # its size was checked; naming a limit would reserve it
        offset = _voxels_begin(content, request)
        if offset is None:
            return _UNSUPPORTED
        size = offset + Grid.from_json(request["grid"]).voxels
        room = mmap.mmap(-1, size + _SLACK_BYTES)
        start = ctypes.addressof(ctypes.c_char.from_buffer(room))
        allowed = bytes.fromhex(request["allowed"])
        if kernel.assay_inflate(content, len(content), start, size) or not kernel.assay_holds_only(
            start + offset, size - offset, allowed
        ):
            return _UNSUPPORTED
        packer = zlib.compressobj(level=1, wbits=_GZIP_WINDOW, strategy=zlib.Z_RLE)
        target.write(packer.compress(bytes.fromhex(request["header"])))
        target.write(packer.compress(memoryview(room)[offset:size]))
        target.write(packer.flush())
    return {}


def _voxels_begin(content: bytes, request: dict[str, Any]) -> int | None:
    """Where the voxels begin in the inflated stream of a file that is for us. None for any other."""
    try:
        head = zlib.decompressobj(wbits=_GZIP_WINDOW).decompress(content[:_HEAD_BYTES], HEADER_BYTES)
        header = parse_nifti_header(head)
    except (InvalidVolume, zlib.error):
        return None
    expected, tolerance = Grid.from_json(request["grid"]), GridTolerance(**request["tolerance"])
    is_ours = header.stored_type[1:] == "u1" and header.channels == 1 and header.grid.voxels <= request["voxels"]
    return header.data_offset if is_ours and grids_match(expected, header.grid, tolerance) is None else None
