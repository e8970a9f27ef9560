"""Scratch space for one run. Input is opaque and read-only, output cannot outgrow its cap, and nothing is left behind.

Three stores for the output, in order of strength:

LOOP       an ext4 file system in a file whose blocks are reserved, mounted nodev,nosuid,noexec: a hard limit on bytes
           *and* inodes, on disk. Needs root. The file system is made a little larger than the limit, so "went over the
           limit" is a fact that can be read from it afterwards instead of a guess from an error message.
KEEPER     a sized tmpfs volume of the engine. A tmpfs lives as long as some container holds it, so a second container
           that runs a program of ours keeps it past the end of the submission. Hard as well, but its pages count
           towards the algorithm's memory. For people in the `docker` group.
DIRECTORY  a plain folder. The largest-file limit and the watchdog, which looks once a second, are all there is: the
           last resort, and what the scripted engine uses.

A workspace holds a lock on its own folder for as long as its process lives. A folder whose lock is free belongs to
nobody any more, and `sweep` unmounts and removes it: no list of runs is needed to know what is left over.
"""

import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from containers.errors import DiskFull, WorkspaceError
from containers.sandbox.arguments import capacity_bytes

MOUNT_SECONDS = 300
BUSY_SECONDS = 60.0
"""How long a mount may stay busy: an engine that was told to stop while it started a container still holds its files for a moment."""
INODE_SLACK = 16
"""ext4 keeps eleven inodes for itself; the rest tells "reached the limit" from "went over it"."""


class OutputStore(StrEnum):
    """Where the output of a run lies, strongest first."""

    LOOP = "loop"
    KEEPER = "keeper"
    DIRECTORY = "directory"


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """What an output store holds: blocks in use, the sum of what the files claim to hold, and their number."""

    bytes: int
    inodes: int


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folders of one run. `key` is random: it is all that a container can learn from its mount table."""

    key: str
    root: Path
    store: OutputStore
    input_dir: Path
    output_dir: Path
    working_dir_copy: Path
    read_only: tuple[Path, ...] = ()
    empty: Occupancy = Occupancy(bytes=0, inodes=0)

    def occupancy(self) -> Occupancy:
        """What the output holds now, without what an empty store holds."""
        now = (
            file_system_occupancy(self.output_dir)
            if self.store is OutputStore.LOOP
            else folder_occupancy(self.output_dir)
        )
        return Occupancy(bytes=now.bytes - self.empty.bytes, inodes=now.inodes - self.empty.inodes)

    def seal(self) -> None:
        """Make the output read-only once the container is gone: what is judged is what was left."""
        if self.store is OutputStore.LOOP:
            _call("mount", "-o", "remount,ro", str(self.output_dir))


@functools.cache
def best_store() -> OutputStore:
    """The strongest store this process can make by itself. Tried once: root inside a container often may not mount."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        return OutputStore.KEEPER
    with tempfile.TemporaryDirectory(prefix="assay-loop-") as folder:
        mounted = Path(folder, "mounted")
        try:
            _mount_loop(image=Path(folder, "image"), at=mounted, limit=2**20, inodes=INODE_SLACK, uid=0)
            _call("umount", str(mounted))
        except WorkspaceError:
            return OutputStore.KEEPER
    return OutputStore.LOOP


@contextlib.contextmanager
def workspace(
    *,
    scratch: Path,
    store: OutputStore,
    input_dir: Path,
    output_bytes: int,
    output_inodes: int,
    uid: int,
    working_dir_bytes: int = 0,
    read_only: Sequence[Path] = (),
) -> Iterator[Workspace]:
    """A workspace under `scratch/runs`, removed at the end whatever happens."""
    key = secrets.token_hex(8)
    root = scratch / "runs" / key
    with _locked_folder(root):
        try:
            staged = _stage_input(source=input_dir, destination=root / "input")
            others = tuple(
                _stage_input(source=folder, destination=root / f"read-only-{number}")
                for number, folder in enumerate(read_only)
            )
            output = root / "output"
            working_copy = root / "work"
            empty = Occupancy(bytes=0, inodes=0)
            if store is OutputStore.LOOP:
                _mount_loop(image=root / "output.img", at=output, limit=output_bytes, inodes=output_inodes, uid=uid)
                empty = file_system_occupancy(output)
                if working_dir_bytes:
                    _mount_loop(
                        image=root / "work.img",
                        at=working_copy,
                        limit=working_dir_bytes,
                        inodes=0,
                        uid=uid,
                        is_executable=True,
                    )
            else:
                _make_folder(output, uid=uid)
                _make_folder(working_copy, uid=uid)
            yield Workspace(
                key=key,
                root=root,
                store=store,
                input_dir=staged,
                output_dir=output,
                working_dir_copy=working_copy,
                read_only=others,
                empty=empty,
            )
        finally:
            remove_workspace(root)


def sweep(scratch: Path) -> list[str]:
    """Remove the workspaces of processes that no longer live, here and one folder below. Returns their keys."""
    swept = []
    for root in sorted([*scratch.glob("runs/*"), *scratch.glob("*/runs/*")]):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _lock(root):
            remove_workspace(root)
            swept.append(root.name)
    return swept


