"""`assay site data …`: add a folder of cases, see what was sent about it, check it again."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.node.commands import result_table
from assay.node.engine_option import engine_option
from assay.node.folder import FolderCase, FolderInvalid
from assay.node.local import NotRun, UnsuitableHardware
from assay.node.registry import DataRegistration
from assay.node.review import SMALLEST_GROUP
from assay.node.site_baseline import MOST_CASES, run_baseline, why_refused
from assay.node.site_data import SiteData, check_itself, keep_version, kept_secret, recognise, refuse_close_version
from assay.node.site_home import SiteHome
from assay.node.site_life import folder_option, open_connection
from assay.node.site_signing import released_roots
from assay.signatures import signed
from containers.engines.choice import EngineChoice
from containers.errors import EngineError
from containers.intake import ImageInvalid, IntakeUnavailable
from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol, load_protocol

KIND = "assay-site-data"
SHOWN_PROBLEMS = 20
CANNOT_RUN = (NotRun, UnsuitableHardware, EngineError, ImageInvalid, IntakeUnavailable)


def baseline_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command's function `baseline` and `baseline_cases`."""
    image = click.option(
        "--baseline",
        default="",
        metavar="IMAGE",
        help="An algorithm that is known to work: an archive from the organizers, or an image of the engine here.",
    )
    count = click.option(
        "--baseline-cases", type=click.IntRange(1), default=MOST_CASES, show_default=True, help="On so many cases."
    )
    return image(count(command))


@click.group(name="data")
def data_group() -> None:
    """The cases that submissions are evaluated on. They stay where they lie."""


@data_group.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--input", "inputs", multiple=True, metavar="CHALLENGE=DATA", help="Which input is which, as in ct=image."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="CHALLENGE=DATA",
    help="DICOM: which structure is which label, as in core=Tumor.",
)
@click.option("--pipeline", default="", help="BIDS: the folder below derivatives/ that holds the references.")
@click.option(
    "--secret",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="data.key of this site's other machine: the same data then has the same root.",
)
@baseline_options
@click.option("--yes", is_flag=True, help="Send without asking.")
@folder_option
@engine_option
def add(
    *,
    source: Path,
    inputs: tuple[str, ...],
    labels: tuple[str, ...],
    pipeline: str,
    secret: Path | None,
    baseline: str,
    baseline_cases: int,
    yes: bool,
    folder: Path,
    engine: EngineChoice,
) -> None:
    """Add the cases in SOURCE: a folder with manifest.csv, an nnU-Net or Decathlon folder, BIDS, images/ beside labels/, or DICOM.

    Every reference is scored against itself first, and with --baseline an algorithm runs on a few cases. Then you see what would be
    sent: one hash and counts.
    """
    home = SiteHome.at(folder)
    settings = home.joined()
    with open_connection(settings) as connection:
        protocol = _protocol_of(connection)
        try:
            data = recognise(
                source,
                protocol=protocol,
                inputs=_pairs(inputs),
                pipeline=pipeline,
                labels=_pairs(labels, option="label"),
                cache=home.folder / "references",
            )
            document, found = _examined(data, protocol=protocol, secret=kept_secret(home.folder, given=secret))
            refuse_close_version(found, home=home.folder, released_roots=released_roots(home.folder / settings.name))
            if baseline:
                _try_baseline(baseline, cases=data.cases()[:baseline_cases], protocol=protocol, engine=engine)
        except (FolderInvalid, EvaluatorError, *CANNOT_RUN) as problem:
            raise click.ClickException(str(problem)) from problem
        click.echo("\nThis would be sent, and nothing else:")
        click.echo(json.dumps(document, indent=2))
        if not yes and not click.confirm("Send it?", default=False):
            click.echo("Nothing was sent.")
            return
        keep_version(found, home=home.folder)
        body = {name: document[name] for name in ("root_sha256", "case_count", "summary")}
        connection.post("site/datasets", {**body, "said": signed(document, key=home.key())})
    data.keep(home.folder, root_sha256=document["root_sha256"], case_count=document["case_count"])
    click.echo(
        f"Added. If the data changes, add it again. Its key is {home.folder / 'data.key'}: back it up with the data."
    )


