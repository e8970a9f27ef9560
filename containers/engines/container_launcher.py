"""Start one container and stay with it to its end. A program of its own: `python container_launcher.py FOLDER [--stay]`.

It knows nothing but the standard library (Python 3.9 or newer), so that it also runs on a compute node that has nothing of Assay. The
engine writes `plan.json` into FOLDER. This program writes `state.json` beside it, and the container's log. Where the launcher itself
fails after the start, the state says `is_broken`: that is no ending of the algorithm's.

Theory of operation. The launcher makes what a container needs and Apptainer does not give: a cgroup with limits, sized tmpfs mounts in a
mount namespace of its own, resource limits, and only the GPUs that were granted. Then it starts Apptainer. The script that sets the
container's environment prints a mark, as the last thing before the program starts. What comes before the mark is Apptainer's, and what
comes after it is the algorithm's: so a container that could not be set up is told from one that failed, and the time of setting up is
not the algorithm's. Without `--stay` the launcher goes on in the background once the mark has come. SIGTERM kills the container.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWCGROUP = 0x00020000, 0x10000000, 0x02000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 8192, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS_V1 = ("memory", "pids", "cpuset", "cpuacct")
KILL_SECONDS = 30.0
TICK_SECONDS = 0.1
CURVE_SAMPLES = 20_000
CANNOT_START = 255
"""What Apptainer ends with when it could not do what it was asked."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
LIBC = ctypes.CDLL(None, use_errno=True)


# ---- what is told to the engine ------------------------------------------------------------------------------------


class State:
    """`state.json`, replaced at once whenever something changes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self.values: dict[str, object] = {"launcher": os.getpid(), "created_at": time.time()}

    def tell(self, **values: object) -> None:
        """Change some values."""
        self.values.update(values)
        fresh = self._path.with_name("state.json.new")
        fresh.write_text(json.dumps(self.values), encoding="utf-8")
        fresh.replace(self._path)


class Log:
    """The container's output: the beginning, and as much of the end as may be kept."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._part_bytes = max(1, most_bytes // 4)
        self._head = (folder / "log.head").open("wb")
        self._tail: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """More output."""
        space = self._part_bytes - self._head.tell()
        if space > 0:
            self._head.write(data[:space])
            self._head.flush()
            data = data[space:]
        if not data:
            return
        tail = self._tail
        if tail is None or tail.tell() > self._part_bytes:
            tail = self._turn()
        tail.write(data)
        tail.flush()

    def _turn(self) -> BinaryIO:
        """Begin the next part of the end. Of three, the oldest goes."""
        if self._tail is not None:
            self._tail.close()
        newest, older, oldest = (self._folder / f"log.tail.{age}" for age in (0, 1, 2))
        left_out = oldest.stat().st_size if oldest.exists() else 0
        for path, older_path in ((older, oldest), (newest, older)):
            if path.exists():
                path.replace(older_path)
        if left_out:
            counted = self._folder / "log.left_out"
            before = int(counted.read_text()) if counted.exists() else 0
            counted.write_text(str(before + left_out))
        self._tail = newest.open("wb")
        return self._tail

    def close(self) -> None:
        """No more."""
        self._head.close()
        if self._tail is not None:
            self._tail.close()


# ---- cgroups -------------------------------------------------------------------------------------------------------


class OwnCgroup:
    """A cgroup of our own with the container's limits, in either version. It stays until the engine removes it."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.name: str = plan["name"]
        self.version: int = plan["version"]
        self._limits = plan

    def folders(self) -> list[Path]:
        """Where its processes are listed."""
        if self.version == 1:
            return [CGROUPS / controller / self.name for controller in CONTROLLERS_V1]
        return [CGROUPS / self.name]

    def make(self) -> None:
        """With its limits."""
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True)
        if self.version == 1:
            self._limit_v1()
        else:
            self._limit_v2()

    def _limit_v1(self) -> None:
        memory, pids, cpuset, _ = self.folders()
        above = cpuset.parent
        for folder in (above, cpuset):
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (folder / file).read_text().strip():
                    (folder / file).write_text((folder.parent / file).read_text())
        if self._limits.get("cpus"):
            (cpuset / "cpuset.cpus").write_text(self._limits["cpus"])
        if self._limits.get("memory_bytes"):
            limit = str(self._limits["memory_bytes"])
            (memory / "memory.limit_in_bytes").write_text(limit)
            with contextlib.suppress(OSError):  # a kernel without accounting of swap
                (memory / "memory.memsw.limit_in_bytes").write_text(limit)
        if self._limits.get("pids"):
            (pids / "pids.max").write_text(str(self._limits["pids"]))

    def _limit_v2(self) -> None:
        folder = self.folders()[0]
        for above in (CGROUPS, *reversed([path for path in folder.parents if CGROUPS in path.parents])):
            for controller in ("memory", "pids", "cpuset", "cpu"):
                with contextlib.suppress(OSError):
                    (above / "cgroup.subtree_control").write_text(f"+{controller}")
        if self._limits.get("cpus"):
            (folder / "cpuset.cpus").write_text(self._limits["cpus"])
        if self._limits.get("memory_bytes"):
            (folder / "memory.max").write_text(str(self._limits["memory_bytes"]))
            with contextlib.suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
        if self._limits.get("pids"):
            (folder / "pids.max").write_text(str(self._limits["pids"]))

    def enter(self) -> None:
        """Put this process into it."""
        for folder in self.folders():
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """Who is in it."""
        found: set[int] = set()
        for folder in self.folders():
            with contextlib.suppress(OSError):
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        return sorted(found)

    def memory_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        file = "memory.oom_control" if self.version == 1 else "memory.events"
        return table(self.folders()[0] / file).get("oom_kill", 0)

    def remove(self) -> None:
        """Remove the empty folders."""
        for folder in self.folders():
            with contextlib.suppress(OSError):
                folder.rmdir()


def table(path: Path) -> dict[str, int]:
    """A file of the kernel's with a name and a number in each line."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(" ") for line in lines)
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