def remove_workspace(root: Path) -> None:
    """Unmount what is mounted below `root` and remove it. Names inside are hostile: only descriptors are followed."""
    for mounted in _mounts_below(root):
        _unmount(mounted)
    shutil.rmtree(root, onerror=_make_removable)
    if root.exists():
        raise WorkspaceError(f"{root} could not be removed: something in it is still in use.")


def file_system_occupancy(mount_point: Path) -> Occupancy:
    """Blocks and inodes in use in the file system mounted here: constant time, however many files there are."""
    facts = os.statvfs(mount_point)
    return Occupancy(bytes=(facts.f_blocks - facts.f_bfree) * facts.f_frsize, inodes=facts.f_files - facts.f_ffree)


def folder_occupancy(folder: Path, *, most_entries: int = 200_000) -> Occupancy:
    """The same for a plain folder, by walking it without following links. Stops counting after `most_entries`."""
    total = entries = 0
    for _, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in [*folders, *names]:
            entries += 1
            with contextlib.suppress(OSError):
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                total += max(facts.st_blocks * 512, facts.st_size if stat.S_ISREG(facts.st_mode) else 0)
        if entries > most_entries:
            break
    return Occupancy(bytes=total, inodes=entries)


def _stage_input(*, source: Path, destination: Path) -> Path:
    """The input under an opaque path: hard links where the file can be shared, copies otherwise. Regular files only."""
    try:
        destination.mkdir(mode=0o755)
        for folder, folders, names in os.walk(source, followlinks=False):
            here = destination / Path(folder).relative_to(source)
            for name in folders:
                (here / name).mkdir(mode=0o755)
            for name in names:
                _share(Path(folder) / name, here / name)
    except OSError as error:
        raise WorkspaceError(f"The input could not be staged: {error.strerror}.") from error
    return destination


def _share(source: Path, destination: Path) -> None:
    facts = source.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise WorkspaceError("The input holds something that is neither a file nor a folder.")
    if facts.st_mode & stat.S_IROTH:
        with contextlib.suppress(OSError):  # another file system, or links are not allowed: copy
            destination.hardlink_to(source)
            return
    shutil.copyfile(source, destination)
    destination.chmod(0o444)


def _make_folder(folder: Path, *, uid: int) -> None:
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, uid, uid)
    else:
        folder.chmod(0o777)


def _mount_loop(*, image: Path, at: Path, limit: int, inodes: int, uid: int, is_executable: bool = False) -> None:
    """`is_executable` is for copies of the image's own files: a program or a compiled module may lie beside the script."""
    at.mkdir(mode=0o700)
    _reserve(image, size_bytes=capacity_bytes(limit))
    count = ["-N", str(inodes + INODE_SLACK)] if inodes else []
    options = f"root_owner={uid}:{uid},lazy_itable_init=1,nodiscard"
    features = ["-O", "^has_journal,^resize_inode", "-m", "0", "-E", options]
    _call("mkfs.ext4", "-q", "-F", "-b", "4096", *features, *count, str(image))
    execution = "exec" if is_executable else "noexec"
    _call(
        "mount", "-t", "ext4", "-o", f"loop,nodev,nosuid,{execution},noatime", str(image), str(at)
    )  # named: nobody guesses
    (at / "lost+found").rmdir()


def _unmount(mounted: Path) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return _call("umount", str(mounted))
        except WorkspaceError as error:
            if "busy" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _reserve(file: Path, *, size_bytes: int) -> None:
    """A file whose blocks are ours already: a disk that fills up during a run must not fail the participant."""
    try:
        _call("fallocate", "-l", str(size_bytes), str(file))
    except WorkspaceError as error:
        if shutil.disk_usage(file.parent).free < size_bytes:
            raise DiskFull(f"{size_bytes >> 20} MiB are needed for an output; free up space.") from error
        with file.open("wb") as sparse:  # a file system that cannot reserve: the free space just seen has to do
            sparse.truncate(size_bytes)


def _call(*command: str) -> None:
    """Run one of the host's file-system tools. Its error text is for operators only."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=MOUNT_SECONDS)
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise WorkspaceError(f"{command[0]} ended with {error.returncode}: {message}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkspaceError(f"{command[0]} did not run: {error}") from error


def _mounts_below(root: Path) -> list[Path]:
    """Mount points below `root`, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [Path(line.split(" ")[4].encode().decode("unicode_escape")) for line in lines]
    return sorted((point for point in points if root in point.parents), reverse=True)


@contextlib.contextmanager
def _locked_folder(root: Path) -> Iterator[None]:
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    try:
        root.mkdir(mode=0o711)
    except OSError as error:
        raise WorkspaceError(f"No scratch space: {error.strerror}.") from error
    with _lock(root):
        yield


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _make_removable(_function: object, path: str, _error: object) -> None:
    """For `rmtree` as an ordinary user: a folder with mode 000 is still ours to open up."""
    with contextlib.suppress(OSError):
        for folder in (Path(path).parent, Path(path)):
            if not folder.is_symlink() and folder.is_dir():
                folder.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
        Path(path).unlink(missing_ok=True)