def _examined(data: SiteData, *, protocol: Protocol, secret: bytes) -> tuple[dict[str, Any], DataRegistration]:
    """What is said of the data, once every case was checked."""
    cases = data.cases()
    click.echo(f"{data.form}: {len(cases)} cases")
    if len(cases) < SMALLEST_GROUP:
        raise FolderInvalid(
            f"found {len(cases)} cases; expected at least {SMALLEST_GROUP}: numbers about fewer patients never leave, so nothing could be "
            "released. What to do: add more cases"
        )
    for name, theirs in data.inputs.items():
        click.echo(f"  input {name} is {theirs} of the data")
    click.echo("Scoring every reference against itself …")
    checked = check_itself(cases, protocol=protocol)
    if checked.problems:
        for text in checked.problems[:SHOWN_PROBLEMS]:
            click.echo(f"  {text}", err=True)
        more = len(checked.problems) - SHOWN_PROBLEMS
        raise FolderInvalid(
            f"{len(checked.problems)} problems in the references{f' ({more} more than shown)' if more > 0 else ''}; nothing was sent. "
            "These lines name your cases: they stay here"
        )
    registration = data.examine(secret=secret, cases=cases)
    used = [name for name in protocol.breakdowns if any(name in case.attributes for case in cases)]
    document = {
        "kind": KIND,
        "root_sha256": registration.root_sha256,
        "case_count": registration.case_count,
        "summary": {"selfcheck": checked.summary(), "attributes": used},
    }
    return document, registration


def _try_baseline(baseline: str, *, cases: Sequence[FolderCase], protocol: Protocol, engine: EngineChoice) -> None:
    """Run it and show what came of it, for the people of the site. Raises FolderInvalid where its answers say that something is wrong."""
    click.echo(f"Running the baseline on {len(cases)} cases. Nothing of this is sent …")
    with engine.open() as opened, tempfile.TemporaryDirectory(prefix="assay-baseline-") as scratch:
        results = []
        for result in run_baseline(baseline, cases=cases, protocol=protocol, engine=opened, folder=Path(scratch)):
            results.append(result)
            click.echo(f"  {len(results)} {result.verdict}")
    Console().print(result_table(results, protocol=protocol))
    if why := why_refused(results, cases=cases, protocol=protocol):
        raise FolderInvalid(f"{why} Nothing was sent")


@data_group.command()
@baseline_options
@folder_option
@engine_option
def check(*, baseline: str, baseline_cases: int, folder: Path, engine: EngineChoice) -> None:
    """Say whether the data still is what was added: read every file and compare the root. --baseline runs an algorithm on a few cases."""
    home = SiteHome.at(folder)
    kept = SiteData.kept(home.folder)
    if kept is None:
        raise ClientError("No data was added on this machine", what_to_do="assay site data add FOLDER")
    data, registered = kept
    try:
        found = data.examine(secret=kept_secret(home.folder))
    except FolderInvalid as problem:
        raise click.ClickException(str(problem)) from problem
    if found != registered:
        raise ClientError(
            "The data has changed since it was added",
            found=f"{found.case_count} cases, root {found.root_sha256[:16]}…",
            expected=f"{registered.case_count} cases, root {registered.root_sha256[:16]}…",
            what_to_do="put the files back, or add the data again: that is a new data set, which the organizers must accept",
        )
    if baseline:
        with open_connection(home.joined()) as connection:
            protocol = _protocol_of(connection)
        try:
            _try_baseline(baseline, cases=data.cases()[:baseline_cases], protocol=protocol, engine=engine)
        except (FolderInvalid, EvaluatorError, *CANNOT_RUN) as problem:
            raise click.ClickException(str(problem)) from problem
    click.echo(f"{data.source} ({data.form}): {found.case_count} cases, unchanged, root {found.root_sha256}")


def _protocol_of(connection: Connection) -> Protocol:
    return load_protocol(connection.get("site/about")["protocol"])


def _pairs(texts: tuple[str, ...], *, option: str = "input") -> dict[str, str]:
    pairs = {}
    for text in texts:
        ours, separator, theirs = text.partition("=")
        if not separator or not ours or not theirs:
            raise click.UsageError(f"--{option} {text}: expected CHALLENGE=DATA, such as ct=image")
        pairs[ours] = theirs
    return pairs
