"""Catalogue group A on the real engine: each attack is first seen to work on a plainly loaded image, then not after intake."""

import ast
import json
import subprocess
import time
import uuid
from pathlib import Path

import pytest

import containers
from containers.engines import OWNER_LABEL
from containers.engines.podman import PodmanEngine
from containers.intake import inspect_archive, load_archive
from containers.sandbox.runner import remove_leftovers
from containers.verdicts import Fault, Reason, Verdict
from image_archives import config_of, device, docker_save, entry, folder, sha256, tar_of
from waits import SOON_SECONDS

NEVER_LOADED = "only the archive intake has written is loaded, without tags, and runs by ID"
OWN_CONFIG = "intake writes its own configuration from a short list"
SPOOFED_OWNER = f"victim/{uuid.uuid4().hex}"

PROGRAM = b"""#!/usr/bin/dash
if [ "$1" = forever ]; then trap '' TERM WINCH; while :; do :; done; fi
exec > /output/result.txt 2>&1
while read -r key value; do case $key in Uid:) echo "uid $value";; esac; done < /proc/self/status
echo "preload $LD_PRELOAD"
echo "gpus $NVIDIA_VISIBLE_DEVICES"
echo "input $(cat /input/scan.txt)"
(: > /scratch/x) 2> /dev/null && echo "scratch writable" || echo "scratch refused"
(: < /node) && echo "node opened"
exit 0
"""
NASTY = {
    "User": "root",
    "Cmd": ["/app/run.sh"],
    "Env": ["PATH=/usr/bin", "LD_PRELOAD=/evil.so", "NVIDIA_VISIBLE_DEVICES=all"],
    "Volumes": {"/scratch": {}, "/input": {}, "/output": {}},
    "Healthcheck": {"Test": ["CMD", "/usr/bin/dash", "-c", "exit 0"], "Interval": 10**9},
    "StopSignal": "SIGWINCH",
    "Labels": {OWNER_LABEL: SPOOFED_OWNER, "com.docker.compose.project": "web", "traefik.enable": "true"},
    "OnBuild": ["RUN /evil"],
}


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check).stdout.strip()


def only_with_docker(engine) -> None:
    if isinstance(engine, PodmanEngine):
        pytest.skip("Docker's own command shows what a careless platform would do, and this run is Podman's")


@pytest.fixture(scope="module")
def shell_layer(base_image) -> bytes:
    """The smallest layer with a shell: dash, cat and what they are linked with, taken out of the base image."""
    script = "tar -chC / usr/bin/dash usr/bin/cat $(ldd /usr/bin/cat | grep -o '/lib[^ ]*')"
    command = ["docker", "run", "--rm", "--network=none", base_image, "sh", "-c", script]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory, shell_layer, docker_engine):
    """The same hostile image twice: as uploaded and loaded by a careless platform, and through intake."""
    folder_of_archives = tmp_path_factory.mktemp("nasty")
    program = tar_of(
        *(folder("app"), folder("scratch"), entry("app/run.sh", PROGRAM), device("node", major=10, minor=237)),
        entry(uuid.uuid4().hex),  # an identity of its own: a test process beside this one removes its images, not ours
    )
    layers = (shell_layer, program)
    archive = docker_save(folder_of_archives / "a.tar", *layers, config=config_of(*layers, settings=NASTY))
    checked = folder_of_archives / "checked.tar"
    report = inspect_archive(source=archive, destination=checked)
    docker("load", "--input", str(archive))
    load_archive(docker_engine, checked, report.image_id)
    yield {"raw": report.uploaded_image_id, "ours": report.image_id}
    for image_id in (report.uploaded_image_id, report.image_id):
        docker("rmi", "--force", image_id)  # `docker run --rm` may still be removing a container of it


@pytest.fixture
def facts(images, spec_of, execute, docker_engine) -> dict[str, str]:
    """What the hostile program says about a run of the image that went through intake."""
    result = execute(spec_of(image_id=images["ours"]), docker_engine)
    assert result.verdict is Verdict.OK, result
    lines = result.outputs[0].path.read_text().splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


@pytest.fixture
def created(images, docker_engine):
    """A container made from either image with nothing but defaults, as its `docker inspect` document."""
    only_with_docker(docker_engine)
    made = []

    def go(which: str) -> dict:
        container = docker("create", "--network=none", images[which])
        made.append(container)
        (document,) = json.loads(docker("inspect", container))
        return document

    yield go
    for container in made:
        docker("rm", "--force", "--volumes", container)


pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]


@pytest.mark.catalogue(24, attack="USER root", verdict="runs as 65532", guard="the sandbox sets the user")
def test_an_image_that_wants_to_be_root_is_not(facts):
    assert facts["uid"].split() == ["65532"] * 4


