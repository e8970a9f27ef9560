"""The second real engine: Podman, through its service socket (`systemctl enable --now podman.socket`).

Containers are created through Podman's own interface (`podman_specification` says why). Everything else Podman serves in
Docker's words, so `DockerEngine` does it. What differs is written down here, and the same contract tests hold for both.
"""

import contextlib
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

from containers.engines import ContainerBody
from containers.engines.docker import ANSWER_SECONDS, DockerEngine, translated
from containers.engines.podman_specification import podman_specification, seccomp_text
from containers.errors import EngineRefused, ImageAbsent, NameTaken

API = "v4.0.0/libpod"
"""The oldest of Podman's own interfaces that has every field we use."""
REFUSALS: dict[str, type[EngineRefused]] = {"is already in use": NameTaken, "image not known": ImageAbsent}
"""What Podman calls an internal error though it is none."""


def default_socket() -> str:
    """Where Podman listens: root's service, or the user's own."""
    if os.geteuid() == 0:
        return "unix:///run/podman/podman.sock"
    return f"unix:///run/user/{os.getuid()}/podman/podman.sock"


class PodmanEngine(DockerEngine):
    """Implements `containers.engines.Engine`. `close` it, or use it as a context manager."""

    def __init__(self, *, base_url: str | None = None, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.socket = base_url or default_socket()
        super().__init__(base_url=self.socket, answer_seconds=answer_seconds)
        self._filters = tempfile.TemporaryDirectory(prefix="assay-podman-")

    def close(self) -> None:
        """Give the sockets and the folder of filters back."""
        super().close()
        self._filters.cleanup()

    def create(self, *, name: str, body: ContainerBody) -> str:
        """`POST /libpod/containers/create`: never pulls."""
        specification = podman_specification(
            name=name, body=body, seccomp_file=self._seccomp_file(body), ceilings=host_ceilings()
        )
        address = f"{self._api.base_url}/{API}/containers/create"
        try:
            with translated(absent=ImageAbsent, conflict=NameTaken):
                answer = self._api._post(address, json=specification)
                return str(self._api._result(answer, json=True)["Id"])
        except EngineRefused as error:
            kind = next((kind for words, kind in REFUSALS.items() if words in str(error)), type(error))
            raise kind(str(error)) from error

    def kill(self, container_id: str) -> None:
        """As under Docker. To Podman a frozen container cannot be killed, and one that has ended already is an internal error."""
        with contextlib.suppress(EngineRefused), translated():  # gone already
            if self._api.inspect_container(container_id)["State"]["Paused"]:
                self._api.unpause(container_id)
        try:
            super().kill(container_id)
        except EngineRefused:
            if self.state(container_id).is_running:
                raise

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As under Docker, with the limits that Podman may really set: a user's service has the controllers it was given."""
        info, version = super().documents()
        with translated():
            answer = self._api._get(f"{self._api.base_url}/{API}/info")
            controllers = self._api._result(answer, json=True)["host"]["cgroupControllers"] or []
        limits = {"MemoryLimit": "memory", "PidsLimit": "pids", "CPUSet": "cpuset"}
        return {**info, **{key: name in controllers for key, name in limits.items()}}, version

    def logged_memory_kill(self, container_id: str) -> bool:
        """Podman's event log has no such event: its record of the container, written by the process that watched it, has."""
        return self.state(container_id).is_out_of_memory

    def _seccomp_file(self, body: ContainerBody) -> str:
        """Podman reads the filter from a file while it creates the container. It lives on this machine, as we do."""
        text = seccomp_text(body)
        if not text:
            return ""
        path = Path(self._filters.name, "seccomp.json")
        path.write_text(text, encoding="ascii")
        return str(path)


def host_ceilings() -> dict[str, int]:
    """Open files and processes that Podman may grant here: its own limits, which are ours as long as one user runs both."""
    highest = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))  # Podman lowers its own to this
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return {"nofile": files, "nproc": highest if processes == resource.RLIM_INFINITY else min(highest, processes)}
