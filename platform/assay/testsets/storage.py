"""The only opener of protected files: hidden cases, uploads, images, predictions, logs.

Rows name files by key. Nothing else knows where they lie. Backed by django-storages: a folder on local disk by default, S3 in
production. Keys are made by us and never from a participant's words. No address of a file ever leaves the server: what a node
may read goes through the node API, scoped to the case run it holds.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils.translation import gettext as _

from assay.accounts.errors import TooLargeError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file as it lies in storage."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file as storage lists it."""

    key: str
    bytes: int
    modified_at: datetime


def hash_file(path: Path) -> str:
    """The sha256 of a local file, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_file(*, source: Path, key: str, move: bool = False, sha256: str = "") -> StoredFile:
    """Put a local file into storage under exactly `key`. `move=True` gives the source away (a rename on local disk).

    `sha256`: the file's, where the caller has just computed it.
    """
    sha256, length = sha256 or hash_file(source), source.stat().st_size
    if default_storage.exists(key):
        default_storage.delete(key)
    backend = cast("FileSystemStorage", default_storage)
    if move and is_local():
        target = Path(backend.path(key))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(source, target)
        target.chmod(0o600)
    else:
        with source.open("rb") as file:
            kept = default_storage.save(key, File(file))
        if kept != key:
            default_storage.delete(kept)
            raise RuntimeError(f"storage renamed {key}: two writers used one key")
        if move:
            source.unlink()
    return StoredFile(key=key, sha256=sha256, bytes=length)


def save_file(*, key: str, stream: IO[bytes], max_bytes: int) -> StoredFile:
    """Put a stream into storage. Raises `TooLargeError` when it is longer than `max_bytes`, and keeps nothing then."""
    with scratch_folder() as folder:
        path, size = folder / "stream", 0
        with path.open("wb") as file:
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise TooLargeError(
                        _("The file is too large."),
                        found="more",
                        expected=_("at most %(max_bytes)s bytes") % {"max_bytes": max_bytes},
                    )
                file.write(chunk)
        return keep_file(source=path, key=key, move=True)


def open_file(key: str) -> BinaryIO:
    """Open a stored file for reading."""
    return cast("BinaryIO", default_storage.open(key, "rb"))


def local_path(key: str) -> Path:
    """A stored file as a read-only path: itself on local disk, a cached copy otherwise. Never write to it."""
    if is_local():
        return Path(cast("FileSystemStorage", default_storage).path(key))
    target = Path(settings.SCRATCH_ROOT) / "cache" / hashlib.sha256(key.encode()).hexdigest() / Path(key).name
    if not target.exists():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch_folder() as folder:
            with open_file(key) as source, (folder / "copy").open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK_BYTES)
            (folder / "copy").rename(target)
    return target


class StoredFileChanged(Exception):
    """A stored file is not what was recorded of it: a fault of the platform's storage, never of a team or an organizer."""


def unchanged_path(key: str, *, sha256: str) -> Path:
    """`local_path` of a file that is still what was recorded of it. Raises StoredFileChanged, and OSError where it is gone.

    Scoring and running open a stored file through this function: nothing else would notice a file that was damaged or
    exchanged. A cached copy that is damaged is fetched again.
    """
    path = local_path(key)
    if (found := hash_file(path)) != sha256 and not is_local():
        path.unlink()
        path = local_path(key)
        found = hash_file(path)
    if found != sha256:
        raise StoredFileChanged(
            f"{key} has the sha256 {found[:12]}…, but {sha256[:12]}… was recorded when it was stored. "
            "Restore this file from a backup, then rejudge."
        )
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private folder that is gone afterwards."""
    root = Path(settings.SCRATCH_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)


def size(key: str) -> int:
    """How many bytes a stored file has."""
    return default_storage.size(key)


def has_file(key: str) -> bool:
    """Whether there is such a file."""
    return bool(key) and default_storage.exists(key)


def delete_file(key: str) -> None:
    """Delete a stored file. One that is gone already is fine."""
    if key:
        default_storage.delete(key)


def walk(prefix: str = "") -> Iterator[Listed]:
    """Every stored file below a prefix. Files that go while we look are left out."""
    try:
        folders, names = default_storage.listdir(prefix)
    except FileNotFoundError:
        return
    for name in names:
        key = f"{prefix}/{name}" if prefix else name
        with contextlib.suppress(FileNotFoundError):
            yield Listed(key=key, bytes=default_storage.size(key), modified_at=default_storage.get_modified_time(key))
    for folder in folders:
        yield from walk(f"{prefix}/{folder}" if prefix else folder)


def delete_folder(prefix: str) -> int:
    """Delete every stored file directly below a prefix. Answers how many there were."""
    try:
        folders, names = default_storage.listdir(prefix)
    except FileNotFoundError:
        return 0
    for name in names:
        default_storage.delete(f"{prefix}/{name}")
    if is_local() and not folders:
        with contextlib.suppress(OSError):  # somebody has just put something there
            Path(cast("FileSystemStorage", default_storage).path(prefix)).rmdir()
    return len(names)


def try_storage() -> None:
    """Raise when storage does not take files (a full or missing disk) or does not answer."""
    if is_local():
        folder = Path(cast("FileSystemStorage", default_storage).location)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
    else:
        default_storage.exists("readyz")


def free_bytes() -> int | None:
    """How much more storage takes; None where it does not say."""
    folder = Path(cast("FileSystemStorage", default_storage).location) if is_local() else None
    return shutil.disk_usage(folder).free if folder and folder.exists() else None


def is_local() -> bool:
    """Whether storage is a folder of this machine."""
    return isinstance(default_storage, FileSystemStorage)
