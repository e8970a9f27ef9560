"""Zips that people hand in, read by Python's own zip reader: a cap on members and bytes, harmless names, one file at a time."""

import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from assay.submissions.reasons import Fact, Reason, Told
from evaluator.volumes import is_left_behind

MAX_MEMBERS = 100_000
CHUNK_BYTES = 2**20
LONGEST_PATH = 80


class ArchiveRefused(Exception):
    """The archive as a whole cannot be used."""

    def __init__(self, reason: Reason, **facts: Fact) -> None:
        self.told = Told(reason=reason, facts=facts)
        super().__init__(str(reason))


Extract = Callable[[Path, int], bool]
"""Writes one file out, up to so many bytes; False when it is longer."""


@contextmanager
def opened_zip(
    archive: Path, *, most: int = MAX_MEMBERS, is_left_out: Callable[[str], bool] = is_left_behind
) -> Iterator[dict[str, Extract]]:
    """Files by the names they were meant to have. Windows writes backslashes, `zip` a leading `./`, macOS letters in two pieces.

    Raises ArchiveRefused.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError):
        raise ArchiveRefused(Reason.NOT_A_ZIP) from None
    with opened:
        members = opened.infolist()
        if len(members) > most:
            raise ArchiveRefused(Reason.ZIP_TOO_LONG, found=len(members), most=most)
        files: dict[str, Extract] = {}
        for member in members:
            name = unicodedata.normalize("NFC", member.filename.replace("\\", "/"))
            while name.startswith("./"):
                name = name[2:].lstrip("/")
            if not name or name.endswith("/") or is_left_out(name):
                continue
            if name in files:
                raise ArchiveRefused(Reason.NAME_TWICE, name=name[:LONGEST_PATH])
            files[name] = partial(_extract, opened, member)
        yield files


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, destination: Path, max_bytes: int) -> bool:
    """Write one member out; False when it is larger than allowed, whatever its header says."""
    written = 0
    try:
        with opened.open(member) as source, destination.open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > max_bytes:
                    return False
                target.write(chunk)
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,
        OSError,
    ) as problem:
        raise ArchiveRefused(Reason.ZIP_DAMAGED) from problem
    return True
