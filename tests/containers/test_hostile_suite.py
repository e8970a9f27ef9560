"""Every program under `submissions/` through the real sandbox: the stated verdict with its guard, the attack without.

Each folder has the program and `expect.toml`: which items of the catalogue it covers, what it tries, which guard holds it (a
name from `container_guards.py`, or why there is none to take away), the verdict it must get, and what happens once the guard is off. The
programs write `held` or `escaped` by what they themselves achieved.
"""

import json
import os
import subprocess
import time
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from container_guards import GUARDS
from containers.engines import OWNER_LABEL, STORES_LABEL, WALL_LABEL, Engine
from containers.engines.apptainer import ApptainerEngine
from containers.engines.docker import DockerEngine
from containers.engines.podman import PodmanEngine
from containers.intake import inspect_archive, load_archive
from containers.sandbox import runner
from containers.verdicts import Verdict
from image_archives import build_image
from leftovers import loop_devices_on
from waits import HANGS_AFTER_SECONDS, SOON_SECONDS

OURS = {OWNER_LABEL, STORES_LABEL, WALL_LABEL}
pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]

HERE = Path(__file__).parent / "submissions"
NAMES = sorted(folder.name for folder in HERE.iterdir() if (folder / "expect.toml").exists())
RUNNING_SYSTEMD = Path("/run/systemd/system")
EXPECTED = {name: tomllib.loads((HERE / name / "expect.toml").read_text()) for name in NAMES}
GUARDED = [name for name in NAMES if "guard" in EXPECTED[name]]
GIVE_UP_SECONDS = 6.0
OWN_USER = (
    "RUN echo attacker:x:4711:4711::/submissions:/bin/sh >> /etc/passwd && echo attacker:x:4711: >> /etc/group",
    "RUN mkdir /work && cp /etc/hostname /work && chown -R 4711:4711 /work",
    "WORKDIR /work",
    "USER attacker",
)
"""The same image serves both profiles: everybody is 65532 under `default`, and 4711 with a writable /work under `image-user`."""
PROFILES = ("default", "image-user")


@dataclass(kw_only=True)
class Attack:
    """What one attack came to, as the platform sees it and as the host saw it."""

    result: object = None
    seconds: float = 0.0
    host_log_bytes: int = 0
    labels: dict = field(default_factory=dict)
    volumes: set = field(default_factory=set)

    @property
    def text(self) -> str:
        return self.result.outputs[0].path.read_text() if self.result.outputs else ""


@pytest.fixture(scope="session")
def hostile_image(base_image, tmp_path_factory, docker_engine):
    """One image with all programs, on the way a submission takes: saved, inspected, rewritten, loaded by ID."""
    folder = tmp_path_factory.mktemp("hostile")
    built = build_image(folder, [f"FROM {base_image}", "USER root", "COPY . /submissions", *OWN_USER], files=HERE)
    saved, checked = folder / "saved.tar", folder / "checked.tar"
    subprocess.run(["docker", "save", "-o", str(saved), built], check=True)
    report = inspect_archive(source=saved, destination=checked)
    saved.unlink()
    load_archive(docker_engine, checked, report.image_id)
    subprocess.run(["docker", "load", "-q", "-i", str(checked)], check=True)  # to build from, whichever engine runs it
    checked.unlink()
    tag = f"assay-tests/hostile:{os.getpid()}"  # keeps it alive when an image made from it is removed
    subprocess.run(["docker", "tag", report.image_id, tag], check=True)
    yield report.image_id
    for image in (report.image_id, built):
        docker_engine.remove_image(image)


@pytest.fixture
def image_of(hostile_image, tmp_path, docker_engine, into_engine):
    """The hostile image, or one made from it with the submission's own Dockerfile lines. Those are removed again."""
    made = []

    def go(name: str) -> str:
        lines = EXPECTED[name].get("image")
        if not lines:
            return hostile_image
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        made.append(build_image(context, [f"FROM {hostile_image}", "USER root", *lines, "USER 4711:4711"]))
        return into_engine(made[-1])

    yield go
    for image in made:
        docker_engine.remove_image(image)


@pytest.fixture
def attack(image_of, spec_of, execute, docker_engine, monkeypatch):
    """Run one submission as often as it wants and look at its container from outside just before it is removed."""
    monkeypatch.setattr(runner, "OPEN_FILES", 1024)
    kind = ApptainerEngine if isinstance(docker_engine, ApptainerEngine) else DockerEngine
    remove = kind.remove

    def go(name: str, *, profile: str, patience_seconds: float) -> Attack:
        expected = EXPECTED[name]
        outcome = Attack()

        def witness(self, container_id):
            outcome.labels, volumes, folder = seen_from_outside(self, container_id)
            outcome.volumes |= volumes
            assert folder.is_dir(), "the log is not where it is looked for"
            outcome.host_log_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            remove(self, container_id)

        monkeypatch.setattr(kind, "remove", witness)
        spec = spec_of(
            image_id=image_of(name),
            command=("python3", f"/submissions/{name}/program.py"),
            profile=profile,
        )
        spec = replace(spec, limits=replace(spec.limits, **expected.get("limits", {})))
        started = time.monotonic()
        give_up = spec.limits.wall_seconds + patience_seconds
        for number in range(expected.get("repeat", 1)):
            outcome.result = execute(
                replace(spec, name=f"{spec.name}-{number}"),
                docker_engine,
                should_cancel=lambda: time.monotonic() - started > give_up,
            )
        outcome.seconds = time.monotonic() - started
        return outcome

    return go


