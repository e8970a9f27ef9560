"""What `assay doctor` relies on when it calls CVE-2025-31133, -52565 and -52881 out of a submission's reach.

Each of them needs something that a submission never gets: a /dev of its own making, a terminal, or a process inside the mounts of
a container that is being set up. The attack itself was seen to work here, with runc 1.1.5 and an image's own folder mounted
on /dev: once by a WORKDIR, once by an /output that was a link and a volume that the engine filled from the image.
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from containers.engines.apptainer import ApptainerEngine
from containers.engines.fake import FakeEnding, FakeEngine
from containers.engines.podman import PodmanEngine
from containers.sandbox import runner
from containers.sandbox.arguments import MASKED_BY_RUNTIMES, Mount, is_kernel_place
from containers.sandbox.runner import run
from containers.sandbox.workspace import OutputStore
from containers.spec import RunResult
from containers.verdicts import Fault, Verdict
from image_archives import build_image

pytestmark = pytest.mark.xdist_group("engine")

OPTIONS = sorted((Path(__file__).parent / "options").glob("*.json"))
BODIES = {path.stem: json.loads(path.read_text()) for path in OPTIONS if path.stem != "seccomp"}
READ_MASKED = "open('{}/result.txt', 'w').write(open('/proc/timer_list').read() or 'masked')"


@pytest.mark.parametrize("name", BODIES)
def test_no_container_has_a_terminal_a_health_check_or_a_second_start(name):
    body = BODIES[name]
    assert body["Tty"] is False
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert body["HostConfig"]["RestartPolicy"]["Name"] == "no"


@pytest.mark.parametrize("name", BODIES)
def test_no_container_shares_or_changes_what_the_runtime_sets_up(name):
    host = BODIES[name]["HostConfig"]
    assert not host.keys() & {"Sysctls", "ReadonlyPaths", "Devices", "PidMode", "UTSMode", "VolumesFrom"}
    assert set(host["MaskedPaths"]) >= set(MASKED_BY_RUNTIMES), "a list of ours replaces the engine's"
    assert (host["IpcMode"], host["NetworkMode"], host["Privileged"]) == ("private", "none", False)
    assert {mount["BindOptions"]["Propagation"] for mount in host["Mounts"]} == {"rprivate"}


def test_two_runs_at_once_have_no_mount_in_common(tmp_path, spec_of):
    sources = []

    def script(call):
        sources.append({call.input_dir, call.output_dir})
        if len(sources) == 1:  # the second runs while the first still does
            second = spec_of(name="assay-second")
            run(second, engine=FakeEngine(script), scratch=tmp_path / "scratch", should_cancel=lambda: False)
        return FakeEnding()

    run(spec_of(), engine=FakeEngine(script), scratch=tmp_path / "scratch", should_cancel=lambda: False)
    first, second = sources
    assert (len(first), len(second), first & second) == (2, 2, set())


@pytest.mark.parametrize(
    "path", ["/dev", "/dev/", "/dev/shm", "//dev", "/proc/self", "/sys/fs/cgroup", "/a/../dev", "/./dev"]
)
def test_the_runtimes_own_places_are_recognised_however_they_are_written(path):
    assert is_kernel_place(path)


@pytest.mark.parametrize("path", ["/", "/device", "/input", "/workspace/dev", "/development/proc", "/tmp"])
def test_other_places_are_free_to_mount_on(path):
    assert not is_kernel_place(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "legacy", "working_dir": "/dev"},
        {"input_mount": "/proc/self"},
        {"output_mount": "/sys"},
    ],
)
def test_a_run_that_would_mount_there_never_starts(changes, execute, spec_of):
    engine = FakeEngine(lambda call: pytest.fail("it started"))
    result = execute(spec_of(**changes), engine)
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "mount_point_blocked")


@pytest.fixture
def image_with_links(base_image, docker_engine, into_engine, tmp_path):
    """An image that works in its /dev and leads /output to it, where null is a link to a file of the kernel."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "null").symlink_to("/proc/version")
    (root / "output").symlink_to("/dev")
    subprocess.run(["tar", "-C", str(root), "-cf", str(tmp_path / "links.tar"), "."], check=True)
    built = build_image(tmp_path, [f"FROM {base_image}", "ADD links.tar /", "WORKDIR /dev"])
    yield into_engine(built)
    docker_engine.remove_image(built)


