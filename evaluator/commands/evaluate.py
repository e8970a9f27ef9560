"""`assay evaluate` and `assay protocol`: thin doors around pairing, scoring and the protocol reader."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import evaluator
from evaluator.backends import BACKENDS
from evaluator.errors import EvaluatorError, ProtocolError
from evaluator.protocol import OutputKind, Protocol, load_named_protocol, load_protocol, named_protocols, read_protocol
from evaluator.protocol.diff import diff_documents
from evaluator.protocol.modes import Mode
from evaluator.protocol.quick import quick_protocol
from evaluator.protocol.source import SCHEMA_PATH
from evaluator.results import RESULT_FORMAT, CaseResult
from evaluator.scoring import score_files
from evaluator.scoring.case import summarise
from evaluator.scoring.gains import gains_of_leaving_out
from evaluator.scoring.many_cases import Budget, fragile_tolerances, score_cases
from evaluator.scoring.pairing import Pairing, pair_folders
from evaluator.scoring.relabelling import relabel_folder, value_map
from evaluator.scoring.structures import reference_grid
from evaluator.scoring.tables import score_table

SHOWN_NAMES = 5
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _bytes(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """Bytes of a size such as 500M or 4G."""
    text = text.strip().upper().removesuffix("B")
    unit = text[-1:] if text[-1:] in _SIZES else ""
    try:
        return int(float(text.removesuffix(unit)) * _SIZES[unit])
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected a size such as 500M or 4G") from None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything one `assay evaluate` found out."""

    protocol: Protocol
    pairing: Pairing
    results: tuple[CaseResult, ...]

    @property
    def failed(self) -> list[str]:
        """Cases without a usable prediction, with the reason."""
        reasons = {result.case_id: result.failure for result in self.results}
        return [f"{case_id} ({reason})" for case_id, reason in reasons.items() if reason]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as one document."""
        return {
            "format": RESULT_FORMAT,
            "evaluator": evaluator.__version__,
            "protocol": {key: self.protocol.document[key] for key in ("name", "mode", "title", "version", "preset")}
            | {"sha256": self.protocol.sha256},
            "backends": sorted({result.backend for result in self.results if result.backend}),
            "summary": summarise(self.protocol, self.results),
            "cases": [result.to_json() for result in self.results],
            "unpaired": {"without_prediction": list(self.pairing.missing), "leftover": list(self.pairing.leftover)},
        }


_FOLDER = click.Path(exists=True, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--protocol", "protocol_name", help="A published protocol's name or a YAML file.")
@click.option("--labels", help="Instead of a protocol: value:name:tolerance, such as 1:liver:5,2:spleen:3.")
@click.option("--metrics", default="dice,nsd,hd95", show_default=True, help="With --labels.")
@click.option("--references", required=True, type=_FOLDER, help="A folder of volumes, or one CSV for a table protocol.")
@click.option("--predictions", required=True, type=_FOLDER, help="The same, from the algorithm.")
@click.option("-o", "--output", required=True, type=_FILE, help="CSV: case,label,metric,value,reason.")
@click.option("--json", "json_path", type=_FILE, help="Scores, summary and provenance as one document.")
@click.option("--figures", type=click.Path(file_okay=False, path_type=Path), help="Folder for one PNG panel per case.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256))
@click.option("--max-memory", default="4G", show_default=True, callback=_bytes, help="For all jobs together.")
@click.option("--backend", default="auto", show_default=True, type=click.Choice(BACKENDS))
@click.option("--strict", is_flag=True, help="Exit with 1 when a case failed or a file did not pair.")
def evaluate(
    protocol_name: str | None,
    labels: str | None,
    metrics: str,
    references: Path,
    predictions: Path,
    output: Path,
    json_path: Path | None,
    figures: Path | None,
    jobs: int,
    max_memory: int,
    backend: str,
    strict: bool,
) -> None:
    """Score a folder of predictions against a folder of references."""
    try:
        protocol = _chosen_protocol(protocol_name, labels, metrics)
        if protocol.output.kind is OutputKind.TABLE:
            results = score_table(protocol=protocol, reference=references, prediction=predictions)
            answer = Answer(protocol=protocol, pairing=Pairing(cases=(), leftover=()), results=tuple(results))
        else:
            pairing = pair_folders(
                protocol=protocol, references=references, predictions=predictions, follows_links=True
            )
            budget = Budget(jobs=jobs, memory_bytes=max_memory)
            answer = Answer(protocol=protocol, pairing=pairing, results=_score_all(protocol, pairing, budget, backend))
        score_files.write_scores(output, answer.results)
        if json_path:
            score_files.write_json(json_path, answer.to_json())
        if figures:
            _draw(answer, figures)
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem
    _report(answer, Console())
    if strict and (answer.failed or answer.pairing.leftover):
        sys.exit(1)


def _chosen_protocol(name: str | None, labels: str | None, metrics: str) -> Protocol:
    if (name is None) == (labels is None):
        raise click.UsageError("Give either --protocol or --labels.")
    if labels is not None:
        return quick_protocol(labels=labels, metrics=metrics)
    return read_protocol(str(name))


def _score_all(protocol: Protocol, pairing: Pairing, budget: Budget, backend: str) -> tuple[CaseResult, ...]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found: dict[str, CaseResult] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Scoring", total=len(pairing.cases))
        for result in score_cases(protocol=protocol, cases=pairing.cases, budget=budget, backend=backend):
            found[result.case_id] = result
            progress.advance(task)
    return tuple(found[case.case_id] for case in pairing.cases)


def _draw(answer: Answer, folder: Path) -> None:
    from evaluator.reports.case_panel import draw_case  # matplotlib: only when pictures are asked for

    folder.mkdir(parents=True, exist_ok=True)
    for case, result in zip(answer.pairing.cases, answer.results, strict=True):
        if not result.failure:
            draw_case(protocol=answer.protocol, case=case, result=result, path=folder / f"{case.case_id}.png")


def _report(answer: Answer, console: Console) -> None:
    """The summary table, and everything a person should know before believing it."""
    console.print(_summary_table(answer))
    protocol = answer.protocol
    console.print(
        f"protocol {protocol.full_name} {protocol.sha256[:12]}, preset {protocol.preset}, "
        f"evaluator {evaluator.__version__}, {len(answer.results)} cases",
        highlight=False,
    )
    _list(console, "Failed, scored as the protocol says", answer.failed)
    _list(console, "Predictions without a reference, not scored", answer.pairing.leftover)
    _list(
        console, "References hold more than is scored", _noted((r.case_id, r.reference_notes) for r in answer.results)
    )
    _list(console, "Predictions hold more than is scored", _noted((r.case_id, r.notes) for r in answer.results))
    _list(console, "Tolerance ties with the voxel size, so NSD depends on the reader", _fragile(answer))


def _noted(found: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """One line for each thing that was found, with the cases it was found in."""
    cases: dict[str, list[str]] = {}
    for case_id, notes in found:
        for note in notes:
            cases.setdefault(note, []).append(case_id)
    return [f"{note} (in {len(names)} cases, first {names[0]})" for note, names in cases.items()]


def _summary_table(answer: Answer) -> Table:
    summary = summarise(answer.protocol, answer.results)
    table = Table(box=None, header_style="bold")
    table.add_column("label")
    titles = {spec.id: f"{spec.id} {spec.metric.unit}".strip() for spec in answer.protocol.metrics}
    for metric_id in summary:
        table.add_column(titles[metric_id], justify="right")
    fixed = [label.name for label in answer.protocol.labels if answer.protocol.labels_from_reference is None]
    for label in fixed or list(dict.fromkeys(name for row in summary.values() for name in row["per_label"])):
        cells = [_mean_and_sd(row["per_label"].get(label)) for row in summary.values()]
        table.add_row(label, *cells)
    table.add_row("mean", *(_mean_and_sd(row) for row in summary.values()), style="bold")
    return table


def _mean_and_sd(row: dict[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return "–"
    return f"{row['mean']:.4f}" + (f" ± {row['sd']:.4f}" if row.get("sd") is not None else "")


def _list(console: Console, title: str, names: Sequence[str]) -> None:
    if names:
        more = f", and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        console.print(f"{title}: {', '.join(names[:SHOWN_NAMES])}{more}", style="yellow", highlight=False)


def _fragile(answer: Answer) -> list[str]:
    if not any(spec.metric.needs_tolerance for spec in answer.protocol.metrics):
        return []
    found: dict[str, str] = {}
    for case in answer.pairing.cases:
        found |= fragile_tolerances(
            answer.protocol, reference_grid({name: path.resolve() for name, path in case.references.items()})
        )
    return [f"{label}: {text}" for label, text in found.items()]


@click.group()
def protocol() -> None:
    """Look at scoring protocols."""


@protocol.command("list")
def list_protocols() -> None:
    """The protocols that come with the evaluator; those marked @published have a second mode."""
    for name in named_protocols():
        found = load_named_protocol(name)
        mark = "@published" if any(defect.settings for defect in found.defects) else ""
        click.echo(f"{click.style(f'{name:20}', bold=True)} {click.style(f'{mark:11}', fg='yellow')} {found.title}")


@protocol.command("schema")
def print_schema() -> None:
    """The JSON schema of protocol documents, for editors and other tools."""
    click.echo(SCHEMA_PATH.read_text(encoding="utf-8"), nl=False)


@protocol.command()
@click.argument("name")
def show(name: str) -> None:
    """A protocol in its normal form, every default written out; NAME@published is what the organizers' code does."""
    import yaml  # only this command writes YAML

    found = _read_or_explain(name)
    for line in _heading(found):
        click.echo(f"# {line}".rstrip())
    click.echo(yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True, width=120), nl=False)


