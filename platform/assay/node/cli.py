"""The node's commands of `assay`: `node join`, `node run`. The same machinery on one's own machine: `run`, `check`, `site`; `doctor`."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import click

from assay.node.agent import Agent, AgentOptions, Doorbell, Polling, image_cache, input_cache, scratch_of
from assay.node.commands import check, run
from assay.node.engine_option import engine_option
from assay.node.http import NodeApi, NodeApiProblem, Registration, UpgradeNeeded, server_clock_ahead_seconds
from assay.node.inventory import describe_engine, take_inventory
from assay.node.joining import (
    SERVICE,
    SYSTEMD,
    NodeConfig,
    commands_by_hand,
    install_service,
    read_config,
    usual_config,
    usual_folder,
    write_config,
)
from assay.node.logs import FORMATTERS, start_logging
from assay.node.site_commands import site
from containers.engines.choice import EngineChoice
from containers.errors import EngineError, EngineUnreachable
from containers.machine import Finding, Level, examine, report
from containers.sandbox import sweep

__all__ = ["check", "doctor", "node", "run", "site"]

log = logging.getLogger(__name__)
SECONDS_PER_DAY = 86_400
IS_ROOT = os.geteuid() == 0
DEFAULT_FOLDER = usual_folder(is_root=False)
folder_option = click.option(
    "--folder",
    envvar="ASSAY_NODE_FOLDER",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Images, scratch space.",
)


def load_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:  # noqa: ARG001  click's signature
    """Take what `assay node join` wrote down as the environment. What is set there already wins."""
    for name, value in (read_config(path) if path else {}).items():
        os.environ.setdefault(name, value)


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    callback=load_config,
    is_eager=True,
    expose_value=False,
    help="What `assay node join` wrote.",
)


@click.group()
def node() -> None:
    """Run submissions on this machine for an Assay server."""


@node.command(name="run")
@config_option
@click.option("--url", envvar="ASSAY_URL", required=True, help="The server, such as https://assay.example.org.")
@click.option("--token", envvar="ASSAY_NODE_TOKEN", required=True, help="The node's token; better in ASSAY_NODE_TOKEN.")
@click.option(
    "--slots", envvar="ASSAY_NODE_SLOTS", type=int, help="Cases at once; what the server has on record when left out."
)
@folder_option
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
@click.option(
    "--input-cache-mb",
    envvar="ASSAY_NODE_INPUT_CACHE_MB",
    default=0,
    show_default=True,
    help="Disk for inputs that are kept between runs, hidden ones among them. For nodes far from the server.",
)
@click.option("--log-level", envvar="ASSAY_LOG_LEVEL", default="INFO", show_default=True)
@click.option("--log-format", envvar="ASSAY_LOG_FORMAT", default="line", type=click.Choice(list(FORMATTERS)))
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
    input_cache_mb: int,
    log_level: str,
    log_format: str,
    engine: EngineChoice,
) -> None:
    """Claim, run and record until SIGTERM or Ctrl-C."""
    start_logging(level=log_level, form=log_format)
    api = NodeApi(url=url, token=token)
    wait_for_engine(engine, pause_seconds=poll_seconds)
    registration = say_hello(api, slots=slots, folder=folder, engine=engine)
    options = AgentOptions(
        folder=folder.absolute(),
        owner=registration.owner,
        slots=registration.slots,
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        disk_reserve_bytes=disk_reserve_mb * 2**20,
        input_bytes=input_cache_mb * 2**20,
    )
    agent = Agent(api=api, options=options, open_engine=engine.open)
    agent.clear_away()
    doorbell = open_doorbell(broker=broker, registration=registration, stopping=agent.stopping)
    stop_on_signals(agent)
    agent.serve(doorbell)


@node.command()
@config_option
@folder_option
@click.option("--unused-days", type=float, default=0.0, show_default=True, help="Keep what was used since.")
@engine_option
def forget(*, folder: Path, unused_days: float, engine: EngineChoice) -> None:
    """Remove the images that the node has loaded, inputs it has kept, and what a crash left in its scratch folder, before the machine
    leaves.
    """
    sweep(scratch_of(folder))
    with engine.open() as opened:
        count = image_cache(folder).forget(opened, unused_since=time.time() - unused_days * SECONDS_PER_DAY)
    inputs = input_cache(folder, limit_bytes=0).forget()
    click.echo(f"{count} images removed" + (f", and {inputs} kept inputs" if inputs else ""))


@node.command()
@click.argument("url")
@click.option(
    "--token", envvar="ASSAY_NODE_TOKEN", required=True, help="What enrolling printed; better in ASSAY_NODE_TOKEN."
)
@click.option("--slots", type=int, help="Cases at once; what the server has on record when left out.")
@click.option("--folder", type=click.Path(path_type=Path), default=usual_folder(is_root=IS_ROOT), show_default=True)
@click.option("--broker", default="", help="Be woken by this broker; the agent polls without it.")
@click.option("--config", type=click.Path(path_type=Path), default=usual_config(is_root=IS_ROOT), show_default=True)
@click.option("--no-service", is_flag=True, help="Write the configuration only.")
@engine_option
def join(
    *,
    url: str,
    token: str,
    slots: int | None,
    folder: Path,
    broker: str,
    config: Path,
    no_service: bool,
    engine: EngineChoice,
) -> None:
    """Make this machine a node of the server at URL: examine it, register, keep the token, start the service.

    An operator enrols the node first (`assay nodes enrol NAME --pool POOL`) and gives you the token. Joining again replaces what
    was written down.
    """
    findings = examine(choice=engine, scratch=None, server_clock_ahead_seconds=server_clock_ahead_seconds(url))
    click.echo(report(findings))
    if any(finding.level == "FAIL" for finding in findings):
        raise click.ClickException("This machine is not ready: mend what FAILs and join again. Nothing was written.")
    registration = say_hello(NodeApi(url=url, token=token), slots=slots, folder=folder, engine=engine)
    settings = NodeConfig(url=url, token=token, folder=folder.absolute(), engine=engine, slots=slots, broker=broker)
    write_config(config.absolute(), settings.text())
    click.echo(f"\n{registration.name} is known to {url}, in pool {registration.pool}. Its token is in {config}.")
    click.echo(report(judge_phases(NodeApi(url=url, token=token))))
    if IS_ROOT and SYSTEMD.exists() and not no_service:
        install_service(config=config.absolute(), call=partial(subprocess.run, check=True))
        click.echo(f"The service runs: journalctl -u {SERVICE} -f")
    else:
        click.echo(commands_by_hand(config=config.absolute(), is_root=IS_ROOT, has_systemd=SYSTEMD.exists()))


def wait_for_engine(engine: EngineChoice, *, pause_seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """A node that starts before its engine (a host that boots) waits for it, because a supervisor would give up after a while."""
    while True:
        try:
            describe_engine(engine)
        except EngineUnreachable as error:
            log.warning("engine.away", extra={"why": str(error), "help": f"assay doctor --engine {engine.kind}"})
            sleep(pause_seconds)
        else:
            return


def say_hello(api: NodeApi, *, slots: int | None, folder: Path, engine: EngineChoice) -> Registration:
    """Register with an inventory. Errors in the words of the command."""
    try:
        return api.register(slots=slots, inventory=take_inventory(folder=folder, engine=engine))
    except EngineError as error:
        raise click.ClickException(f"{error}\n`assay doctor --engine {engine.kind}` says what to do.") from error
    except UpgradeNeeded as error:
        raise click.ClickException(str(error)) from error
    except NodeApiProblem as error:
        raise click.ClickException(
            f"{error}\nIs the address right, and the token the one `assay nodes enrol` printed?"
        ) from error


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
    """Finish in good order on SIGTERM and Ctrl-C. At once on the second."""

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
@click.option(
    "--token", envvar="ASSAY_NODE_TOKEN", help="The node's, with --url: say which phases need what it does not have."
)
@config_option
@engine_option
def doctor(*, is_server: bool, url: str | None, token: str | None, engine: EngineChoice) -> None:
    """Say whether this machine can run submissions safely, and what to do where it cannot."""
    ahead_seconds = server_clock_ahead_seconds(url) if url else None
    findings = examine(choice=engine, is_server=is_server, server_clock_ahead_seconds=ahead_seconds)
    if url and token:
        findings = [*findings, *judge_phases(NodeApi(url=url, token=token))]
    click.echo(report(findings))
    sys.exit(any(finding.level == "FAIL" for finding in findings))


def judge_phases(api: NodeApi) -> list[Finding]:
    """Which phases of its pool the node gets no case of. The server compares them with what the node said when it last started."""
    title = "phases"
    try:
        lacking = api.unserved()
    except NodeApiProblem as problem:
        fix = "give the token that enrolling printed, or what `assay node join` wrote, by --config"
        return [Finding(level=Level.CAUTION, title=title, detail=f"the server does not say: {problem}", fix=fix)]
    if not lacking:
        return [Finding(level=Level.PASS, title=title, detail="this node has what every phase of its pool needs")]
    return [
        Finding(
            level=Level.CAUTION,
            title=f"phase {row.phase}",
            detail=f"a case needs {row.needs}, which this node does not have: it gets none of them",
            fix="add a node that has it, or start this node again after a change of its hardware",
        )
        for row in lacking
    ]


node.add_command(doctor)
