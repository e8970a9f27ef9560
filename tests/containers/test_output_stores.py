"""The three places an output can lie in give the same verdicts, and a legacy image its writable working directory."""

import dataclasses
import io
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from containers.engines.fake import FakeEngine
from containers.engines.podman import PodmanEngine
from containers.errors import EngineRefused, WorkspaceError
from containers.sandbox.keeper import elf, fetch
from containers.sandbox.workspace import OutputStore, best_store, folder_occupancy, remove_workspace, sweep, workspace
from containers.verdicts import Verdict
from image_archives import build_image
from waits import SOON_SECONDS

pytestmark = pytest.mark.xdist_group("engine")

MIB = 2**20
WRITE = "open('/output/result.txt', 'w').write('a mask')"
PROGRAMS = {
    "well_behaved": (WRITE, Verdict.OK, ""),
    "many_files": ("[open(f'/output/{i}', 'w').close() for i in range(75)]", Verdict.OUTPUT_TOO_LARGE, "files_limit"),
    "too_many_bytes": (
        "[open(f'/output/{i}', 'wb').write(bytes(2**20)) for i in range(10)]",
        Verdict.OUTPUT_TOO_LARGE,
        "bytes_limit",
    ),
    "symlink": ("import os; os.symlink('/etc/passwd', '/output/result.txt')", Verdict.OUTPUT_INVALID, "symlink"),
    "hard_link": (
        WRITE + "; import os; os.link('/output/result.txt', '/output/b')",
        Verdict.OUTPUT_INVALID,
        "hard_link",
    ),
    "fifo": ("import os; os.mkfifo('/output/result.txt')", Verdict.OUTPUT_INVALID, "not_a_file"),
    "closed_folder": (
        "import os; os.makedirs('/output/a/b'); os.chmod('/output/a', 0)",
        Verdict.OUTPUT_MISSING,
        "missing",
    ),
}


@pytest.mark.docker
@pytest.mark.parametrize("store", list(OutputStore))
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_store_gives_the_same_verdict(python_in_sandbox, docker_engine, owner, store, program):
    text, verdict, reason = PROGRAMS[program]
    result = python_in_sandbox(text, store=store)
    assert (result.verdict, result.reason) == (verdict, reason), result.log
    assert docker_engine.containers_of(owner) == []
    assert docker_engine.volumes_of(owner) == []


@pytest.mark.docker
def test_a_growing_folder_is_stopped_by_the_watchdog(python_in_sandbox):
    program = (
        "import itertools\n"
        "for i in itertools.count(): open(f'/output/{i % 60}', 'ab').write(bytes(2**18)); __import__('time').sleep(0.01)"
    )
    result = python_in_sandbox(program, store=OutputStore.DIRECTORY)
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_TOO_LARGE, "bytes_limit")
    assert result.usage.wall_seconds < SOON_SECONDS


@pytest.fixture
def flare_image(base_image, docker_engine, tmp_path):
    """An image as FLARE teams sent them: root, a script in /workspace, scratch files next to it, weights only root may read."""
    if isinstance(docker_engine, PodmanEngine):
        pytest.skip("Podman refuses the profile `legacy`: test_podman_specification.py")
    (tmp_path / "predict.sh").write_text(
        "mkdir /workspace/tmp && cp /root/model/weights.bin tmp/ && cp inputs/scan.txt outputs/result.txt && id -u\n"
    )
    (tmp_path / "weights.bin").write_bytes(bytes(3 * 2**20))
    lines = [
        f"FROM {base_image}", "USER root", "WORKDIR /workspace", "COPY predict.sh weights.bin ./",
        "COPY weights.bin /root/model/", "RUN chmod 700 /root",
    ]  # fmt: skip
    built = build_image(tmp_path, lines)
    yield built
    docker_engine.remove_image(built)


@pytest.fixture
def run_flare(flare_image, spec_of, execute, docker_engine):
    def go(*, store, profile="legacy", **limits):
        spec = spec_of(
            image_id=flare_image,
            profile=profile,
            command=("/bin/bash", "-c", "sh predict.sh"),
            input_mount="/workspace/inputs",
            output_mount="/workspace/outputs",
        )
        spec = dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, **limits))
        return execute(spec, docker_engine, store=store)

    return go


