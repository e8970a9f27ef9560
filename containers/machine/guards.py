"""Which guards of the sandbox hold under an engine, seen from outside: a container of ours is started and looked at in /proc.

The container runs the keeper's program, which sleeps. It gets the options of every submission (`sandbox.arguments`), so what is found
is what a submission would find. Meant for engines whose guards depend on who runs them, such as Apptainer.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from containers.engines import OWNER_LABEL, Engine
from containers.engines.container_launcher import descendants
from containers.errors import EngineRefused
from containers.sandbox.arguments import ALGORITHM_UID, Mount, RunUser, container_body
from containers.sandbox.keeper import keeper_image
from containers.spec import MEBIBYTE, Limits, RunSpec

OWNER = "assay/doctor"
LIMITS = Limits(memory_bytes=256 * MEBIBYTE, tmp_bytes=16 * MEBIBYTE, shm_bytes=4 * MEBIBYTE, pids=64)
SIZED = {"/tmp": LIMITS.tmp_bytes, "/dev/shm": LIMITS.shm_bytes}  # noqa: S108  inside the container
LOOKED_FOR = ("/proc/cmdline", "/proc/keys", "/sys/firmware")


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guard: whether it holds here, and what was seen."""

    name: str
    holds: bool
    seen: str


def observe_guards(engine: Engine) -> list[Guard]:
    """Start a container, look at it, remove it. Takes some seconds. Raises EngineError."""
    image_id = keeper_image(engine)
    with tempfile.TemporaryDirectory(prefix="assay-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        for place in ("input", "output"):
            (folder / place).mkdir()
        spec = RunSpec(
            name=f"assay-doctor-{os.getpid()}", image_id=image_id, input_dir=folder / "input", outputs=(), limits=LIMITS
        )
        body = container_body(
            spec=spec,
            image=engine.image_facts(image_id),
            mounts=(
                Mount(kind="bind", source=str(folder / "input"), target="/input", is_read_only=True),
                Mount(kind="bind", source=str(folder / "output"), target="/output"),
            ),
            labels={OWNER_LABEL: OWNER},
            cpu_ids=(min(os.sched_getaffinity(0)),),
            user=RunUser(uid=ALGORITHM_UID, gid=ALGORITHM_UID),
            open_files=min(1024, engine.facts().open_files),
        )
        container_id = engine.create(name=spec.name, body=body)
        try:
            engine.start(container_id)
            process_id = engine.state(container_id).process_id
            if not process_id:
                raise EngineRefused("a container of ours runs, and its process is not on this machine or ended at once")
            process = descendants(process_id)[-1]
            return guards_of(Path("/proc", str(process)))
        finally:
            engine.remove(container_id)


def guards_of(process: Path) -> list[Guard]:
    """What the kernel says of one process of the container."""
    status = _table(process / "status")
    mounts = _mounts(process / "mountinfo")
    interfaces = [line.partition(":")[0].strip() for line in (process / "net/dev").read_text().splitlines()[2:]]
    limits = (process / "limits").read_text()
    uid, cpus = status["Uid"].split()[0], status["Cpus_allowed_list"]
    no_capabilities = all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapBnd"))
    is_elsewhere = {
        kind: _namespace(process, kind) != _namespace(Path("/proc/self"), kind) for kind in ("pid", "ipc", "uts", "net")
    }
    shared = sorted(kind for kind, elsewhere in is_elsewhere.items() if not elsewhere)
    masked = [path for path in LOOKED_FOR if Path(path).exists() and path not in mounts]
    core = _limit(limits, "Max core file size")
    capabilities = "none" if no_capabilities else f"effective {status['CapEff']}"
    namespaces = f"shares {', '.join(shared)}" if shared else "processes, IPC, names and network are its own"
    others = set(status["Groups"].split()) - {status["Gid"].split()[0]}  # Docker lists a process's own group once more
    root, given = mounts.get("/", "nowhere"), mounts.get("/input", "nowhere")
    return [
        Guard(name="user", holds=uid == str(ALGORITHM_UID), seen=f"containers run as uid {uid}"),
        Guard(name="groups", holds=not others, seen=" ".join(sorted(others)) or "none besides its own"),
        Guard(name="capabilities", holds=no_capabilities, seen=capabilities),
        Guard(
            name="no new privileges", holds=status["NoNewPrivs"] == "1", seen=f"NoNewPrivs is {status['NoNewPrivs']}"
        ),
        Guard(name="filter of system calls", holds=status["Seccomp"] == "2", seen=f"Seccomp is {status['Seccomp']}"),
        Guard(name="namespaces", holds=not shared, seen=namespaces),
        Guard(name="network", holds=interfaces == ["lo"], seen=f"interfaces: {', '.join(interfaces)}"),
        Guard(name="read-only root", holds="ro" in root.split(","), seen=f"the root is mounted {root}"),
        Guard(name="read-only input", holds=given.startswith("ro"), seen=f"the input is mounted {given}"),
        *(_sized(process, place, most, mounts=mounts) for place, most in SIZED.items()),
        Guard(name="masked files of the host", holds=not masked, seen=", ".join(masked) or "covered"),
        Guard(name="processors", holds="," not in cpus and "-" not in cpus, seen=f"may use {cpus}"),
        Guard(name="core dumps", holds=core == "0", seen=f"at most {core} bytes"),
        *_cgroup_guards(process),
    ]


def _sized(process: Path, place: str, most: int, *, mounts: Mapping[str, str]) -> Guard:
    if place not in mounts:
        return Guard(name=place, holds=False, seen="no place of its own")
    facts = os.statvfs(process / "root" / place.lstrip("/"))
    size = facts.f_blocks * facts.f_frsize
    return Guard(name=place, holds=0 < size <= most, seen=f"{size >> 20} MiB")


def _cgroup_guards(process: Path) -> list[Guard]:
    """The limits of memory and processes that the kernel has for it."""
    lines = [line.split(":", 2) for line in (process / "cgroup").read_text().splitlines()]
    paths = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}
    root = Path("/sys/fs/cgroup")
    if "memory" in paths:
        memory = root / "memory" / paths["memory"].lstrip("/") / "memory.limit_in_bytes"
        pids = root / "pids" / paths.get("pids", "").lstrip("/") / "pids.max"
    else:
        memory, pids = (root / paths.get("", "").lstrip("/") / name for name in ("memory.max", "pids.max"))
    found = {
        name: path.read_text().strip() if path.exists() else "no limit"
        for name, path in (("memory", memory), ("processes", pids))
    }
    most = {"memory": LIMITS.memory_bytes, "processes": LIMITS.pids + 64}
    return [
        Guard(name=f"limit of {name}", holds=text.isdigit() and int(text) <= most[name], seen=text)
        for name, text in found.items()
    ]


def _table(path: Path) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in path.read_text().splitlines())}


def _mounts(path: Path) -> dict[str, str]:
    """Mount point → its options, those of the file system after those of the mount."""
    found = {}
    for line in path.read_text(errors="replace").splitlines():
        mine, _, theirs = line.partition(" - ")
        words = mine.split(" ")
        found[words[4]] = f"{words[5]},{theirs.split(' ')[-1]}" if words[4] == "/" else words[5]
    return found


def _namespace(process: Path, kind: str) -> str:
    return str((process / "ns" / kind).readlink())


def _limit(text: str, name: str) -> str:
    line = next((line for line in text.splitlines() if line.startswith(name)), "")
    return line[len(name) :].split()[0] if line else "unlimited"
