"""Untrusted file in, our own file out: the parent's side of the limited child."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from evaluator.errors import EvaluatorError, InvalidVolume, Reason
from evaluator.kernel.compiler import LIBRARY
from evaluator.kernel.inflate import uses_kernel_decoder
from evaluator.kernel.library import load_kernel
from evaluator.volumes.canonical import CanonicalFile, canonical_header, describe
from evaluator.volumes.geometry import Grid, GridTolerance
from evaluator.volumes.header import refuse
from evaluator.volumes.strict import ReaderLimits, open_untrusted

MAX_ANSWER_BYTES = 1 << 16
_SWIFT = "import sys; sys.path.append(sys.argv[1]); from evaluator.volumes.swift_child import main; main(sys.argv[2])"


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What the process that looks at one untrusted file may consume."""

    wall_seconds: float = 600.0
    """A machine that needs longer for `cpu_seconds` is at fault, and not the file."""
    cpu_seconds: int = 120
    memory_bytes: int = 4 << 30
    output_bytes: int = 2 << 30
    file_bytes: int = 1 << 30
    voxels: int = 1 << 32


def canonicalise(
    *,
    source: Path,
    destination: Path,
    grid: Grid | None,
    allowed_values: frozenset[int] | None,
    channels: int = 1,
    tolerance: GridTolerance | None = None,
    limits: ChildLimits | None = None,
) -> CanonicalFile:
    """Write the untrusted volume `source` to `destination` as our own .nii.gz on `grid`, or raise InvalidVolume.

    Whatever the file does to its reader, memory, endless work or a crash, ends the child and is a reason, never our trouble.
    """
    limits = limits or ChildLimits()
    request: dict[str, Any] = {
        "grid": grid.to_json() if grid else None,
        "allowed_values": None if allowed_values is None else sorted(allowed_values),
        "channels": channels,
        "tolerance": asdict(tolerance or GridTolerance()),
        **asdict(limits),
    }
    commands = [_python("-m", "evaluator.volumes.child")]
    library = load_kernel()
    if (
        library
        and uses_kernel_decoder()
        and grid
        and channels == 1
        and all(0 <= value <= 255 for value in allowed_values or ())
    ):
        allowed = bytes(allowed_values is None or value in allowed_values | {0} for value in range(256))
        header = canonical_header(grid, channels=1, stored=np.dtype(np.uint8))
        request |= {"allowed": allowed.hex(), "header": header.hex()}
        commands.insert(0, _python("-S", "-c", _SWIFT, str(Path(__file__).parents[2]), str(LIBRARY)))
    _convert(commands, request=request, source=source, destination=destination, limits=limits)
    return describe(destination)


def convert_in_child(
    module: str, *, request: dict[str, Any], source: Path, destination: Path, limits: ChildLimits
) -> None:
    """Let a limited process running `module` read the untrusted `source` and write `destination`, whole or not at all."""
    _convert([_python("-m", module)], request=request, source=source, destination=destination, limits=limits)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-I", *arguments]


def _convert(
    commands: Sequence[list[str]], *, request: dict[str, Any], source: Path, destination: Path, limits: ChildLimits
) -> None:
    """Ask one child after the other, until one does not leave the file to the next."""
    with open_untrusted(source, limits=ReaderLimits(file_bytes=limits.file_bytes)) as opened:
        if os.fstat(opened.fileno()).st_nlink != 1:
            raise refuse(Reason.NOT_A_REGULAR_FILE, found="a hard link", expected="a regular file with one name")
        is_written = False
        try:
            with destination.open("wb") as target:
                for command in commands:
                    os.lseek(opened.fileno(), 0, os.SEEK_SET)  # children share our place in the file
                    if _ask_child(command, request, source=opened, target=target, wall_seconds=limits.wall_seconds):
                        break
            is_written = True
        finally:
            if not is_written:
                destination.unlink(missing_ok=True)


def _ask_child(
    command: list[str], request: dict[str, Any], *, source: BinaryIO, target: BinaryIO, wall_seconds: float
) -> bool:
    """Let a child convert `source` into `target`: False if it leaves it to another.

    InvalidVolume when it refuses or does not survive the file. EvaluatorError when this machine did not let it end.
    """
    import subprocess  # scoring reads our own canonical files, and starts no child

    descriptors = (source.fileno(), target.fileno())
    request |= {"source": descriptors[0], "target": descriptors[1]}
    try:
        ended = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            pass_fds=descriptors,
            env={"OPENBLAS_NUM_THREADS": "1", "MALLOC_PERTURB_": "165", "LC_ALL": "C.UTF-8"},
            cwd=os.sep,
            timeout=wall_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:  # it reads and computes: the file's part of that is bounded by processor time
        raise EvaluatorError(
            f"the volume reader did not end within {wall_seconds:g} s, nor use its processor time: this machine is too slow or too busy"
        ) from None
    if ended.returncode == -signal.SIGKILL:
        raise EvaluatorError("the volume reader was killed from outside: this machine may have no memory left")
    if ended.returncode < 0:
        raise refuse(Reason.READER_LIMIT, found="a file its reader did not survive", expected="a smaller one")
    if ended.returncode > 0 or len(ended.stdout) > MAX_ANSWER_BYTES:
        raise EvaluatorError(f"the volume reader failed: {ended.stderr.decode(errors='replace')[-2000:]}")
    answer = json.loads(ended.stdout)
    if "reason" in answer:
        raise InvalidVolume(reason=Reason(answer["reason"]), found=answer["found"], expected=answer["expected"])
    return "unsupported" not in answer
