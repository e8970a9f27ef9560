"""Containers as jobs of a real Slurm: verdicts, limits, cancelling, and what is left when parts of the cluster fail.

They need Slurm and Apptainer, which they install as root. `make test-cluster` runs them.
"""

import contextlib
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from containers.engines import OWNER_LABEL
from containers.engines.slurm import SlurmEngine
from containers.sandbox.runner import remove_leftovers, run
from containers.verdicts import Fault, Verdict
from waits import SOON_SECONDS, is_judged_by_its_own_time, until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]
OK = "open('/output/result.txt', 'w').write('done')"


@pytest.fixture(scope="session")
def slurm_image(slurm_engine, base_image_archive) -> str:
    """The base image in the engine's folder."""
    image_id, archive = base_image_archive
    if image_id not in slurm_engine.image_ids():
        slurm_engine.load_image(archive)
    return image_id


@pytest.fixture
def job(slurm_engine, slurm_image, spec_of, scratch, owner, slurm_cluster):
    """Run a Python program as a job. Nothing of it is left afterwards."""

    def go(program, *, should_cancel=lambda: False, limits=None, **changes):
        spec = spec_of(image_id=slurm_image, command=("python3", "-c", program), **changes)
        spec = replace(spec, limits=replace(spec.limits, **(limits or {})))
        return run(spec, engine=slurm_engine, scratch=scratch, should_cancel=should_cancel, labels={OWNER_LABEL: owner})

    yield go
    assert slurm_engine.containers_of(owner) == []
    assert slurm_cluster.jobs() == []
    assert list((scratch / "runs").iterdir()) == []


def in_background(function, *arguments, **options):
    """Start it in a thread. Gives a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments, **options)))
    thread.start()

    def result():
        thread.join(timeout=300)
        return results[0]

    return result


def wait_for(cluster, word, *, seconds=60):
    """Until a job is in this state."""
    give_up_at = time.monotonic() + seconds
    while not any(line.endswith(word) for line in cluster.jobs()):
        assert time.monotonic() < give_up_at, f"no job came to be {word}: {cluster.jobs()}"
        time.sleep(0.1)


def test_a_case_runs_as_a_job_and_is_measured_where_it_ran(job):
    result = job(f"block = bytearray(60 * 2**20); import time; time.sleep(2); {OK}")
    assert (result.verdict, result.exit_code) == (Verdict.OK, 0), result.log
    assert result.outputs[0].path.read_text() == "done"
    usage = result.usage
    assert 2.0 <= usage.wall_seconds < SOON_SECONDS
    assert usage.startup_seconds > 0
    assert usage.peak_memory_bytes > 60 * 2**20
    assert usage.sample_count >= 5
    assert usage.memory_curve.values[-1] > 60 * 2**20


def test_what_a_job_finds_inside(job):
    program = (
        "import os; s = open('/proc/self/status').read(); "
        "open('/output/result.txt', 'w').write(repr((os.getuid(), os.getgroups(), os.listdir('/sys/class/net'),"
        " [k for k in os.environ if 'SLURM' in k or 'TOKEN' in k], 'NoNewPrivs:\\t1' in s, 'Seccomp:\\t2' in s)))"
    )
    result = job(program)
    assert result.outputs[0].path.read_text() == repr((65532, [], ["lo"], [], True, True)), result.log


def test_a_memory_hog_is_out_of_memory_whatever_its_exit_code(job):
    hog = "import subprocess; subprocess.run(['python3', '-c', 'x = b\"x\" * 2**30']); " + OK
    result = job(hog)
    assert (result.verdict, result.exit_code) == (Verdict.OUT_OF_MEMORY, 0)
    assert job("x = b'x' * 2**30").verdict == Verdict.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("open('/output/result.txt', 'wb').write(b'x' * 20 * 2**20)", "bytes_limit"),
        ("[open(f'/output/{n}', 'w').close() for n in range(90)]", "files_limit"),
    ],
)
def test_output_cannot_outgrow_its_cap_on_the_compute_node(job, program, reason, tmp_path):
    """A program that ignores "no space left" still leaves no more than the cap and its slack on the shared folder."""
    result = job(f"try:\n    {program}\nexcept OSError as error: print(error)")
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_TOO_LARGE, reason), result.log
    assert b"No space left" in result.log
    assert result.usage.output_bytes < 16 * 2**20


def test_links_and_special_files_come_back_as_what_they_are(job):
    assert job("import os; os.symlink('/etc/passwd', '/output/result.txt')").reason == "symlink"
    assert job("import os; os.mkfifo('/output/result.txt')").reason == "not_a_file"


@pytest.mark.parametrize("profile", ["legacy"])
def test_a_working_directory_is_copied_and_capped_on_the_compute_node(job, profile):
    program = (
        "import os, pathlib; pathlib.Path('/etc/written').write_text('x'); "
        "pathlib.Path('/output/result.txt').write_text(repr((os.getuid(), os.path.exists('/etc/passwd'))))"
    )
    limits = {"working_dir_bytes": 64 * 2**20, "memory_bytes": 512 * 2**20}
    result = job(program, profile=profile, working_dir="/etc", limits=limits)
    assert result.verdict == Verdict.OK, (result.reason, result.log)
    assert result.outputs[0].path.read_text() == "(0, True)"
    too_large = job(program, profile=profile, working_dir="/usr/lib", limits=limits)
    assert (too_large.verdict, too_large.reason) == (Verdict.IMAGE_INVALID, "working_dir_too_large")


def test_a_program_that_is_not_there_is_told_from_one_that_fails(
    slurm_engine, slurm_image, job, spec_of, scratch, owner
):
    spec = spec_of(image_id=slurm_image, command=("/no/such/program",))
    result = run(spec, engine=slurm_engine, scratch=scratch, should_cancel=lambda: False, labels={OWNER_LABEL: owner})
    assert (result.verdict, result.exit_code) == (Verdict.NONZERO_EXIT, 127), result.log


def test_a_sleeper_is_ended_at_the_second_and_not_at_slurms_minute(job):
    result = job("import time; time.sleep(600)", limits={"wall_seconds": 3.0})
    assert result.verdict == Verdict.TIMEOUT
    assert 3.0 < result.usage.wall_seconds < SOON_SECONDS


def test_an_exit_code_is_the_programs_own(job):
    assert (job("raise SystemExit(7)").verdict, job("raise SystemExit(7)").exit_code) == (Verdict.NONZERO_EXIT, 7)


def test_a_cancelled_job_is_gone_within_seconds(job):
    cancelled_at = []

    def should_cancel():
        if time.monotonic() > start + 6:
            cancelled_at.append(time.monotonic())
        return bool(cancelled_at)

    start = time.monotonic()
    result = job("import time; time.sleep(600)", should_cancel=should_cancel, limits={"wall_seconds": 500.0})
    assert result.verdict == Verdict.CANCELLED
    assert time.monotonic() - cancelled_at[0] < SOON_SECONDS


def test_cases_that_start_together_are_one_array_and_each_has_its_own_verdict(job, slurm_engine, monkeypatch):
    """Memory kill, exit code, cancellation and output of each task are its own, by Slurm's word about this task."""
    line, asked = slurm_engine.line, []

    def submit(words, script):
        asked.append(words)
        if len(asked) == 1:
            until(lambda: line.standing() == 3)
        return sbatch(words, script)

    sbatch = line.submit
    monkeypatch.setattr(line, "submit", submit)
    cancel, results = threading.Event(), {}
    programs = {
        "well": OK,
        "hog": "x = b'x' * 2**30",
        "seven": "raise SystemExit(7)",
        "sleeper": "import time; time.sleep(600)",
    }
    for name, program in programs.items():
        shared = {"name": f"assay-together-{name}", "limits": {"wall_seconds": 500.0}}
        should_cancel = cancel.is_set if name == "sleeper" else lambda: False
        results[name] = in_background(job, program, should_cancel=should_cancel, **shared)
        until(lambda: asked)
    ended = {name: results[name]() for name in ("well", "hog", "seven")}
    assert {name: result.verdict for name, result in ended.items()} == {
        "well": Verdict.OK,
        "hog": Verdict.OUT_OF_MEMORY,
        "seven": Verdict.NONZERO_EXIT,
    }
    assert ended["seven"].exit_code == 7
    cancel.set()
    assert results["sleeper"]().verdict == Verdict.CANCELLED
    assert [word for words in asked for word in words if word.startswith("--array")] == ["--array=0-2"]


