"""An engine that gives no answer says so in many ways; all of them mean the same to us, and none is the algorithm's fault."""

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


def test_the_engine_that_docker_host_names_is_asked(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with DockerEngine() as engine, pytest.raises(EngineUnreachable, match="refused"):
        engine.facts()