def kill_all(cgroup: OwnCgroup, *, seconds: float = KILL_SECONDS) -> bool:
    """SIGKILL until nobody is left. False when somebody still is after `seconds`."""
    give_up_at = time.monotonic() + seconds
    while processes := cgroup.processes():
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.01)
    return True


def descendants(process: int) -> list[int]:
    """All processes below one, as far as they are seen."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


# ---- before the container ------------------------------------------------------------------------------------------


def call(number: int, what: str) -> None:
    """Raise when a call of the C library failed."""
    if number != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    call(LIBC.mount(*arguments), f"mounting {kind or 'a folder'} at {target}")


def own_mounts(folder: Path, plan: dict[str, Any]) -> None:
    """A mount namespace of our own, with the sized places and the granted devices in it."""
    uid, gid = os.geteuid(), os.getegid()
    call(LIBC.unshare(CLONE_NEWNS | (0 if uid == 0 else CLONE_NEWUSER)), "a mount namespace")
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    for place in plan["tmpfs"]:
        target = folder / place["at"]
        target.mkdir(parents=True, exist_ok=True)
        flags = MS_NOSUID | MS_NODEV | (0 if place["executable"] else MS_NOEXEC)
        mount("tmpfs", str(target), "tmpfs", flags, f"size={place['bytes']},mode={place['mode']}")
    for store in plan.get("stores", []):
        target = folder / store["at"]
        target.mkdir(parents=True, exist_ok=True)
        flags = MS_NOSUID | MS_NODEV | (0 if store["executable"] else MS_NOEXEC)
        owner = f",uid={store['uid']},gid={store['gid']},mode=0755" if uid == 0 else ",mode=0700"
        files = f",nr_inodes={store['files']}" if store["files"] else ""
        mount("tmpfs", str(target), "tmpfs", flags, f"size={store['bytes']}{files}{owner}")
    if plan.get("devices") is not None and uid == 0:
        hide_devices(folder, granted=plan["devices"])


def hide_devices(folder: Path, *, granted: list[str]) -> None:
    """Leave of the GPUs in /dev only those that were granted, so that `--nv` finds no others."""
    fresh = folder / "dev"
    fresh.mkdir()
    mount("tmpfs", str(fresh), "tmpfs", MS_NOSUID, "mode=755,size=1m")
    for entry in sorted(Path("/dev").iterdir()):
        if entry.name.startswith("nvidia") and entry.name[6:].isdigit() and str(entry) not in granted:
            continue
        place = fresh / entry.name
        if entry.is_symlink():
            place.symlink_to(entry.readlink())
        else:
            place.mkdir() if entry.is_dir() else place.touch()
            mount(str(entry), str(place), "", MS_BIND | MS_REC)
    mount(str(fresh), "/dev", "", MS_MOVE)


def fill(copies: list[dict[str, str]]) -> None:
    """Copy what an image has in its working directory, with owners and modes, and without following a link on the way."""
    for copy in copies:
        source = Path(copy["root"])
        for part in Path(copy["path"].lstrip("/")).parts:
            source = source / part
            if source.is_symlink():
                raise OSError(f"failed to copy files: {copy['path']} of the image is not a directory, or is a link")
        if not source.exists():
            continue
        command = ["cp", "--archive", "--no-target-directory", str(source), copy["to"]]
        done = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C"})
        if done.returncode != 0:
            raise OSError(f"failed to copy files: {done.stderr.decode(errors='replace').strip()[-300:]}")


def hand_over(folder: Path, stores: list[dict[str, Any]]) -> None:
    """Copy what a store holds to where it is wanted. Nobody of the container lives any more, and links are copied as links."""
    for store in stores:
        if store["to"]:
            source = f"{folder / store['at']}/."
            if os.geteuid() != 0:  # its owner may have closed what it wrote, and that is us. Links are left alone
                subprocess.run(["chmod", "--recursive", "u+rwX", source], capture_output=True, check=False)
            command = ["cp", "--archive", "--sparse=always", "--no-target-directory", source, store["to"]]
            done = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C"})
            if done.returncode != 0:
                raise OSError(f"the output could not be copied: {done.stderr.decode(errors='replace').strip()[-300:]}")


def become_the_container(plan: dict[str, Any], cgroup: OwnCgroup | None) -> None:
    """In the child, before Apptainer. A problem is said where Apptainer would say one of its own."""
    try:
        take_on_limits(plan, cgroup)
    except OSError as error:
        os.write(2, f"FATAL: {error}\n".encode())
        os._exit(CANNOT_START)


def take_on_limits(plan: dict[str, Any], cgroup: OwnCgroup | None) -> None:
    """Die with the launcher, enter the cgroup, take the limits on."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if cgroup is not None:
        cgroup.enter()
        LIBC.unshare(CLONE_NEWCGROUP)
    if os.geteuid() == 0:
        os.setgroups([])  # Apptainer hands on those of its caller, and a job of root has group 0
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(plan["oom_score_adj"]))
    for name, most in plan["rlimits"].items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(kind)[1]
        capped = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (capped, capped))


