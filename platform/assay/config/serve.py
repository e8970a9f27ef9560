"""What `assay serve` does: one whole installation on this machine, until Ctrl-C.

In order: the embedded database and broker (unless `DATABASE_URL` and `BROKER_URL` name others), migrations, static files, the
web server, the Celery workers (`workflow`, `ranking`, `scoring`), beat apart from them, one local node. Everything is stopped in the
opposite order. With `--ready-file` the address is written there once all of it runs.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click
import django
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from assay.config import env
from assay.config.embedded import (
    EmbeddedServiceError,
    KeptServer,
    erase,
    running_broker,
    running_postgres,
    until_answering,
)
from assay.config.parts import (
    RANKING_OPTIONS,
    WORKFLOW_OPTIONS,
    beat_command,
    scoring_options,
    web_command,
    worker_command,
)
from assay.config.processes import CrashedTooOftenError, ProcessSpec, Supervisor
from containers.waiting import NotStartedError, Program, wait_until_ready

logger = logging.getLogger("assay.serve")

USUAL_PORT = 8000
MIGRATION_ATTEMPTS = 3
FIRST_ANSWER_SECONDS = 1.0
LONGEST_ANSWER_SECONDS = 60.0
LONGEST_ANSWER = 2000
LOCAL_NODE = "local"
NODE_STOP_SECONDS = 60.0
SECRETS = ("DATABASE_URL", "ASSAY_SECRET_KEY", "ASSAY_EMAIL_PASSWORD")
"""What a node must never see."""


class PortError(Exception):
    """The address cannot be listened on."""


def serve(*, host: str, port: int, ready_file: Path | None, is_empty: bool) -> None:
    """Run a whole installation until somebody asks for its end. Raises click.ClickException when it cannot be."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a signal handler's signature
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    if is_empty and env.text(name="DATABASE_URL"):
        raise click.UsageError("--empty deletes the embedded database only; DATABASE_URL names one of yours.")
    try:
        if is_empty:
            erase(settings.EMBEDDED_HOME)
        run(host=host, port=port, ready_file=ready_file, stop=stop)
    except (EmbeddedServiceError, CrashedTooOftenError, NotStartedError, PortError, env.EnvironmentValueError) as error:
        raise click.ClickException(str(error)) from error


def run(*, host: str, port: int, ready_file: Path | None, stop: threading.Event) -> None:
    """Start everything, watch it until `stop`, stop everything."""
    with ExitStack() as stack:
        services = start_services(stack)
        with step("database is up to date"):
            django.setup()
            bring_up_to_date(services)
        with step("static files are collected"):
            call_command("collectstatic", interactive=False, verbosity=0)
        listener = stack.enter_context(
            listening(host=host or env.text(name="ASSAY_BIND", default="127.0.0.1"), port=port)
        )
        url = address_of(listener)
        supervisor = Supervisor()
        stack.callback(supervisor.stop)
        with step("web server answers"):
            supervisor.start(web_process(listener=listener, url=url))
            web = Program(name="The web server", process=supervisor.running["web"], log=log_path("web"))
            health = Health(local_address(listener), name=urlsplit(url).netloc)
            wait_until_ready(
                web, is_ready=health.is_good, state=health.said, patience=env.patience(), should_stop=stop.is_set
            )
        if stop.is_set():
            return
        with step("workers run"):
            supervisor.start(
                worker_process(name="workflow", queues="workflow", url=url, options=list(WORKFLOW_OPTIONS))
            )
            supervisor.start(worker_process(name="ranking", queues="ranking", url=url, options=list(RANKING_OPTIONS)))
            supervisor.start(process(name="beat", command=beat_command(), url=url))
            supervisor.start(
                worker_process(name="scoring", queues="prompts,scoring", url=url, options=scoring_options())
            )
        if node_slots():
            with step("node runs"):
                supervisor.start(node_process(url=url, token=enrol_local_node()))
        click.echo(f"\nAssay serves {url}  (Ctrl-C stops it; logs are in {log_path('web').parent})")
        from assay.accounts.services import has_administrator  # models exist only after django.setup()

        if not has_administrator():
            click.echo("There is no administrator yet. To make one: assay admin create NAME --email ADDRESS")
        with written(ready_file, content=url):
            supervisor.watch(should_stop=stop.is_set, chores=[service.mend for service in services])
        click.echo("stopping …")


def start_services(stack: ExitStack) -> list[KeptServer]:
    """The embedded servers, where the environment names no others."""
    home, services = settings.EMBEDDED_HOME, []
    for name, variable, running, pid_file in (
        ("PostgreSQL", "DATABASE_URL", running_postgres, home.database_pid_file),
        ("broker", "BROKER_URL", running_broker, home.broker_pid_file),
    ):
        if not env.text(name=variable):
            with step(f"{name} runs"):
                services.append(stack.enter_context(KeptServer(partial(running, home=home), pid_file=pid_file)))
    if not settings.EMBEDDED_HOME.path.is_relative_to(settings.VAR):
        click.echo(f"  (their data is in {settings.EMBEDDED_HOME.path}: they could not run below {settings.VAR})")
    return services


