"""One contract, six engines: what the runner relies on holds for the scripted engine and for the real ones alike."""

import json
import time

import pytest

from containers.engines import OWNER_LABEL
from containers.engines.apptainer import ApptainerEngine
from containers.engines.fake import FakeEnding, FakeEngine
from containers.engines.kubernetes import KubernetesEngine
from containers.errors import EngineRefused, ImageAbsent, NameTaken

PROGRAMS = {
    "ok": ("true", FakeEnding()),
    "seven": ("exit 7", FakeEnding(exit_code=7)),
    "talks": ("echo hello; echo world >&2", FakeEnding(log=b"hello\nworld\n")),
    "hangs": ("sleep 600", FakeEnding(seconds=600)),
}


def fake(request):
    images = {"sha256:base": FakeEngine().image_facts("sha256:base")}
    by_name = {f"contract-{name}": ending for name, (_, ending) in PROGRAMS.items()}
    engine = FakeEngine(lambda call: by_name[call.name.rpartition("-")[0]], images=images)
    return engine, "sha256:base"


def docker(request):
    return request.getfixturevalue("docker_engine"), request.getfixturevalue("base_image")


def podman(request):
    engine = request.getfixturevalue("podman_engine")
    return engine, request.getfixturevalue("shell_image")(engine)


def apptainer(request):
    engine = request.getfixturevalue("apptainer_engine")
    return engine, request.getfixturevalue("shell_image")(engine)


def slurm(request):
    engine = request.getfixturevalue("slurm_engine")
    return engine, request.getfixturevalue("shell_image")(engine)


def kubernetes(request):
    engine = request.getfixturevalue("kubernetes_engine")
    return engine, request.getfixturevalue("shell_image")(engine)


ENGINES = [
    fake,
    kubernetes,
    *(pytest.param(engine, marks=pytest.mark.docker) for engine in (docker, podman)),
    *(pytest.param(engine, marks=pytest.mark.cluster) for engine in (apptainer, slurm)),
]


@pytest.fixture(params=ENGINES, ids=["fake", "kubernetes", "docker", "podman", "apptainer", "slurm"])
def engine_and_image(request):
    return request.param(request)


@pytest.fixture
def engine(engine_and_image):
    return engine_and_image[0]


@pytest.fixture
def create(engine_and_image, owner, tmp_path):
    """Create a container running one of the programs above. Removed afterwards."""
    engine, image = engine_and_image
    created = []

    def go(program, *, name=None, image_id=image):
        mounts = [
            {"Type": "bind", "Source": str(tmp_path), "Target": target, "ReadOnly": read_only}
            for target, read_only in (("/input", True), ("/output", False))
        ]
        body = {
            "Image": image_id,
            "Entrypoint": ["sh", "-c", PROGRAMS[program][0]],
            "Env": [],
            "Labels": {OWNER_LABEL: owner},
            "HostConfig": {"Mounts": mounts, "NetworkMode": "none"},
        }
        created.append(engine.create(name=name or f"contract-{program}-{abs(hash(owner)):x}", body=body))
        return created[-1]

    yield go
    for container_id in created:
        engine.remove(container_id)


def begun(engine, container_id):
    while (state := engine.state(container_id)).is_waiting:
        time.sleep(0.02)
    return state


def ended(engine, container_id):
    begun(engine, container_id)
    while (state := engine.state(container_id)).is_running:
        pass
    return state


def test_a_container_goes_from_created_to_running_to_ended(engine, create):
    container_id = create("seven")
    before = engine.state(container_id)
    assert not before.is_running
    assert before.started_at is None
    assert before.wall_seconds == before.startup_seconds == 0.0
    engine.start(container_id)
    after = ended(engine, container_id)
    assert after.exit_code == 7
    assert not after.is_out_of_memory
    assert after.created_at <= after.started_at
    assert after.created_at <= after.finished_at
    # a busy daemon may note the start of a very short run after its end
    assert after.wall_seconds == max(0.0, (after.finished_at - after.started_at).total_seconds())


def test_kill_ends_with_137_and_is_harmless_twice(engine, create):
    container_id = create("hangs")
    engine.start(container_id)
    assert begun(engine, container_id).is_running
    engine.kill(container_id)
    assert ended(engine, container_id).exit_code == 137
    engine.kill(container_id)


def test_a_name_is_a_mutex(engine, create):
    container_id = create("ok")
    name = next(container.name for container in engine.containers_of(_owner_of(engine, container_id)))
    with pytest.raises(NameTaken):
        create("ok", name=name)


def _owner_of(engine, container_id):
    if isinstance(engine, ApptainerEngine):
        document = engine.folder / "containers" / container_id / "container.json"
        return json.loads(document.read_text())["body"]["Labels"][OWNER_LABEL]
    if isinstance(engine, KubernetesEngine):
        return engine.api.pod(container_id)["metadata"]["annotations"][OWNER_LABEL]
    if isinstance(engine, FakeEngine):
        return engine.containers[container_id].body["Labels"][OWNER_LABEL]
    return engine._api.inspect_container(container_id)["Config"]["Labels"][OWNER_LABEL]


def test_an_image_that_is_not_here_is_absent_and_never_pulled(engine, create):
    absent = "sha256:" + "0" * 64
    with pytest.raises(ImageAbsent):
        create("ok", image_id=absent)
    with pytest.raises(ImageAbsent):
        engine.image_facts(absent)


def test_removing_is_complete_and_harmless_twice(engine, create, owner):
    container_id = create("hangs")
    engine.start(container_id)
    engine.remove(container_id)
    engine.remove(container_id)
    assert engine.containers_of(owner) == []
    with pytest.raises(EngineRefused):
        engine.state(container_id)


def test_the_log_has_both_streams(engine, create):
    container_id = create("talks")
    engine.start(container_id)
    ended(engine, container_id)
    assert sorted(engine.read_log(container_id, max_bytes=1000).split()) == [b"hello", b"world"]


def test_an_engine_that_goes_on_has_one_life_whatever_happens_in_it(engine, create):
    life = engine.life()
    container_id = create("ok")
    engine.start(container_id)
    ended(engine, container_id)
    engine.remove(container_id)
    assert engine.life() == life


def test_an_owner_sees_its_own_containers_only(engine, create, owner):
    container_id = create("ok")
    assert [container.container_id for container in engine.containers_of(owner)] == [container_id]
    assert engine.containers_of(owner + "/2") == []
    assert engine.containers_of(owner[:-1]) == []


def test_volumes_belong_to_an_owner_too(engine, owner):
    name = f"contract-volume-{abs(hash(owner)):x}"
    engine.create_volume(name=name, options={}, labels={OWNER_LABEL: owner})
    try:
        assert engine.volumes_of(owner) == [name]
    finally:
        engine.remove_volume(name)
        engine.remove_volume(name)
    assert engine.volumes_of(owner) == []


def test_the_engine_describes_itself(engine):
    facts = engine.facts()
    assert facts.cpu_count >= 1
    assert facts.memory_bytes > 0
    assert facts.version
