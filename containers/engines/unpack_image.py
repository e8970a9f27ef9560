"""Unpack an image archive that intake has written into a folder. A program of its own: `python unpack_image.py FOLDER <archive`.

It knows nothing but the standard library, and runs in a process of its own for two reasons. It changes its root folder to the one it
unpacks into, so that no link in a layer can lead anywhere else. And the agent has threads, which must not be forked.

The layers' digests are compared with the configuration, and the configuration's digest is the image's ID. Kept are files, folders,
links and FIFOs with their owners (as root) and modes. Left out are devices, extended attributes and set-user-ID bits, which no
container of ours may use and which must not lie about on a host.
"""

import contextlib
import ctypes
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
MOUNT_POINTS = ("/dev", "/etc", "/proc", "/sys", "/tmp")  # noqa: S108  inside the image
CLONE_NEWUSER = 0x10000000
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
OWN_BITS_OF_A_FOLDER = 0o700
OWN_BITS_OF_A_FILE = 0o600
IS_ROOT = os.geteuid() == 0
"""Root of the machine: the root of a namespace for one user cannot give files away."""


class Refused(Exception):
    """The archive is not what it says, or cannot be unpacked here."""


class Section(io.RawIOBase):
    """One member of the archive as a stream that counts its bytes into a digest."""

    def __init__(self, file: io.BufferedReader, *, start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes. Nothing at the end."""
        left = self._end - self._at
        wanted = left if size < 0 else min(size, left)
        self._file.seek(self._at)
        data = self._file.read(wanted)
        self._at += len(data)
        self.digest.update(data)
        return data

    def drain(self) -> str:
        """Read what is left. The digest of the whole."""
        while self.read(CHUNK_BYTES):
            pass
        return self.digest.hexdigest()


def unpack(archive: io.BufferedReader, folder: Path) -> tuple[str, int]:
    """Unpack into `folder`, which becomes this process's root. Returns the configuration's text and the bytes written."""
    with tarfile.open(fileobj=archive, mode="r:") as outer:
        members = {member.name: member for member in outer.getmembers()}
        manifest = json.loads(_text(outer, members["manifest.json"]))
        if len(manifest) != 1:
            raise Refused(f"found {len(manifest)} images in the archive; expected one")
        config_text = _text(outer, members[manifest[0]["Config"]])
    layers = [members[name] for name in manifest[0]["Layers"]]
    diff_ids = json.loads(config_text)["rootfs"]["diff_ids"]
    if len(layers) != len(diff_ids):
        raise Refused(f"found {len(layers)} layers; the configuration names {len(diff_ids)}")
    _make_root(folder)
    written = 0
    for member, diff_id in zip(layers, diff_ids, strict=True):
        section = Section(archive, start=member.offset_data, size=member.size)
        with tarfile.open(fileobj=section, mode="r|") as layer:
            written += _apply(layer)
        if (found := f"sha256:{section.drain()}") != diff_id:
            raise Refused(f"a layer has the digest {found}; expected {diff_id}")
    _make_places()
    return config_text, written


def unpack_tree(tree: BinaryIO, folder: Path) -> int:
    """Unpack one plain tar of files, one of ours."""
    _make_root(folder)
    with tarfile.open(fileobj=tree, mode="r|") as layer:
        written = _apply(layer)
    _make_places()
    return written


def _make_places() -> None:
    """Where a runtime mounts something of its own. Other engines make these folders in every container. Here it is done once."""
    for place in map(Path, MOUNT_POINTS):
        if not place.is_symlink():
            place.mkdir(parents=True, exist_ok=True)


def _text(outer: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = outer.extractfile(member)
    if file is None:
        raise Refused(f"{member.name} is no file")
    return file.read().decode()


def _make_root(folder: Path) -> None:
    """Nothing outside `folder` can be named from here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
        if libc.unshare(CLONE_NEWUSER) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise Refused(f"unpacking without root needs user namespaces, and this machine refuses them: {reason}")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    os.chroot(folder)
    os.chdir("/")


def _apply(layer: tarfile.TarFile) -> int:
    """One layer on top of what is there."""
    written = 0
    folders: list[tuple[Path, float]] = []
    fresh: set[Path] = set()
    for entry in layer:
        path = _inside(entry.name)
        if path.name == OPAQUE:
            _empty(path.parent, fresh=fresh)
        elif path.name.startswith(WHITEOUT):
            _remove(path.with_name(path.name.removeprefix(WHITEOUT)))
        elif path.name:
            written += _place(layer, entry, path, folders=folders)
            fresh.add(path)
    for path, modified in reversed(folders):
        with contextlib.suppress(OSError):
            os.utime(path, (modified, modified), follow_symlinks=False)
    return written


def _inside(name: str) -> Path:
    """The path that an entry names, from the root folder, which has no parent."""
    return Path("/", os.path.normpath(f"/{name}").lstrip("/"))


def _place(layer: tarfile.TarFile, entry: tarfile.TarInfo, path: Path, *, folders: list[tuple[Path, float]]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (entry.isdir() and _is_folder(path)):
        _remove(path)
    if entry.isdir():
        path.mkdir(exist_ok=True)
        folders.append((path, entry.mtime))
        _own(path, entry, least=OWN_BITS_OF_A_FOLDER)
    elif entry.isreg():
        return _write(layer, entry, path)
    elif entry.issym():
        path.symlink_to(entry.linkname)
        _give(path, entry)
    elif entry.islnk():
        os.link(_inside(entry.linkname), path, follow_symlinks=False)
    elif entry.isfifo():
        os.mkfifo(path)
        _own(path, entry, least=OWN_BITS_OF_A_FILE)
    return 0


def _write(layer: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> int:
    source = layer.extractfile(entry)
    if source is None:
        raise Refused(f"{entry.name} has no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    _own(path, entry, least=OWN_BITS_OF_A_FILE)
    os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)
    return entry.size


def _own(path: Path, entry: tarfile.TarInfo, *, least: int) -> None:
    """Owner first: changing it clears bits of the mode. Without root everything is ours, and we have to be able to read and remove it."""
    _give(path, entry)
    mode = entry.mode & 0o777 if entry.isreg() else entry.mode & 0o1777
    path.chmod(mode if IS_ROOT else mode | least)


def _give(path: Path, entry: tarfile.TarInfo) -> None:
    if IS_ROOT:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)


def _empty(folder: Path, *, fresh: set[Path]) -> None:
    """Hide what lower layers have in a folder. What this layer has put there already stays."""
    if _is_folder(folder):
        for path in list(folder.iterdir()):
            if path not in fresh:
                _remove(path)


def main(arguments: list[str]) -> int:
    """Print what was unpacked as JSON; 1 with a sentence where it was refused."""
    folder = Path(arguments[0])
    is_tree = arguments[1:] == ["--tree"]
    os.umask(0o022)
    try:
        if is_tree:
            config_text, written = "", unpack_tree(sys.stdin.buffer, folder)
        else:
            config_text, written = unpack(open(sys.stdin.fileno(), "rb", closefd=False), folder)  # noqa: SIM115  the program's own input
    except (Refused, tarfile.TarError, OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    json.dump({"config": config_text, "bytes": written}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
