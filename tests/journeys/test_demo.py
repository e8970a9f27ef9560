"""`make demo ARGS=--exit`, as CI runs it: the main job on real input, from six images to a board that says what it must."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ASSAY = Path(sys.executable).with_name("assay")
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("installation")]


def test_the_demo_meets_every_expectation_and_leaves_nothing_running(tmp_path):
    tmp_path.chmod(0o711)
    tmp_path.parent.chmod(0o711)  # as root the database runs as an unprivileged user, who has to pass through
    command = [sys.executable, "-m", "containers.examples.demo.run", "--exit", "--home", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=7200, check=False)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    assert "demo: every expectation is met" in finished.stdout
    assert re.search(r"time limit of \d+ s reached on 3 cases in a row; 8 of 8 cases failed", finished.stdout)
    assert "Traceback" not in finished.stdout + finished.stderr
    node = tmp_path / "server" / "node"
    forgotten = subprocess.run([ASSAY, "node", "forget", "--folder", node], capture_output=True, text=True, check=True)
    assert forgotten.stdout == "6 images removed\n"
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == "", "processes of the demo's installation are still running"