def test_a_job_that_waits_costs_no_time_and_can_be_cancelled(job, slurm_cluster):
    slurm_cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        cancel = threading.Event()
        waiting = in_background(job, OK, should_cancel=cancel.is_set, limits={"wall_seconds": 2.0})
        wait_for(slurm_cluster, "PENDING")
        time.sleep(4)
        cancel.set()
        assert waiting().verdict == Verdict.CANCELLED
        later = in_background(job, OK, limits={"wall_seconds": 2.0})
        wait_for(slurm_cluster, "PENDING")
        time.sleep(4)
    finally:
        slurm_cluster.call("scontrol", "update", "PartitionName=main", "State=UP")
    assert is_judged_by_its_own_time(later(), wall_seconds=2.0), "it waited longer than it may run"


def test_somebody_elses_scancel_is_no_fault_of_the_participant(job, slurm_cluster):
    running = in_background(job, "import time; time.sleep(60)", limits={"wall_seconds": 100.0})
    wait_for(slurm_cluster, "RUNNING")
    time.sleep(3)
    slurm_cluster.call("scancel", "--me")
    result = running()
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_restarted")


def test_a_controller_that_is_killed_and_comes_back_costs_nothing(job, slurm_cluster):
    running = in_background(job, f"import time; time.sleep(20); {OK}", limits={"wall_seconds": 100.0})
    wait_for(slurm_cluster, "RUNNING")
    slurm_cluster.wait_until_saved()
    slurm_cluster.kill("slurmctld")
    time.sleep(3)
    slurm_cluster.start("slurmctld")
    result = running()
    assert result.verdict == Verdict.OK, (result.reason, result.log)