# ---- the container's life ------------------------------------------------------------------------------------------


class Launch:
    """One container from its start to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.state = State(folder)
        self.log = Log(folder, most_bytes=self.plan["log_bytes"])
        self.cgroup = OwnCgroup(self.plan["cgroup"]) if self.plan.get("cgroup") else None
        self.mark = self.plan["mark"].encode()
        self.child: subprocess.Popen[bytes] | None = None
        self.before = b""
        self.tail = b""
        self.is_marked = False
        self.killed = False
        self.started = 0.0

    def run(self, on_start: Callable[[], object]) -> None:
        """To the end. `on_start` is called once, when the program runs."""
        self.state.tell()
        own_mounts(self.folder, self.plan)
        fill(self.plan["copies"])
        if self.cgroup is not None:
            self.cgroup.make()
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        reader, writer = os.pipe()
        began = time.monotonic()
        child = self.child = subprocess.Popen(
            [self.plan["program"], *self.plan["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env=self.plan["environment"],
            cwd="/",
            start_new_session=True,
            preexec_fn=lambda: become_the_container(self.plan, self.cgroup),  # noqa: PLW1509  this program has one thread
        )
        os.close(writer)
        self.state.tell(process=child.pid)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        meter = Meter(self)
        while self._read(reader, child):
            if self.is_marked and not self.started:
                self.started = time.monotonic()
                self.state.tell(started_at=time.time(), setup_seconds=self.started - began)
                on_start()
            meter.look()
            self._watch_the_clock()
        code = child.wait()
        ended = time.monotonic()
        self._end_the_rest()
        hand_over(self.folder, self.plan.get("stores", []))
        self.log.close()
        self._tell_the_end(code, ended=ended, meter=meter)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  a signal handler's signature
        self.kill()

    def kill(self) -> None:
        """SIGKILL everybody in the container. Safe in a signal handler."""
        self.killed = True
        if self.cgroup is not None:
            for process in self.cgroup.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        elif self.child is not None:
            for process in reversed(descendants(self.child.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _watch_the_clock(self) -> None:
        most = self.plan.get("wall_seconds")
        if self.killed or (most and self.started and time.monotonic() - self.started > most):
            self.kill()

    def _read(self, reader: int, child: subprocess.Popen[bytes]) -> bool:
        """What the container says. False once it has ended."""
        readable, _, _ = select.select([reader], [], [], TICK_SECONDS)
        has_ended = child.poll() is not None
        while readable:
            data = os.read(reader, 1 << 16)
            if not data:
                child.wait()
                return False
            self._take(data)
            readable = select.select([reader], [], [], 0)[0] if has_ended else []
        return not has_ended

    def _take(self, data: bytes) -> None:
        if not self.is_marked:
            self.before = (self.before + data)[-(1 << 16) :]
            before, mark, data = self.before.partition(self.mark + b"\n")
            if not mark:
                return
            self.is_marked, self.before = True, before
        if data:
            self.tail = (self.tail + data)[-600:]
            self.log.write(data)

    def _end_the_rest(self) -> None:
        """Nobody outlives the container's first process: its PID namespace sees to it, and this makes sure."""
        if self.cgroup is not None and not kill_all(self.cgroup):
            self.state.tell(stuck=True)

    def _tell_the_end(self, code: int, *, ended: float, meter: Meter) -> None:
        exit_code = 128 - code if code < 0 else code
        kills = self.cgroup.memory_kills() if self.cgroup is not None else 0
        wall = ended - self.started if self.started else 0.0
        last = self.tail.decode(errors="replace").strip().rpartition("\n")[2]
        if exit_code == CANNOT_START and last.startswith("FATAL:"):
            exit_code = NOT_FOUND if "not found" in last or "no such file" in last else NOT_EXECUTABLE
        error = "" if self.started or self.killed else self.before.decode(errors="replace").strip()[-600:]
        self.state.tell(
            wall_seconds=wall,
            finished_at=time.time() - (time.monotonic() - ended),
            exit_code=exit_code,
            memory_kills=kills,
            was_killed=self.killed,
            error=error,
            **meter.totals(),
        )


