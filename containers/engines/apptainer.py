"""The third real engine: Apptainer, a program without a service. What a service would keep is kept in a folder.

    images/           see `image_folders.py`
    containers/NAME/  one container: what was asked (`container.json`), the plan, the state and the log of `container_launcher.py`
    volumes/NAME.json

A container's folder appears by one rename, so its name is the mutex that the port promises. The launcher outlives the agent, as a
container of Docker does, and the next agent that opens this engine finds it by its label. Durations are the launcher's, by a clock that
only counts.
"""

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from containers.engines import (
    OWNER_LABEL,
    ContainerBody,
    ContainerState,
    EngineFacts,
    ImageFacts,
    Measured,
    OwnedContainer,
    container_launcher,
)
from containers.engines.apptainer_arguments import Ground, environment_script, filter_text, launch_plan
from containers.engines.container_launcher import CGROUPS, OwnCgroup, kill_all
from containers.engines.image_folders import ImageFolders
from containers.engines.volume_names import NAME, VolumeNames
from containers.errors import ContainerStuck, EngineRefused, EngineUnreachable, NameTaken, StartRefused

LAUNCHER = Path(container_launcher.__file__)
SETUP_SECONDS = 300.0
REMOVAL_SECONDS = 60.0
LEFT_OUT = b"\n[... %d bytes left out ...]\n"
HOST_FILES_OF_CGROUP_V2 = "cgroup.controllers"
GPUS = Path("/proc/driver/nvidia/gpus")


