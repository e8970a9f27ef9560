"""A real engine that is killed and back at once is noticed, although every request to it may have been answered."""

import os
import signal
from pathlib import Path

import pytest

from chaos.servers import Server, ServerMissing, remove_mounts, running_dockerd
from containers.engines.docker import DockerEngine


@pytest.fixture
def folder(tmp_path_factory):
    """A short name, because sockets lie in it. Nothing stays mounted there."""
    folder = tmp_path_factory.mktemp("e")
    yield folder
    remove_mounts(folder)


@pytest.mark.docker
@pytest.mark.xdist_group("chaos")
def test_an_engine_that_was_killed_and_started_again_has_another_life(folder: Path):
    try:
        with (
            Server(lambda: running_dockerd(folder=folder)) as engine,
            DockerEngine(base_url=f"unix://{folder}/run/docker.sock") as client,
        ):
            lives = [client.life(), client.life()]
            os.kill(int((folder / "run" / "docker.pid").read_text()), signal.SIGKILL)
            with engine.away(seconds=0):
                pass
            lives += [client.life(), client.life()]
    except ServerMissing as error:
        pytest.skip(str(error))
    assert lives == [1, 1, 2, 2]
