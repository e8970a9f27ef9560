"""Why sockets are refused and not counted: what cgroup v1 does with the memory in loopback buffers, shown on the engine that is here.

`pytest -s` prints the figures that docs/developers/decisions/0200-sockets-are-af-unix-only.md tells of.
"""

import time
from pathlib import Path

import docker  # noqa: TID251  an option that our own engine never sets is tried here
import pytest

from containers.base import build

MIB = 2**20
MEMORY = Path("/sys/fs/cgroup/memory/docker")
HOLDS = 150
PROGRAM = f"""
import socket, time
server = socket.create_server(("127.0.0.1", 0), backlog=500)
held, total = [server], 0
while total < {HOLDS} * 2**20:
    sender = socket.create_connection(server.getsockname())
    held += [sender, server.accept()[0]]
    sender.setblocking(False)
    stalls = 0
    while stalls < 3:
        try:
            total, stalls = total + sender.send(bytes(65536)), 0
        except BlockingIOError:
            stalls += 1
            time.sleep(0.01)
print("holds", total, flush=True)
time.sleep(2)
"""
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not MEMORY.parent.exists(), reason="cgroup v2 here: the kernel counts TCP buffers there"),
]


@pytest.fixture
def engine(request):
    if request.config.getoption("--engine") != "docker":
        pytest.skip("the option is Docker's")
    client = docker.from_env()
    yield client
    client.close()


@pytest.mark.parametrize("tcp_limit", [0, 64 * MIB])
def test_runc_ignores_the_limit_of_tcp_buffers_and_the_peak_leaves_them_out(engine, tcp_limit):
    options = engine.api.create_host_config(mem_limit="64m", memswap_limit="64m", network_mode="none")
    options["KernelMemoryTCP"] = tcp_limit
    name = engine.api.create_container(build.base_image(), ["python3", "-c", PROGRAM], host_config=options)["Id"]
    try:
        engine.api.start(name)
        peak = limit = 0
        while (state := engine.api.inspect_container(name)["State"])["Running"]:
            try:
                peak = int((MEMORY / name / "memory.max_usage_in_bytes").read_text())
                limit = int((MEMORY / name / "memory.kmem.tcp.limit_in_bytes").read_text())
            except OSError:  # not there yet, or gone
                continue
            time.sleep(0.05)
        holds = int(engine.api.logs(name).split()[-1])
    finally:
        engine.api.remove_container(name, v=True, force=True)
    print(f"KernelMemoryTCP {tcp_limit // MIB} MiB: held {holds // MIB} MiB, peak {peak // MIB} MiB")
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert limit > 2**60, "the engine's option never reached the kernel"
    assert holds >= HOLDS * MIB > 64 * MIB > peak