def usual_folder() -> Path:
    """Where images and containers lie: the system's place for root, the user's own for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/assay/apptainer")
    return Path.home() / ".local" / "share" / "assay" / "apptainer"


class ApptainerEngine:
    """Implements `containers.engines.Engine`. `base_url` is the program, where it is not `apptainer` on the PATH."""

    def __init__(self, *, base_url: str | None = None, folder: Path | None = None) -> None:
        self.program = base_url or "apptainer"
        self.folder = folder or usual_folder()
        self.images = ImageFolders(self.folder)
        self.volumes = VolumeNames(self.folder)
        self._version = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held."""

    def life(self) -> int:
        """There is no service that could end."""
        return 1

    def facts(self) -> EngineFacts:
        """Of this machine, and the program's version, which is asked once."""
        if not self._version:
            self._version = version_of(self.program)
        return EngineFacts(
            version=self._version,
            cpu_count=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cgroup_version=cgroup_version(),
            cgroup_driver="cgroupfs" if may_limit() else "none",
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            has_volumes=False,
        )

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the doctor asks, in Docker's words."""
        facts = self.facts()
        limits = may_limit()
        info = {
            "ServerVersion": facts.version,
            "Driver": "folders",
            "CgroupVersion": str(facts.cgroup_version),
            "MemoryLimit": limits,
            "PidsLimit": limits,
            "CPUSet": limits,
            "SwapLimit": facts.cgroup_version == 2 or (CGROUPS / "memory" / "memory.memsw.limit_in_bytes").exists(),
            "Rootless": os.geteuid() != 0,
            "SecurityOptions": ["name=seccomp"],
            "DockerRootDir": str(self.folder if self.folder.exists() else Path("/")),
        }
        return info, {"Components": []}

    # ---- images ----------------------------------------------------------------------------------------------------

    def image_facts(self, image_id: str) -> ImageFacts:
        """From the configuration that intake has written."""
        return self.images.facts(image_id)

    def image_ids(self) -> set[str]:
        """Of all folders."""
        return self.images.ids()

    def load_image(self, archive: Path) -> None:
        """Unpack it."""
        self.images.load(archive)

    def import_image(self, *, root_archive: bytes, entrypoint: tuple[str, ...], tag: str) -> str:
        """Unpack a tar of ours."""
        return self.images.load_tree(root_archive, entrypoint=entrypoint, tag=tag)

    def remove_image(self, image_id: str) -> None:
        """Refused while a container of this engine runs on it, as other engines do."""
        with contextlib.suppress(KeyError):
            used = {json.loads(path.read_text())["body"]["Image"] for path in self._all("container.json")}
            if image_id in used:
                raise EngineRefused(f"A container uses the image {image_id}.")
        self.images.remove(image_id)

    # ---- containers ------------------------------------------------------------------------------------------------

    def create(self, *, name: str, body: ContainerBody) -> str:
        """Write the plan down. Nothing is started."""
        if not NAME.fullmatch(name):
            raise EngineRefused(
                f"found the name {name[:80]!r}; expected letters, digits, dots, hyphens and underscores"
            )
        final = self.folder / "containers" / name
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=final.parent))
        try:
            self._write(fresh, final=final, name=name, body=body)
            fresh.rename(final)
        except OSError as error:
            if final.exists():
                raise NameTaken(f"The container name {name} is already in use.") from error
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return name

    def _write(self, fresh: Path, *, final: Path, name: str, body: ContainerBody) -> None:
        ground = self._ground(body, folder=final)
        mark = f"assay-{secrets.token_hex(16)}"
        plan = launch_plan(name=name, body=body, ground=ground, mark=mark)
        fresh.chmod(0o711)
        for folder in ("env", "empty"):
            (fresh / folder).mkdir(mode=0o755)
        (fresh / "nothing").touch(mode=0o444)
        (fresh / "env" / "99-assay.sh").write_text(environment_script(body, ground=ground, mark=mark), encoding="utf-8")
        (fresh / "seccomp.json").write_text(filter_text(body.get("HostConfig", {})), encoding="ascii")
        (fresh / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        document = {"name": name, "created_at": time.time(), "body": body}
        (fresh / "container.json").write_text(json.dumps(document), encoding="utf-8")
        for private in ("plan.json", "container.json"):
            (fresh / private).chmod(0o600)

    def _ground(self, body: ContainerBody, *, folder: Path) -> Ground:
        image_id = str(body["Image"])
        facts = self.images.facts(image_id)
        masked = [path for path in body.get("HostConfig", {}).get("MaskedPaths", []) if Path(path).exists()]
        return Ground(
            folder=folder,
            image=self.images.rootfs(image_id),
            image_environment=self.images.environment(image_id),
            entrypoint=facts.entrypoint,
            command=facts.command,
            working_dir=facts.working_dir,
            is_root=os.geteuid() == 0,
            cgroup_version=cgroup_version(),
            has_cgroup=may_limit(),
            masked=tuple(masked),
            masked_folders=frozenset(path for path in masked if Path(path).is_dir()),
            volumes=self.volumes.folders(),
            gpu_devices=gpu_devices(),
            program=self.program,
        )

    def start(self, container_id: str) -> None:
        """Returns once the program runs, or has run. Raises StartRefused with Apptainer's own words."""
        folder = self._found(container_id)
        command = [sys.executable, "-I", "-S", str(LAUNCHER), str(folder)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, timeout=SETUP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill(container_id)
            raise EngineRefused(f"The container was not set up within {SETUP_SECONDS:.0f} s.") from error
        state = self._state(folder)
        if done.returncode != 0 and "started_at" not in state:
            why = str(state.get("error") or done.stderr.decode(errors="replace")[-600:] or "no message")
            raise StartRefused(f"Apptainer did not start the container: {why}")

    def state(self, container_id: str) -> ContainerState:
        """What the launcher has written. One that has died without saying how the container ended leaves 255 and an error."""
        folder = self._found(container_id)
        document = json.loads((folder / "container.json").read_text(encoding="utf-8"))
        state = self._state(folder)
        started = state.get("started_at")
        has_ended = "finished_at" in state
        is_abandoned = started is not None and not has_ended and not is_alive(int(state["launcher"]))
        if is_abandoned:  # it may have ended between our two looks
            state = self._state(folder)
            has_ended = "finished_at" in state
            is_abandoned = not has_ended
        started_at = None if started is None else moment(started)
        wall = timedelta(seconds=float(state.get("wall_seconds", 0.0)))
        is_running = started is not None and not has_ended and not is_abandoned
        is_lost = is_abandoned or (started is not None and bool(state.get("is_broken")))
        return ContainerState(
            is_running=is_running,
            created_at=moment(document["created_at"]),
            started_at=started_at,
            finished_at=None if started_at is None or is_running else started_at + wall,
            exit_code=None if is_running else int(state.get("exit_code", 255 if is_lost else 0)),
            is_out_of_memory=bool(state.get("memory_kills")) and not is_running,
            is_lost=is_lost,
            process_id=int(state.get("process", 0)) if is_running else 0,
            error="the launcher ended before its container" if is_abandoned else str(state.get("error", "")),
        )

    def kill(self, container_id: str) -> None:
        """SIGKILL to everybody in the container. The launcher does it, and this process where the launcher has died."""
        folder = self._found(container_id)
        self._kill(folder, state=self._state(folder))

    def _kill(self, folder: Path, *, state: Mapping[str, Any]) -> None:
        launcher = int(state.get("launcher", 0))
        if launcher and "finished_at" not in state and is_alive(launcher):
            with contextlib.suppress(ProcessLookupError):
                os.kill(launcher, signal.SIGTERM)
        elif (cgroup := self._cgroup(folder)) is not None:
            kill_all(cgroup)

    def remove(self, container_id: str) -> None:
        """Kill, wait for the launcher, then the cgroup and the folder go."""
        folder = self.folder / "containers" / container_id
        if not NAME.fullmatch(container_id) or not folder.is_dir():
            return
        give_up_at = time.monotonic() + REMOVAL_SECONDS
        while is_alive(int((state := self._state(folder)).get("launcher", 0))) and "finished_at" not in state:
            self._kill(folder, state=state)
            if time.monotonic() > give_up_at:
                raise ContainerStuck(f"Still there {REMOVAL_SECONDS:.0f} s after its removal was ordered.")
            time.sleep(0.02)
        if (cgroup := self._cgroup(folder)) is not None:
            if not kill_all(cgroup):
                raise ContainerStuck("Processes of the container survived SIGKILL.")
            cgroup.remove()
        self._forget(folder)

    def _forget(self, folder: Path) -> None:
        forgotten = folder.with_name(f".old-{secrets.token_hex(8)}")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(forgotten)
        shutil.rmtree(forgotten, ignore_errors=True)

    def read_log(self, container_id: str, *, max_bytes: int) -> bytes:
        """A quarter from the beginning, the rest from the end."""
        folder = self._found(container_id)
        parts = [folder / name for name in ("log.head", "log.tail.2", "log.tail.1", "log.tail.0")]
        whole = b"".join(path.read_bytes() for path in parts if path.exists())
        counted = folder / "log.left_out"
        left_out = int(counted.read_text()) if counted.exists() else 0
        if len(whole) <= max_bytes and not left_out:
            return whole
        head_bytes = max_bytes // 4
        tail = whole[max(head_bytes, len(whole) - (max_bytes - head_bytes)) :]
        left_out += len(whole) - min(len(whole), head_bytes) - len(tail)
        return whole[:head_bytes] + LEFT_OUT % left_out + tail

    def logged_memory_kill(self, container_id: str) -> bool:
        """The state has it: the cgroup outlives the container."""
        return self.state(container_id).is_out_of_memory

    def usage_of(self, container_id: str) -> Measured | None:  # noqa: ARG002  the port's signature
        """The runner reads the cgroup itself. See `slurm.py`."""
        return None

    def containers_of(self, owner: str) -> list[OwnedContainer]:
        """By our label."""
        found = []
        for path in self._all("container.json"):
            with contextlib.suppress(FileNotFoundError):  # removed at this moment
                document = json.loads(path.read_text(encoding="utf-8"))
                if document["body"].get("Labels", {}).get(OWNER_LABEL) == owner:
                    found.append(OwnedContainer(container_id=document["name"], name=document["name"]))
        return found

    # ---- volumes ---------------------------------------------------------------------------------------------------

    def create_volume(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """A name for a folder of the host."""
        self.volumes.create(name=name, options=options, labels=labels)

    def remove_volume(self, name: str) -> None:
        """The name is forgotten. The folder is not ours."""
        self.volumes.remove(name)

    def volumes_of(self, owner: str) -> list[str]:
        """By our label."""
        return self.volumes.of(owner)

    def read_archive(self, container_id: str, path: str) -> Iterator[bytes]:
        """Refused: output is always a folder of the host."""
        raise EngineRefused(f"Apptainer gives no archives (asked for {path} of {container_id}).")

    def _all(self, name: str) -> list[Path]:
        return sorted((self.folder / "containers").glob(f"[!.]*/{name}"))

    def _found(self, container_id: str) -> Path:
        folder = self.folder / "containers" / container_id
        if not NAME.fullmatch(container_id) or not (folder / "container.json").exists():
            raise EngineRefused(f"No such container: {container_id}")
        return folder

    def _state(self, folder: Path) -> dict[str, Any]:
        try:
            return dict(json.loads((folder / "state.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def _cgroup(self, folder: Path) -> OwnCgroup | None:
        with contextlib.suppress(FileNotFoundError):
            plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
            return OwnCgroup(plan["cgroup"]) if plan["cgroup"] else None
        return None


def version_of(program: str) -> str:
    """What the program calls itself. Raises EngineUnreachable where it is not there."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineUnreachable(f"No answer from the program {program!r}: {error}. Is Apptainer installed?") from error
    return done.stdout.split()[-1]


def cgroup_version() -> int:
    """2 where the kernel has one hierarchy for all controllers."""
    return 2 if (CGROUPS / HOST_FILES_OF_CGROUP_V2).exists() else 1


def may_limit() -> bool:
    """Whether we may make cgroups here."""
    place = CGROUPS if cgroup_version() == 2 else CGROUPS / "memory"
    return os.geteuid() == 0 and os.access(place, os.W_OK)


def gpu_devices(folder: Path = GPUS) -> dict[str, str]:
    """GPU UUID → its file in /dev, from what the driver says in /proc."""
    found = {}
    for path in folder.glob("*/information"):
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if "GPU UUID" in facts and "Device Minor" in facts:
            found[facts["GPU UUID"]] = f"/dev/nvidia{facts['Device Minor']}"
    return found


def is_alive(process: int) -> bool:
    """Whether this launcher still runs. A number that somebody else has got meanwhile is no launcher."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return LAUNCHER.name.encode() in command


def moment(seconds: float) -> datetime:
    """A time of the launcher's."""
    return datetime.fromtimestamp(seconds, UTC)