@pytest.mark.docker
@pytest.mark.parametrize("store", [OutputStore.LOOP, OutputStore.KEEPER])
def test_a_flare_image_runs_unchanged(run_flare, docker_engine, owner, store):
    result = run_flare(store=store)
    assert result.verdict is Verdict.OK, result.log
    assert result.log == b"0\n"
    assert result.outputs[0].path.read_text() == "a scan"
    assert docker_engine.volumes_of(owner) == []


@pytest.mark.docker
def test_a_flare_image_fails_under_the_default_profile_on_what_intake_warns_about(run_flare):
    result = run_flare(store=OutputStore.KEEPER, profile="default")
    assert result.verdict is Verdict.NONZERO_EXIT
    assert b"Read-only file system" in result.log


@pytest.mark.docker
def test_a_working_directory_that_does_not_fit_is_the_images_fault(run_flare, docker_engine, owner):
    result = run_flare(store=OutputStore.KEEPER, working_dir_bytes=2**20)
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "working_dir_too_large")
    assert docker_engine.volumes_of(owner) == []


def test_the_keepers_program_is_an_executable_that_sleeps(tmp_path):
    program = tmp_path / "keeper"
    program.write_bytes(elf("amd64"))
    program.chmod(0o755)
    assert len(elf("amd64")) == 64 + 56 + 9
    process = subprocess.Popen([program])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.kill()
    assert process.wait() == -9


