"""A container that is frozen cannot act, and cannot hold on to its slot either."""

import contextlib
import threading
import time

import pytest

from containers.engines.docker import DockerEngine, translated
from containers.errors import EngineRefused
from containers.spec import Limits
from containers.verdicts import Verdict
from waits import SOON_SECONDS, until

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]


def freeze(engine: DockerEngine, name: str) -> None:
    """Pause the container as soon as it runs."""

    def is_paused() -> bool:
        with contextlib.suppress(EngineRefused), translated():
            engine._api.pause(name)
            return True
        return False

    until(is_paused)


@pytest.mark.catalogue(
    37,
    attack="a paused container",
    verdict="timeout",
    guard="SIGKILL, which the engine delivers to frozen processes too",
)
def test_a_frozen_container_dies_at_its_deadline(python_in_sandbox, spec_of, docker_engine, owner):
    limits = Limits(**(vars(spec_of().limits) | {"wall_seconds": 3}))
    helper = threading.Thread(target=freeze, args=[docker_engine, spec_of().name])
    helper.start()
    started = time.monotonic()
    result = python_in_sandbox("import time; time.sleep(600)", limits=limits)
    helper.join()
    assert result.verdict is Verdict.TIMEOUT
    assert time.monotonic() - started < SOON_SECONDS
    assert docker_engine.containers_of(owner) == []
