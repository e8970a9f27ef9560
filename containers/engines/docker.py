"""Docker Engine (or Podman's Docker API) over its socket. The only file that imports docker.

It speaks the low-level API: what `sandbox.arguments` wrote reaches the engine unchanged. Errors are translated here, once.
A read that times out surfaces in three different exception types (docker-py lets requests' and urllib3's through).
All of them mean that the engine gave no answer.
"""

import contextlib
import json
import os
import re
import resource
import select
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import docker
import docker.errors
import requests
import requests.exceptions
import urllib3.exceptions

from containers.engines import OWNER_LABEL, ContainerBody, ContainerState, EngineFacts, ImageFacts, OwnedContainer
from containers.errors import (
    ContainerStuck,
    EngineRefused,
    EngineUnreachable,
    ImageAbsent,
    NameTaken,
    StartRefused,
)

VERSION = "1.41"
ANSWER_SECONDS = 60
REMOVAL_SECONDS = 120
NO_ANSWER = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    urllib3.exceptions.HTTPError,
    ConnectionError,
)
KILLED = 137
FACTS_SECONDS = 60
EVENT_SECONDS = 0.1
LATE_EVENT_SECONDS = 0.5
LEFT_OUT = b"\n[... %d bytes left out ...]\n"


class DockerEngine:
    """Implements `containers.engines.Engine`. Holds one connection pool; `close` it, or use it as a context manager.

    Unless an address is given it speaks to the engine that `DOCKER_HOST` names, as every program for Docker does.
    """

    def __init__(self, *, base_url: str | None = None, answer_seconds: float = ANSWER_SECONDS) -> None:
        address = base_url or os.environ.get("DOCKER_HOST") or None
        with translated():
            self._api = docker.APIClient(base_url=address, timeout=answer_seconds, version=VERSION)
        self._facts: tuple[float, EngineFacts] | None = None
        self._life = 0
        self._silence: requests.Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        self._end_silence()
        self._api.close()

    def life(self) -> int:
        """Told by a stream of events that nothing is ever sent through: it ends when the engine does.

        Requests do not tell. One that comes while the engine restarts may only have to wait, because the new one, or systemd for it,
        listens before it answers.
        """
        if self._silence is None or _has_ended(self._silence):
            self._end_silence()
            with translated():
                query = {"filters": json.dumps({"label": [f"{OWNER_LABEL}=nobody"]})}
                self._silence = self._api._get(f"{self._api.base_url}/v{VERSION}/events", params=query, stream=True)
            self._life += 1
        return self._life

    def _end_silence(self) -> None:
        if self._silence is not None:
            self._silence.close()
            self._silence = None

    def facts(self) -> EngineFacts:
        """From `GET /info`, a minute old at most: the engine counts all it holds for it, which takes it 6 ms."""
        if self._facts is None or time.monotonic() - self._facts[0] > FACTS_SECONDS:
            self._facts = (time.monotonic(), self._read_facts())
        return self._facts[1]

    def _read_facts(self) -> EngineFacts:
        with translated():
            info = self._api.info()
        return EngineFacts(
            version=info["ServerVersion"],
            cpu_count=info["NCPU"],
            memory_bytes=info["MemTotal"],
            cgroup_version=int(info.get("CgroupVersion", "1")),
            cgroup_driver=info["CgroupDriver"],
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],  # ours, for the daemon's, which does not say
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(info["Architecture"], info["Architecture"]),
        )

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`GET /info` and `GET /version` as they are, for the doctor."""
        with translated():
            return self._api.info(), self._api.version()

    def image_facts(self, image_id: str) -> ImageFacts:
        """From `GET /images/{id}/json`."""
        with translated(absent=ImageAbsent):
            document = self._api.inspect_image(image_id)
        return ImageFacts.of_config(
            document.get("Config") or {},
            image_id=document["Id"],
            size=document.get("Size", 0),
            layers=frozenset((document.get("RootFS") or {}).get("Layers") or ()),
        )

    def create(self, *, name: str, body: ContainerBody) -> str:
        """`POST /containers/create` never pulls."""
        with translated(absent=ImageAbsent, conflict=NameTaken):
            return str(self._api.create_container_from_config(dict(body), name=name)["Id"])

    def start(self, container_id: str) -> None:
        """`POST /containers/{id}/start`. Any refusal is a `StartRefused` with the engine's message."""
        with translated(refused=StartRefused):
            self._api.start(container_id)

    def state(self, container_id: str) -> ContainerState:
        """From `GET /containers/{id}/json`."""
        with translated():
            document = self._api.inspect_container(container_id)
        state = document["State"]
        is_running = bool(state["Running"])
        started_at = _moment(state["StartedAt"])
        has_ended = started_at is not None and not is_running
        return ContainerState(
            is_running=is_running,
            created_at=_moment(document["Created"]) or datetime.fromtimestamp(0, UTC),
            started_at=started_at,
            finished_at=_moment(state["FinishedAt"]) if has_ended else None,
            exit_code=None if is_running else int(state["ExitCode"]),
            is_out_of_memory=bool(state["OOMKilled"]),
            process_id=int(state["Pid"]),
            error=state["Error"],
        )

    def kill(self, container_id: str) -> None:
        """`POST /containers/{id}/kill`; 409 says that it is not running any more."""
        with translated(), contextlib.suppress(_Gone), _tolerating(404, 409):
            self._api.kill(container_id, signal="SIGKILL")

    def remove(self, container_id: str) -> None:
        """`DELETE …?force=1&v=1`, again while the engine says that a removal is in progress, until it is gone."""
        give_up_at = time.monotonic() + REMOVAL_SECONDS
        while True:
            with translated(), contextlib.suppress(_Gone), _tolerating(404, 409):
                self._api.remove_container(container_id, force=True, v=True)
            if not self._exists(container_id):
                return
            if time.monotonic() > give_up_at:
                raise ContainerStuck(f"Still there {REMOVAL_SECONDS} s after its removal was ordered.")
            time.sleep(0.1)

    def _exists(self, container_id: str) -> bool:
        with translated():
            try:
                self._api.inspect_container(container_id)
            except docker.errors.NotFound:
                return False
        return True

    def read_log(self, container_id: str, *, max_bytes: int) -> bytes:
        """A quarter from the beginning, the rest from the end. Never more than that in memory."""
        head, tail, total = bytearray(), bytearray(), 0
        head_bytes = max_bytes // 4
        with translated():
            for chunk in self._api.logs(container_id, stdout=True, stderr=True, stream=True, follow=False):
                total += len(chunk)
                space = head_bytes - len(head)
                head += chunk[:space]
                tail += chunk[space:]
                del tail[: max(0, len(tail) - (max_bytes - head_bytes))]
        left_out = total - len(head) - len(tail)
        return bytes(head) + (LEFT_OUT % left_out if left_out else b"") + bytes(tail)

    def logged_memory_kill(self, container_id: str) -> bool:
        """From `GET /events`, between the container's creation and a moment after its end, both by the daemon's clock.

        The kill may be logged a moment after the exit, and 137 without an explanation is given more of it. The daemon answers when
        that moment has passed.
        """
        state = self.state(container_id)
        if state.finished_at is None:
            return state.is_out_of_memory
        patience = LATE_EVENT_SECONDS if state.exit_code == KILLED else EVENT_SECONDS
        with translated():
            events = self._api.events(
                since=f"{state.created_at.timestamp():.6f}",
                until=f"{state.finished_at.timestamp() + patience:.6f}",
                filters={"container": container_id, "event": "oom"},
            )
            return any(True for _ in events)

    def usage_of(self, container_id: str) -> None:
        """The runner reads the cgroup itself."""

    def containers_of(self, owner: str) -> list[OwnedContainer]:
        """By our label, which every container of ours carries with our value, whatever its image says."""
        with translated():
            found = self._api.containers(all=True, filters={"label": f"{OWNER_LABEL}={owner}"})
        return [OwnedContainer(container_id=entry["Id"], name=entry["Names"][0].lstrip("/")) for entry in found]

    def create_volume(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """`POST /volumes/create` with the local driver."""
        with translated():
            self._api.create_volume(name=name, driver="local", driver_opts=dict(options), labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """`DELETE /volumes/{name}`."""
        with translated(), contextlib.suppress(_Gone), _tolerating(404):
            self._api.remove_volume(name)

    def volumes_of(self, owner: str) -> list[str]:
        """By our label."""
        with translated():
            found = self._api.volumes(filters={"label": f"{OWNER_LABEL}={owner}"})["Volumes"] or []
        return [entry["Name"] for entry in found]

    def read_archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """`GET /containers/{id}/archive`: the daemon walks the container's files, so only for our own programs."""
        with translated():
            chunks, _ = self._api.get_archive(container_id, path)
            yield from chunks

    def load_image(self, archive: Path) -> None:
        """`POST /images/load`, streamed."""
        with archive.open("rb") as file, translated():
            for line in self._api.load_image(file, quiet=True):
                if "error" in line:
                    raise EngineRefused(f"The engine did not load the archive: {line['error']}")

    def import_image(self, *, root_archive: bytes, entrypoint: tuple[str, ...], tag: str) -> str:
        """`POST /images/create?fromSrc=-`."""
        change = f"ENTRYPOINT {list(entrypoint)}".replace("'", '"')
        with translated():
            self._api.import_image_from_data(root_archive, repository=tag, changes=[change])
        return self.image_facts(tag).image_id

    def image_ids(self) -> set[str]:
        """Of tagged and untagged images alike."""
        with translated():
            return {entry["Id"] for entry in self._api.images(all=True)}

    def remove_image(self, image_id: str) -> None:
        """`DELETE /images/{id}?force=1`."""
        with translated(), contextlib.suppress(_Gone), _tolerating(404):
            self._api.remove_image(image_id, force=True)


class _Gone(Exception):
    """The thing is not there any more, which is what was wanted."""


@contextlib.contextmanager
def _tolerating(*codes: int) -> Iterator[None]:
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in codes:
            raise
        raise _Gone from error


@contextlib.contextmanager
def translated(
    *,
    absent: type[EngineRefused] = EngineRefused,
    conflict: type[EngineRefused] = EngineRefused,
    refused: type[EngineRefused] = EngineRefused,
) -> Iterator[None]:
    """docker-py's errors in our words; 404 and 409 mean different things to different calls."""
    try:
        yield
    except docker.errors.APIError as error:
        message = str(error.explanation or error)
        if error.status_code == requests.codes.not_found and refused is EngineRefused:
            raise absent(message) from error
        if error.status_code == requests.codes.conflict:
            raise conflict(message) from error
        raise refused(message) from error
    except (docker.errors.DockerException, *NO_ANSWER) as error:
        raise EngineUnreachable(
            f"No answer from the container engine: {error}. Is it running, and may you use it?"
        ) from error


def _has_ended(silence: requests.Response) -> bool:
    """Whether a stream through which nothing is sent can be read: then it has been closed at the other end."""
    watched = select.poll()
    watched.register(silence.raw.fileno(), select.POLLIN)
    return bool(watched.poll(0))


def _moment(text: str) -> datetime | None:
    """The daemon's nanosecond timestamp; `None` for its zero time."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
