"""Untrusted file in, our own file out: the parent's side of the limited child."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evaluator.errors import EvaluatorError, InvalidVolume, Reason
from evaluator.volumes.canonical import CanonicalFile, describe
from evaluator.volumes.geometry import Grid, GridTolerance
from evaluator.volumes.header import refuse
from evaluator.volumes.strict import ReaderLimits, open_untrusted

MAX_ANSWER_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What the process that looks at one untrusted file may consume."""

    wall_seconds: float = 120.0
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
    convert_in_child("evaluator.volumes.child", request=request, source=source, destination=destination, limits=limits)
    return describe(destination)


def convert_in_child(
    module: str, *, request: dict[str, Any], source: Path, destination: Path, limits: ChildLimits
) -> None:
    """Let a limited process running `module` read the untrusted `source` and write `destination`, whole or not at all."""
    with open_untrusted(source, limits=ReaderLimits(file_bytes=limits.file_bytes)) as opened:
        if os.fstat(opened.fileno()).st_nlink != 1:
            raise refuse(Reason.NOT_A_REGULAR_FILE, found="a hard link", expected="a regular file with one name")
        is_written = False
        try:
            with destination.open("wb") as target:
                _ask_child(module, request, source=opened, target=target, wall_seconds=limits.wall_seconds)
            is_written = True
        finally:
            if not is_written:
                destination.unlink(missing_ok=True)


def _ask_child(
    module: str, request: dict[str, Any], *, source: BinaryIO, target: BinaryIO, wall_seconds: float
) -> None:
    """Let a child convert `source` into `target`; InvalidVolume when it refuses or does not survive."""
    descriptors = (source.fileno(), target.fileno())
    request |= {"source": descriptors[0], "target": descriptors[1]}
    command = [sys.executable, "-I", "-m", module]
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
    except subprocess.TimeoutExpired:
        raise refuse(
            Reason.READER_LIMIT, found=f"a file that takes over {wall_seconds:g} s to read", expected="a smaller one"
        ) from None
    if ended.returncode < 0:
        raise refuse(Reason.READER_LIMIT, found="a file its reader did not survive", expected="a smaller one")
    if ended.returncode > 0 or len(ended.stdout) > MAX_ANSWER_BYTES:
        raise EvaluatorError(f"the volume reader failed: {ended.stderr.decode(errors='replace')[-2000:]}")
    answer = json.loads(ended.stdout)
    if "reason" in answer:
        raise InvalidVolume(reason=Reason(answer["reason"]), found=answer["found"], expected=answer["expected"])
