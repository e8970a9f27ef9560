"""`assay run` and `assay check`: what a server would do with your image, done on your machine."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.client.images import archive_of, cache_folder
from assay.client.session import Session, pass_session, phase_path
from assay.node.engine_option import engine_option
from assay.node.folder import FolderInvalid, read_folder
from assay.node.local import LocalResult, NotRun, Workbench, provided_image, run_cases
from containers.engines.choice import EngineChoice
from containers.errors import EngineError
from containers.intake import ImageInvalid, IntakeReport, IntakeUnavailable, inspect_archive
from containers.log_text import readable
from containers.spec import MODEL_FOLDER, is_model_folder
from containers.verdicts import Verdict
from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol, load_named_protocol, load_protocol

OWNER = "local/assay-run"
SHOWN_LOG_BYTES = 2000


@click.command()
@click.argument("image")
@click.option("--protocol", required=True, help="A protocol file, or the name of one of `assay protocol list`.")
@click.option("--cases", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--output", type=click.Path(path_type=Path), help="Keep the predictions in this folder.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A tar of weights, as `assay submit --model` takes it.",
)
@click.option("--model-folder", default=MODEL_FOLDER, show_default=True, help="Where the algorithm finds the model.")
@click.option("--command", default="", help="What is started in the image, as `assay submit --command` says it.")
@engine_option
def run(
    *,
    image: str,
    protocol: str,
    cases: Path,
    output: Path | None,
    model: Path | None,
    model_folder: str,
    command: str,
    engine: EngineChoice,
) -> None:
    """Run IMAGE (a local image or an archive) on the cases of a folder in the platform's sandbox, and score it."""
    if not is_model_folder(model_folder):
        raise click.UsageError(f"--model-folder is {model_folder!r}; expected a folder such as {MODEL_FOLDER}.")
    _run_and_show(
        image=image,
        protocol=with_command(_find_protocol(protocol), command=command),
        cases=cases,
        output=output,
        engine=engine,
        model=model,
        model_folder=model_folder,
    )


@click.command()
@click.argument("image")
@click.option("--phase", help="CHALLENGE/PHASE: whose rules and limits apply.")
@click.option("--protocol", help="A protocol file, or the name of one of `assay protocol list`, in place of a phase.")
@click.option(
    "--cases", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Public cases to run it on."
)
@engine_option
@pass_session
def check(
    session: Session,
    /,
    *,
    image: str,
    phase: str | None,
    protocol: str | None,
    cases: Path | None,
    engine: EngineChoice,
) -> None:
    """Say what the platform would say of IMAGE (a local image or an archive) before you submit it.

    It is inspected as on the server, and run on public cases in the same sandbox, with the same limits and scorer.
    """
    rules = _rules_of(session, phase=phase, protocol=protocol)
    archive = archive_of(image=image, cache=cache_folder())
    report = _inspected(archive, rules=rules)
    click.echo(f"image accepted: {report.image_id}, {report.base_os}, {report.layers} layers")
    for line in (*report.neutralised, *report.warnings):
        click.echo(f"  note: {line}")
    for line in profile_lines(report, profile=rules.resources.profile):
        click.echo(f"  {line}")
    is_blocked = rules.resources.command is None and bool(report.entry_point_problem)
    if is_blocked:
        click.echo(f"  this phase will refuse it: its program cannot be started: {report.entry_point_problem}")
    if is_blocked or (rules.resources.profile == "image-user" and report.user_problem):
        raise SystemExit(1)
    if cases is None:
        click.echo("Run it on the public cases too: assay check … --cases FOLDER")
        return
    _run_and_show(image=str(archive), protocol=rules, cases=cases, output=None, engine=engine)


def _rules_of(session: Session, *, phase: str | None, protocol: str | None) -> Protocol:
    if (phase is None) == (protocol is None):
        raise click.UsageError("Whose rules apply? Give either --phase CHALLENGE/PHASE or --protocol NAME.")
    if phase is None:
        return _find_protocol(str(protocol))
    with session.connect() as connection:
        return load_protocol(connection.get(phase_path(phase))["protocol"]["document"])


def _inspected(archive: Path, *, rules: Protocol) -> IntakeReport:
    needs_command = rules.resources.command is None
    with tempfile.TemporaryDirectory() as folder:
        try:
            return inspect_archive(source=archive, destination=Path(folder) / "image.tar", needs_command=needs_command)
        except (ImageInvalid, IntakeUnavailable) as problem:
            raise click.ClickException(str(problem)) from problem


