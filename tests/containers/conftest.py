"""What the tests of this room share: a real engine when there is one, a scripted one always, and a place to run in."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from cluster_programs import apptainer_program
from containers.base.build import base_image as base_image_name
from containers.engines import OWNER_LABEL, Engine
from containers.engines.apptainer import ApptainerEngine
from containers.engines.docker import DockerEngine
from containers.engines.kubernetes import KubernetesEngine
from containers.engines.podman import PodmanEngine
from containers.engines.slurm import SlurmEngine
from containers.errors import EngineUnreachable
from containers.sandbox.runner import run
from containers.sandbox.workspace import OutputStore
from containers.spec import Limits, OutputSpec, RunResult, RunSpec
from fake_cluster import FakeCluster, running_fake_cluster
from leftovers import IMAGES, OWNERS, left_behind
from slurm_cluster import Cluster, running_cluster

MIB = 2**20
SMALL = Limits(
    wall_seconds=20,
    memory_bytes=128 * MIB,
    shm_bytes=4 * MIB,
    tmp_bytes=16 * MIB,
    output_bytes=8 * MIB,
    output_inodes=64,
    working_dir_bytes=16 * MIB,
    pids=64,
)
RESULT = OutputSpec(name="result", path="result.txt", max_bytes=4 * MIB)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make guards` names this folder, so that the option is known in time."""
    parser.addoption("--guards", action="store_true", help="take each guard away and demand that its attack succeeds")
    parser.addoption(
        "--write-table", action="store_true", help="write what each guard does on each engine into the docs"
    )
    parser.addoption(
        "--engine",
        choices=["docker", "podman", "apptainer", "slurm", "kubernetes"],
        default="docker",
        help="run the sandbox's tests on this engine",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Guards are taken away by `make guards` alone: elsewhere those tests are no part of the run."""
    if config.getoption("--guards", default=False):
        return
    left_out = [item for item in items if item.get_closest_marker("guards")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class ManualClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@contextmanager
def podman_service() -> Iterator[PodmanEngine]:
    """A Podman of the tests' own: its images, containers and socket lie in one folder and go with it."""
    if shutil.which("podman") is None or os.geteuid() != 0:
        pytest.skip("needs root and Podman: apt-get install podman crun catatonit")
    folder = Path(tempfile.mkdtemp(prefix="assay-podman-"))
    socket = folder / "podman.sock"
    stores = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--log-level", "fatal"]
    service = subprocess.Popen(["podman", *stores, "system", "service", "--time", "0", f"unix://{socket}"], cwd=folder)
    try:
        while not socket.exists():
            assert service.poll() is None, "the Podman service ended at once"
            time.sleep(0.05)
        with PodmanEngine(base_url=f"unix://{socket}") as engine:
            yield engine
    finally:
        service.terminate()
        service.wait()
        subprocess.run(["umount", str(folder / "root" / "overlay")], check=False, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[PodmanEngine]:
    with podman_service() as engine:
        yield engine


@pytest.fixture(scope="session")
def apptainer_engine() -> Iterator[ApptainerEngine]:
    """An Apptainer whose images and containers lie in a folder of the tests' own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="assay-apptainer-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield ApptainerEngine(base_url=str(apptainer_program(folder)), folder=folder / "store")


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """A real Slurm of one machine."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_engine(slurm_cluster, apptainer_engine) -> Iterator[SlurmEngine]:
    """The same folder and the same Apptainer as the test run's, but in jobs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm_cluster.environment.items():
            patch.setenv(name, value)
        yield SlurmEngine(base_url=apptainer_engine.program, folder=apptainer_engine.folder)


@pytest.fixture(scope="session")
def cluster_folder() -> Iterator[Path]:
    """What a cluster and its agent share: the claim. Everybody may look into it by name."""
    with tempfile.TemporaryDirectory(prefix="assay-claim-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="session")
def fake_cluster(cluster_folder) -> Iterator[FakeCluster]:
    """A cluster of this process. Its claim is this machine's file system, so that tests may put their folders anywhere."""
    with running_fake_cluster(folder=cluster_folder / "machine", claim_root=Path("/")) as cluster:
        yield cluster


@pytest.fixture
def kubernetes_engine(fake_cluster, cluster_folder) -> Iterator[KubernetesEngine]:
    with KubernetesEngine(
        base_url=fake_cluster.url, folder=cluster_folder / "engine", options=fake_cluster.options()
    ) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_engine(request, tmp_path_factory) -> Iterator[DockerEngine | ApptainerEngine]:
    """The real engine of this test run: Docker, or another one behind the same port with `--engine`.

    It goes last, and by then the tests have left nothing on the host.
    """
    with opened_engine(request) as engine:
        yield engine
        if not is_docker(engine) and IMAGES:  # Docker has built them
            subprocess.run(["docker", "rmi", "--force", *IMAGES], check=True, capture_output=True)
        assert left_behind(engine=engine, folder=tmp_path_factory.getbasetemp()) == []


def is_docker(engine: Engine) -> bool:
    """Whether this is Docker itself, which builds the tests' images."""
    return isinstance(engine, DockerEngine) and not isinstance(engine, PodmanEngine)


def opened_engine(request) -> AbstractContextManager[DockerEngine | ApptainerEngine]:
    """Skips where there is none."""
    name = request.config.getoption("--engine", default="docker")
    if name != "docker":
        return nullcontext(request.getfixturevalue(f"{name}_engine"))
    try:
        return DockerEngine()
    except EngineUnreachable:
        pytest.skip("no Docker Engine answers here")


@pytest.fixture(scope="session")
def base_image(docker_engine) -> str:
    """The ID of the base image. Building it for the first time takes a minute or two, with Docker."""
    name = base_image_name()
    with DockerEngine() as docker:
        image_id = docker.image_facts(name).image_id
    give(docker_engine, image_id)
    return image_id


@pytest.fixture(scope="session")
def base_image_archive(tmp_path_factory) -> tuple[str, Path]:
    """The base image as Docker saves it, and its ID."""
    name = base_image_name()
    archive = tmp_path_factory.mktemp("base") / "image.tar"
    with DockerEngine() as docker:
        image_id = docker.image_facts(name).image_id
    subprocess.run(["docker", "save", "-o", str(archive), image_id], check=True)
    return image_id, archive


def give(engine: Engine, image: str) -> None:
    """Carry an image that Docker has built over to the engine of this test run, where that is another one."""
    if is_docker(engine):
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        subprocess.run(["docker", "save", "-o", str(archive), image], check=True)
        engine.load_image(archive)


@pytest.fixture(scope="session")
def into_engine(docker_engine) -> Callable[[str], str]:
    """Makes sure that the engine of this test run has an image Docker has built. Gives its ID back."""

    def go(image_id: str) -> str:
        give(docker_engine, image_id)
        return image_id

    return go


@pytest.fixture(scope="session")
def shell_image() -> Callable[[Engine], str]:
    """Gives an engine an image with little but a shell, out of this machine's own files. Returns its ID."""
    script = "tar -ch $0 $@ $(ldd $0 $@ | grep -o '/lib[^ ]*' | sort -u)"
    programs = ["/usr/bin/sh", "/usr/bin/sleep", "/usr/bin/true"]
    files = subprocess.run(["sh", "-c", script, *programs], capture_output=True, check=True).stdout
    return lambda engine: engine.import_image(
        root_archive=files, entrypoint=("/usr/bin/sh",), tag="assay-tests/shell:1"
    )


@pytest.fixture
def owner(request) -> str:
    """An owner of this test's own, so that tests can share one engine with everything else on the machine."""
    name = f"tests/{request.node.name[:40]}-{os.getpid()}-{id(request):x}"
    OWNERS.add(name)
    return name


@pytest.fixture
def input_dir(tmp_path) -> Path:
    folder = tmp_path / "secret-case-42"
    folder.mkdir()
    (folder / "scan.txt").write_text("a scan")
    return folder


@pytest.fixture
def scratch(tmp_path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def spec_of(request, input_dir) -> Callable[..., RunSpec]:
    """A specification with small limits. Keyword arguments replace its fields."""

    def build(**changes) -> RunSpec:
        fields = {
            "name": f"assay-test-{id(request):x}",
            "image_id": "sha256:fake",
            "input_dir": input_dir,
            "outputs": (RESULT,),
            "limits": SMALL,
        }
        return RunSpec(**(fields | changes))

    return build


@pytest.fixture
def execute(scratch, owner) -> Callable[..., RunResult]:
    """Run a specification on an engine the way a node does."""

    def go(spec: RunSpec, engine: Engine, *, should_cancel=lambda: False, store: OutputStore | None = None, clock=None):
        return run(
            spec,
            engine=engine,
            scratch=scratch,
            should_cancel=should_cancel,
            labels={OWNER_LABEL: owner},
            store=store,
            clock=clock,
        )

    return go


@pytest.fixture
def python_in_sandbox(spec_of, base_image, docker_engine, execute) -> Callable[..., RunResult]:
    """Run a Python program in the base image, inside the sandbox, on the real engine."""

    def go(program: str, *, store: OutputStore | None = None, should_cancel=lambda: False, **changes) -> RunResult:
        spec = spec_of(**{"image_id": base_image, "command": ("python3", "-c", program), **changes})
        return execute(spec, docker_engine, store=store, should_cancel=should_cancel)

    return go
