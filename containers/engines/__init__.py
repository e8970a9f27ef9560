"""The port: what `containers` asks of a container engine, and nothing more.

`docker`, `podman`, `apptainer`, `slurm` and `kubernetes` have the real ones, `fake.FakeEngine` is scripted. The same contract tests run
against all of them. Bodies are the JSON documents of the engine's HTTP API (`POST /containers/create`), as
`sandbox.arguments.container_body` makes them. Docker reads them, the others translate them, and tests compare them with committed files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

__all__ = [
    "OWNER_LABEL",
    "STORES_LABEL",
    "WALL_LABEL",
    "ContainerBody",
    "ContainerState",
    "Engine",
    "EngineFacts",
    "ImageFacts",
    "Measured",
    "OwnedContainer",
]

OWNER_LABEL = "assay.owner"
"""`<installation>/<node>`: which agent made this container. Several may share one engine; each touches only its own."""

WALL_LABEL = "assay.wall-seconds"
"""The time limit, for engines that end a container on another machine by themselves."""

STORES_LABEL = "assay.stores"
"""Bytes and files that the output may hold, and bytes of the writable working directory, separated by spaces: for the same engines."""

ContainerBody = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What the runner has to know about the engine before it can use it well."""

    version: str
    cpu_count: int
    memory_bytes: int
    cgroup_version: int
    cgroup_driver: str
    architecture: str = "amd64"
    open_files: int = 2**31
    """The host's hard limit: an engine without CAP_SYS_RESOURCE cannot give a container more."""
    has_volumes: bool = True
    """Keeps volumes in memory while a container of ours holds them. Where not, output that cannot be capped is watched."""
    is_batch: bool = False
    """A batch system chooses the machine, its processors and its GPUs: nothing of this machine is measured or handed out."""
    is_scripted: bool = False
    """A double: nothing is enforced, so plain folders do and no cgroup is looked for."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """The parts of an image's configuration that flow into a container unless they are overridden."""

    image_id: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    home: str = ""
    """The image's ENV HOME."""
    volumes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of the environment variables the image sets."""
    bytes: int = 0
    layers: frozenset[str] = frozenset()
    """What the engine keeps once for all images that have it, by the hash of its content."""

    @classmethod
    def of_config(
        cls, config: Mapping[str, Any], *, image_id: str, size: int, layers: frozenset[str] = frozenset()
    ) -> "ImageFacts":
        """From an image's `config` object (OCI image specification), where absent and null mean the same."""
        variables = {name: value for name, _, value in (line.partition("=") for line in config.get("Env") or ())}
        return cls(
            image_id=image_id,
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            working_dir=config.get("WorkingDir") or "",
            user=config.get("User") or "",
            home=variables.get("HOME", ""),
            volumes=tuple(sorted(config.get("Volumes") or ())),
            labels=tuple(sorted(config.get("Labels") or ())),
            variables=tuple(sorted(variables)),
            bytes=size,
            layers=layers,
        )


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """What the engine says about a container, with the daemon's own timestamps."""

    is_running: bool
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    is_out_of_memory: bool = False
    is_waiting: bool = False
    """Asked to start, and a batch system has not begun it yet: this wait is not the container's time."""
    is_lost: bool = False
    """It ended by no doing of its own: its machine failed, or somebody took it away."""
    process_id: int = 0
    error: str = ""

    @property
    def wall_seconds(self) -> float:
        """From start to end by the daemon's clock; 0 when it never started or has not ended."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return max(0.0, (self.finished_at - self.started_at).total_seconds())

    @property
    def startup_seconds(self) -> float:
        """From creation to start by the daemon's clock."""
        if self.started_at is None:
            return 0.0
        return max(0.0, (self.started_at - self.created_at).total_seconds())


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured where the container ran, by an engine that runs it elsewhere."""

    samples: tuple[tuple[float, int, float], ...]
    """Seconds since its start, bytes that cannot be dropped, processor seconds."""
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class OwnedContainer:
    """A container that carries an owner's label."""

    container_id: str
    name: str


class Engine(Protocol):
    """A container engine. Every method may raise `EngineUnreachable`. Refusals are `EngineRefused` and its kind."""

    def facts(self) -> EngineFacts:
        """About the engine itself. Asked once per run, cheap."""

    def life(self) -> int:
        """Another number whenever the engine ended and came back since this was last asked, however quickly."""

    def image_facts(self, image_id: str) -> ImageFacts:
        """About one image; `ImageAbsent` when it is not here."""

    def create(self, *, name: str, body: ContainerBody) -> str:
        """Create, never pull, never start. Returns the container ID; `NameTaken`, `ImageAbsent`."""

    def start(self, container_id: str) -> None:
        """Start; `StartRefused` when the engine could not."""

    def state(self, container_id: str) -> ContainerState:
        """The state now."""

    def kill(self, container_id: str) -> None:
        """SIGKILL. A container that has ended already is no error."""

    def remove(self, container_id: str) -> None:
        """Kill, remove with its anonymous volumes, and return once it is gone. A missing container is no error."""

    def read_log(self, container_id: str, *, max_bytes: int) -> bytes:
        """Standard output and error, interleaved. The middle is left out above `max_bytes`."""

    def logged_memory_kill(self, container_id: str) -> bool:
        """Whether the engine's event log has an OOM kill in this (ended) container, which its state may have missed."""

    def usage_of(self, container_id: str) -> Measured | None:
        """What this engine measured itself. Nothing where the runner reads the cgroup on this machine."""

    def containers_of(self, owner: str) -> list[OwnedContainer]:
        """All containers, running or not, whose owner label is exactly this."""

    def create_volume(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """A named volume of the engine's `local` driver."""

    def remove_volume(self, name: str) -> None:
        """Remove a named volume. A missing one is no error."""

    def volumes_of(self, owner: str) -> list[str]:
        """Names of all volumes whose owner label is exactly this."""

    def read_archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """A tar stream of `path`. Only for containers that run OUR program: never for a submission's."""

    def load_image(self, archive: Path) -> None:
        """Load an archive that intake has written. Never an uploaded one: those can replace tags."""

    def import_image(self, *, root_archive: bytes, entrypoint: tuple[str, ...], tag: str) -> str:
        """Make a one-layer image of our own from a tar of its files. Returns its ID."""

    def image_ids(self) -> set[str]:
        """IDs of all images present."""

    def remove_image(self, image_id: str) -> None:
        """Remove one image by ID. A missing one is no error."""
