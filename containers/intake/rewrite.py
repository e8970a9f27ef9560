"""Write the archive that nodes load: our configuration, no tags, and exactly the layer bytes that were hashed.

Layers are written uncompressed, in the order they are met. The archive is hashed while it is written. Only where that cannot be, it
is read once more at the end: a layer that came compressed has a length, and so a header, only afterwards, and one that we have
already is taken back.
"""

import hashlib
import json
import os

from containers.intake.config import VettedConfig
from containers.intake.tar import BLOCK


class ArchiveWriter:
    """A `docker save` archive in the making, on a descriptor that can seek."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._is_digest_whole = True
        self._written: set[str] = set()

    def write_description(self, config: VettedConfig) -> None:
        """The configuration under its hash, and a manifest that names no tag."""
        config_name = f"{config.image_id.removeprefix('sha256:')}.json"
        manifest = [
            {"Config": config_name, "RepoTags": None, "Layers": [_layer_name(diff_id) for diff_id in config.diff_ids]}
        ]
        for name, body in ((config_name, config.document), ("manifest.json", json.dumps(manifest).encode())):
            self._write(tar_header(name=name, size=len(body)) + body + bytes(-len(body) % BLOCK))

    def begin_layer(self, *, diff_id: str, size: int | None) -> int:
        """Write the header, or leave room for it where the layer's size is not known yet. Returns where it is."""
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._is_digest_whole = self._is_digest_whole and size is not None
        self._write(bytes(BLOCK) if size is None else tar_header(name=_layer_name(diff_id), size=size))
        return start

    def write_chunk(self, chunk: bytes | memoryview) -> None:
        """More of the layer."""
        self._write(chunk)

    def end_layer(self, *, start: int, diff_id: str) -> None:
        """Write the header now that the length is known. A layer we have already is taken back."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if diff_id in self._written:
            os.ftruncate(self._descriptor, start)
            os.lseek(self._descriptor, start, os.SEEK_SET)
            self._is_digest_whole = False
            return
        self._written.add(diff_id)
        size = end - start - BLOCK
        self._write(bytes(-size % BLOCK))
        os.pwrite(self._descriptor, tar_header(name=_layer_name(diff_id), size=size), start)

    def finish(self) -> tuple[str, int]:
        """End the archive. Returns its sha256 and length in bytes."""
        self._write(bytes(2 * BLOCK))
        length = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if self._is_digest_whole:
            return self._digest.hexdigest(), length
        with open(self._descriptor, "rb", closefd=False) as archive:
            archive.seek(0)
            return hashlib.file_digest(archive, "sha256").hexdigest(), length

    def _write(self, data: bytes | memoryview) -> None:
        if self._is_digest_whole:
            self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _layer_name(diff_id: str) -> str:
    return f"{diff_id.removeprefix('sha256:')}/layer.tar"


def tar_header(*, name: str, size: int) -> bytes:
    """A ustar header of a plain file. GNU's binary form for sizes of 8 GiB and more, which Go reads as well."""
    digits = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    fields = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + digits + b"%011o\0" % 0
    header = (fields + b" " * 8 + b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
