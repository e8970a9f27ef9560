"""The container engines there are, by name: the one place that chooses. `ASSAY_ENGINE` is read by the commands, not here."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from containers.engines.apptainer import ApptainerEngine
from containers.engines.docker import DockerEngine
from containers.engines.kubernetes import KubernetesEngine
from containers.engines.podman import PodmanEngine
from containers.engines.slurm import SlurmEngine

__all__ = ["EngineChoice", "EngineKind"]


class EngineKind(StrEnum):
    """A real engine behind the port."""

    DOCKER = "docker"
    PODMAN = "podman"
    APPTAINER = "apptainer"
    SLURM = "slurm"
    KUBERNETES = "kubernetes"

    @property
    def is_program(self) -> bool:
        """Has no service: images and containers are folders of ours, and a program is started for each container."""
        return self in (EngineKind.APPTAINER, EngineKind.SLURM)


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Which engine, and where it is. What is empty is at its usual place."""

    kind: EngineKind = EngineKind.DOCKER
    socket: str = ""
    """Where it listens; of an engine without a service, its program; of Kubernetes, its API server."""
    folder: Path | None = None
    """Where an engine without a service keeps images and containers. Machines of a cluster see it too."""
    options: str = ""
    """Words for `sbatch`, such as `--partition=gpu`, or for Kubernetes (`pod_manifest.ClusterOptions`)."""

    def open(self) -> DockerEngine | ApptainerEngine | KubernetesEngine:
        """A connection of its own, to be closed. Raises `EngineUnreachable`."""
        address = self.socket or None
        if self.kind is EngineKind.KUBERNETES:
            return KubernetesEngine(base_url=address, folder=self.folder, options=self.options)
        if self.kind is EngineKind.SLURM:
            return SlurmEngine(base_url=address, folder=self.folder, options=self.options)
        if self.kind is EngineKind.APPTAINER:
            return ApptainerEngine(base_url=address, folder=self.folder)
        return PodmanEngine(base_url=address) if self.kind is EngineKind.PODMAN else DockerEngine(base_url=address)
