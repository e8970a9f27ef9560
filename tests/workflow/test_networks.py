"""Worker hosts as network namespaces: the real agent over a real network, one host cut off while it runs a case.

Every address lies in a namespace that this test makes: one for the server, one per host, joined by veth pairs.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test import Client
from django.utils import timezone

import factories
from assay.evaluations.models import Evaluation
from assay.leases import LeaseLost
from assay.node.http import NodeApi
from assay.runs.models import CaseRun
from assay.runs.nodes import enrol_node
from assay.submissions.models import Submission
from assay.workflow.workers import reaper
from namespaces import can_make_namespaces
from waits import until
from wire import send_through

CLONE_NEWNET = 0x40000000
WORKER = Path(__file__).parent / "worker_host.py"
UNTIL_CUT_OFF_SECONDS = 10.0
"""How long a case takes on the host that is cut off: it must still run then, and its lease must have ended before it is over."""
CASES = [f"case-{number}" for number in range(8)]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root, and `ip netns` of iproute2"),
]


class Hosts:
    """One namespace for the server, and one for each host, on a wire of its own."""

    def __init__(self, names: list[str]) -> None:
        self._prefix = f"assay{os.getpid()}"
        self.server = f"{self._prefix}-server"
        ip("netns", "add", self.server)
        ip("-n", self.server, "link", "set", "lo", "up")
        for number, name in enumerate(names):
            self._join(name, number=number)

    def namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _join(self, name: str, *, number: int) -> None:
        host = self.namespace(name)
        ip("netns", "add", host)
        ip("-n", host, "link", "set", "lo", "up")
        ip("-n", self.server, "link", "add", "name", name, "type", "veth", "peer", "name", "wire", "netns", host)
        ip("-n", self.server, "address", "add", f"10.213.{number}.1/30", "dev", name)
        ip("-n", host, "address", "add", f"10.213.{number}.2/30", "dev", "wire")
        ip("-n", self.server, "link", "set", "dev", name, "up")
        ip("-n", host, "link", "set", "dev", "wire", "up")

    def cut(self, name: str) -> None:
        ip("-n", self.server, "link", "set", "dev", name, "down")

    def mend(self, name: str) -> None:
        ip("-n", self.server, "link", "set", "dev", name, "up")

    def close(self) -> None:
        listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
        for line in listed.splitlines():
            if line.startswith(f"{self._prefix}-"):
                ip("netns", "del", line.split()[0])


def listener_in(namespace: str) -> socket.socket:
    """A listening socket of that namespace: made by a thread that went there and ended."""
    made: list[socket.socket] = []

    def go() -> None:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(("0.0.0.0", 0)))
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    return made[0]


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


class WebServer(ThreadingMixIn, WSGIServer):
    """Django behind a socket that somebody else has opened."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), QuietHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = "server", listener.getsockname()[1]
        self.setup_environ()
        self.set_app(get_wsgi_application())

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            connection.close()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    network = Hosts(["a", "b", "c"])
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def port(stage, hosts, settings) -> Iterator[int]:
    """The real application on every address of the server's namespace, with short leases."""
    settings.ALLOWED_HOSTS = ["*"]
    settings.LEASE_SECONDS, settings.HEARTBEAT_SECONDS = 6.0, 0.3
    with WebServer(listener_in(hosts.server)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def start(hosts, port, tmp_path) -> Iterator[Callable[[str, str], None]]:
    """Start a worker in a host's namespace. All are stopped at the end."""
    running = []

    def go(name: str, *, number: int, token: str, seconds: float) -> None:
        words = {
            "url": f"http://10.213.{number}.1:{port}",
            "token": token,
            "folder": tmp_path / name,
            "seconds": seconds,
        }
        command = ["ip", "netns", "exec", hosts.namespace(name), sys.executable, str(WORKER)]
        with (tmp_path / f"{name}.log").open("w") as log:
            worker = subprocess.Popen([*command, *(f"{key}={value}" for key, value in words.items())], stderr=log)
        running.append(worker)

    yield go
    for worker in running:
        worker.terminate()
    for worker in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=60)
        worker.kill()
        worker.wait()


@pytest.fixture
def submission(stage) -> Submission:
    """One that was checked, on eight real cases."""
    chosen = stage.scene.phase.chosen_testset
    chosen.testset = factories.testset(challenge=stage.scene.challenge, name="eight", case_ids=CASES)
    chosen.save()
    stage.put_files(chosen.testset)
    made = stage.submit()
    stage.check()
    return made


@pytest.mark.django_db(transaction=True)
def test_what_a_host_held_passes_on_when_it_is_cut_off_and_its_late_result_is_refused(
    hosts, port, start, submission, tmp_path
):
    tokens = {name: enrol_node(name=name, pool="default", slots=1, by=None, now=timezone.now())[1] for name in "abc"}
    for number, name in enumerate("abc"):
        start(name, number=number, token=tokens[name], seconds=UNTIL_CUT_OFF_SECONDS if name == "a" else 1.0)
    done = CaseRun.objects.filter(run__submission=submission, status="done")
    of_a = CaseRun.objects.filter(status="running", node__name="a")
    until(lambda: done.exists() and of_a.exists())
    held = of_a.get()
    until(of_a.exclude(lease_until=held.lease_until).exists)  # its host has the order: it renews the lease
    hosts.cut("a")
    until(lambda: done.count() == len(CASES), meanwhile=lambda: reaper.reap(now=timezone.now()))

    passed_on = CaseRun.objects.select_related("node").get(pk=held.pk)
    assert passed_on.node.name in ("b", "c")
    assert (passed_on.attempt, passed_on.infrastructure_failures) == (2, 1)
    assert not done.exclude(pk=held.pk).exclude(attempt=1).exists()
    assert sorted(done.values_list("case__case_id", flat=True)) == CASES
    assert Evaluation.objects.filter(submission=submission).count() == 1

    hosts.mend("a")
    until(lambda: "result.discarded" in (tmp_path / "a.log").read_text())
    late = NodeApi(url="http://server", token=tokens["a"], transport=send_through(Client()))
    with pytest.raises(LeaseLost, match="not leased to you"):
        late.record(SimpleNamespace(case_run_id=str(held.pk), fence=held.fence), {"verdict": "ok", "outputs": []})
    after = CaseRun.objects.get(pk=held.pk)
    assert (after.node_id, after.fence, after.finished_at) == (
        passed_on.node_id,
        passed_on.fence,
        passed_on.finished_at,
    )
    submission.refresh_from_db()
    assert submission.status == Submission.Status.SCORING
    assert submission.is_charged
