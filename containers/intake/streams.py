"""Exact reads and skips over byte sources we do not trust, in constant memory.

A `Stream` reads from a function in chunks of one MiB and keeps one chunk. Streams nest: the uploaded file, what its
compression hides, one member of the tar in it, what that member's compression hides. Every stream can be watched, which is
how bytes are counted, hashed and copied while somebody else parses them.
"""

import os
import zlib
from collections.abc import Callable
from typing import IO, cast

import zstandard

from containers.intake.reasons import ImageInvalid, Reason

CHUNK_BYTES = 1 << 20
ZSTD_WINDOW_BYTES = 1 << 27
"""The largest window `zstd --long` asks for without being told to. More would cost more memory than intake may use."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FOREIGN_MAGIC = {
    b"PK\x03\x04": "a zip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"7z\xbc\xaf": "a 7z file",
    b"Rar!": "a rar file",
    b"#!/usr": "a script, or an image of Apptainer or Singularity",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x7fELF": "a program",
}

Read = Callable[[int], bytes | memoryview]
"""At most that many bytes, at least one. Empty at the end."""
Watch = Callable[[bytes | memoryview], object]


class Stream:
    """A forward-only byte source with exact reads. `position` counts what was consumed."""

    def __init__(self, read: Read, *, seek: Callable[[int], None] | None = None, watch: Watch | None = None) -> None:
        self.position = 0
        self._read = read
        self._seek = seek
        self._watch = watch
        self._chunk = memoryview(b"")

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end. Nothing is consumed."""
        while len(self._chunk) < count:
            more = self._next_chunk()
            if not more:
                break
            self._chunk = memoryview(bytes(self._chunk) + bytes(more))
        return bytes(self._chunk[:count])

    def read(self, count: int) -> memoryview:
        """Between one and `count` bytes. Empty at the end."""
        if not self._chunk:
            self._chunk = self._next_chunk()
        piece, self._chunk = self._chunk[:count], self._chunk[count:]
        self.position += len(piece)
        return piece

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        piece = bytes(self.read(count))
        while len(piece) < count:
            more = self.read(count - len(piece))
            if not more:
                raise ImageInvalid(
                    Reason.TRUNCATED, f"The archive ends {count - len(piece)} bytes too early: upload it again."
                )
            piece += more
        return piece

    def skip(self, count: int) -> None:
        """Pass over exactly `count` bytes."""
        if self._seek is not None and count > len(self._chunk):
            self._seek(count - len(self._chunk))
            self._chunk = memoryview(b"")
            self.position += count
            return
        while count:
            piece = self.read(count)
            if not piece:
                raise ImageInvalid(Reason.TRUNCATED, f"The archive ends {count} bytes too early: upload it again.")
            count -= len(piece)

    def drain(self) -> None:
        """Consume the rest."""
        while self.read(CHUNK_BYTES):
            pass

    def limited(self, count: int) -> "Stream":
        """The next `count` bytes as a stream of their own. It consumes this one."""
        end = self.position + count
        return Stream(lambda wanted: self.read(min(wanted, end - self.position)))

    def watched(self, watch: Watch) -> "Stream":
        """The rest as a stream whose every chunk `watch` sees once, in order, before it can be consumed."""
        return Stream(self.read, watch=watch)

    def _next_chunk(self) -> memoryview:
        chunk = memoryview(self._read(CHUNK_BYTES))
        if self._watch is not None and chunk:
            self._watch(chunk)
        return chunk


def open_file(descriptor: int) -> Stream:
    """A regular file from its start. Skipping costs nothing."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    size = os.fstat(descriptor).st_size

    def seek(count: int) -> None:
        if os.lseek(descriptor, count, os.SEEK_CUR) > size:
            raise ImageInvalid(Reason.TRUNCATED, "The archive ends inside a file: upload it again.")

    return Stream(lambda count: os.read(descriptor, count), seek=seek)


def uncompressed(stream: Stream) -> Stream:
    """What the stream holds, told from its first bytes, never from a name. The stream itself when it is not compressed."""
    magic = stream.peek(6)
    for foreign, kind in FOREIGN_MAGIC.items():
        if magic.startswith(foreign):
            raise ImageInvalid(
                Reason.NOT_AN_ARCHIVE,
                f"This is {kind}, not a container image. Upload the output of `docker save`, plain or compressed by gzip or zstd.",
            )
    if magic.startswith(GZIP_MAGIC):
        return Stream(_gunzip(stream))
    if magic.startswith(ZSTD_MAGIC):
        return Stream(_unzstd(stream))
    return stream


def _gunzip(stream: Stream) -> Read:
    """Members of a gzip file one after the other, as `pigz` and lazily pulled layers write them. Each read is bounded."""
    inflater = zlib.decompressobj(wbits=31)
    pending: bytes | memoryview = b""

    def read(count: int) -> bytes:
        nonlocal inflater, pending
        while True:
            if inflater.eof:
                pending = inflater.unused_data or stream.read(CHUNK_BYTES)
                if not pending:
                    return b""
                inflater = zlib.decompressobj(wbits=31)
            pending = pending or stream.read(CHUNK_BYTES)
            if not pending:
                raise ImageInvalid(Reason.TRUNCATED, "The gzip data ends too early: upload the archive again.")
            try:
                piece = inflater.decompress(pending, count)
            except zlib.error as error:
                raise ImageInvalid(
                    Reason.MALFORMED, f"The gzip data is damaged ({error}): upload the archive again."
                ) from None
            pending = inflater.unconsumed_tail
            if piece:
                return piece

    return read


def _unzstd(stream: Stream) -> Read:
    """Frames of a Zstandard file one after the other. Each read is bounded, and so is the window."""
    inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    reader = inflater.stream_reader(cast("IO[bytes]", _Readable(stream)), read_across_frames=True)

    def read(count: int) -> bytes:
        try:
            return reader.read(count)
        except zstandard.ZstdError as error:
            raise ImageInvalid(
                Reason.MALFORMED,
                f"The Zstandard data cannot be read ({error}): upload it again, compressed without --ultra or --long above 27.",
            ) from None

    return read


class _Readable:
    """The one method of a file that the Zstandard reader uses."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self, count: int) -> bytes:
        return bytes(self._stream.read(count))
