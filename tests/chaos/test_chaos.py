"""The short form of `make chaos`: a few submissions of a real installation while its parts are being killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("installation")]
DRIVER = Path(__file__).with_name("driver.py")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here: the submitted image is compiled")
def test_nothing_is_lost_and_nothing_happens_twice():
    short = ["--submissions", "8", "--pauses", "0.5", "2", "--limit-seconds", "240"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "assay.config.settings"}
    ended = subprocess.run(
        [sys.executable, str(DRIVER), *short], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert "scores 16, doubled 0" in ended.stdout