def _heading(found: Protocol) -> Iterator[str]:
    """What a person should know before reading on: the hash, the mode, the defects, and what leaving a case out gains."""
    yield f"sha256 {found.sha256}"
    is_published = found.mode is Mode.PUBLISHED
    yield f"mode {found.mode}: {'what the code does, defects included' if is_published else 'the rules as they are meant'}"
    if found.defects:
        yield "defects of the published code" + ("" if is_published else f", not in force (see {found.name}@published)")
    for defect in found.defects:
        yield f"  {defect.id}: {defect.what} [{defect.source}]"
        if defect.example:
            yield f"    {defect.example}"
    if gains := gains_of_leaving_out(found):
        yield f"leaving out the worthless one of two cases, the other perfect: {'; '.join(map(str, gains))}"
    for fact in found.document["unconfirmed"]:
        yield f"not confirmed by the organizers: {fact}"


@protocol.command()
@click.argument("name")
def validate(name: str) -> None:
    """Check a protocol, in both modes where it has two; the exit status says whether it can be used."""
    for found in _modes_of(_read_or_explain(name)):
        click.echo(
            f"{found.full_name}: {len(found.labels)} labels, {len(found.metrics)} metrics, sha256 {found.sha256}"
        )


@protocol.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """What differs between two protocols, setting by setting; exit status 1 when anything does."""
    changes = diff_documents(_read_or_explain(first).document, _read_or_explain(second).document)
    for change in changes:
        click.secho(change, fg={"-": "red", "+": "green"}.get(change[0], "yellow"))
    sys.exit(1 if changes else 0)


