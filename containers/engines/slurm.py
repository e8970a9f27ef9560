"""Containers as Slurm jobs: an agent on a login node, Apptainer on the compute nodes, a folder that both see.

Everything is as `apptainer.py` has it, but that the launcher runs in a job, alone or as a task of an array (`slurm_arrays.py`). What a job
asks for comes from the document. The job script is fixed lines with the path of a folder of ours, so nothing a participant wrote is ever
read by a shell.

How a container ended is asked of Slurm as well as of the launcher, because each knows half. A memory kill leaves the launcher alive and its
script ends with 0: Slurm says OUT_OF_MEMORY. A node that fails, or a job that is preempted, leaves no word of the launcher at all.
A job that waits has not begun: its wait is not the algorithm's time (`ContainerState.is_waiting`). Slurm's time limit is a second guard in
whole minutes. The launcher ends the container at the second.

A controller that does not answer says nothing about jobs, which go on without it. The last known state stands for `SILENCE_SECONDS`.
"""

import contextlib
import json
import logging
import math
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from containers.engines import STORES_LABEL, WALL_LABEL, ContainerBody, ContainerState, EngineFacts, Measured
from containers.engines.apptainer import LAUNCHER, ApptainerEngine, moment, usual_folder
from containers.engines.apptainer_arguments import Ground
from containers.engines.slurm_arrays import Line, Start, task_of
from containers.errors import EngineRefused, EngineUnreachable, StartRefused

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
SILENCE_SECONDS = 900.0
UNKNOWN_SECONDS = 20.0
LATE_WORD_SECONDS = 30.0
"""How long a shared file system may take to show what the launcher has written."""
CALL_SECONDS = 60.0
SETUP_MINUTES = 5
OWN_MEBIBYTES = 64
"""Memory of the launcher and of Apptainer themselves, which the job holds beside the algorithm."""
MEBIBYTE = 2**20
MOST_PROCESSORS = 4096

STORES = "stores"
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
GOING_ON = {"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}
OUR_FAULT = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "DEADLINE", "REVOKED"}
"""Slurm took the job away: tried again, and nobody is charged."""
SECONDS_OVER = 1.0
"""A job that Slurm ended for its time limit ran longer than the phase allows: the limit was rounded up."""


@dataclass(kw_only=True)
class Jobs:
    """What Slurm says about our jobs, asked at most once a second for all slots of an agent together. Safe in several threads."""

    environment: Mapping[str, str]
    now: Any = time.monotonic
    _states: dict[str, str] = field(default_factory=dict)
    _unknown_since: dict[str, float] = field(default_factory=dict)
    _asked_at: float = -math.inf
    _answered_at: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self, job: str, *, fresh: bool = False) -> str:
        """Slurm's word for this job. Empty where it knows none. Raises EngineUnreachable after a long silence."""
        with self._lock:
            if fresh or self.now() - self._asked_at > POLL_SECONDS or job not in self._states:
                self._ask()
            return self._states.get(job, "")

    def word(self, job: str, *, fresh: bool = False) -> str:
        """As `state`, but a job that nobody knows is taken to go on for `UNKNOWN_SECONDS`: a controller that has just started may not
        have read its jobs yet.
        """
        found = self.state(job, fresh=fresh) or self.asked_by_number(job)
        if found:
            self._unknown_since.pop(job, None)
            return found
        since = self._unknown_since.setdefault(job, self.now())
        return "" if self.now() - since > UNKNOWN_SECONDS else "RUNNING"

    def _ask(self) -> None:
        self._asked_at = self.now()
        command = ["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i|%T"]
        try:
            answer = call(command, environment=self.environment)
        except EngineUnreachable:
            if self.now() - self._answered_at > SILENCE_SECONDS:
                raise
            return
        self._answered_at = self.now()
        self._states = dict(line.strip().split("|", 1) for line in answer.splitlines() if "|" in line)

    def asked_by_number(self, job: str) -> str:
        """Slurm's word for one job, from `scontrol`, and from the accounting where there is some. Empty where neither knows it."""
        for command in (
            ["scontrol", "show", "job", job, "--oneliner"],
            ["sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format=State"],
        ):
            with contextlib.suppress(EngineRefused):
                answer = call(command, environment=self.environment)
                found = (
                    re.search(r"\bJobState=(\w+)", answer) if command[0] == "scontrol" else re.match(r"(\w+)", answer)
                )
                if found:
                    return found[1]
        return ""


