"""`assay site …`: evaluate a challenge's submissions on data of your own, and release only what you approved."""

import sys
import time
from pathlib import Path

import click
from rich.console import Console

from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.node.commands import result_table
from assay.node.engine_option import engine_option
from assay.node.folder import FolderInvalid
from assay.node.http import NodeApi, NodeApiProblem
from assay.node.local import LocalResult, NotRun
from assay.node.registry import DataRegistration
from assay.node.review import SMALLEST_GROUP, TooFewCases, shown_bytes
from assay.node.site import Draft, SiteAgent, SiteProblem
from containers.engines import Engine
from containers.engines.choice import EngineChoice
from containers.errors import EngineError
from evaluator.errors import EvaluatorError
from evaluator.protocol import load_protocol

DEFAULT_FOLDER = Path.home() / ".cache" / "assay" / "site"
TROUBLE = (NotRun, ClientError, NodeApiProblem, SiteProblem, FolderInvalid, TooFewCases, EngineError, EvaluatorError)

url_option = click.option(
    "--url", envvar="ASSAY_URL", required=True, help="The server; the only address ever contacted."
)
token_option = click.option("--token", envvar="ASSAY_SITE_TOKEN", required=True, help="Better in ASSAY_SITE_TOKEN.")
folder_option = click.option(
    "--folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER, show_default=True, help="Drafts and scratch."
)
data_argument = click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))


@click.group()
def site() -> None:
    """Evaluate submissions on data that stays here; only approved numbers leave."""


@site.command(name="run")
@data_argument
@url_option
@token_option
@folder_option
@click.option("--approve-all", is_flag=True, help="Release without asking: only where your rules allow it.")
@click.option("--poll-seconds", type=float, help="Stay, and ask for more work this often; ends when done without it.")
@engine_option
def run_site(
    *,
    data: Path,
    url: str,
    token: str,
    folder: Path,
    approve_all: bool,
    poll_seconds: float | None,
    engine: EngineChoice,
) -> None:
    """Evaluate every submission of the phase on the cases of DATA (a folder with manifest.csv)."""
    console = Console()
    try:
        with Connection(url=url, token=token, program="site") as connection, engine.open() as opened:
            agent = _agent(connection=connection, url=url, token=token, data=data, folder=folder, engine=opened)
            registration = agent.register()
            console.print(
                f"registered {registration.case_count} cases as {registration.root_sha256}: this hash and the number "
                "were sent, nothing else"
            )
            while True:
                try:
                    _work(agent, registration=registration, console=console, approve_all=approve_all)
                except NotRun as problem:
                    if poll_seconds is None:
                        raise
                    console.print(f"{problem} It is claimed again once its lease has ended.", markup=False)
                if poll_seconds is None:
                    return
                time.sleep(poll_seconds)
    except TROUBLE as problem:
        raise click.ClickException(str(problem)) from problem


@site.command(name="release")
@data_argument
@url_option
@token_option
@folder_option
@engine_option
def release(*, data: Path, url: str, token: str, folder: Path, engine: EngineChoice) -> None:
    """Go through finished evaluations that still wait for approval."""
    console = Console()
    try:
        with Connection(url=url, token=token, program="site") as connection, engine.open() as opened:
            agent = _agent(connection=connection, url=url, token=token, data=data, folder=folder, engine=opened)
            for draft in agent.drafts():
                decide(agent, draft, console=console, approve_all=False)
    except TROUBLE as problem:
        raise click.ClickException(str(problem)) from problem


def _work(agent: SiteAgent, *, registration: DataRegistration, console: Console, approve_all: bool) -> None:
    while (order := agent.claim(registration)) is not None:
        console.print(f"\nsubmission {order.submission}")
        done: list[LocalResult] = []

        def show(result: LocalResult, done: list[LocalResult] = done) -> None:
            done.append(result)
            console.print(f"  {len(done)} {result.verdict}", highlight=False)

        draft = agent.evaluate(order, on_case=show)
        console.print(result_table(draft.results, protocol=load_protocol(order.protocol)))
        decide(agent, draft, console=console, approve_all=approve_all)


def decide(agent: SiteAgent, draft: Draft, *, console: Console, approve_all: bool) -> None:
    """Show exactly what would leave; release, decline, or leave it for later."""
    console.print(f"Submission {draft.submission}. Exactly this would be sent (no group under {SMALLEST_GROUP} cases):")
    click.echo(shown_bytes(draft.aggregates))
    if draft.withheld:
        console.print(f"Withheld, because too few patients could be told from it: {', '.join(draft.withheld)}")
    if approve_all:
        agent.release(draft)
        console.print("released (--approve-all)")
        return
    if not sys.stdin.isatty():
        console.print(f"nobody is here to approve it; it waits in {draft.path}: run `assay site release`")
        return
    answer = click.prompt("release, decline or later", type=click.Choice(["release", "decline", "later"]))
    if answer == "release":
        agent.release(draft)
    elif answer == "decline":
        agent.decline(draft, reason=click.prompt("why (the organizers read this)"))


def _agent(*, connection: Connection, url: str, token: str, data: Path, folder: Path, engine: Engine) -> SiteAgent:
    about = connection.get("site/about")
    return SiteAgent(
        connection=connection,
        api=NodeApi(url=url, token=token, program="site"),
        data=data,
        folder=folder.absolute() / about["name"],
        engine=engine,
        owner=f"site/{about['name']}",
    )
