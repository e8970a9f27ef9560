"""A folder that came as an archive (a tar or a zip) or that lies on the server already: regular files and folders only, nothing
outside, no more than fits.
"""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.testsets.manifest import FILE_NAME
from evaluator.volumes import is_left_behind

MOST_MEMBERS = 1_000_000
MOST_BYTES = 2 * 2**40
PIECE_BYTES = 2**20
ENCRYPTED = 1
"""The bit of a zip member's flags that says so."""


class Readable(Protocol):
    """What a member's content is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """The next piece."""


def unpack(*, archive: BinaryIO, folder: Path) -> None:
    """Unpack a tar or a zip into `folder`. Raises InvalidError for links, outside paths and what is too large."""
    is_zip = archive.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    archive.seek(0)
    try:
        for name, content in (zip_members if is_zip else tar_members)(archive, most_bytes=room_in(folder)):
            write_member(name=name, content=content, folder=folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InvalidError(
            _("The test set cannot be unpacked."),
            code="testset_unreadable",
            found=str(error)[:200] or type(error).__name__,
            expected=_("a tar (plain, gz, xz) or a zip of the folder with manifest.csv"),
            what_to_do=_("`assay testset push FOLDER` makes one."),
            field="archive",
        ) from error


def room_in(folder: Path) -> int:
    """How many bytes may be unpacked here: what the disk holds beyond what is always kept free."""
    return min(MOST_BYTES, max(0, shutil.disk_usage(folder).free - settings.UPLOAD_KEEP_FREE_BYTES))


def tar_members(archive: BinaryIO, *, most_bytes: int) -> Iterator[tuple[str, Readable | None]]:
    """Name and content of each member. A folder has none. Written out because Debian 12's Python has no extraction filters."""
    count = total = 0
    with tarfile.open(fileobj=archive, mode="r|*") as tar:
        for member in tar:
            count, total = count + 1, total + member.size
            refuse_too_much(count, total, most_bytes=most_bytes)
            if not (member.isreg() or member.isdir()):
                raise no_file(member.name)
            yield member.name, None if is_left_behind(member.name) else tar.extractfile(member)


def zip_members(archive: BinaryIO, *, most_bytes: int) -> Iterator[tuple[str, Readable | None]]:
    """The same of a zip. What an operating system adds is left out. Sizes are counted as they come, whatever a header says."""
    with zipfile.ZipFile(archive) as packed:
        total = 0

        def counted(size: int) -> None:
            nonlocal total
            total += size
            refuse_too_much(0, total, most_bytes=most_bytes)

        members = packed.infolist()
        refuse_too_much(len(members), 0, most_bytes=most_bytes)
        for member in members:
            name = member.filename.replace("\\", "/")
            kind = (member.external_attr >> 16) & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise no_file(name)
            if member.flag_bits & ENCRYPTED:
                raise InvalidError(
                    _("The archive is encrypted."),
                    found=name[:200],
                    expected=_("a zip without a password"),
                    field="archive",
                )
            if member.is_dir() or is_left_behind(name):
                yield name, None
            else:
                with packed.open(member) as content:
                    yield name, Counted(content, counted)


class Counted:
    """A stream that tells how much was read of it."""

    def __init__(self, stream: Readable, count: Callable[[int], None]) -> None:
        self.stream, self.count = stream, count

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        piece = self.stream.read(size)
        self.count(len(piece))
        return piece


def refuse_too_much(count: int, total: int, *, most_bytes: int) -> None:
    """A bomb, or more than the disk holds."""
    if count > MOST_MEMBERS or total > most_bytes:
        raise InvalidError(
            _("The test set is too large."),
            found=_("%(count)s files, %(total)s bytes") % {"count": count, "total": total},
            expected=_("at most %(count)s files, %(total)s bytes") % {"count": MOST_MEMBERS, "total": most_bytes},
            field="archive",
        )


def no_file(name: str) -> InvalidError:
    """The refusal of a link, a pipe or a device."""
    return InvalidError(
        _("The test set holds something that is no file."), found=name[:200], expected=_("regular files and folders")
    )


def write_member(*, name: str, content: Readable | None, folder: Path) -> None:
    """Write one member, with our own mode and owner."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise InvalidError(
            _("The test set holds a path that leads outside it."),
            found=name[:200],
            expected=_("relative paths"),
            field="archive",
        )
    path = folder / inside
    if content is None:
        if not is_left_behind(inside):
            path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(content, target, PIECE_BYTES)


def top_of(folder: Path) -> Path:
    """Where the manifest lies: people pack a folder as often as what is in it."""
    while not (folder / FILE_NAME).is_file():
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
            break
        folder = entries[0]
    return folder


def server_folder(path: str, *, challenge_slug: str) -> Path:
    """A folder that operators put on the server for this challenge. Raises InvalidError where it is none, or leads elsewhere."""
    if not settings.TESTSET_FOLDER:
        raise InvalidError(
            _("This installation takes no test sets from its own disk."),
            what_to_do=_("Upload an archive, or ask the operators to set ASSAY_TESTSET_FOLDER."),
            field="server_folder",
        )
    home = Path(settings.TESTSET_FOLDER) / challenge_slug
    parts = PurePosixPath(path).parts
    found = home.joinpath(*parts)
    is_inside = "\0" not in path and ".." not in parts and not path.startswith("/")
    if not is_inside or not found.is_dir() or found.resolve() != home.resolve().joinpath(*parts):
        raise InvalidError(
            _("There is no such folder on the server."),
            found=path[:200],
            expected=_("a folder in %(home)s") % {"home": f"{challenge_slug}/"},
            what_to_do=_("Ask the operators to put it there."),
            field="server_folder",
        )
    for entry in (found, *found.rglob("*")):
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            raise no_file(str(entry.relative_to(home)))
    return found


def server_folders(challenge_slug: str) -> list[str]:
    """The folders that lie on the server for this challenge, by name."""
    home = Path(settings.TESTSET_FOLDER) / challenge_slug if settings.TESTSET_FOLDER else None
    if home is None or not home.is_dir():
        return []
    return sorted(entry.name for entry in home.iterdir() if entry.is_dir() and not entry.is_symlink())