def _modes_of(found: Protocol) -> Iterator[Protocol]:
    yield found
    if any(defect.settings for defect in found.defects):
        yield _explained(lambda: load_protocol(found.document, mode=Mode.PUBLISHED))


@protocol.command()
@click.argument("folder", type=_FOLDER)
@click.option("--from", "source", required=True, help="The protocol whose values the label maps have.")
@click.option("--to", "target", required=True, help="The protocol whose values they shall have.")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="A folder.")
def relabel(folder: Path, source: str, target: str, output: Path) -> None:
    """Write the label maps of FOLDER in another protocol's values, by the names of the structures."""
    old, new = _read_or_explain(source), _read_or_explain(target)
    try:
        values = value_map(old, new)
        written = relabel_folder(folder, values=values, destination=output)
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem
    absent = [label.name for label in new.labels if not set(label.values) <= set(values.values())]
    click.echo(f"{len(values)} structures in {len(written)} files")
    if absent:
        click.echo(f"{old.name} has no value for: {', '.join(absent)}", err=True)


def _read_or_explain(name: str) -> Protocol:
    return _explained(lambda: read_protocol(name), source=Path(name))


def _explained(read: Callable[[], Protocol], *, source: Path | None = None) -> Protocol:
    try:
        return read()
    except ProtocolError as problem:
        raise click.ClickException(str(problem) + _excerpt(source, problem)) from problem
    except OSError as problem:
        raise click.ClickException(f"{source}: {problem.strerror}") from problem
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem


def _excerpt(source: Path | None, problem: ProtocolError) -> str:
    """The line that is wrong, with a mark below its column; nothing where there is no line."""
    if source is None or not problem.line or not source.is_file():
        return ""
    line = source.read_text(encoding="utf-8").splitlines()[problem.line - 1]
    number = f"{problem.line:>5} | "
    return f"\n\n{number}{line}\n{' ' * (len(number) + problem.column - 1)}^"