class Archive(FakeEngine):
    """An engine whose keeper holds what the test says, as a tar stream in small pieces."""

    def __init__(self, *entries):
        super().__init__()
        self.entries = entries
        self.sent = 0

    def read_archive(self, container_id, path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, kind, content in self.entries:
                entry = tarfile.TarInfo(f"run-output/{name}")
                entry.type, entry.size = kind, len(content)
                entry.linkname = "/etc/passwd"
                tar.addfile(entry, io.BytesIO(content))
        for at in range(0, len(buffer.getvalue()), 1000):
            self.sent += 1000
            yield buffer.getvalue()[at : at + 1000]


@pytest.fixture
def fetch_into(tmp_path):
    destination = tmp_path / "fetched"
    destination.mkdir()

    def go(engine, *, limit_bytes=MIB):
        complete = fetch(
            engine=engine, container_id="k", volume="run-output", destination=destination, limit_bytes=limit_bytes
        )
        return complete, destination

    return go


def test_what_a_keeper_holds_is_recreated_as_what_it_is_and_links_point_nowhere(fetch_into):
    engine = Archive(
        ("", tarfile.DIRTYPE, b""),
        ("masks", tarfile.DIRTYPE, b""),
        ("masks/a", tarfile.REGTYPE, b"voxels"),
        ("link", tarfile.SYMTYPE, b""),
        ("hard", tarfile.LNKTYPE, b""),
        ("pipe", tarfile.FIFOTYPE, b""),
        ("disk", tarfile.BLKTYPE, b""),
    )
    complete, folder = fetch_into(engine)
    assert complete
    assert (folder / "masks" / "a").read_bytes() == b"voxels"
    assert (folder / "link").readlink() == Path("/nowhere")
    assert (folder / "hard").stat().st_nlink == 2
    assert (folder / "pipe").is_fifo()
    assert (folder / "disk").is_fifo(), "no device is ever made"


def test_a_volume_that_claims_more_than_its_limit_is_not_read_to_the_end(fetch_into):
    engine = Archive(*((str(number), tarfile.REGTYPE, bytes(MIB)) for number in range(40)))
    complete, _ = fetch_into(engine, limit_bytes=MIB)
    assert not complete
    assert engine.sent < 8 * MIB


def test_an_archive_that_names_a_place_outside_is_refused(fetch_into):
    with pytest.raises(EngineRefused, match="outside"):
        fetch_into(Archive(("../../escaped", tarfile.REGTYPE, b"x")))


def test_a_workspace_is_removed_whatever_happens_inside(scratch, input_dir):
    def use():
        with workspace(
            scratch=scratch, store=OutputStore.DIRECTORY, input_dir=input_dir, output_bytes=1, output_inodes=1, uid=0
        ) as space:
            (space.output_dir / "folder").mkdir(mode=0o000)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        use()
    assert list((scratch / "runs").iterdir()) == []


@pytest.mark.catalogue(65, attack="scratch of a crashed run", verdict="swept", guard="a lock per workspace")
def test_an_abandoned_workspace_is_swept_and_a_living_one_is_not(scratch, input_dir):
    (scratch / "runs" / "abandoned" / "output").mkdir(parents=True)
    with workspace(
        scratch=scratch, store=OutputStore.DIRECTORY, input_dir=input_dir, output_bytes=1, output_inodes=1, uid=0
    ) as space:
        assert sweep(scratch) == ["abandoned"]
        assert space.root.exists()
    assert sweep(scratch) == []


@pytest.mark.skipif(best_store() is not OutputStore.LOOP, reason="needs root and loop devices")
def test_a_workspace_that_somebody_still_holds_is_removed_once_they_let_go(scratch, input_dir):
    with ExitStack() as holding:
        with workspace(
            scratch=scratch, store=OutputStore.LOOP, input_dir=input_dir, output_bytes=MIB, output_inodes=4, uid=0
        ) as space:
            holder = subprocess.Popen(["sleep", "0.5"], cwd=space.output_dir)
            holding.callback(holder.wait)
        assert not space.root.exists()
        assert str(space.root) not in Path("/proc/mounts").read_text()


def test_the_input_is_shared_not_copied_and_the_caller_keeps_it(scratch, input_dir):
    with workspace(
        scratch=scratch, store=OutputStore.DIRECTORY, input_dir=input_dir, output_bytes=1, output_inodes=1, uid=0
    ) as space:
        assert (space.input_dir / "scan.txt").samefile(input_dir / "scan.txt")
        assert (space.input_dir / "scan.txt").stat().st_mode & 0o004
    assert (input_dir / "scan.txt").read_text() == "a scan"


def test_a_file_others_may_not_read_is_copied_and_opened_up(scratch, input_dir):
    (input_dir / "private.txt").write_text("private")
    (input_dir / "private.txt").chmod(0o600)
    with workspace(
        scratch=scratch, store=OutputStore.DIRECTORY, input_dir=input_dir, output_bytes=1, output_inodes=1, uid=0
    ) as space:
        assert (space.input_dir / "private.txt").stat().st_mode & 0o777 == 0o444
    assert (input_dir / "private.txt").stat().st_mode & 0o777 == 0o600


def test_occupancy_counts_what_sparse_files_claim(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    with (folder / "sparse").open("wb") as file:
        file.truncate(10**12)
    (folder / "link").symlink_to("/")
    assert folder_occupancy(folder).inodes == 2
    assert folder_occupancy(folder).bytes >= 10**12


def test_a_disk_that_is_full_is_our_trouble_before_anything_runs(execute, spec_of, monkeypatch):
    monkeypatch.setattr("containers.sandbox.workspace.shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    huge = dataclasses.replace(spec_of().limits, output_bytes=2**60)
    result = execute(spec_of(limits=huge), FakeEngine(), store=OutputStore.LOOP)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "disk_full")


def test_removing_a_workspace_twice_is_harmless(tmp_path):
    remove_workspace(tmp_path / "never-there")


def test_root_that_may_not_mount_falls_back_to_the_engines_store(monkeypatch):
    def refuse(*command):
        if command[0] == "mount":
            raise WorkspaceError("mount ended with 32: failed to setup loop device")

    monkeypatch.setattr("containers.sandbox.workspace.os.geteuid", lambda: 0)
    monkeypatch.setattr("containers.sandbox.workspace.Path.exists", lambda path: True)  # as if there were loop devices
    monkeypatch.setattr("containers.sandbox.workspace._call", refuse)
    best_store.cache_clear()
    assert best_store() is OutputStore.KEEPER
    best_store.cache_clear()
