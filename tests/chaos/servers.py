"""Servers the driver may stop, kill and start again: PostgreSQL, either broker, a Docker Engine of its own.

Each is a context manager that starts it and waits until it answers. `Server` keeps one and can leave and enter it again. Data
stays in the folder, so what comes back is what was there. Nothing here touches a server that it has not started.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from assay.config import env
from assay.config.processes import end
from containers.waiting import Program, wait_until_ready

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RABBITMQ_PACKAGE = "rabbitmq-server"
STOP_SECONDS = 40.0


class ServerMissing(Exception):
    """A server that was asked for is not installed. The message says how to get it."""


class Server:
    """One server: running while the object is entered, except between `stop` and `start`."""

    def __init__(self, running: Callable[[], AbstractContextManager[object]]) -> None:
        self._running = running
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._held.enter_context(self._running())

    def stop(self) -> None:
        """Stop it in good order."""
        self._held.close()

    @contextlib.contextmanager
    def away(self, *, seconds: float) -> Iterator[None]:
        """Stopped for a while. Whatever happens, it is there again afterwards."""
        self.stop()
        try:
            time.sleep(seconds)
            yield
        finally:
            self.start()


@contextlib.contextmanager
def running_rabbitmq(*, folder: Path, port: int) -> Iterator[str]:
    """RabbitMQ on the loopback interface, everything it writes in `folder`. Returns its address."""
    if not RABBITMQ.exists():
        raise ServerMissing(f"RabbitMQ is not installed here. To have it: apt-get install {RABBITMQ_PACKAGE}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rabbitmq.conf").write_text("vm_memory_high_watermark.absolute = 1GB\nlog.console = true\n")
    (folder / "enabled_plugins").write_text("[].\n")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(port + 1),
        "RABBITMQ_NODENAME": f"assay-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(port + 2),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    with running_process(
        command=[str(RABBITMQ)],
        environment=environment,
        log=folder / "rabbitmq.log",
        is_ready=lambda: speaks_amqp(port),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    epmd = ["epmd", "-port", str(port + 1), "-kill"]
    subprocess.run(epmd, env=environment, capture_output=True, check=False)


def speaks_amqp(port: int) -> bool:
    """Whether a broker greets us there: the port is open long before the queues are back."""
    import amqp

    try:
        with amqp.Connection(f"127.0.0.1:{port}", connect_timeout=2):
            return True
    except (OSError, amqp.AMQPError):
        return False


@contextlib.contextmanager
def running_dockerd(*, folder: Path) -> Iterator[str]:
    """A Docker Engine of our own without networks. Its address. Its images and containers live in `folder`.

    It runs in a network namespace of its own: an engine told `bridge: none` deletes the host's docker0, which belongs to the
    engine that was there first.
    """
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise ServerMissing(
            "A Docker Engine of one's own needs dockerd and root: apt-get install docker.io, run as root"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "daemon.json").write_text(json.dumps({"bridge": "none", "iptables": False, "ip-forward": False}))
    run = folder / "run"
    address = f"unix://{run}/docker.sock"
    options = {"config-file": folder / "daemon.json", "data-root": folder / "data", "exec-root": run / "exec"}
    options |= {"pidfile": run / "docker.pid", "host": address}
    run.mkdir(exist_ok=True)
    for stale in run.rglob("*.pid"):  # of a daemon that was killed: where nobody reaps orphans it would pass for alive
        stale.unlink()
    with running_process(
        command=["unshare", "--net", "dockerd", *(f"--{name}={value}" for name, value in options.items())],
        environment=os.environ,
        log=folder / "dockerd.log",
        is_ready=lambda: engine_answers(address),
    ):
        yield address


def remove_mounts(folder: Path) -> None:
    """What killed processes leave mounted below a folder of ours, which would keep it from being deleted."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=True)


def engine_answers(address: str) -> bool:
    """Whether the engine at this address does."""
    answer = subprocess.run(["docker", "-H", address, "info"], capture_output=True, check=False)
    return answer.returncode == 0


@contextlib.contextmanager
def running_process(
    *, command: Sequence[str], environment: Mapping[str, str], log: Path, is_ready: Callable[[], bool]
) -> Iterator[None]:
    """A program in a session of its own, from when it answers until it has ended."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until_ready(Program(name=command[0], process=process, log=log), is_ready=is_ready, patience=env.patience())
        yield
    finally:
        process.terminate()
        end(process, within_seconds=STOP_SECONDS)


def free_port() -> int:
    """A port with two free ones after it, for servers that take no socket file."""
    for _ in range(100):
        with contextlib.suppress(OSError), ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            for number in (port + 1, port + 2):
                held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    raise AssertionError("no three free ports in a row in a hundred tries")