def bring_up_to_date(services: Sequence[KeptServer]) -> None:
    """Migrate the database. Our own server is started again if it ends meanwhile: a migration is done as a whole or not at all.

    Raises EmbeddedServiceError with the end of the server's log when it ends again and again.
    """
    for attempt in range(1, MIGRATION_ATTEMPTS + 1):
        try:
            call_command("migrate", interactive=False, verbosity=0)
        except OperationalError as error:
            if env.text(name="DATABASE_URL"):
                raise  # not ours to start again
            if attempt == MIGRATION_ATTEMPTS:
                words = Program(name="PostgreSQL", process=None, log=settings.EMBEDDED_HOME.database_log).last_words()
                raise EmbeddedServiceError(
                    f"The database ended while it was brought up to date: {error} {words}"
                ) from error
            logger.warning("serve.database_ended_while_migrating", extra={"attempt": attempt, "error": str(error)})
            connection.close()
            until_answering(settings.EMBEDDED_HOME, services=services)
        else:
            return


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    began = time.monotonic()
    yield
    click.echo(f"  {name:<32}{time.monotonic() - began:6.1f} s")


@contextmanager
def listening(*, host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket: the port asked for, else `ASSAY_PORT`, else 8000, else a free one."""
    wanted = port or env.number(name="ASSAY_PORT", default=0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, wanted or USUAL_PORT))
        except OSError as error:
            if wanted:
                raise PortError(
                    f"Port {wanted} on {host} cannot be used ({error.strerror}). Choose another one."
                ) from error
            listener.bind((host, 0))
        listener.listen(128)
        yield listener


def address_of(listener: socket.socket) -> str:
    """Where people reach us: `ASSAY_PUBLIC_URL`, or the address we listen on."""
    return env.text(name="ASSAY_PUBLIC_URL", default=local_address(listener))


def local_address(listener: socket.socket) -> str:
    """The address we listen on, as this machine reaches it, with or without a proxy in front."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104  only compared
    return f"http://{shown}:{port}"


def web_process(*, listener: socket.socket, url: str) -> ProcessSpec:
    """The web server on this socket."""
    return process(
        name="web", command=web_command(f"fd://{listener.fileno()}"), url=url, kept_descriptors=(listener.fileno(),)
    )


def worker_process(*, name: str, queues: str, url: str, options: list[str]) -> ProcessSpec:
    """A Celery worker for some queues, the most urgent one first."""
    return process(name=name, command=worker_command(name=name, queues=queues, options=options), url=url)


def enrol_local_node() -> str:
    """This machine as a node of the default pool: a fresh token at every start, which no file ever holds."""
    from assay.runs.nodes import enrol_node  # models exist only after django.setup()

    _, token = enrol_node(name=LOCAL_NODE, pool="default", slots=node_slots(), by=None, now=timezone.now())
    return token


def node_process(*, url: str, token: str) -> ProcessSpec:
    """The agent that runs submissions here. It knows its token and the broker, no database."""
    environment = env.child_environment(
        without=SECRETS,
        ASSAY_URL=url,
        ASSAY_NODE_TOKEN=token,
        ASSAY_BROKER_URL=settings.CELERY_BROKER_URL,
        PYTHONWARNINGS="ignore",
    )
    return ProcessSpec(
        name="node",
        command=[sys.executable, "-m", "assay.node", "run", "--folder", str(Path(settings.VAR) / "node")],
        log=log_path("node"),
        environment=environment,
        stop_seconds=NODE_STOP_SECONDS,
        stops_first=True,
        is_essential=False,
    )


def node_slots() -> int:
    """How many cases run at once: one per processor. 0 leaves the running to other hosts."""
    return env.number(name="ASSAY_NODE_SLOTS", default=os.cpu_count() or 1)


def process(*, name: str, command: list[str], url: str, kept_descriptors: tuple[int, ...] = ()) -> ProcessSpec:
    """A process of ours that uses Django."""
    environment = env.child_environment(ASSAY_PUBLIC_URL=url, PYTHONWARNINGS="ignore")
    return ProcessSpec(
        name=name, command=command, log=log_path(name), environment=environment, kept_descriptors=kept_descriptors
    )


def log_path(name: str) -> Path:
    """Where a process's output goes."""
    return Path(settings.VAR) / "log" / f"{name}.log"


class Health:
    """What the web server at an address of this machine says of its own readiness, asked under its public `name`.

    We hold the listening socket, so a question to a web server that has died is taken and never answered. Each question waits twice as
    long as the one before: a death is seen soon, and a slow machine has its minute in the end.
    """

    def __init__(self, address: str, *, name: str) -> None:
        self._question = urllib.request.Request(f"{address}/readyz", headers={"Host": name})  # noqa: S310  our own address
        self._name = name
        self._said: str | None = None
        self._answer_seconds = FIRST_ANSWER_SECONDS

    def is_good(self) -> bool:
        """Ask it. Raises NotStartedError when it does not answer to its name."""
        patience, self._answer_seconds = self._answer_seconds, min(2 * self._answer_seconds, LONGEST_ANSWER_SECONDS)
        try:
            with urllib.request.urlopen(self._question, timeout=patience) as response:  # noqa: S310  our own address
                return bool(response.status == HTTPStatus.OK)
        except urllib.error.HTTPError as answer:
            if answer.code == HTTPStatus.BAD_REQUEST:
                raise NotStartedError(
                    f"The web server does not answer to the name {self._name!r} of ASSAY_PUBLIC_URL. Add it to ASSAY_HOSTS."
                ) from None
            self._said = f"{answer.code} {answer.read(LONGEST_ANSWER).decode(errors='replace')}"
        except OSError:  # nobody listens yet, or the answer takes long
            self._said = None
        return False

    def said(self) -> str | None:
        """Its last answer, if it answered and is not ready."""
        return self._said


@contextmanager
def written(path: Path | None, *, content: str) -> Iterator[None]:
    """A small file that exists, whole, as long as the block lasts."""
    if path is None:
        yield
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(f"{content}\n", encoding="utf-8")
    partial.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":  # as services were written before there was `assay serve`
    from assay.config.cli import serve as command

    command()
