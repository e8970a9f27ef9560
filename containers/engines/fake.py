"""A scripted engine for tests: no container, no daemon, the same port.

`FakeEngine(script)`: the script is called when a container is started, with what the algorithm would see (`FakeCall`:
the input folder, the output folder to write into, image, environment), and returns how it ends (`FakeEnding`). Time
passes on the clock it is given, so a run of an hour takes no time with a scripted clock.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from containers.clock import Clock, SystemClock
from containers.engines import OWNER_LABEL, ContainerBody, ContainerState, EngineFacts, ImageFacts, OwnedContainer
from containers.errors import EngineRefused, ImageAbsent, NameTaken, StartRefused

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class FakeCall:
    """What a started container sees."""

    name: str
    image_id: str
    input_dir: Path
    read_only: tuple[Path, ...]
    output_dir: Path
    environment: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FakeEnding:
    """How it ends: after `seconds`, unless it is killed before."""

    exit_code: int = 0
    seconds: float = 0.0
    is_out_of_memory: bool = False
    log: bytes = b""
    start_error: str = ""


Script = Callable[[FakeCall], FakeEnding]


@dataclass(kw_only=True)
class _Container:
    container_id: str
    name: str
    body: ContainerBody
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int = 0
    ending: FakeEnding = field(default_factory=FakeEnding)


class FakeEngine:
    """Implements `containers.engines.Engine`. `images` are the IDs it has. Empty means any."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        images: Mapping[str, ImageFacts] | None = None,
        clock: Clock | None = None,
        facts: EngineFacts | None = None,
    ) -> None:
        self._script: Script = script or (lambda _: FakeEnding())
        self.clock: Clock = clock or SystemClock()
        self.images = None if images is None else dict(images)
        self.containers: dict[str, _Container] = {}
        self.volumes: dict[str, Mapping[str, str]] = {}
        self.bodies: list[ContainerBody] = []
        self.restarts = 0
        self._facts = facts or EngineFacts(
            version="fake",
            cpu_count=8,
            memory_bytes=64 * 2**30,
            cgroup_version=2,
            cgroup_driver="fake",
            is_scripted=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held."""

    def life(self) -> int:
        """As often as a test has had it restart."""
        return self.restarts

    def facts(self) -> EngineFacts:
        """As given."""
        return self._facts

    def image_facts(self, image_id: str) -> ImageFacts:
        """As given. Any image when none were given."""
        if self.images is None:
            return ImageFacts(image_id=image_id)
        if image_id not in self.images:
            raise ImageAbsent(f"No such image: {image_id}")
        return self.images[image_id]

    def create(self, *, name: str, body: ContainerBody) -> str:
        """Names are unique, images have to be here."""
        self.image_facts(body["Image"])
        if any(container.name == name for container in self.containers.values()):
            raise NameTaken(f"The container name {name} is already in use.")
        container_id = f"{len(self.bodies):064x}"
        self.bodies.append(body)
        self.containers[container_id] = _Container(
            container_id=container_id, name=name, body=body, created_at=self.clock.monotonic()
        )
        return container_id

    def start(self, container_id: str) -> None:
        """Calls the script. What it writes is there at once, the container runs on for its `seconds`."""
        container = self._get(container_id)
        container.ending = self._script(_call(container))
        if container.ending.start_error:
            raise StartRefused(container.ending.start_error)
        container.started_at = self.clock.monotonic()
        container.exit_code = container.ending.exit_code

    def state(self, container_id: str) -> ContainerState:
        """As of the clock's now."""
        container = self._get(container_id)
        self._settle(container)
        is_running = container.started_at is not None and container.finished_at is None
        return ContainerState(
            is_running=is_running,
            created_at=_moment(container.created_at) or EPOCH,
            started_at=_moment(container.started_at),
            finished_at=_moment(container.finished_at),
            exit_code=None if is_running else container.exit_code,
            is_out_of_memory=container.ending.is_out_of_memory and not is_running,
        )

    def kill(self, container_id: str) -> None:
        """Ends it now with 137."""
        container = self._get(container_id)
        self._settle(container)
        if container.started_at is not None and container.finished_at is None:
            container.finished_at = self.clock.monotonic()
            container.exit_code = 137

    def remove(self, container_id: str) -> None:
        """Forgets it."""
        self.containers.pop(container_id, None)

    def read_log(self, container_id: str, *, max_bytes: int) -> bytes:
        """The end of the scripted log."""
        return self._get(container_id).ending.log[-max_bytes:]

    def logged_memory_kill(self, container_id: str) -> bool:
        """As scripted."""
        return self._get(container_id).ending.is_out_of_memory

    def usage_of(self, container_id: str) -> None:
        """Nothing is measured."""

    def containers_of(self, owner: str) -> list[OwnedContainer]:
        """By label."""
        return [
            OwnedContainer(container_id=container.container_id, name=container.name)
            for container in self.containers.values()
            if container.body.get("Labels", {}).get(OWNER_LABEL) == owner
        ]

    def create_volume(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Remembers its labels and options."""
        self.volumes[name] = {**options, **labels}

    def remove_volume(self, name: str) -> None:
        """Forgets it."""
        self.volumes.pop(name, None)

    def volumes_of(self, owner: str) -> list[str]:
        """By label."""
        return [name for name, labels in self.volumes.items() if labels.get(OWNER_LABEL) == owner]

    def read_archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """Nothing to read."""
        raise EngineRefused(f"The scripted engine keeps no files (asked for {path} of {container_id}).")

    def load_image(self, archive: Path) -> None:
        """Takes anything: the ID that is expected is the file's stem, `sha256:` left out."""
        if self.images is not None:
            image_id = f"sha256:{archive.stem}"
            self.images[image_id] = ImageFacts(image_id=image_id)

    def import_image(self, *, root_archive: bytes, entrypoint: tuple[str, ...], tag: str) -> str:
        """Remembers the tag as an ID."""
        if not root_archive:
            raise EngineRefused("An image needs files; found an empty archive.")
        if self.images is not None:
            self.images[tag] = ImageFacts(image_id=tag, entrypoint=entrypoint)
        return tag

    def image_ids(self) -> set[str]:
        """As given."""
        return set(self.images or ())

    def remove_image(self, image_id: str) -> None:
        """Forgets it."""
        if self.images is not None:
            self.images.pop(image_id, None)

    def _get(self, container_id: str) -> _Container:
        if container_id not in self.containers:
            raise EngineRefused(f"No such container: {container_id}")
        return self.containers[container_id]

    def _settle(self, container: _Container) -> None:
        if container.started_at is None or container.finished_at is not None:
            return
        ends_at = container.started_at + container.ending.seconds
        if self.clock.monotonic() >= ends_at:
            container.finished_at = ends_at


def _call(container: _Container) -> FakeCall:
    mounts = {mount["Target"]: Path(mount["Source"]) for mount in container.body["HostConfig"]["Mounts"]}
    read_only = {mount["Target"]: mount["ReadOnly"] for mount in container.body["HostConfig"]["Mounts"]}
    inputs = [path for target, path in mounts.items() if read_only[target]]
    outputs = [path for target, path in mounts.items() if not read_only[target]]
    return FakeCall(
        name=container.name,
        image_id=container.body["Image"],
        input_dir=inputs[0],
        read_only=tuple(inputs[1:]),
        output_dir=outputs[0],
        environment=tuple(container.body["Env"]),
        command=tuple(container.body.get("Entrypoint") or ()),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)
