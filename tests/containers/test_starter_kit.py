"""The starter kit of a scaffolded challenge, built and run in real containers as its check script does."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from assay.client.scaffolding import plan_bundle, write_bundle

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]


@pytest.mark.parametrize(
    "name", ["flare22", "segrap23-gtv", "gmai-mmbench", "cvpr25-interactive"]
)  # a fixed command as root, masks, a table, rounds
def test_the_check_script_of_a_starter_kit_passes_offline(name, base_image, docker_engine, tmp_path):
    bundle = plan_bundle(name, slug=f"kit-test-{os.getpid()}-{name}", title="", today=date(2027, 1, 1))
    write_bundle(bundle, folder=tmp_path / "bundle")
    image = bundle.words()["image"]
    try:
        ended = subprocess.run(
            ["sh", tmp_path / "bundle/starter-kit/check.sh"],
            env={
                **os.environ,
                "BASE_IMAGE": base_image,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # as in an activated environment
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ": read; " in ended.stdout
    finally:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