class Meter:
    """Memory and processor time while the container runs, where the engine cannot look itself."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._samples: list[tuple[float, int, float]] = []
        self._places = measured_cgroup(launch.cgroup) if launch.plan.get("measures") else None

    def look(self) -> None:
        """One sample."""
        if self._places is None or not self._launch.started or len(self._samples) >= CURVE_SAMPLES:
            return
        memory, cpu = read_usage(self._places)
        self._samples.append((round(time.monotonic() - self._launch.started, 3), memory, cpu))

    def totals(self) -> dict[str, Any]:
        """What goes into the state."""
        if self._places is None:
            return {}
        peak = number(self._places["memory"] / self._places["peak_file"])
        return {"samples": self._samples, "peak_memory_bytes": peak, "cpu_seconds": read_usage(self._places)[1]}


def measured_cgroup(own: OwnCgroup | None) -> dict[str, Any] | None:
    """The folders to read: the container's own cgroup, or the one that the batch system has put us into."""
    if own is not None:
        names = {"memory": own.name, "cpuacct": own.name, "": own.name}
        version = own.version
    else:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        names = {}
        for line in lines:
            _, controllers, path = line.split(":", 2)
            names.update(dict.fromkeys(controllers.split(","), path.lstrip("/")))
        version = 1 if "memory" in names else 2
    if version == 1:
        cpu = next((place for place in ("cpuacct", "cpu,cpuacct") if (CGROUPS / place).is_dir()), "cpuacct")
        return {
            "version": 1,
            "memory": CGROUPS / "memory" / names["memory"],
            "cpu": CGROUPS / cpu / names.get("cpuacct", ""),
            "peak_file": "memory.max_usage_in_bytes",
        }
    return {"version": 2, "memory": CGROUPS / names[""], "cpu": CGROUPS / names[""], "peak_file": "memory.peak"}


def number(path: Path) -> int | None:
    """One number in a file of the kernel's."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def read_usage(places: dict[str, Any]) -> tuple[int, float]:
    """Bytes that cannot be dropped, and processor seconds."""
    statistics = table(places["memory"] / "memory.stat")
    if places["version"] == 1:
        cache = statistics.get("total_cache", 0) - statistics.get("total_shmem", 0)
        memory = number(places["memory"] / "memory.usage_in_bytes") or 0
        cpu = (number(places["cpu"] / "cpuacct.usage") or 0) / 1e9
    else:
        cache = statistics.get("file", 0) - statistics.get("shmem", 0)
        memory = number(places["memory"] / "memory.current") or 0
        cpu = table(places["cpu"] / "cpu.stat").get("usage_usec", 0) / 1e6
    return max(0, memory - cache), round(cpu, 3)


def main(arguments: list[str]) -> int:
    """0 once the container runs (or, with `--stay`, has ended); 1 when it could not be started."""
    folder = Path(arguments[0])
    if "--stay" in arguments[1:]:
        return stay(folder, lambda: None)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    with contextlib.suppress(BrokenPipeError):
        stay(folder, lambda: os.write(writer, b"1"))
    os._exit(0)


def stay(folder: Path, on_start: Callable[[], object]) -> int:
    """Run the container and say how it ended. Whatever goes wrong here is said in the state, never lost."""
    launch = Launch(folder)
    try:
        launch.run(on_start)
    except Exception as error:  # noqa: BLE001  whatever broke here, the engine has to be told
        launch.kill()
        with contextlib.suppress(OSError):  # on a full disk the state stays: the launcher ended before its container
            launch.state.tell(error=f"{type(error).__name__}: {error}", is_broken=True, finished_at=time.time())
        return 1
    return 0 if launch.started else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
