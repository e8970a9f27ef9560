"""Take output we do not trust: only the expected files, only regular ones, by descriptors, never through a link.

Every folder on the way is opened relative to its parent's descriptor with O_NOFOLLOW, the file itself with O_NONBLOCK
as well (a FIFO would hang a plain open), and what was opened is looked at, not what was named. The copy is counted
while it is made, because a size read beforehand is the attacker's. What the bytes mean is somebody else's work, in
another process.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from containers.log_text import readable
from containers.spec import CollectedOutput, OutputProblem, OutputSpec
from containers.verdicts import Reason, Verdict

CHUNK_BYTES = 1 << 20
SOCKET_SUFFIXES = (".mha", ".tif", ".tiff")
MOST_NAMES = 10_000
"""Looked at in a folder where the name of the expected file is free."""
NAMES_SHOWN = 20
NAME_CHARACTERS_SHOWN = 80
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutputRefused(Exception):
    """One expected file that cannot be taken. Translated by `collect_outputs`."""

    def __init__(self, *, verdict: Verdict, reason: Reason) -> None:
        super().__init__(verdict, reason)
        self.verdict = verdict
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What was taken, and why the rest was not, both in the order of the specification."""

    outputs: tuple[CollectedOutput, ...]
    problems: tuple[OutputProblem, ...]

    @property
    def first_problem(self) -> tuple[Verdict, Reason] | None:
        """The one that names the verdict."""
        return (self.problems[0].verdict, Reason(self.problems[0].reason)) if self.problems else None


def collect_outputs(*, output_dir: Path, expected: tuple[OutputSpec, ...], destination: Path) -> Collection:
    """Copy each expected file to `destination/<position>`. Whatever else lies in the output is ignored."""
    destination.mkdir(parents=True, exist_ok=True, mode=0o700)
    taken: list[CollectedOutput] = []
    problems: list[OutputProblem] = []
    for position, output in enumerate(expected):
        try:
            taken.append(_take(output_dir=output_dir, output=output, destination=destination / str(position)))
        except OutputRefused as refusal:
            problems.append(OutputProblem(name=output.name, verdict=refusal.verdict, reason=refusal.reason))
    return Collection(outputs=tuple(taken), problems=tuple(problems))


def names_found(output_dir: Path) -> tuple[str, ...]:
    """Some of the names at the top of the output, for readers who may see them: an author whose file is not where it should be."""
    with os.scandir(output_dir) as entries:
        found = sorted(readable(os.fsencode(entry.name)) for entry in islice(entries, NAMES_SHOWN))
    return tuple(name[:NAME_CHARACTERS_SHOWN].replace("\n", "\u240a") for name in found)


def _take(*, output_dir: Path, output: OutputSpec, destination: Path) -> CollectedOutput:
    with _opened(output_dir=output_dir, path=PurePosixPath(output.path)) as descriptor:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.NOT_A_FILE)
        if facts.st_nlink != 1:
            raise OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.HARD_LINK)
        if facts.st_size > output.max_bytes:
            raise OutputRefused(verdict=Verdict.OUTPUT_TOO_LARGE, reason=Reason.FILE_TOO_LARGE)
        digest = _copy(descriptor=descriptor, bytes_expected=facts.st_size, destination=destination)
    return CollectedOutput(name=output.name, path=destination, bytes=facts.st_size, sha256=digest)


@contextlib.contextmanager
def _opened(*, output_dir: Path, path: PurePosixPath) -> Iterator[int]:
    """A descriptor of `path` below `output_dir`, reached without following any link."""
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"Output paths are relative to the output mount and stay below it; found {str(path)!r}.")
    with contextlib.ExitStack() as stack:
        here = os.open(output_dir, FOLDER_FLAGS)
        stack.callback(os.close, here)
        for position, part in enumerate(path.parts):
            is_last = position == len(path.parts) - 1
            if is_last and part.startswith("*"):
                part = _only_name(folder=here, suffixes=(part[1:],) if part[1:] else SOCKET_SUFFIXES)
            try:
                here = os.open(part, FILE_FLAGS if is_last else FOLDER_FLAGS, dir_fd=here)
            except OSError as error:
                raise _refusal(parent=here, name=part) from error
            stack.callback(os.close, here)
        yield here


def _only_name(*, folder: int, suffixes: tuple[str, ...]) -> str:
    """The only name in the folder that ends so, in any case of letters. What it names is looked at by whoever opens it."""
    with os.scandir(folder) as entries:
        found = [entry.name for entry in islice(entries, MOST_NAMES) if entry.name.lower().endswith(suffixes)]
    if not found:
        raise OutputRefused(verdict=Verdict.OUTPUT_MISSING, reason=Reason.MISSING)
    if len(found) > 1:
        raise OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.NOT_ONE_FILE)
    return found[0]


def _refusal(*, parent: int, name: str) -> OutputRefused:
    """Why a name could not be opened, told by what it is rather than by the error number, which differs between
    kernels.
    """
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return OutputRefused(verdict=Verdict.OUTPUT_MISSING, reason=Reason.MISSING)
    except OSError:
        return OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.UNREADABLE)
    if stat.S_ISLNK(mode):
        return OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.SYMLINK)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.UNREADABLE)
    return OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.NOT_A_FILE)


def _copy(*, descriptor: int, bytes_expected: int, destination: Path) -> str:
    digest = hashlib.sha256()
    left = bytes_expected
    with destination.open("xb") as target:
        while left and (chunk := os.read(descriptor, min(CHUNK_BYTES, left))):
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
    if left or os.read(descriptor, 1):
        destination.unlink()
        raise OutputRefused(verdict=Verdict.OUTPUT_INVALID, reason=Reason.CHANGED_WHILE_READ)
    return digest.hexdigest()
