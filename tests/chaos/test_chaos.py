"""The short form of `make chaos`: a few submissions of a real installation while its parts are being killed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("driver.py")
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here: the submitted image is compiled")
@pytest.mark.parametrize(
    ("broker", "submissions"),
    [
        ("redis", 8),
        pytest.param(
            "rabbitmq",
            4,
            marks=pytest.mark.skipif(not RABBITMQ.exists(), reason="no RabbitMQ here: apt-get install rabbitmq-server"),
        ),
    ],
)
def test_nothing_is_lost_and_nothing_happens_twice(broker, submissions):
    short = ["--broker", broker, "--submissions", str(submissions), "--pauses", "0.1", "0.5", "--limit-seconds", "300"]
    ended = subprocess.run([sys.executable, str(DRIVER), *short], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert f"| scores, doubled | {2 * submissions}, 0 |" in ended.stdout
    assert f"| submissions that ended exactly once | {submissions} |" in ended.stdout
