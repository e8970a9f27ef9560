"""What to run and what came of it: the only vocabulary the platform and this room share. Frozen, plain values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers.usage_record import Curve, FailedCase, RoundUsage, Usage, UsageInvalid
from containers.verdicts import Verdict

__all__ = [
    "MEBIBYTE",
    "MODEL_FOLDER",
    "CollectedOutput",
    "Curve",
    "FailedCase",
    "Limits",
    "OutputProblem",
    "OutputSpec",
    "ReadOnlyFolder",
    "RoundUsage",
    "RunResult",
    "RunSpec",
    "Usage",
    "UsageInvalid",
    "is_model_folder",
]

MEBIBYTE = 2**20
MODEL_FOLDER = "/opt/ml/model"
"""Where a model that is handed in beside an image lies unless its author says otherwise: grand-challenge's place."""
LONGEST_MODEL_FOLDER = 200
_FOLDER = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,8}")
_NO_PLACE = ("proc", "sys", "dev", "etc")


def is_model_folder(folder: str) -> bool:
    """Whether a model may lie there: an absolute path of plain names, two at least, outside the system's folders."""
    is_plain = len(folder) <= LONGEST_MODEL_FOLDER and _FOLDER.fullmatch(folder) is not None
    return is_plain and folder.split("/")[1] not in _NO_PLACE


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one container may consume. Reaching a limit has a stated consequence: see the table in
    `docs/reference/sandbox.md`.
    """

    wall_seconds: float = 600.0
    memory_bytes: int = 8 * 2**30
    shm_bytes: int = 1 * 2**30
    tmp_bytes: int = 2 * 2**30
    cpus: int = 1
    gpus: int = 0
    pids: int = 512
    output_bytes: int = 1 * 2**30
    output_inodes: int = 1024
    log_bytes: int = 1 * 2**20
    working_dir_bytes: int = 4 * 2**30
    """Size of the writable copy of the image's working directory; profiles `legacy` and `image-user` only."""

    @classmethod
    def from_resources(cls, resources: Mapping[str, Any]) -> "Limits":
        """From a protocol's `resources`, which count in MiB. What they do not say stays at its default."""
        given: dict[str, Any] = {
            f"{name}_bytes": int(resources[f"{name}_mb"]) * MEBIBYTE
            for name in ("memory", "shm", "tmp", "output")
            if f"{name}_mb" in resources
        }
        plain = {name: resources[name] for name in ("wall_seconds", "cpus", "gpus", "pids") if name in resources}
        return cls(**given, **plain)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One file the algorithm has to write: `path` relative to the output mount, exact case.

    A last part of `*.suffix` is the one file with this suffix in its folder, whatever its name; `*` alone counts the suffixes of an
    image on grand-challenge (`collect.SOCKET_SUFFIXES`).
    """

    name: str
    path: str
    max_bytes: int = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class ReadOnlyFolder:
    """A folder of ours that a container sees, staged like its input, at `mount`."""

    source: Path
    mount: str


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One container: an image by ID, a read-only input folder, a capped output, limits. Nothing about cases or
    challenges.
    """

    name: str
    image_id: str
    input_dir: Path
    outputs: tuple[OutputSpec, ...]
    limits: Limits = field(default_factory=Limits)
    command: tuple[str, ...] | None = None
    """Replaces the image's entry point and command when the phase fixes one, such as ("sh", "predict.sh")."""
    environment: dict[str, str] = field(default_factory=dict)
    input_mount: str = "/input"
    input_aliases: tuple[str, ...] = ()
    """Where the input is found too: images of challenges that had several mounts."""
    output_mount: str = "/output"
    read_only: tuple[ReadOnlyFolder, ...] = ()
    """What a metric image sees besides its input: the references. A submitted algorithm sees nothing more."""
    working_dir: str | None = None
    profile: str = "default"
    """`default`, `legacy` (uid 0 without capabilities, writable copy of the working directory), `image-user` (the image's own USER
    and HOME, writable copy of the working directory), or `loopback` (may open network sockets to itself)."""
    gpu_uuids: tuple[str, ...] = ()
    gpu_memory_tolerance_bytes: int = 0
    """GPU memory up to here costs nothing in the area under the memory-time curve (FLARE22: 2048 MiB)."""
    cpu_ids: tuple[int, ...] = ()
    """Host CPUs to pin to; empty lets the runner choose `limits.cpus` of them."""


@dataclass(frozen=True, kw_only=True)
class CollectedOutput:
    """One output file taken out of the container's reach: a regular file we own, of this size."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class OutputProblem:
    """Why one expected file could not be taken."""

    name: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How one container ended."""

    verdict: Verdict
    reason: str = ""
    """Closed-vocabulary detail, such as "missing", "symlink", "engine_unreachable"."""
    exit_code: int | None = None
    outputs: tuple[CollectedOutput, ...] = ()
    problems: tuple[OutputProblem, ...] = ()
    """One per expected file that is not in `outputs`; a container that sees many cases may fail some of them only."""
    names_found: tuple[str, ...] = ()
    """Some names in the output, made harmless to show. For an author's own machine and public cases only: they are chosen
    by the algorithm and would carry hidden images out."""
    log: bytes = b""
    """Interleaved stdout and stderr, capped at `limits.log_bytes`; untrusted bytes."""
    usage: Usage = field(default_factory=Usage)
