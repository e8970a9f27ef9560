"""What the doctor has to know about this machine, as plain values, and how it is asked: the impure half of `doctor`."""

import ctypes
import gzip
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from containers.engines import Engine
from containers.engines.choice import EngineChoice, EngineKind
from containers.engines.cluster_api import SERVICE_ACCOUNT
from containers.engines.podman import default_socket
from containers.errors import EngineError
from containers.machine.guards import Guard, observe_guards
from containers.sandbox.workspace import OutputStore, best_store

STA_UNSYNC = 0x40
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """Everything the judgement needs, as plain values."""

    engine: EngineKind = EngineKind.DOCKER
    engine_error: str = ""
    has_engine_socket: bool = True
    info: Mapping[str, Any] = field(default_factory=dict)
    """The engine's `GET /info`."""
    guards: tuple[Guard, ...] = ()
    """What was seen of a container of ours, where the engine's guards depend on who runs it."""
    guards_error: str = ""
    runtime: str = "runc"
    runtime_version: str = ""
    runc_changelog: str = ""
    toolkit_version: str = ""
    has_gpu: bool = False
    has_gpu_names: bool = False
    """Whether the GPUs are written down for the Container Device Interface, which Podman reads."""
    store: OutputStore = OutputStore.LOOP
    missing_programs: tuple[str, ...] = ()
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    """Free space by what it is needed for."""
    engine_clock_ahead_seconds: float = 0.0
    server_clock_ahead_seconds: float | None = None
    """`None` where no server was asked."""
    is_clock_synchronised: bool = True
    is_server: bool = False
    """Serves the portal too: its time of day closes phases and dates receipts."""
    has_swap: bool = False
    ignores_sockets: bool = False
    """Whether the kernel's command line switches off the accounting of socket memory."""


def observe(*, scratch: Path, choice: EngineChoice) -> HostFacts:
    """Ask the machine. Takes well under a second. Changes nothing."""
    asked_at = datetime.now(UTC)
    guards: tuple[Guard, ...] = ()
    guards_error = ""
    try:
        with choice.open() as engine:
            info, version = engine.documents()
            if choice.kind is EngineKind.APPTAINER:
                guards, guards_error = _guards(engine)
        error = ""
    except EngineError as problem:
        info, version, error = {}, {}, str(problem)
    answered_at = datetime.now(UTC)
    runtime, runtime_version = _runtime(version)
    return HostFacts(
        engine=choice.kind,
        engine_error=error,
        has_engine_socket=_is_there(choice),
        guards=guards,
        guards_error=guards_error,
        info=info,
        runtime=runtime,
        runtime_version=runtime_version,
        runc_changelog=_changelog("runc"),
        toolkit_version=_toolkit_version(),
        has_gpu=Path("/proc/driver/nvidia/version").exists(),
        has_gpu_names=any(Path(folder, "nvidia.yaml").exists() for folder in CDI_FOLDERS),
        store=best_store(),
        missing_programs=_missing_programs(choice.kind),
        free_bytes=_free_bytes({"images": Path(info.get("DockerRootDir") or "/"), "runs": scratch}),
        engine_clock_ahead_seconds=clock_ahead_seconds(
            str(info.get("SystemTime", "")), asked_at=asked_at, answered_at=answered_at
        ),
        is_clock_synchronised=_is_clock_synchronised(),
        has_swap=len(Path("/proc/swaps").read_text().splitlines()) > 1,
        ignores_sockets="cgroup.memory=nosocket" in Path("/proc/cmdline").read_text(errors="replace"),
    )


def _is_there(choice: EngineChoice) -> bool:
    """Whether there is a socket where the engine should listen, or its program."""
    if choice.kind is EngineKind.KUBERNETES:
        return bool(choice.socket) or SERVICE_ACCOUNT.exists()
    if choice.kind.is_program:
        return shutil.which("sbatch" if choice.kind is EngineKind.SLURM else choice.socket or "apptainer") is not None
    socket = choice.socket or (default_socket() if choice.kind is EngineKind.PODMAN else "/var/run/docker.sock")
    return Path(socket.removeprefix("unix://")).exists()


def _guards(engine: Engine) -> tuple[tuple[Guard, ...], str]:
    try:
        return tuple(observe_guards(engine)), ""
    except (EngineError, OSError) as error:
        return (), str(error)


def _runtime(version: Mapping[str, Any]) -> tuple[str, str]:
    """Name and version of the program that starts containers: "runc" in Docker's words, "OCI Runtime (crun)" in Podman's."""
    for component in version.get("Components") or []:
        match = re.search(r"\b(runc|crun)\b", str(component.get("Name", "")))
        if match:
            text = str(component.get("Version", ""))
            return match[1], text.partition(" version ")[2].split("\n")[0] or text
    return "runc", ""


def _missing_programs(kind: EngineKind) -> tuple[str, ...]:
    """Packages whose programs are called by name and are not there."""
    missing = () if shutil.which("mkfs.ext4") else ("e2fsprogs",)
    has_init = shutil.which("catatonit") or Path("/usr/libexec/podman/catatonit").exists()
    return missing if has_init or kind is not EngineKind.PODMAN else (*missing, "catatonit")


def _changelog(package: str) -> str:
    path = Path(f"/usr/share/doc/{package}/changelog.Debian.gz")
    return gzip.decompress(path.read_bytes()).decode(errors="replace") if path.exists() else ""


def _toolkit_version() -> str:
    program = shutil.which("nvidia-container-cli") or shutil.which("nvidia-ctk")
    if program is None:
        return ""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"\d+\.\d+\.\d+", text)
    return match[0] if match else ""


def _free_bytes(folders: Mapping[str, Path]) -> dict[str, int]:
    return {what: shutil.disk_usage(folder).free for what, folder in folders.items() if folder.exists()}


def clock_ahead_seconds(text: str, *, asked_at: datetime, answered_at: datetime) -> float:
    """How far a clock that was read between two moments is outside them: a slow answer makes no clock wrong."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6})\d*(Z|[+-]\d\d:\d\d)$", text)
    if match is None:
        return 0.0
    read = datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
    nearest = min(max(read, asked_at), answered_at)
    return (read - nearest).total_seconds()


def _is_clock_synchronised() -> bool:
    """The kernel knows: `adjtimex` without changing anything."""
    buffer = (ctypes.c_char * 512)()
    ctypes.CDLL(None).adjtimex(ctypes.byref(buffer))
    status_offset = 5 * ctypes.sizeof(ctypes.c_long)  # modes (padded), offset, freq, maxerror, esterror
    return not ctypes.c_int.from_buffer(buffer, status_offset).value & STA_UNSYNC