def seen_from_outside(engine: Engine, container_id: str) -> tuple[dict[str, str], set[str], Path]:
    """A container's labels, its volumes, and the folder that holds its log."""
    if isinstance(engine, ApptainerEngine):
        folder = engine.folder / "containers" / container_id
        body = json.loads((folder / "container.json").read_text())["body"]
        volumes = {mount["Source"] for mount in body["HostConfig"]["Mounts"] if mount["Type"] == "volume"}
        return body["Labels"], volumes, folder
    document = engine._api.inspect_container(container_id)
    volumes = {mount["Name"] for mount in document["Mounts"] if mount["Type"] == "volume"}
    log = document.get("LogPath")  # Podman says where, and Docker only where its log is JSON
    folder = Path(log).parent if log else Path("/var/lib/docker/containers") / document["Id"]
    return document["Config"]["Labels"], volumes, folder


def host_leftovers(engine: Engine, scratch: Path, volumes: set[str]) -> set[str]:
    """What this attack left on the host. Looked for by its own names: others use the same engine."""
    if isinstance(engine, ApptainerEngine):
        listed = [path.stem for path in (engine.folder / "volumes").glob("*.json")]
    else:
        listed = [volume["Name"] for volume in engine._api.volumes()["Volumes"] or []]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(scratch) in line]
    return (volumes & set(listed)) | set(mounts) | set(loop_devices_on(scratch))


def attacks(names: list[str]) -> list[tuple[str, str]]:
    """Each attack under each profile. Those that ask for a profile of their own run under that one only."""
    return [
        (name, profile)
        for name in names
        for profile in ((EXPECTED[name]["profile"],) if "profile" in EXPECTED[name] else PROFILES)
    ]


def require(name, profile, docker_engine):
    if profile in ("image-user", "legacy") and isinstance(docker_engine, PodmanEngine):
        pytest.skip(f"Podman refuses the profile `{profile}`: test_podman_specification.py")
    if docker_engine.facts().cpu_count < EXPECTED[name].get("needs_cpus", 1):
        pytest.skip(f"needs {EXPECTED[name]['needs_cpus']} CPUs to tell one from all")


def check(outcome: Attack, expected: dict) -> None:
    """Every expectation that the table names."""
    result = outcome.result
    assert result.verdict == expected["verdict"], (result.reason, result.log)
    assert result.reason == expected.get("reason", result.reason)
    if "result" in expected:
        assert outcome.text == expected["result"], result.log
    if "largest_log_bytes" in expected:
        assert len(result.log) <= expected["largest_log_bytes"]
        assert outcome.host_log_bytes <= expected["largest_host_log_bytes"]
    if "host_log_bytes_over" in expected:
        assert outcome.host_log_bytes > expected["host_log_bytes_over"]
    if "result_bytes_over" in expected:
        assert result.usage.output_bytes > expected["result_bytes_over"]
    if "foreign_labels" in expected:
        foreign = {name for name, value in outcome.labels.items() if value and name not in OURS}
        is_spoofed = outcome.labels.get(OWNER_LABEL, "").startswith("somebody")
        assert (bool(foreign) or is_spoofed) == expected["foreign_labels"]


def test_there_are_attacks():
    assert len(NAMES) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_states_what_it_covers_and_what_holds_it(name):
    expected = EXPECTED[name]
    assert expected["items"]
    assert expected["attack"]
    assert ("guard" in expected) != ("no_guard" in expected)
    assert expected.get("guard", next(iter(GUARDS))) in GUARDS


@pytest.mark.parametrize(("name", "profile"), attacks(NAMES))
def test_the_attack_is_held(name, profile, attack, docker_engine, owner, scratch):
    require(name, profile, docker_engine)
    outcome = attack(name, profile=profile, patience_seconds=HANGS_AFTER_SECONDS)
    check(outcome, EXPECTED[name])
    if outcome.result.verdict == Verdict.TIMEOUT:
        assert outcome.seconds < EXPECTED[name]["limits"]["wall_seconds"] + SOON_SECONDS
    assert docker_engine.containers_of(owner) == []
    assert list((scratch / "runs").iterdir()) == []
    assert host_leftovers(docker_engine, scratch, outcome.volumes) == set()


@pytest.mark.guards
@pytest.mark.parametrize(("name", "profile"), attacks(GUARDED))
def test_without_its_guard_the_attack_succeeds(name, profile, attack, docker_engine, monkeypatch, tmp_path, scratch):
    require(name, profile, docker_engine)
    expected = EXPECTED[name]
    if "held_by_podman" in expected and isinstance(docker_engine, PodmanEngine) and not RUNNING_SYSTEMD.exists():
        pytest.skip(expected["held_by_podman"])
    if "held_by_apptainer" in expected and isinstance(docker_engine, ApptainerEngine):
        pytest.skip(expected["held_by_apptainer"])
    GUARDS[expected["guard"]].take_away(monkeypatch, tmp_path)
    outcome = attack(name, profile=profile, patience_seconds=GIVE_UP_SECONDS)
    check(outcome, {"verdict": expected["verdict"], **expected["without_guard"]})
    assert host_leftovers(docker_engine, scratch, outcome.volumes) == set()
