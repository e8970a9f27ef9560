"""How much an archive may cost, and the running account that stops it in time."""

from dataclasses import dataclass

from containers.intake.reasons import ImageInvalid, Reason


@dataclass(frozen=True, kw_only=True)
class IntakeLimits:
    """What one archive may contain, and what reading it may cost. Reaching a limit refuses the archive."""

    unpacked_bytes: int = 64 * 2**30
    entries: int = 500_000
    """Files, folders and links in all layers together: each one costs an inode on every node that loads the image."""
    layers: int = 120
    """The engine itself fails at 127, with a message nobody understands."""
    archive_members: int = 4096
    document_bytes: int = 1 << 20
    documents_bytes: int = 16 << 20
    compression_ratio: int = 100
    compression_grace_bytes: int = 256 << 20
    """The ratio only counts above this: a small honest image may well consist of zeros."""
    environment_variables: int = 256
    environment_bytes: int = 64 << 10
    memory_bytes: int = 512 << 20
    """Address space of the reading process, most of which is mapped libraries."""
    cpu_seconds: int = 3600
    wall_seconds: float = 4 * 3600.0


class Account:
    """Bytes and entries spent so far by one archive of `archive_bytes`."""

    def __init__(self, *, limits: IntakeLimits, archive_bytes: int) -> None:
        self.unpacked_bytes = 0
        self.entries = 0
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._allowed_by_ratio = max(limits.compression_grace_bytes, limits.compression_ratio * archive_bytes)

    def add_bytes(self, chunk: bytes | memoryview) -> None:
        """Count a chunk that came out of a compression, or would be written to a disk."""
        self.unpacked_bytes += len(chunk)
        if self.unpacked_bytes > self._limits.unpacked_bytes:
            raise ImageInvalid(
                Reason.TOO_LARGE,
                f"Unpacked, the image has more than {self._limits.unpacked_bytes:,} bytes, the most allowed here. "
                "Remove caches and build files from it.",
            )
        if self.unpacked_bytes > self._allowed_by_ratio:
            raise ImageInvalid(
                Reason.COMPRESSION_BOMB,
                f"The archive of {self._archive_bytes:,} bytes grows to more than {self._allowed_by_ratio:,} bytes. "
                "Remove files full of zeros from the image.",
            )

    def add_entry(self) -> None:
        """Count one file, folder or link of a layer."""
        self.entries += 1
        if self.entries > self._limits.entries:
            raise ImageInvalid(
                Reason.TOO_MANY_FILES,
                f"The layers hold more than {self._limits.entries:,} files and folders, the most allowed here. "
                "Remove package caches and data from the image.",
            )
