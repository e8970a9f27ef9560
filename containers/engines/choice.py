"""The container engines there are, by name: the one place that chooses. `ASSAY_ENGINE` is read by the commands, not here."""

from dataclasses import dataclass
from enum import StrEnum

from containers.engines.docker import DockerEngine
from containers.engines.podman import PodmanEngine

__all__ = ["EngineChoice", "EngineKind"]


class EngineKind(StrEnum):
    """A real engine behind the port."""

    DOCKER = "docker"
    PODMAN = "podman"


CLASSES: dict[EngineKind, type[DockerEngine]] = {EngineKind.DOCKER: DockerEngine, EngineKind.PODMAN: PodmanEngine}


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Which engine, and where it listens. An empty socket is where this engine listens by itself."""

    kind: EngineKind = EngineKind.DOCKER
    socket: str = ""

    def open(self) -> DockerEngine:
        """A connection of its own, to be closed. Raises `EngineUnreachable`."""
        return CLASSES[self.kind](base_url=self.socket or None)
