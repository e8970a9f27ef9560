"""The node's commands of `assay`: `node run`, and the same machinery on one's own machine: `run`, `check`, `doctor`, `site`."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import click

from assay.node.agent import Agent, AgentOptions, Doorbell, Polling, image_cache
from assay.node.commands import check, run
from assay.node.engine_option import engine_option
from assay.node.http import NodeApi, NodeApiProblem, Registration, server_clock_ahead_seconds
from assay.node.inventory import take_inventory
from assay.node.logs import start_logging
from assay.node.site_commands import site
from containers.doctor import examine, report
from containers.engines import EngineChoice
from containers.errors import EngineError

__all__ = ["check", "doctor", "node", "run", "site"]

SECONDS_PER_DAY = 86_400
DEFAULT_FOLDER = Path.home() / ".cache" / "assay" / "node"


@click.group()
def node() -> None:
    """Run submissions on this machine for an Assay server."""


@node.command(name="run")
@click.option("--url", envvar="ASSAY_URL", required=True, help="The server, such as https://assay.example.org.")
@click.option("--token", envvar="ASSAY_NODE_TOKEN", required=True, help="The node's token; better in ASSAY_NODE_TOKEN.")
@click.option("--slots", type=int, help="Cases at once; what the server has on record when left out.")
@click.option("--folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER, show_default=True)
@click.option("--broker", envvar="ASSAY_BROKER_URL", help="Be woken by this broker; the agent polls without it.")
@click.option("--poll-seconds", default=5.0, show_default=True)
@click.option("--grace-seconds", default=30.0, show_default=True, help="For running cases after SIGTERM.")
@click.option(
    "--disk-reserve-mb",
    envvar="ASSAY_NODE_DISK_RESERVE_MB",
    default=2048,
    show_default=True,
    help="Free disk below which nothing is claimed.",
)
@click.option("--log-level", envvar="ASSAY_LOG_LEVEL", default="INFO", show_default=True)
@engine_option
def run_node(
    *,
    url: str,
    token: str,
    slots: int | None,
    folder: Path,
    broker: str | None,
    poll_seconds: float,
    grace_seconds: float,
    disk_reserve_mb: int,
    log_level: str,
    engine: EngineChoice,
) -> None:
    """Claim, run and record until SIGTERM or Ctrl-C."""
    start_logging(level=log_level)
    api = NodeApi(url=url, token=token)
    try:
        registration = api.register(slots=slots, inventory=take_inventory(folder=folder, engine=engine))
    except EngineError as error:
        raise click.ClickException(f"{error}\n`assay doctor --engine {engine.kind}` says what to do.") from error
    except NodeApiProblem as error:
        raise click.ClickException(
            f"{error}\nIs the address right, and the token one of `assay node` on that server?"
        ) from error
    options = AgentOptions(
        folder=folder.absolute(),
        owner=registration.owner,
        slots=registration.slots,
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        disk_reserve_bytes=disk_reserve_mb * 2**20,
    )
    agent = Agent(api=api, options=options, open_engine=engine.open)
    agent.clear_away()
    doorbell = open_doorbell(broker=broker, registration=registration, stopping=agent.stopping)
    stop_on_signals(agent)
    agent.serve(doorbell)


@node.command()
@click.option("--folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER, show_default=True)
@click.option("--unused-days", type=float, default=0.0, show_default=True, help="Keep what was used since.")
@engine_option
def forget(*, folder: Path, unused_days: float, engine: EngineChoice) -> None:
    """Remove the images that the node has loaded: all of them before the machine leaves or the node's folder is deleted."""
    with engine.open() as opened:
        count = image_cache(folder).forget(opened, unused_since=time.time() - unused_days * SECONDS_PER_DAY)
    click.echo(f"{count} images removed")


def open_doorbell(*, broker: str | None, registration: Registration, stopping: threading.Event) -> Doorbell:
    """The broker's doorbell, or polling where none was named."""
    if not broker:
        return Polling(stopping)
    try:
        from assay.node.doorbell import BrokerDoorbell
    except ImportError as error:
        raise click.ClickException(
            f"--broker needs kombu ({error}); install it, or leave --broker out to poll"
        ) from error
    doorbell = BrokerDoorbell(url=broker, pool=registration.pool, stopping=stopping)
    doorbell.start()
    return doorbell


def stop_on_signals(agent: Agent) -> None:
    """Finish in good order on SIGTERM and Ctrl-C; at once on the second."""

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a signal handler's signature
        if agent.stopping.is_set():
            os._exit(128 + number)
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


@click.command()
@click.option(
    "--server", "is_server", is_flag=True, help="This machine serves the portal too: its clock has to be right."
)
@click.option("--url", envvar="ASSAY_URL", help="The server this node works for: compare clocks with it.")
@engine_option
def doctor(*, is_server: bool, url: str | None, engine: EngineChoice) -> None:
    """Say whether this machine can run submissions safely, and what to do where it cannot."""
    ahead_seconds = server_clock_ahead_seconds(url) if url else None
    findings = examine(choice=engine, is_server=is_server, server_clock_ahead_seconds=ahead_seconds)
    click.echo(report(findings))
    sys.exit(any(finding.level == "FAIL" for finding in findings))
