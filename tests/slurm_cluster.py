"""A real Slurm of one machine for tests: munged, slurmctld and slurmd in a folder of their own, gone at the end.

The cluster's jobs are limited by cgroups of version 1, as this machine has them. `Cluster.restart` and its kin are what chaos does to it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGES = ["slurm-wlm", "slurmd", "slurmctld", "munge", "slurm-client"]
BY_HAND = f"sudo apt-get install --no-install-recommends {' '.join(PACKAGES)}"
CGROUPS = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainCores=yes
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
"""
CONFIG = """\
ClusterName=assay
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup,task/affinity
JobAcctGatherType=jobacct_gather/cgroup
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MailProg=/bin/true
KillWait=5
SlurmdTimeout=20
SlurmctldTimeout=10
InactiveLimit=0
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(kw_only=True)
class Cluster:
    """The daemons, by their folder."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def call(self, *command: str) -> str:
        """One of Slurm's programs."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    def start(self, name: str) -> None:
        """`slurmctld` or `slurmd`, in the foreground as our child."""
        command = [shutil.which(name) or f"/usr/sbin/{name}", "-D", "-f", str(self.folder / "slurm.conf")]
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash."""
        daemon = self.daemons.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()

    def wait_until(self, word: str, *, seconds: float = 90.0) -> None:
        """Until the node is in this state."""
        give_up_at = time.monotonic() + seconds
        while True:
            with contextlib.suppress(subprocess.SubprocessError):
                found = self.call("sinfo", "--noheader", "--format=%T").strip()
                if found.rstrip("*~#") == word:
                    return
                if time.monotonic() > give_up_at:
                    raise AssertionError(f"the node is {found}; expected {word}")
            if time.monotonic() > give_up_at:
                raise AssertionError(f"Slurm did not answer: {(self.folder / 'slurmctld.out').read_text()[-500:]}")
            time.sleep(0.2)

    def wait_until_saved(self, *, seconds: float = 60.0) -> None:
        """Until the controller has written its jobs down: of one that it had not, a crash leaves it no memory."""
        saved = self.folder / "state" / "job_state"
        before, give_up_at = time.time(), time.monotonic() + seconds
        while not saved.exists() or saved.stat().st_mtime < before:
            assert time.monotonic() < give_up_at, "the controller wrote no state"
            self.call("scontrol", "update", "PartitionName=main", "State=UP")  # a change makes it write
            time.sleep(0.5)

    def resume(self) -> None:
        """Take the node back into service. It may have come back by itself, which Slurm then calls a wrong request."""
        host = self.call("sinfo", "--noheader", "--format=%N").strip()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.call("scontrol", "update", f"NodeName={host}", "State=RESUME")
        self.wait_until("idle")

    def jobs(self) -> list[str]:
        """Jobs that wait or run."""
        return self.call("squeue", "--noheader", "--format=%j %T").split("\n")[:-1]


@contextlib.contextmanager
def running_cluster(*, cpus: int = 2) -> Iterator[Cluster]:
    """The cluster, ready for jobs."""
    require_packages()
    folder = Path(tempfile.mkdtemp(prefix="assay-slurm-"))
    folder.chmod(0o755)
    cluster = Cluster(folder=folder)
    write_configuration(folder, cpus=cpus)
    munged = start_munge(folder)
    try:
        cluster.start("slurmctld")
        cluster.start("slurmd")
        cluster.wait_until("idle")
        yield cluster
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            cluster.call("scancel", "--me")
            wait_for_the_last_job(cluster)
        for name in list(cluster.daemons):
            stop(cluster.daemons.pop(name))
        stop(munged)
        shutil.rmtree(folder, ignore_errors=True)
        remove_cgroups()


def wait_for_the_last_job(cluster: Cluster, *, seconds: float = 20.0) -> None:
    give_up_at = time.monotonic() + seconds
    while cluster.jobs() and time.monotonic() < give_up_at:
        time.sleep(0.2)


def require_packages() -> None:
    """Install them as root. Skip where that cannot be."""
    if all(shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("slurmctld", "slurmd", "sbatch", "munged")):
        if os.geteuid() != 0:
            pytest.skip("slurmd limits jobs by cgroups as root only; run the tests as root")
        return
    if os.geteuid() != 0:
        pytest.skip(f"needs Slurm, or root to install it: {BY_HAND}")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"Slurm could not be installed ({done.stderr[-200:]!r}); by hand: {BY_HAND}")


def write_configuration(folder: Path, *, cpus: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    text = CONFIG.format(
        host=socket.gethostname(),
        folder=folder,
        controller_port=free_port(),
        node_port=free_port(),
        cpus=cpus,
        memory=memory // 2,
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text(CGROUPS)
    for name in ("state", "spool"):
        (folder / name).mkdir()


def start_munge(folder: Path) -> subprocess.Popen:
    """The authentication daemon, with a key of its own."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    command = [
        "munged",
        "--foreground",
        "--force",
        f"--key-file={key}",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munge.pid",
        f"--log-file={folder}/munge.log",
        f"--seed-file={folder}/munge.seed",
    ]
    with (folder / "munged.out").open("wb") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output)
    give_up_at = time.monotonic() + 30
    while not (folder / "munge.socket").exists():
        assert daemon.poll() is None, (folder / "munged.out").read_text()
        assert time.monotonic() < give_up_at, "munged made no socket"
        time.sleep(0.05)
    return daemon


def stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def remove_cgroups() -> None:
    """Slurm leaves empty cgroups of its own behind."""
    for controller in Path("/sys/fs/cgroup").iterdir():
        for place in controller.glob("slurm*"):
            for folder in sorted((path for path in place.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                place.rmdir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