@pytest.mark.catalogue(
    16, attack="ENV NVIDIA_VISIBLE_DEVICES=all", verdict="neutralised", guard="stripped by intake, set by the sandbox"
)
def test_an_image_that_asks_for_all_gpus_gets_none(facts, created):
    assert "NVIDIA_VISIBLE_DEVICES=all" in created("raw")["Config"]["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=all" not in created("ours")["Config"]["Env"]
    assert facts["gpus"] == "void"


@pytest.mark.catalogue(15, attack="ENV LD_PRELOAD on the engine", verdict="neutralised", guard="stripped by intake")
def test_a_preloaded_library_of_the_image_never_reaches_the_engine(facts, created):
    assert "LD_PRELOAD=/evil.so" in created("raw")["Config"]["Env"]
    assert "LD_PRELOAD=/evil.so" not in created("ours")["Config"]["Env"]
    assert facts["preload"] == ""


@pytest.mark.catalogue(17, attack="VOLUME /scratch under a read-only root", verdict="neutralised", guard=OWN_CONFIG)
def test_a_volume_of_the_image_is_no_way_around_the_read_only_root(images, facts, created):
    write = ("run", "--rm", "--network=none", "--read-only", "--user=0", "--entrypoint=/usr/bin/dash")
    attack = ("-c", "echo x > /scratch/x && echo written")
    assert docker(*write, images["raw"], *attack) == "written"
    assert docker(*write, images["ours"], *attack, check=False) == ""
    assert [mount["Destination"] for mount in created("raw")["Mounts"] if mount["Destination"] == "/scratch"]
    assert created("ours")["Mounts"] == []
    assert facts["scratch"] == "refused"


@pytest.mark.catalogue(
    18, attack="VOLUME /input, /output shadow the mounts", verdict="our mounts win", guard=OWN_CONFIG
)
def test_volumes_of_the_image_do_not_shadow_input_and_output(facts):
    assert facts["input"] == "a scan"


@pytest.mark.catalogue(19, attack="HEALTHCHECK every second", verdict="never run", guard=OWN_CONFIG)
def test_a_health_check_of_the_image_is_not_inherited(created):
    assert created("raw")["Config"]["Healthcheck"]
    assert "Healthcheck" not in created("ours")["Config"]


@pytest.mark.catalogue(20, attack="STOPSIGNAL=SIGWINCH", verdict="timeout", guard="SIGKILL at the deadline")
def test_a_stop_signal_of_the_image_does_not_outlive_the_deadline(
    created, images, spec_of, execute, docker_engine, owner
):
    assert created("raw")["Config"]["StopSignal"] == "SIGWINCH"
    assert "StopSignal" not in created("ours")["Config"]
    spec = spec_of(image_id=images["ours"], command=("/app/run.sh", "forever"))
    limits = type(spec.limits)(**(vars(spec.limits) | {"wall_seconds": 1}))
    started = time.monotonic()
    result = execute(type(spec)(**(vars(spec) | {"limits": limits})), docker_engine)
    ended = {(Verdict.TIMEOUT, Reason.TIME_LIMIT), (Verdict.INFRASTRUCTURE, Reason.MACHINE_BUSY)}
    assert (result.verdict, result.reason) in ended, "it spins, and is excused where others use its processor"
    assert time.monotonic() - started < SOON_SECONDS
    assert docker_engine.containers_of(owner) == []


@pytest.mark.catalogue(
    21, attack="LABELs that spoof our owner, compose, traefik", verdict="neutralised", guard="no label survives intake"
)
def test_labels_of_the_image_do_not_make_its_containers_somebody_elses(created, docker_engine):
    attack = created("raw")
    assert [container.container_id for container in docker_engine.containers_of(SPOOFED_OWNER)] == [attack["Id"]]
    assert created("ours")["Config"]["Labels"] in ({}, None)
    assert len(docker_engine.containers_of(SPOOFED_OWNER)) == 1
    assert remove_leftovers(docker_engine, owner=SPOOFED_OWNER, keep={attack["Name"].strip("/")}) == 0


@pytest.mark.catalogue(
    12,
    attack="device nodes in a layer",
    verdict="EPERM inside",
    guard="device cgroup; no capability; reported by intake",
)
def test_a_device_node_in_a_layer_cannot_be_opened(images, facts):
    attack = ("--network=none", "--rm", "--user=65532", "--entrypoint=/usr/bin/dash")
    opened = docker(
        "run",
        "--device-cgroup-rule=c 10:237 rwm",
        *attack,
        images["raw"],
        "-c",
        ": < /node && echo opened",
        check=False,
    )
    assert opened == "opened"
    assert "node" not in facts
    assert "Operation not permitted" in " ".join(facts.values()) or any("/node" in key for key in facts)


@pytest.fixture
def platform_tag(base_image, docker_engine):
    """A tag that means something to somebody."""
    tag = f"assay-test-{uuid.uuid4().hex[:8]}/evaluator:1.0"
    docker("tag", base_image, tag)
    yield tag
    docker("rmi", tag)


@pytest.mark.catalogue(1, attack="RepoTags names the platform's own image", verdict="tag untouched", guard=NEVER_LOADED)
def test_an_upload_cannot_take_over_a_tag(platform_tag, base_image, tmp_path, docker_engine):
    archive = docker_save(tmp_path / "a.tar", tar_of(entry(uuid.uuid4().hex)), tags=[platform_tag])
    report = inspect_archive(source=archive, destination=tmp_path / "checked.tar")
    try:
        load_archive(docker_engine, tmp_path / "checked.tar", report.image_id)
        assert docker("image", "inspect", "--format={{.Id}}", platform_tag) == base_image
        docker("load", "--input", str(archive))
        assert docker("image", "inspect", "--format={{.Id}}", platform_tag) == report.uploaded_image_id
    finally:
        docker("tag", base_image, platform_tag)
        docker_engine.remove_image(report.image_id)
        docker_engine.remove_image(report.uploaded_image_id)


@pytest.mark.catalogue(2, attack="three foreign tags in one archive", verdict="no tag exists", guard=NEVER_LOADED)
def test_an_upload_cannot_plant_tags(tmp_path, docker_engine):
    names = [f"assay-test-{uuid.uuid4().hex[:8]}/postgres:{version}" for version in (14, 15, 16)]
    archive = docker_save(tmp_path / "a.tar", tar_of(entry(uuid.uuid4().hex)), tags=names)
    report = inspect_archive(source=archive, destination=tmp_path / "checked.tar")
    try:
        load_archive(docker_engine, tmp_path / "checked.tar", report.image_id)
        assert [name for name in names if docker("images", "--quiet", name)] == []
        docker("load", "--input", str(archive))
        assert [name for name in names if docker("images", "--quiet", name)] == names
    finally:
        docker("rmi", *names, check=False)
        docker_engine.remove_image(report.image_id)


@pytest.mark.catalogue(3, attack="archive without RepoTags", verdict="loads by ID, leaves nothing", guard=NEVER_LOADED)
@pytest.mark.catalogue(
    26,
    attack="the same image uploaded twice",
    verdict="one identity, one image",
    guard="the ID is a hash of the content",
)
@pytest.mark.catalogue(
    11, attack="paths close to the longest possible", verdict="runs and is removed", guard="3584 bytes at most"
)
def test_an_archive_without_tags_and_with_deep_paths_leaves_nothing_when_removed(tmp_path, docker_engine):
    before = docker_engine.image_ids()
    deep = tar_of(entry("d/" * 1776 + uuid.uuid4().hex))
    archive = docker_save(tmp_path / "a.tar", deep)
    first = inspect_archive(source=archive, destination=tmp_path / "checked.tar")
    load_archive(docker_engine, tmp_path / "checked.tar", first.image_id)
    second = inspect_archive(source=archive, destination=tmp_path / "checked.tar")
    load_archive(docker_engine, tmp_path / "checked.tar", second.image_id)
    assert docker_engine.image_ids() - before >= {first.image_id} == {second.image_id}
    docker_engine.remove_image(first.image_id)
    assert first.image_id not in docker_engine.image_ids()
    assert docker("image", "inspect", first.image_id, check=False) == "[]"


@pytest.mark.catalogue(
    29,
    attack="image deleted between acceptance and run",
    verdict="infrastructure, retried",
    guard="`image_absent` is ours",
)
def test_an_image_that_vanished_is_our_fault(spec_of, execute, docker_engine):
    result = execute(spec_of(image_id=sha256(b"deleted")), docker_engine)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "image_absent")
    assert result.verdict.fault is Fault.PLATFORM
    assert result.verdict.is_retried


@pytest.mark.catalogue(
    28,
    attack="compressed archive PUT into a container with a trojan unpigz",
    verdict="never called",
    guard="no call in the source",
)
def test_nothing_is_ever_put_into_a_container():
    sources = [path for path in Path(containers.__file__).parent.rglob("*.py") if "examples" not in path.parts]
    names = {
        node.attr
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert "load_image" in names
    assert not names & {"put_archive", "exec_create", "exec_start", "exec_run"}