def only_where_runc_masks(engine) -> None:
    """The hole is one of runc's, under a profile that Podman refuses. Apptainer masks with files of ours, which no image can replace."""
    if isinstance(engine, PodmanEngine):
        pytest.skip("Podman refuses the profile `legacy`: test_podman_specification.py")
    if isinstance(engine, ApptainerEngine):
        pytest.skip("Apptainer masks with files of the node, not with what the image has in its /dev")


@pytest.fixture
def masks_seen_by(image_with_links, python_in_sandbox):
    """What the image reads where the kernel's file should be masked, and the verdict of its run."""

    def go(**changes) -> tuple[list[str], RunResult]:
        program = READ_MASKED.format(changes.get("output_mount", "/output"))
        result = python_in_sandbox(program, image_id=image_with_links, **changes)
        return [output.path.read_text()[:12] for output in result.outputs], result

    return go


@pytest.mark.docker
@pytest.mark.catalogue(
    13,
    attack="WORKDIR /dev of a legacy image, with a /dev/null that is a link (CVE-2025-31133)",
    verdict="image_invalid (mount_point_blocked)",
    guard="nothing is mounted on /dev, /proc or /sys",
)
def test_a_working_directory_on_dev_opens_the_masks_unless_it_is_refused(masks_seen_by, docker_engine, monkeypatch):
    only_where_runc_masks(docker_engine)
    seen, result = masks_seen_by(profile="legacy", output_mount="/mnt")
    assert (seen, result.verdict, result.reason) == ([], Verdict.IMAGE_INVALID, "mount_point_blocked")
    monkeypatch.setattr(runner, "is_kernel_place", lambda path: False)
    seen, result = masks_seen_by(profile="legacy", output_mount="/mnt")
    assert seen == ["Linux versio"], result


@pytest.mark.docker
@pytest.mark.catalogue(
    13,
    attack="/output of the image is a link to its /dev, with a /dev/null that is a link (CVE-2025-31133)",
    verdict="masked, or image_invalid",
    guard="a volume for output never starts with what the image has there",
)
@pytest.mark.parametrize("profile", ["default", "legacy"])
@pytest.mark.parametrize("store", list(OutputStore))
def test_an_output_that_leads_to_dev_opens_no_mask(masks_seen_by, docker_engine, store, profile):
    if store is OutputStore.KEEPER and not docker_engine.facts().has_volumes:
        pytest.skip("this engine keeps no volumes, and never gets this store")
    seen, result = masks_seen_by(store=store, profile=profile, working_dir="/")
    assert seen in ([], ["masked"]), result
    assert result.verdict.fault is not Fault.PLATFORM


@pytest.mark.docker
def test_a_volume_filled_from_such_an_image_would_open_them(masks_seen_by, docker_engine, monkeypatch):
    only_where_runc_masks(docker_engine)
    monkeypatch.setattr(Mount, "to_json", lambda self, of=Mount.to_json: of(replace(self, is_filled_by_image=True)))
    seen, result = masks_seen_by(store=OutputStore.KEEPER, profile="legacy", working_dir="/")
    assert seen == ["Linux versio"], result


@pytest.mark.docker
@pytest.mark.parametrize("profile", ["default", "legacy"])
def test_the_runtimes_masks_are_on(python_in_sandbox, profile):
    result = python_in_sandbox(READ_MASKED.format("/output"), profile=profile)
    assert [output.path.read_text() for output in result.outputs] == ["masked"], result
