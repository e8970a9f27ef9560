"""One whole installation starts, answers, keeps its secrets from its node, and stops without leaving anything behind."""

import os
import signal
import socket
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from django.db import OperationalError

import installation
from assay.config import serve
from assay.config.embedded import (
    EmbeddedServiceError,
    KeptServer,
    answers,
    home_under,
    is_listening,
    recorded_pid,
    running_postgres,
)
from assay.config.serve import Health
from containers.waiting import NotStartedError
from waits import HANGS_AFTER_SECONDS, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
SECRET = "a key nobody else may see " * 3
PROGRAMS = {
    "web": "gunicorn",
    "workflow": "-Q workflow",
    "ranking": "-Q ranking",
    "scoring": "-Q prompts,scoring",
    "node": "assay.node",
}


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
    with installation.running_installation(
        folder=tmp_path, from_nothing=True, ASSAY_WEB_PROCESSES="1", ASSAY_SECRET_KEY=SECRET
    ) as url:
        assert httpx.get(f"{url}/readyz", timeout=HANGS_AFTER_SECONDS).json()["status"] == "ready"
        assert httpx.get(f"{url}/api/v1/challenges", timeout=HANGS_AFTER_SECONDS).json() == []
        assert httpx.get(f"{url}/api/v1/me", timeout=HANGS_AFTER_SECONDS).status_code == 401
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
            until(lambda pid_file=pid_file, killed=killed: recorded_pid(pid_file) not in (killed, None))
        until(lambda: httpx.get(f"{url}/readyz", timeout=HANGS_AFTER_SECONDS).status_code == 200)
        until(lambda: is_listening(home.sockets / "valkey.sock"))
    assert processes_of(tmp_path) == {}


def kill_database_while_migrating(monkeypatch, *, times):
    """The command `migrate` meets a database that is killed under it this often. Gives the list of its calls."""
    calls = []

    def migrate(*_, **__):
        calls.append("migrate")
        if len(calls) <= times:
            os.kill(recorded_pid(serve.settings.EMBEDDED_HOME.database_pid_file), signal.SIGKILL)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(serve, "call_command", migrate)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return calls


@contextmanager
def kept_database(tmp_path, settings):
    tmp_path.chmod(0o711)
    settings.EMBEDDED_HOME = home_under(var=tmp_path / "var")
    running = partial(running_postgres, home=settings.EMBEDDED_HOME, is_durable=False)
    with KeptServer(running, pid_file=settings.EMBEDDED_HOME.database_pid_file) as database:
        yield database


def test_migrations_go_on_when_our_database_is_killed_meanwhile(tmp_path, settings, monkeypatch):
    with kept_database(tmp_path, settings) as database:
        calls = kill_database_while_migrating(monkeypatch, times=1)
        serve.bring_up_to_date([database])
        assert len(calls) == 2
        assert answers(settings.EMBEDDED_HOME)


def test_a_database_that_is_killed_again_and_again_is_reported_with_its_last_words(tmp_path, settings, monkeypatch):
    with kept_database(tmp_path, settings) as database:
        kill_database_while_migrating(monkeypatch, times=9)
        with pytest.raises(EmbeddedServiceError, match="database system is ready to accept connections"):
            serve.bring_up_to_date([database])


def test_a_web_server_that_dies_is_reported_at_once_in_its_own_words(tmp_path):
    tmp_path.chmod(0o711)
    broken = {"GUNICORN_CMD_ARGS": "--nonsense", "ASSAY_START_SECONDS": "1000000"}
    with (
        pytest.raises(NotStartedError, match="The web server ended with exit code 2") as caught,
        installation.running_installation(folder=tmp_path, **broken),
    ):
        pass
    assert "unrecognized arguments: --nonsense" in str(caught.value)
    assert processes_of(tmp_path) == {}


def test_a_web_server_is_asked_here_under_its_public_name(tmp_path):
    """The proxy that has the public address may come later, or be another machine."""
    tmp_path.chmod(0o711)
    public = {"ASSAY_PUBLIC_URL": "https://assay.example.org", "ASSAY_HOSTS": "assay.example.org"}
    with installation.running_installation(folder=tmp_path, ASSAY_NODE_SLOTS="0", **public) as url:
        assert url == "https://assay.example.org"


class Answers(BaseHTTPRequestHandler):
    """`/readyz` as the test says. Keeps the name it was asked under."""

    status, body, asked_for = 200, b"", []

    def do_GET(self):
        self.asked_for.append(self.headers["Host"])
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    handler = type("Handler", (Answers,), {"asked_for": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_the_health_of_a_web_server_is_its_own_answer(web):
    address, handler = web
    health = Health(address, name="assay.example.org")
    assert health.is_good()
    assert handler.asked_for == ["assay.example.org"]
    handler.status, handler.body = 503, b"storage down"
    assert not health.is_good()
    assert health.said() == "503 storage down"
    handler.status = 400
    with pytest.raises(NotStartedError, match=r"'assay\.example\.org'.*Add it to ASSAY_HOSTS"):
        health.is_good()


def test_a_port_where_nobody_listens_is_not_ready_and_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    health = Health(address, name="localhost")
    assert not health.is_good()
    assert health.said() is None


def test_a_socket_that_nobody_serves_is_asked_with_growing_patience(monkeypatch):
    """We hold the socket of a web server that died: it takes questions and never answers."""
    waited = []

    def ask(question, *, timeout):
        waited.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(serve.urllib.request, "urlopen", ask)
    health = Health("http://127.0.0.1:1", name="localhost")
    assert not any(health.is_good() for _ in range(8))
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60]
