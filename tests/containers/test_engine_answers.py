"""An engine that gives no answer says so in many ways. All of them mean the same to us, and none is the algorithm's fault."""

from datetime import UTC, datetime

import docker.errors  # noqa: TID251  whose errors are told apart here
import pytest
import requests.exceptions
import urllib3.exceptions

from containers.engines.docker import DockerEngine
from containers.errors import EngineUnreachable


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("read timed out"),
        requests.exceptions.ReadTimeout("60 seconds"),
        urllib3.exceptions.ProtocolError("broken chunk"),
        ConnectionResetError("reset by peer"),
        docker.errors.DockerException("no such socket"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_however_an_engine_fails_to_answer_it_is_unreachable(monkeypatch, error):
    def fail(container_id):
        raise error

    with DockerEngine(base_url="unix:///nowhere/docker.sock") as engine:
        monkeypatch.setattr(engine._api, "inspect_container", fail)
        with pytest.raises(EngineUnreachable, match="Is it running"):
            engine.state("a container")


def test_the_engine_is_asked_for_its_facts_once_a_minute(monkeypatch):
    """It counts all it holds for the answer."""
    asked, minute = [], [0.0]
    document = {"ServerVersion": "20", "NCPU": 2, "MemTotal": 1, "CgroupDriver": "cgroupfs", "Architecture": "x86_64"}
    monkeypatch.setattr("containers.engines.docker.time.monotonic", lambda: minute[0])
    with DockerEngine(base_url="unix:///nowhere/docker.sock") as engine:
        monkeypatch.setattr(engine._api, "info", lambda: asked.append("info") or document)
        assert engine.facts() == engine.facts()
        minute[0] = 61.0
        assert engine.facts().cpu_count == 2
    assert len(asked) == 2


@pytest.mark.parametrize(("exit_code", "patience_seconds"), [(137, 0.5), (1, 0.1)])
def test_a_memory_kill_is_looked_for_by_the_engines_clock(monkeypatch, exit_code, patience_seconds):
    """An engine whose clock is years from ours: what lies between the container's own two moments counts."""
    asked = {}
    state = {
        "Running": False, "StartedAt": "2031-05-01T10:00:01Z", "FinishedAt": "2031-05-01T10:00:09Z", "ExitCode": exit_code,
        "OOMKilled": False, "Pid": 0, "Error": "",
    }  # fmt: skip
    document = {"Created": "2031-05-01T10:00:00Z", "State": state}
    with DockerEngine(base_url="unix:///nowhere/docker.sock") as engine:
        monkeypatch.setattr(engine._api, "inspect_container", lambda container_id: document)
        monkeypatch.setattr(
            engine._api, "events", lambda **question: asked.update(question) or iter([{"status": "oom"}])
        )
        assert engine.logged_memory_kill("a container")
    created = datetime(2031, 5, 1, 10, tzinfo=UTC).timestamp()
    assert (float(asked["since"]), float(asked["until"])) == (created, pytest.approx(created + 9 + patience_seconds))


def test_the_engine_that_docker_host_names_is_asked(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with DockerEngine() as engine, pytest.raises(EngineUnreachable, match="refused"):
        engine.facts()
