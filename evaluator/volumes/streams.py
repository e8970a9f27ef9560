"""Bounded reading of untrusted bytes: plain, gzip or zlib, never more than was announced, never less.

A reader asks for exactly the bytes the header promised. Whatever is corrupt, shorter or longer than promised is an error,
so there is no input for which memory that nobody wrote ends up in an array.
"""

import zlib
from typing import BinaryIO

from evaluator.errors import InvalidVolume, Reason

CHUNK_BYTES = 1 << 20
GZIP_WINDOW = 31
"""zlib's code for "gzip header and trailer, checksum verified"."""
ZLIB_WINDOW = 15
GZIP_MAGIC = b"\x1f\x8b"


class PlainStream:
    """Bytes as they are in the file."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def read_into(self, target: memoryview) -> None:
        """Fill `target` completely or refuse the file."""
        filled = 0
        while filled < len(target):
            count = self._source.readinto(target[filled:])  # type: ignore[attr-defined]  # every BinaryIO of ours has it
            if not count:
                raise _truncated()
            filled += count

    def finish(self) -> None:
        """Refuse whatever follows the last byte the header announced."""
        if self._source.read(1):
            raise _trailing()


class InflatingStream:
    """Bytes of a gzip file or of one zlib stream, inflated a piece at a time with a hard bound on each piece.

    A gzip file may consist of members one after the other, the last ones empty, as bgzip and parallel compressors write it.
    """

    def __init__(self, source: BinaryIO, *, window: int) -> None:
        self._source = source
        self._window = window
        self._inflater = zlib.decompressobj(wbits=window)
        self._pending = b""

    def _step(self, limit: int) -> bytes:
        """Up to `limit` more bytes. Refuses a stream that can give none and has not ended as announced."""
        self._pending = self._pending or self._source.read(CHUNK_BYTES)
        is_last = not self._pending
        try:
            piece = self._inflater.decompress(self._pending, limit)
        except zlib.error as problem:
            raise InvalidVolume(
                reason=Reason.GZIP_CORRUPT,
                found="compressed data that cannot be inflated",
                expected="one intact compressed stream: write the file again",
            ) from problem
        self._pending = self._inflater.unconsumed_tail
        if not piece and is_last and not self._inflater.eof:
            raise _truncated()
        return piece

    def read_into(self, target: memoryview) -> None:
        """Fill `target` completely or refuse the file."""
        filled = 0
        while filled < len(target):
            if self._inflater.eof and not self._begin_member():
                raise _truncated()
            piece = self._step(min(len(target) - filled, CHUNK_BYTES))
            target[filled : filled + len(piece)] = piece
            filled += len(piece)

    def finish(self) -> None:
        """Demand the end of the stream with a right checksum, and the end of the file right after it."""
        while not self._inflater.eof or self._begin_member():
            if not self._inflater.eof and self._step(1):
                raise _trailing()
        if self._pending:
            raise _trailing()

    def _begin_member(self) -> bool:
        """Whether another gzip member follows the one that ended. What else follows is kept."""
        self._pending = self._inflater.unused_data or self._pending
        if len(self._pending) < len(GZIP_MAGIC):
            self._pending += self._source.read(CHUNK_BYTES)
        if self._window != GZIP_WINDOW or not self._pending.startswith(GZIP_MAGIC):
            return False
        self._inflater = zlib.decompressobj(wbits=self._window)
        return True


Stream = PlainStream | InflatingStream


def _truncated() -> InvalidVolume:
    return InvalidVolume(
        reason=Reason.TRUNCATED,
        found="fewer bytes than the header announces",
        expected="the whole image: was the program stopped while writing, or the disk full?",
    )


def _trailing() -> InvalidVolume:
    return InvalidVolume(
        reason=Reason.TRAILING_DATA,
        found="bytes after the end of the image",
        expected="exactly one image and nothing after it",
    )
