"""One whole installation starts, answers, and stops without leaving anything behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def var():
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def wait_for(path: Path, *, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "serve ended before it was ready"
        assert time.monotonic() < deadline, "serve was not ready within a minute"
        time.sleep(0.1)
    return path.read_text().strip()


def processes_of(var: Path) -> list[str]:
    """Command lines of every process that has this folder in its environment or its command."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                texts = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(var).encode() in texts:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.slow
def test_it_starts_answers_and_leaves_nothing_behind(var):
    environment = {**os.environ, "ASSAY_VAR": str(var), "ASSAY_WEB_PROCESSES": "1"}
    environment.pop("DATABASE_URL", None)
    ready = var / "ready"
    command = [sys.executable, "-m", "assay.config.serve", "--ready-file", str(ready)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        url = wait_for(ready, process=process)
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
        assert httpx.get(f"{url}/api/v1/challenges").json() == []
        assert httpx.get(f"{url}/api/v1/me").status_code == 401
        assert any("celery" in line for line in processes_of(var))
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, output
    assert "web server answers" in output
    assert not ready.exists()
    assert processes_of(var) == []