def profile_lines(report: IntakeReport, *, profile: str) -> Iterator[str]:
    """Which profile the image needs and why, which one the phase has, and what goes wrong with it."""
    if report.needed_because:
        yield f"profile: the image needs `{report.needed_profile}`, because"
        yield from (f"  - {reason}" for reason in report.needed_because)
    else:
        yield "profile: nothing in the image's files needs another one than `default`"
    if profile == "image-user" and report.user_problem:
        yield f"this phase runs an image as its own USER, and will refuse this one: {report.user_problem}"
        return
    who = {"legacy": "uid 0 without capabilities", "image-user": report.run_user}.get(profile) or "65532:65532"
    yield f"this phase runs it under `{profile}`, as {who}"
    warnings = {"legacy": (), "image-user": report.warnings_as_image_user}.get(profile, report.warnings_as_user)
    yield from (f"note: {line}" for line in warnings if line not in report.needed_because)
    if report.needed_because and profile not in (report.needed_profile, "legacy"):
        wanted = f"`resources: {{profile: {report.needed_profile}}}`"
        yield f"It will probably fail there. Change the Dockerfile, or ask the organizers for {wanted}."


def with_command(rules: Protocol, *, command: str) -> Protocol:
    """The rules with the command that a team gives. Refused where the server would refuse it."""
    if not command:
        return rules
    if not rules.resources.takes_command:
        raise click.UsageError(
            "These rules take no command. Put it into the image (CMD), or ask the organizers for "
            "`resources: {takes_command: true}`."
        )
    return replace(rules, resources=replace(rules.resources, command=("sh", "-c", command)))


def _find_protocol(text: str) -> Protocol:
    try:
        return load_protocol(Path(text)) if Path(text).is_file() else load_named_protocol(text)
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem


def _run_and_show(
    *,
    image: str,
    protocol: Protocol,
    cases: Path,
    output: Path | None,
    engine: EngineChoice,
    model: Path | None = None,
    model_folder: str = MODEL_FOLDER,
) -> None:
    console = Console()
    results: list[LocalResult] = []
    try:
        found = read_folder(cases)
        with engine.open() as opened, tempfile.TemporaryDirectory(prefix="assay-run-") as folder:
            workbench = Workbench(engine=opened, folder=Path(folder), owner=OWNER)
            provided = provided_image(
                image, workbench=workbench, protocol=protocol, model=model, model_folder=model_folder
            )
            with provided as image_id, console.status("running") as status:
                for result in run_cases(
                    cases=found, image_id=image_id, protocol=protocol, workbench=workbench, keep=output
                ):
                    results.append(result)
                    status.update(f"{len(results)} of {len(found)} cases")
    except (FolderInvalid, EngineError, EvaluatorError, ImageInvalid, IntakeUnavailable, NotRun) as problem:
        raise click.ClickException(str(problem)) from problem
    console.print(result_table(results, protocol=protocol))
    failed = [result for result in results if result.verdict != Verdict.OK]
    for result in failed:
        console.print(f"{result.case_id}: {result.verdict} {result.reason}", style="bold", markup=False)
        if result.verdict == Verdict.OUTPUT_MISSING:
            expected, there = ", ".join(result.names_expected), ", ".join(result.names_found) or "nothing"
            console.print(f"expected {expected} in the output; it holds {there}", markup=False)
        console.print(readable(result.log[-SHOWN_LOG_BYTES:]), markup=False, highlight=False)
    raise SystemExit(1 if failed else 0)


def result_table(results: Sequence[LocalResult], *, protocol: Protocol) -> Table:
    """One row per case: verdict, time, memory, and the mean of every metric over the labels."""
    table = Table()
    for heading in ("case", "verdict", "seconds", "peak MiB", *(metric.id for metric in protocol.metrics)):
        table.add_column(heading, justify="left" if heading in ("case", "verdict") else "right")
    for result in results:
        seconds, peak = result.usage.wall_seconds, result.usage.peak_memory_bytes
        table.add_row(
            Text(result.case_id),  # a name is no markup
            Text(f"{result.verdict} {result.reason}".strip()),
            "–" if seconds is None else f"{seconds:.1f}",
            "–" if peak is None else f"{peak / 2**20:.0f}",
            *(mean_text(result, metric=metric.id) for metric in protocol.metrics),
        )
    return table


def mean_text(result: LocalResult, *, metric: str) -> str:
    """The mean over the labels, `–` where nothing is defined."""
    values = [row.value for row in result.scores.rows if row.metric == metric and row.value is not None]
    return f"{sum(values) / len(values):.3f}" if values else "–"
