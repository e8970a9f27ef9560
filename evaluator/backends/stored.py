"""Volumes that the kernel can scan straight from their file: one NIfTI-1 label map, gzipped or plain.

Any other file, and one that turns out unsound while it is scanned, goes to the strict reader instead. It either reads the file
or says in words what is wrong. With `ASSAY_INFLATE=zlib` every gzipped file goes there.
"""

import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InvalidVolume
from evaluator.kernel.inflate import uses_kernel_decoder
from evaluator.kernel.library import CSource
from evaluator.kernel.scans import array_source, gzip_source
from evaluator.volumes.header import VolumeHeader
from evaluator.volumes.nifti import HEADER_BYTES, parse_nifti_header
from evaluator.volumes.strict import ReaderLimits, open_untrusted

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
_HEAD_BYTES = 1 << 16
_LIMITS = ReaderLimits(file_bytes=256 << 20)


@dataclass(frozen=True)
class StoredVolume:
    """A file's bytes and what its header says about them."""

    header: VolumeHeader
    content: NDArray[np.uint8]
    is_gzip: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.grid.shape

    @property
    def sha256(self) -> str:
        """Of the file as it is stored."""
        return sha256(self.content.data).hexdigest()

    def source(self) -> CSource:
        """Where the voxels are. Valid as long as this volume lives."""
        header = self.header
        if self.is_gzip:
            return gzip_source(
                self.content, offset=header.data_offset, shape=self.shape, stored_type=np.dtype(header.stored_type)
            )
        voxels = np.ndarray(
            self.shape[::-1], dtype=np.dtype(header.stored_type), buffer=self.content.data, offset=header.data_offset
        )
        return array_source(voxels)


def open_stored(path: Path) -> StoredVolume | None:
    """The volume in a file, or None where the strict reader has to look at it."""
    try:
        with open_untrusted(path, limits=_LIMITS) as file:
            content = file.read()
        is_gzip = content.startswith(GZIP_MAGIC)
        if is_gzip and not uses_kernel_decoder():
            return None
        head = _inflate_head(content) if is_gzip else content[:HEADER_BYTES]
        header = parse_nifti_header(head)
    except (InvalidVolume, zlib.error):
        return None
    if header.channels != 1 or len(header.grid.shape) not in (2, 3):
        return None
    if not is_gzip and len(content) != header.data_offset + header.data_bytes:
        return None
    return StoredVolume(header=header, content=np.frombuffer(content, np.uint8), is_gzip=is_gzip)


def _inflate_head(content: bytes) -> bytes:
    return zlib.decompressobj(wbits=_GZIP_WINDOW).decompress(content[:_HEAD_BYTES], HEADER_BYTES)
