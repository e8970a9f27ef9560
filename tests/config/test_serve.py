"""One whole installation starts, answers, and stops without leaving anything behind."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from serving import installation

pytestmark = pytest.mark.slow


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


def test_it_starts_answers_and_leaves_nothing_behind():
    with installation(ASSAY_WEB_PROCESSES="1") as served:
        assert httpx.get(f"{served.url}/readyz").json() == {"status": "ready"}
        assert httpx.get(f"{served.url}/api/v1/challenges").json() == []
        assert httpx.get(f"{served.url}/api/v1/me").status_code == 401
        assert any("celery" in line for line in processes_of(served.var))
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
        assert "web server answers" in (served.var / "serve.log").read_text()
        assert not (served.var / "ready").exists()
        assert processes_of(served.var) == []


def test_the_node_sees_no_secret_of_the_server():
    with installation(ASSAY_WEB_PROCESSES="1", ASSAY_SECRET_KEY="a key nobody else may see " * 3) as served:
        nodes = [
            entry
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and b"assay.node" in (entry / "cmdline").read_bytes()
            and str(served.var).encode() in (entry / "environ").read_bytes()
        ]
        assert nodes
        for node in nodes:
            assert b"a key nobody" not in (node / "environ").read_bytes()
