"""`assay site …`: evaluate a challenge's submissions on data of your own, and release only what you approved."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from assay.client.http import Connection
from assay.node.commands import result_table
from assay.node.engine_option import engine_option
from assay.node.http import NodeApi
from assay.node.local import LocalResult, UnsuitableHardware
from assay.node.registry import DataRegistration
from assay.node.review import SMALLEST_GROUP
from assay.node.review_desk import SiteDesk
from assay.node.review_page import ReviewServer
from assay.node.review_sheet import ReviewSheet
from assay.node.site import SiteAgent
from assay.node.site_agreeing import agree, log, verify
from assay.node.site_bundle import SiteBundle
from assay.node.site_data import SiteData, kept_secret
from assay.node.site_data_commands import data_group
from assay.node.site_drafts import Draft, read_paper
from assay.node.site_group import TROUBLE, SiteCommands, told
from assay.node.site_home import SiteHome, SiteSettings
from assay.node.site_life import COMMANDS, folder_option, open_connection
from assay.node.site_orders import SiteOrder, orders_in
from assay.node.site_problems import SiteProblem
from assay.node.site_signing import SiteSigner, released_files
from containers.engines import Engine
from containers.engines.choice import EngineChoice
from evaluator.protocol import load_protocol

WAIT_SECONDS = 25
"""How long a question for work waits at the server. Proxies cut a silent connection after a minute."""

url_option = click.option(
    "--url", envvar="ASSAY_URL", default="", help="The server; the one that was joined when left out."
)
token_option = click.option(
    "--token", envvar="ASSAY_SITE_TOKEN", default="", help="Only for a site that was enrolled by token, without a key."
)
at_once_option = click.option(
    "--at-once",
    envvar="ASSAY_SITE_AT_ONCE",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Cases at the same time, where a batch system finds the machines (--engine slurm).",
)
data_argument = click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)


@click.group(cls=SiteCommands)
def site() -> None:
    """Evaluate submissions on data that stays here. Only approved numbers leave."""


for command in (*COMMANDS, data_group, agree, log, verify):
    site.add_command(command)


def member(folder: Path, *, url: str, token: str) -> SiteSettings:
    """Whom the site works for: what joining wrote down, or address and token where it was enrolled by token."""
    home = SiteHome.at(folder)
    if url and token:
        return SiteSettings(
            url=url, token=token, name="", title="", challenge="", phase="", server_key="", is_confirmed=True
        )
    settings = home.joined()
    if not settings.is_confirmed:
        raise SiteProblem(
            "nobody here has confirmed the six words yet. Read them to an organizer (assay site status shows them); once they are "
            "accepted: assay site confirm"
        )
    return settings


@site.command(name="run")
@data_argument
@url_option
@token_option
@folder_option
@click.option("--approve-all", is_flag=True, help="Release without asking: only where your rules allow it.")
@click.option("--poll-seconds", type=float, help="Stay, and ask for more work this often; ends when done without it.")
@at_once_option
@engine_option
def run_site(
    *,
    data: Path | None,
    url: str,
    token: str,
    folder: Path,
    approve_all: bool,
    poll_seconds: float | None,
    at_once: int,
    engine: EngineChoice,
) -> None:
    """Evaluate every submission of the phase on the data that was added (`assay site data add`).

    With --poll-seconds the program stays, and waits at the server for new submissions. While the approval, the server or the engine is
    missing, or where the server has no room to wait, it asks again so often. Only a site that was enrolled by token names its DATA here
    (a folder with manifest.csv).
    """
    console = Console()
    while True:
        try:
            _round(
                console,
                data=data,
                url=url,
                token=token,
                folder=folder,
                approve_all=approve_all,
                stays=poll_seconds is not None,
                at_once=at_once,
                engine=engine,
            )
        except TROUBLE as problem:
            if poll_seconds is None:
                raise
            console.print(f"{told(problem)}\nAsking again in {poll_seconds:g} s.", markup=False)
        if poll_seconds is None:
            return
        time.sleep(poll_seconds)


def _round(
    console: Console,
    *,
    data: Path | None,
    url: str,
    token: str,
    folder: Path,
    approve_all: bool,
    stays: bool,
    at_once: int,
    engine: EngineChoice,
) -> None:
    """Evaluate what waits. A program that stays waits at the server for more, as long as the server lets it."""
    settings = member(folder, url=url, token=token)
    with open_connection(settings) as connection, engine.open() as opened:
        refuse_several_here(opened, at_once=at_once)
        made = partial(_agent, connection=connection, settings=settings, folder=folder, engine=opened, at_once=at_once)
        if settings.name:
            site_data, registration = added_data(SiteHome(folder))
            agent = made(data=site_data)
        else:
            agent = made(data=named_data(data))
            registration = agent.register()
            console.print(
                f"registered {registration.case_count} cases as {registration.root_sha256}: this hash and the number "
                "were sent, nothing else"
            )
        with agent.alone():
            _work(agent, registration=registration, console=console, approve_all=approve_all, stays=stays)


def refuse_several_here(engine: Engine, *, at_once: int) -> None:
    """One machine runs one case after the other, so that none takes time or memory from another. Raises SiteProblem."""
    if at_once > 1 and not engine.facts().is_batch:
        raise SiteProblem(
            f"found --at-once {at_once} with an engine of this machine alone; expected 1, or a batch system that finds a machine for each "
            "case: --engine slurm"
        )


def added_data(home: SiteHome) -> tuple[SiteData, DataRegistration]:
    """The data that was added on this machine, and its root."""
    kept = SiteData.kept(home.folder)
    if kept is None:
        raise SiteProblem("no data was added yet: assay site data add FOLDER")
    return kept


def named_data(folder: Path | None) -> SiteData:
    """The data of a site that was enrolled by token."""
    if folder is None:
        raise SiteProblem("name the folder of your cases: assay site run FOLDER")
    return SiteData(source=str(folder.absolute()), form="manifest")


@site.command(name="release")
@url_option
@token_option
@folder_option
def release(*, url: str, token: str, folder: Path) -> None:
    """Go through finished evaluations that still wait for approval."""
    console = Console()
    settings = member(folder, url=url, token=token)
    with open_connection(settings) as connection:
        agent = _agent(connection=connection, settings=settings, data=None, folder=folder, engine=None)
        drafts = agent.drafts()
        if not drafts:
            console.print("Nothing waits for a decision.")
        for draft in drafts:
            decide(agent, draft, console=console, approve_all=False)


@site.command(name="recall")
@click.argument("submission")
@click.option("--reason", required=True, help="Everybody who reads the board reads this.")
@click.option("--again", is_flag=True, help="Run the submission again afterwards, as a new record.")
@folder_option
def recall(*, submission: str, reason: str, again: bool, folder: Path) -> None:
    """Take back what was released of SUBMISSION, such as 3. Its numbers leave the board. A mark with the reason stays."""
    number = submission.strip().lstrip("#")
    if not number.isascii() or not number.isdecimal():
        raise click.UsageError(f"found the submission {submission!r}; expected its number, such as 3")
    if not reason.strip():
        raise click.UsageError("found an empty reason; expected why, because everybody who reads the board reads it")
    settings = member(folder, url="", token="")
    with open_connection(settings) as connection:
        agent = _agent(connection=connection, settings=settings, data=None, folder=folder, engine=None)
        wanted = f"#{number}"
        found = [path for path in released_files(agent.folder) if read_paper(path)["submission"] == wanted]
        if not found:
            raise click.ClickException(f"Nothing of submission {wanted} was released from here.")
        agent.recall(found[-1], reason=reason, again=again)
    click.echo(f"recalled: submission {wanted}" + (", to be run again" if again else ""))


def next_order(
    agent: SiteAgent,
    *,
    registration: DataRegistration,
    skip: Sequence[str],
    stays: bool,
    clock: Callable[[], float] = time.monotonic,
) -> SiteOrder | None:
    """The next submission. A program that stays asks again at once when the server let it wait.

    None, too, where the server answers early: it has no room, or it is an older one that lets nobody wait.
    """
    may_wait = stays and not skip
    while True:
        asked_at = clock()
        order = agent.claim(registration, skip=skip, wait_seconds=WAIT_SECONDS if may_wait else 0)
        if order is not None or not may_wait or clock() - asked_at < WAIT_SECONDS / 2:
            return order


def _work(
    agent: SiteAgent, *, registration: DataRegistration, console: Console, approve_all: bool, stays: bool
) -> None:
    """Every submission that waits. What this machine cannot do now is left aside, so that the others go on."""
    skip: list[str] = []
    problem: Exception | None = None
    while (order := next_order(agent, registration=registration, skip=skip, stays=stays)) is not None:
        if trouble := work_on(agent, order, console=console, approve_all=approve_all):
            skip.append(order.evaluation_id)
            problem = trouble
    if problem is not None:
        raise problem


def work_on(agent: SiteAgent, order: SiteOrder, *, console: Console, approve_all: bool) -> Exception | None:
    """Evaluate one submission and let a person decide. Returns why it was put off."""
    console.print(f"\nsubmission {order.submission}")
    done: list[LocalResult] = []

    def show(result: LocalResult) -> None:
        done.append(result)
        console.print(f"  {len(done)} {result.verdict}", highlight=False)

    try:
        draft = agent.evaluate(order, on_case=show)
    except UnsuitableHardware as lack:
        agent.decline_order(order, reason=f"unsuitable hardware: {lack}")
        console.print(f"submission {order.submission} is declined as unsuitable hardware: {lack}", markup=False)
        return None
    except TROUBLE as trouble:  # a full disk, say
        console.print(f"submission {order.submission} is put off: {told(trouble)}", markup=False)
        return trouble
    console.print(result_table(draft.results, protocol=load_protocol(order.protocol)))
    decide(agent, draft, console=console, approve_all=approve_all)
    return None


@site.command(name="take")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@folder_option
@at_once_option
@engine_option
def take(*, bundle: Path, folder: Path, at_once: int, engine: EngineChoice) -> None:
    """Evaluate the submissions in BUNDLE, the file that the organizers gave you, on a machine without a network.

    The orders are signed and checked as those that come over the network. What you approve is signed and written into a file in the
    folder `outbox`. Carry it to the organizers. The next BUNDLE brings the server's receipt for it.
    """
    console = Console()
    settings = member(folder, url="", token="")
    data, _ = added_data(SiteHome(folder))
    stick = SiteBundle(bundle, site=settings.name, challenge=settings.challenge, phase=settings.phase)
    orders = orders_in(stick)
    problems = []
    with open_connection(settings) as connection, engine.open() as opened:
        refuse_several_here(opened, at_once=at_once)
        agent = _agent(
            connection=connection, settings=settings, data=data, folder=folder, engine=opened, at_once=at_once
        )
        with agent.alone():
            kept = sum(agent.keep_receipt(evaluation_id, receipt) for evaluation_id, receipt in stick.receipts)
            if kept:
                console.print(f"{kept} receipts of the server for earlier results are kept in releases/", markup=False)
            for order in orders:
                if words := agent.stands(order):
                    console.print(f"submission {order.submission} {words}", markup=False)
                elif trouble := work_on(agent, order, console=console, approve_all=False):
                    problems.append(trouble)
    papers = sorted(agent.outbox.iterdir())
    console.print(f"{len(papers)} results to carry to the organizers lie in {agent.outbox}", markup=False)
    if problems:
        raise click.ClickException(
            f"{len(problems)} submissions were put off. Start this again once the reason is gone."
        )


def decide(agent: SiteAgent, draft: Draft, *, console: Console, approve_all: bool) -> None:
    """Show exactly what would leave, warnings, and what changed. Approve, reject with a reason, or hold."""
    desk = SiteDesk(agent, title="")
    show_sheet(desk.sheet_of(draft), submission=draft.submission, console=console)
    if approve_all and desk.reviewers == 1:
        agent.release(draft)
        console.print("released (--approve-all)")
        return
    if desk.is_automatic(draft):
        agent.release(draft, is_clean=True)
        console.print("released without asking, as the terms say after so many clean results in a row")
        return
    if not sys.stdin.isatty():
        console.print(
            f"nobody is here to approve it; it waits in {draft.path}: run `assay site review` or `assay site release`"
        )
        return
    action = click.prompt("approve, reject or hold", type=click.Choice(["approve", "reject", "hold"]))
    reason = click.prompt("why (the organizers read this)") if action == "reject" else ""
    by = click.prompt("your name (two people have to approve)") if action == "approve" and desk.reviewers > 1 else ""
    console.print(desk.decide(draft.evaluation_id, action=action, reason=reason, by=by), markup=False)


def show_sheet(sheet: ReviewSheet, *, submission: str, console: Console) -> None:
    """The review sheet on the terminal."""
    console.print(f"Submission {submission}. Exactly this would be sent (no group under {SMALLEST_GROUP} cases):")
    click.echo(sheet.text)
    console.print(f"{sheet.byte_count} bytes as signed, SHA-256 {sheet.sha256}", highlight=False)
    for text in sheet.warnings:
        console.print(f"! {text}", markup=False, highlight=False)
    if sheet.withheld:
        withheld = ", ".join(sheet.withheld)
        console.print(f"Withheld, because too few patients could be told from it: {withheld}", markup=False)
    if sheet.compared_with:
        console.print(f"Since the last release (submission {sheet.compared_with}):", highlight=False)
        for row in sheet.differences:
            console.print(f"  {row.name}: {row.before} → {row.now}", markup=False, highlight=False)


@site.command(name="review")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="A free one when left out.")
@folder_option
def review(*, port: int, folder: Path) -> None:
    """Decide in the browser: a page on 127.0.0.1 with the exact text, what changed, and every case. Ends with Ctrl-C."""
    settings = member(folder, url="", token="")
    with open_connection(settings) as connection:
        kept = SiteData.kept(SiteHome(folder).folder)
        agent = _agent(
            connection=connection, settings=settings, data=kept[0] if kept else None, folder=folder, engine=None
        )
        try:
            server = ReviewServer(desk=SiteDesk(agent, title=f"{settings.title}: what waits to leave"), port=port)
        except OSError as error:
            raise SiteProblem(
                f"port {port} of this machine cannot be used: {error.strerror}. What to do: leave --port out, or name another one"
            ) from error
        click.echo(f"Open {server.address}")
        click.echo("Only this machine reaches it. From another one of yours: ssh -L with the same port.")
        try:
            server.serve()
        except KeyboardInterrupt:
            click.echo("ended")


def _agent(
    *,
    connection: Connection,
    settings: SiteSettings,
    data: SiteData | None,
    folder: Path,
    engine: Engine | None,
    at_once: int = 1,
) -> SiteAgent:
    home = SiteHome(folder)
    signer = SiteSigner(home) if settings.name else None
    name = settings.name or connection.get("site/about")["name"]
    owner = f"site/{name}/{signer.agent[:8]}" if signer else f"site/{name}"
    return SiteAgent(
        connection=connection,
        api=NodeApi(url=settings.url, token=settings.token, program="site"),
        data=data,
        secret=kept_secret(home.folder),
        folder=home.folder / name,
        engine=engine,
        owner=owner,
        signer=signer,
        at_once=at_once,
    )