def test_a_node_daemon_that_is_killed_and_comes_back_costs_no_attempt(job, slurm_cluster):
    """Slurm 22.05 gives such a job up (NODE_FAIL). Later ones may keep it. Neither is the participant's fault."""
    running = in_background(job, f"import time; time.sleep(10); {OK}", limits={"wall_seconds": 100.0})
    wait_for(slurm_cluster, "RUNNING")
    slurm_cluster.kill("slurmd")
    time.sleep(2)
    slurm_cluster.start("slurmd")
    result = running()
    slurm_cluster.resume()
    assert result.verdict.fault in (Fault.NONE, Fault.PLATFORM), (result.verdict, result.log)


def test_a_node_that_is_drained_finishes_its_case(job, slurm_cluster):
    host = slurm_cluster.call("sinfo", "--noheader", "--format=%N").strip()
    running = in_background(job, f"import time; time.sleep(6); {OK}", limits={"wall_seconds": 100.0})
    wait_for(slurm_cluster, "RUNNING")
    slurm_cluster.call("scontrol", "update", f"NodeName={host}", "State=DRAIN", "Reason=test")
    try:
        assert running().verdict == Verdict.OK
    finally:
        slurm_cluster.resume()


def test_a_node_that_goes_down_is_the_platforms_fault(job, slurm_cluster):
    host = slurm_cluster.call("sinfo", "--noheader", "--format=%N").strip()
    running = in_background(job, "import time; time.sleep(60)", limits={"wall_seconds": 100.0})
    wait_for(slurm_cluster, "RUNNING")
    time.sleep(3)
    slurm_cluster.call("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=test")
    result = running()
    slurm_cluster.resume()
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_restarted")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB that everybody on the cluster sees. Gives it, and a function that fills and frees it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", folder], check=True)
    filler = folder / "filler"

    def fill(is_full):
        filler.unlink(missing_ok=True)
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while is_full:
                file.write(bytes(4096))

    yield folder, fill
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_output_that_a_full_shared_folder_does_not_take_is_no_fault_of_the_participant(
    slurm_engine, slurm_image, slurm_cluster, spec_of, owner, small_disk
):
    shared, fill = small_disk
    program = "import time; open('/output/result.txt', 'wb').write(bytes(1 << 19)); time.sleep(4)"
    spec = spec_of(image_id=slurm_image, command=("python3", "-c", program))

    def go():
        return run(spec, engine=slurm_engine, scratch=shared, should_cancel=lambda: False, labels={OWNER_LABEL: owner})

    running = in_background(go)
    wait_for(slurm_cluster, "RUNNING")
    fill(True)
    result = running()
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "disk_full")
    assert slurm_engine.containers_of(owner) == []
    fill(False)
    assert go().verdict == Verdict.OK


@pytest.mark.parametrize("moment", ["before", "while it runs"])
def test_a_full_folder_of_the_engine_is_no_fault_of_the_participant(
    slurm_engine, slurm_image, slurm_cluster, spec_of, scratch, owner, small_disk, moment
):
    shared, fill = small_disk
    for entry in slurm_engine.folder.iterdir():
        if entry.name != "containers":
            (shared / entry.name).symlink_to(entry)
    engine = SlurmEngine(base_url=slurm_engine.program, folder=shared)
    program = (
        "import time; time.sleep(4); print('x' * 10**6, flush=True); open('/output/result.txt', 'w').write('done')"
    )
    spec = spec_of(image_id=slurm_image, command=("python3", "-c", program))

    def go():
        return run(spec, engine=engine, scratch=scratch, should_cancel=lambda: False, labels={OWNER_LABEL: owner})

    if moment == "before":
        fill(True)
        result = go()
    else:
        running = in_background(go)
        wait_for(slurm_cluster, "RUNNING")
        time.sleep(2)
        fill(True)
        result = running()
    assert result.verdict == Verdict.INFRASTRUCTURE
    assert slurm_cluster.jobs() == []
    fill(False)
    assert go().verdict == Verdict.OK
    assert engine.containers_of(owner) == []


def test_what_a_killed_agent_leaves_is_found_by_its_label(
    slurm_engine, slurm_image, slurm_cluster, owner, scratch, tmp_path
):
    other = SlurmEngine(base_url=slurm_engine.program, folder=slurm_engine.folder)
    mounts = [
        {"Type": "bind", "Source": str(tmp_path), "Target": target, "ReadOnly": True}
        for target in ("/input", "/output")
    ]
    body = {
        "Image": slurm_image,
        "Entrypoint": ["sleep", "600"],
        "Labels": {OWNER_LABEL: owner},
        "HostConfig": {"Mounts": mounts},
    }
    container_id = other.create(name="assay-abandoned", body=body)
    other.start(container_id)
    (other.folder / "containers" / container_id / "job").unlink()  # it died before it wrote the number down
    wait_for(slurm_cluster, "RUNNING")
    assert remove_leftovers(slurm_engine, owner=owner, keep=set(), scratch=scratch) == 1
    assert slurm_cluster.jobs() == []
    assert not (other.folder / "containers" / container_id).exists()