def call(command: Sequence[str], *, environment: Mapping[str, str], script: str = "") -> str:
    """A command of Slurm's. Raises EngineUnreachable where the controller gives no answer, EngineRefused where it says no."""
    try:
        done = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            check=False,
            env=dict(environment),
            timeout=CALL_SECONDS,
        )
    except FileNotFoundError as error:
        raise EngineUnreachable(
            f"The program {command[0]} is not here. Is this a login node of the cluster?"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EngineUnreachable(f"{command[0]} gave no answer within {CALL_SECONDS:.0f} s.") from error
    if done.returncode == 0:
        return done.stdout
    message = done.stderr.strip()[-400:]
    kind = EngineUnreachable if any(words in message for words in SILENCE) else EngineRefused
    raise kind(f"{command[0]}: {message}")


SILENCE = (
    "Unable to contact slurm controller",
    "Connection refused",
    "Zero Bytes were transmitted",
    "Socket timed out",
    "Transport endpoint",
    "Slurm backup controller in standby",
    "Could not establish a configuration source",
    "Unable to establish control machine address",
)
"""How Slurm's programs say that the controller does not answer."""


class SlurmEngine(ApptainerEngine):
    """Implements `containers.engines.Engine`. `folder` lies on a file system that the compute nodes see under the same path.

    `options` are the operators' words for `sbatch`, such as `--partition=gpu --account=challenge`.
    """

    def __init__(self, *, base_url: str | None = None, folder: Path | None = None, options: str = "") -> None:
        super().__init__(base_url=base_url, folder=folder or usual_folder().with_name("slurm"))
        self._options = shlex.split(options)
        self._environment = slurm_environment()
        self.jobs = jobs_of(self._environment)
        self.line = line_of(self._environment)

    def facts(self) -> EngineFacts:
        """Of the cluster, as far as it matters here. What a job may have is the partition's business."""
        if not self._version:
            self._version = call(["scontrol", "--version"], environment=self._environment).split()[-1]
        return EngineFacts(
            version=self._version,
            cpu_count=MOST_PROCESSORS,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cgroup_version=1,
            cgroup_driver="slurm",
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            has_volumes=False,
            is_batch=True,
        )

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the doctor asks, in Docker's words, from `scontrol show config`."""
        config = config_of(call(["scontrol", "show", "config"], environment=self._environment))
        has_cgroups = "cgroup" in config.get("ProctrackType", "") and "cgroup" in config.get("TaskPlugin", "")
        info = {
            "ServerVersion": self.facts().version,
            "Driver": "folders",
            "CgroupVersion": "2" if "v2" in config.get("CgroupPlugin", "") else "1",
            "MemoryLimit": has_cgroups and config.get("ConstrainRAMSpace") == "yes",
            "PidsLimit": True,
            "CPUSet": has_cgroups and config.get("ConstrainCores") == "yes",
            "SwapLimit": config.get("ConstrainSwapSpace") == "yes",
            "SecurityOptions": ["name=seccomp"],
            "DockerRootDir": str(self.folder if self.folder.exists() else Path("/")),
            "Slurm": config,
        }
        return info, {"Components": []}

    def _ground(self, body: ContainerBody, *, folder: Path) -> Ground:
        """The job has its cgroup already. Whether it runs as root is the same on both sides: jobs run as who submits them."""
        ground = super()._ground(body, folder=folder)
        volumes = {name: folder / STORES / name for name in ground.volumes}
        return replace(ground, has_cgroup=False, gpu_devices={}, volumes=volumes)

    def _write(self, fresh: Path, *, final: Path, name: str, body: ContainerBody) -> None:
        stores = stores_of(body, uid_gid=str(body.get("User", "0:0")))
        super()._write(fresh, final=final, name=name, body=with_stores(body, stores=stores, folder=final))
        plan = json.loads((fresh / "plan.json").read_text(encoding="utf-8"))
        wall = float(body.get("Labels", {}).get(WALL_LABEL, 0) or 0)
        plan |= {"measures": True, "wall_seconds": wall, "stores": stores}
        (fresh / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        (fresh / "launcher.py").write_bytes(LAUNCHER.read_bytes())

    def start(self, container_id: str) -> None:
        """`sbatch`. Returns once the job is queued, alone or as a task of an array: see `slurm_arrays.py`."""
        folder = self._found(container_id)
        document = json.loads((folder / "container.json").read_text(encoding="utf-8"))
        request = (*self._request(document["body"]), *self._options)
        try:
            job = self.line.submitted(Start(name=container_id, folder=folder, request=request))
        except EngineRefused as error:
            raise StartRefused(f"Slurm did not take the job: {error}") from error
        (folder / "job").write_text(job, encoding="ascii")

    def _request(self, body: Mapping[str, Any]) -> list[str]:
        host = body.get("HostConfig", {})
        processors = len(host.get("CpusetCpus", "0").split(",")) or 1
        memory = -(-int(host.get("Memory", 0)) // MEBIBYTE)
        wall = float(body.get("Labels", {}).get(WALL_LABEL, 0) or 0)
        gpus = sum(int(request.get("Count", 0)) for request in host.get("DeviceRequests", []))
        return [
            "--chdir=/",
            "--export=NONE",
            "--no-requeue",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={processors}",
            *([f"--mem={memory + OWN_MEBIBYTES}M"] if memory else []),
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([f"--time={math.ceil(wall / 60) + SETUP_MINUTES}"] if wall else []),
        ]

    def state(self, container_id: str) -> ContainerState:
        """The launcher's word and Slurm's together."""
        folder = self._found(container_id)
        document = json.loads((folder / "container.json").read_text(encoding="utf-8"))
        created = moment(document["created_at"])
        job = self._job(folder)
        if not job:
            return ContainerState(is_running=False, created_at=created)
        word = self.jobs.word(job)
        told = self._state(folder)
        if word in WAITING and "started_at" not in told:
            return ContainerState(is_running=False, is_waiting=True, created_at=created)
        if word in GOING_ON:
            started = told.get("started_at")
            return ContainerState(
                is_running=started is not None,
                is_waiting=started is None,
                created_at=created,
                started_at=None if started is None else moment(started),
            )
        return self._ended(folder, word=word, told=self._last_word(folder, word=word))

    def _last_word(self, folder: Path, *, word: str) -> dict[str, Any]:
        """What the launcher wrote last. A shared file system may show it a moment later."""
        give_up_at = time.monotonic() + (LATE_WORD_SECONDS if word in {"COMPLETED", "FAILED", "OUT_OF_MEMORY"} else 2.0)
        while "finished_at" not in (told := self._state(folder)) and time.monotonic() < give_up_at:
            time.sleep(0.2)
        return told

    def _ended(self, folder: Path, *, word: str, told: Mapping[str, Any]) -> ContainerState:
        document = json.loads((folder / "container.json").read_text(encoding="utf-8"))
        created = moment(document["created_at"])
        started = told.get("started_at")
        has_last_word = "finished_at" in told
        was_ordered = (folder / "killed").exists()
        if word == "TIMEOUT" and started is not None and not has_last_word:
            limit = float(document["body"].get("Labels", {}).get(WALL_LABEL, 0) or 0)
            told = {**told, "wall_seconds": limit + SECONDS_OVER, "exit_code": 137}
            has_last_word = True
        is_lost = word in OUR_FAULT or (word == "CANCELLED" and not was_ordered) or not (has_last_word or was_ordered)
        is_lost = is_lost or (started is None and not was_ordered) or bool(told.get("is_broken"))
        finished = None if started is None else moment(started + float(told.get("wall_seconds", 0.0)))
        if is_lost:
            log.warning(
                "slurm.job_lost", extra={"container": folder.name, "state": word, "why": self._why(folder, told)}
            )
        return ContainerState(
            is_running=False,
            created_at=created,
            started_at=None if started is None else moment(started),
            finished_at=finished,
            exit_code=int(told.get("exit_code", 137)),
            is_out_of_memory=word == "OUT_OF_MEMORY" and not was_ordered and not is_lost,
            is_lost=is_lost,
            error=self._why(folder, told) if is_lost else "",
        )

    def _why(self, folder: Path, told: Mapping[str, Any]) -> str:
        """For the log: what the launcher, or the job's own output, says."""
        output = folder / "slurm.out"
        said = output.read_text(errors="replace")[-300:] if output.exists() else ""
        return str(told.get("error") or said.strip())

    def usage_of(self, container_id: str) -> Measured | None:
        """The launcher's samples of the job's cgroup."""
        told = self._state(self._found(container_id))
        if "samples" not in told:
            return None
        return Measured(
            samples=tuple((float(at), int(memory), float(cpu)) for at, memory, cpu in told["samples"]),
            peak_memory_bytes=told.get("peak_memory_bytes"),
            cpu_seconds=told.get("cpu_seconds"),
        )

    def kill(self, container_id: str) -> None:
        """`scancel`. The launcher gets SIGTERM, and SIGKILL after the site's KillWait."""
        folder = self._found(container_id)
        (folder / "killed").touch()
        self._cancel(container_id, folder=folder)

    def _cancel(self, name: str, *, folder: Path) -> None:
        """By number. The name gives it where an agent died between `sbatch` and writing the number down."""
        jobs = [job] if (job := self._job(folder)) else self._jobs_by_name(name, folder=folder)
        if jobs:
            with contextlib.suppress(EngineRefused):  # it has ended already
                call(["scancel", *jobs], environment=self._environment)

    def remove(self, container_id: str) -> None:
        """Cancel, wait until nothing of the job runs any more, then the folder goes. Raises EngineUnreachable where it lingers."""
        folder = self.folder / "containers" / container_id
        if not folder.is_dir():
            return
        give_up_at = time.monotonic() + REMOVAL_SECONDS
        while self._is_going_on(container_id, folder=folder):
            self._cancel(container_id, folder=folder)
            if time.monotonic() > give_up_at:
                raise EngineUnreachable(f"Slurm still has the job {REMOVAL_SECONDS:.0f} s after it was cancelled.")
            time.sleep(0.5)
        self._forget(folder)

    def _is_going_on(self, name: str, *, folder: Path) -> bool:
        job = self._job(folder)
        if job:
            return self.jobs.word(job, fresh=True) in WAITING | GOING_ON
        return bool(self._jobs_by_name(name, folder=folder))

    def _jobs_by_name(self, name: str, *, folder: Path) -> list[str]:
        """What waits or runs for this container: the job of its name, or its task of an array. Asked where its number is not known."""
        array, index = task_of(folder)
        command = ["squeue", "--me", f"--name={array or name}", "--array", "--noheader", "--format=%i"]
        found = call(command, environment=self._environment).split()
        return [job for job in found if not array or job.endswith(f"_{index}")]

    def _job(self, folder: Path) -> str:
        path = folder / "job"
        return path.read_text(encoding="ascii").strip() if path.exists() else ""


REMOVAL_SECONDS = 90.0
KEPT_VARIABLES = ("SLURM_CONF", "SLURM_CONF_SERVER", "LD_LIBRARY_PATH")
_JOBS: dict[tuple[tuple[str, str], ...], Jobs] = {}
_LINES: dict[tuple[tuple[str, str], ...], Line] = {}
_SHARED_LOCK = threading.Lock()


def slurm_environment() -> dict[str, str]:
    """What Slurm's programs need of ours: the rest, tokens among it, stays here."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "USER": os.environ.get("USER", ""), **kept}


def jobs_of(environment: Mapping[str, str]) -> Jobs:
    """One for all slots of this process."""
    key = tuple(sorted(environment.items()))
    with _SHARED_LOCK:
        return _JOBS.setdefault(key, Jobs(environment=environment))


def line_of(environment: Mapping[str, str]) -> Line:
    """One for all slots of this process."""

    def submit(words: Sequence[str], script: str) -> str:
        command = ["sbatch", "--parsable", *words]
        return call(command, environment=environment, script=script).strip().partition(";")[0]

    key = tuple(sorted(environment.items()))
    with _SHARED_LOCK:
        return _LINES.setdefault(key, Line(submit=submit))


def stores_of(body: ContainerBody, *, uid_gid: str) -> list[dict[str, Any]]:
    """Places of limited size on the compute node: one for the output, which is copied back, and one for a writable working directory.

    They are in memory, as `OutputStore.KEEPER` is: hard limits, whose pages count towards the algorithm's memory.
    """
    words = str(body.get("Labels", {}).get(STORES_LABEL, "")).split()
    if not words:
        return []
    output_bytes, output_files, working_bytes = map(int, words)
    uid, _, gid = uid_gid.partition(":")
    owner = {"uid": int(uid), "gid": int(gid or uid)}
    made = []
    for mount in body.get("HostConfig", {}).get("Mounts", []):
        if mount["Type"] == "volume":
            place = {
                "at": f"{STORES}/{mount['Source']}",
                "bytes": working_bytes,
                "files": 0,
                "executable": True,
                "to": "",
            }
            made.append({**owner, **place})
        elif not mount["ReadOnly"]:
            place = {"at": f"{STORES}/output", "bytes": output_bytes, "files": output_files, "executable": False}
            made.append({**owner, **place, "to": mount["Source"]})
    return made


def with_stores(body: ContainerBody, *, stores: Sequence[Mapping[str, Any]], folder: Path) -> ContainerBody:
    """The document with the output's place on the compute node in place of the shared folder."""
    places = {store["to"]: str(folder / store["at"]) for store in stores if store["to"]}
    host = body.get("HostConfig", {})
    mounts = [{**mount, "Source": places.get(mount["Source"], mount["Source"])} for mount in host.get("Mounts", [])]
    return {**body, "HostConfig": {**host, "Mounts": mounts}}


def config_of(text: str) -> dict[str, str]:
    """`scontrol show config` as names and values."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}
