"""The sandbox on the real engine: one run each, small programs, facts read from inside."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from containers.engines.apptainer import ApptainerEngine
from containers.engines.choice import EngineChoice, EngineKind
from containers.engines.podman import PodmanEngine
from containers.sandbox import runner
from containers.sandbox.runner import remove_leftovers
from containers.sandbox.workspace import sweep
from containers.verdicts import Verdict
from leftovers import loop_devices_on
from waits import SOON_SECONDS

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]

ASK = """
import json, os, pathlib
env = dict(os.environ)
def can_write(path):
    try:
        pathlib.Path(path).write_text("x")
        return True
    except OSError as error:
        return error.strerror
facts = {
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cpus": os.cpu_count() and len(os.sched_getaffinity(0)),
    "env": env, "input": os.listdir("/input"), "hostname": os.uname().nodename,
    "writes": {path: can_write(path) for path in ("/x", "/input/x", "/tmp/x", "/output/x", "/dev/shm/x", "/etc/x")},
    "interfaces": os.listdir("/sys/class/net"), "mountinfo": pathlib.Path("/proc/self/mountinfo").read_text(),
    "status": pathlib.Path("/proc/self/status").read_text(), "pid1": pathlib.Path("/proc/1/cmdline").read_text(),
}
pathlib.Path("/output/result.txt").write_text(json.dumps(facts))
"""


@pytest.fixture
def facts(python_in_sandbox):
    result = python_in_sandbox(ASK)
    assert result.verdict is Verdict.OK, result.log
    return json.loads(result.outputs[0].path.read_text())


def test_what_an_algorithm_finds_inside(facts):
    assert (facts["uid"], facts["gid"]) == (65532, 65532)
    assert facts["cpus"] == 1
    assert facts["interfaces"] == ["lo"]
    assert facts["hostname"] == "sandbox"
    assert facts["input"] == ["scan.txt"]
    assert facts["env"]["HOME"] == facts["env"]["TMPDIR"] == "/tmp"
    assert facts["env"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    read_only = "Read-only file system"
    assert facts["writes"] == {
        "/x": read_only,
        "/input/x": read_only,
        "/etc/x": read_only,
        "/tmp/x": True,
        "/output/x": True,
        "/dev/shm/x": True,
    }
    status = dict(line.split(":\t", 1) for line in facts["status"].splitlines())
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "0" * 16
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "secret-case-42" not in facts["mountinfo"]


def test_usage_of_a_known_load(python_in_sandbox):
    program = (
        "import time; block = bytearray(60 * 2**20); end = time.process_time() + 0.5\n"
        "while time.process_time() < end: pass\n"
        "time.sleep(0.5); open('/output/result.txt', 'w').write('x' * 5000)"
    )
    usage = python_in_sandbox(program).usage
    assert 1.0 < usage.wall_seconds < SOON_SECONDS
    assert 0.5 <= usage.cpu_seconds < 1.5
    assert 60 * 2**20 < usage.peak_memory_bytes < 128 * 2**20
    assert 60 * 2**20 < usage.stable_memory_bytes < 90 * 2**20
    assert usage.is_valid == (usage.largest_gap_seconds <= 1.0)
    assert 0.0 < usage.startup_seconds < SOON_SECONDS
    assert (usage.output_bytes, usage.output_files) == (8192, 1)
    curve = usage.memory_curve
    assert len(curve.seconds) == len(curve.values) == usage.sample_count > 5


def test_a_run_leaves_nothing_on_the_host(python_in_sandbox, docker_engine, owner, scratch):
    for program in ("open('/output/result.txt', 'w').write('ok')", "raise SystemExit(3)", "import os; os.abort()"):
        python_in_sandbox(program)
    assert docker_engine.containers_of(owner) == []
    assert list((scratch / "runs").iterdir()) == []
    assert loop_devices_on(scratch) == []
    assert str(scratch) not in Path("/proc/mounts").read_text()


def test_the_parent_cgroup_goes_with_its_run(python_in_sandbox, monkeypatch):
    keys = []
    make = runner.workspace

    @contextlib.contextmanager
    def workspace(**arguments):
        with make(**arguments) as space:
            keys.append(space.key)
            yield space

    monkeypatch.setattr(runner, "workspace", workspace)
    python_in_sandbox("pass")
    assert list(Path("/sys/fs/cgroup").glob(f"*/assay-{keys[0]}")) == []


def test_cancelling_a_real_container_takes_less_than_five_seconds(python_in_sandbox):
    asked = []

    def should_cancel():
        asked.append(time.monotonic())
        return len(asked) > 2

    result = python_in_sandbox("import time; time.sleep(600)", should_cancel=should_cancel)
    assert result.verdict is Verdict.CANCELLED
    assert time.monotonic() - asked[2] < SOON_SECONDS


@pytest.mark.catalogue(
    65,
    attack="the worker is killed while a container runs",
    verdict="container, mounts, cgroup and folders are removed",
    guard="owner labels and locked workspaces",
)
def choice_of(engine):
    """How another process opens the engine of this test run."""
    if isinstance(engine, ApptainerEngine):
        return EngineChoice(kind=EngineKind.APPTAINER, socket=engine.program, folder=engine.folder)
    if isinstance(engine, PodmanEngine):
        return EngineChoice(kind=EngineKind.PODMAN, socket=engine.socket)
    return EngineChoice()


def test_what_a_killed_worker_leaves_behind_is_swept(base_image, docker_engine, owner, scratch, input_dir):
    """A runner in a process of its own is killed with SIGKILL while its container runs."""
    choice = choice_of(docker_engine)
    program = f"""
import sys
from pathlib import Path
from containers.engines.choice import EngineChoice, EngineKind
from containers.sandbox.runner import run
from containers.spec import RunSpec, OutputSpec
spec = RunSpec(name={"assay-killed-" + format(abs(hash(owner)), "x")!r}, image_id={base_image!r},
    input_dir=Path({str(input_dir)!r}), outputs=(), command=("sleep", "600"))
folder = {str(choice.folder or "")!r}
choice = EngineChoice(kind=EngineKind({str(choice.kind)!r}), socket={choice.socket!r}, folder=Path(folder) if folder else None)
run(spec, engine=choice.open(), scratch=Path({str(scratch)!r}), labels={{"assay.owner": {owner!r}}},
    should_cancel=lambda: print("running", flush=True) or False)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "running\n"
        assert sweep(scratch) == [], "its workspace is locked while it lives"
        worker.kill()
    assert len(docker_engine.containers_of(owner)) == 1
    assert remove_leftovers(docker_engine, owner=owner, keep=set(), scratch=scratch) == 2
    assert docker_engine.containers_of(owner) == []
    assert list((scratch / "runs").iterdir()) == []
    assert str(scratch) not in Path("/proc/mounts").read_text()
