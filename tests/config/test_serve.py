"""One whole installation starts, answers, keeps its secrets from its node, and stops without leaving anything behind."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

import installation
from assay.config.embedded import home_under, is_listening, recorded_pid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
SECRET = "a key nobody else may see " * 3
PROGRAMS = {"web": "gunicorn", "workflow": "-Q workflow", "scoring": "-Q prompts,scoring", "node": "assay.node"}


def processes_of(folder: Path) -> dict[str, bytes]:
    """Command lines (and environments) of every process that works in this folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command + environment:
                found[command.replace(b"\0", b" ").decode()] = environment
    return found


def test_it_starts_answers_keeps_its_secrets_and_leaves_nothing_behind(tmp_path):
    tmp_path.chmod(0o711)
    with installation.running_installation(folder=tmp_path, ASSAY_WEB_PROCESSES="1", ASSAY_SECRET_KEY=SECRET) as url:
        assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
        assert httpx.get(f"{url}/api/v1/challenges").json() == []
        assert httpx.get(f"{url}/api/v1/me").status_code == 401
        running = processes_of(tmp_path)
        for program in PROGRAMS.values():
            assert any(program in line for line in running), program
        nodes = [environment for line, environment in running.items() if PROGRAMS["node"] in line]
        assert all(SECRET.encode() not in environment for environment in nodes)
    assert processes_of(tmp_path) == {}
    assert not (tmp_path / "ready").exists()
    assert "stopping" in (tmp_path / "serve.log").read_text()


def test_a_database_or_broker_that_is_killed_is_started_again(tmp_path):
    tmp_path.chmod(0o711)
    with installation.running_installation(folder=tmp_path, ASSAY_WEB_PROCESSES="1", ASSAY_NODE_SLOTS="0") as url:
        home = home_under(var=tmp_path / "var")
        for pid_file in (home.database_pid_file, home.broker_pid_file):
            killed = recorded_pid(pid_file)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda pid_file=pid_file, killed=killed: recorded_pid(pid_file) not in (killed, None))
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        wait_until(lambda: is_listening(home.sockets / "valkey.sock"))
    assert processes_of(tmp_path) == {}


def wait_until(is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
