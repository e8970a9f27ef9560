"""What `assay evaluate` does: pair two folders, score every case, write the files, and say what a person should know."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

import evaluator
from evaluator.errors import EvaluatorError, InvalidReference
from evaluator.protocol import OutputKind, Protocol, read_protocol
from evaluator.protocol.quick import quick_protocol
from evaluator.ranking.short_names import display_width
from evaluator.results import RESULT_FORMAT, CaseResult
from evaluator.scoring import score_files
from evaluator.scoring.case import summarise
from evaluator.scoring.many_cases import Budget, UnusableReference, fragile_tolerances, score_cases, unreadable_headers
from evaluator.scoring.pairing import Pairing, pair_folders
from evaluator.scoring.structures import reference_grid
from evaluator.scoring.tables import auc_intervals, score_table

SHOWN_NAMES = 5
_GAP = "  "


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything one `assay evaluate` found out."""

    protocol: Protocol
    pairing: Pairing
    results: tuple[CaseResult, ...]
    unusable: tuple[UnusableReference, ...] = ()
    auc_intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Label → DeLong's interval, for tables."""

    @property
    def failed(self) -> list[str]:
        """Cases without a usable prediction, with the reason and what was found."""
        return [
            f"{result.case_id} ({result.failure}{f': {result.detail}' if result.detail else ''})"
            for result in self.results
            if result.failure
        ]

    @property
    def has_no_score(self) -> bool:
        """Whether not one case had a prediction that could be used."""
        return bool(self.results) and all(result.failure for result in self.results)

    def summary(self) -> dict[str, Any]:
        """The summary of the results, areas under ROC with their intervals."""
        found = summarise(self.protocol, self.results)
        for spec in self.protocol.metrics:
            if spec.metric.name == "macro_auc":
                for label, interval in self.auc_intervals.items():
                    found[spec.id]["per_label"].get(label, {})["interval"] = list(interval)
        return found

    def to_json(self) -> dict[str, Any]:
        """The evaluation as one document."""
        return {
            "format": RESULT_FORMAT,
            "evaluator": evaluator.__version__,
            "evaluator_sha256": evaluator.source_sha256(),
            "protocol": {key: self.protocol.document[key] for key in ("name", "mode", "title", "version", "preset")}
            | {"sha256": self.protocol.sha256},
            "backends": sorted({result.backend for result in self.results if result.backend}),
            "summary": self.summary(),
            "cases": [result.to_json() for result in self.results],
            "unusable_references": {case.case_id: case.problem for case in self.unusable},
            "unpaired": {"without_prediction": list(self.pairing.missing), "leftover": list(self.pairing.leftover)},
            "lookalikes": list(self.pairing.lookalikes),
            "not_read": list(self.pairing.not_read),
        }


def evaluate_folders(
    *,
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
    """The command's options in, its files and its words out.

    Exits with 1 where a reference could not be used, where no prediction could, or where `strict` and not everything was scored.
    """
    try:
        protocol = _chosen_protocol(protocol_name, labels, metrics)
        if protocol.output.kind is OutputKind.TABLE:
            results = score_table(protocol=protocol, reference=references, prediction=predictions)
            answer = Answer(protocol=protocol, pairing=Pairing(cases=(), leftover=()), results=tuple(results))
            if any(spec.metric.name == "macro_auc" for spec in protocol.metrics):
                intervals = auc_intervals(protocol=protocol, reference=references, prediction=predictions)
                answer = replace(answer, auc_intervals=intervals)
        else:
            pairing = pair_folders(
                protocol=protocol, references=references, predictions=predictions, follows_links=True
            )
            budget = Budget(jobs=jobs, memory_bytes=max_memory)
            answer = _score_all(protocol, pairing, budget, backend)
        score_files.write_scores(output, answer.results)
        if json_path:
            score_files.write_json(json_path, answer.to_json())
        if figures:
            _draw(answer, figures)
    except EvaluatorError as problem:
        raise click.ClickException(str(problem)) from problem
    except OSError as problem:  # such as a full disk
        raise click.ClickException(f"{problem.filename or 'writing'}: {problem.strerror}") from problem
    _report(answer)
    if answer.unusable or answer.has_no_score or (strict and (answer.failed or answer.pairing.leftover)):
        sys.exit(1)


def _chosen_protocol(name: str | None, labels: str | None, metrics: str) -> Protocol:
    if (name is None) == (labels is None):
        raise click.UsageError("Give either --protocol or --labels.")
    if labels is not None:
        return quick_protocol(labels=labels, metrics=metrics)
    return read_protocol(str(name))


def _score_all(protocol: Protocol, pairing: Pairing, budget: Budget, backend: str) -> Answer:
    """All headers of references first: a broken one is said at once, and costs its own case only."""
    broken = unreadable_headers(pairing.cases)
    for case_id, problem in broken.items():
        click.secho(
            f"The reference of case {case_id} cannot be used, the case is not scored: {problem}", fg="red", err=True
        )
    cases = [case for case in pairing.cases if case.case_id not in broken]
    if not cases:
        raise InvalidReference(f"no reference can be used: {'; '.join(f'{k}: {v}' for k, v in broken.items())}")
    unusable = {name: UnusableReference(case_id=name, problem=problem) for name, problem in broken.items()}
    found: dict[str, CaseResult] = {}
    with _progress(len(cases)) as advance:
        for result in score_cases(protocol=protocol, cases=cases, budget=budget, backend=backend):
            if isinstance(result, UnusableReference):
                unusable[result.case_id] = result
            else:
                found[result.case_id] = result
            advance()
    if not found:
        raise InvalidReference(
            f"no reference can be used: {'; '.join(f'{u.case_id}: {u.problem}' for u in unusable.values())}"
        )
    return Answer(
        protocol=protocol,
        pairing=pairing,
        results=tuple(found[case.case_id] for case in pairing.cases if case.case_id in found),
        unusable=tuple(unusable[case.case_id] for case in pairing.cases if case.case_id in unusable),
    )


@contextmanager
def _progress(cases: int) -> Iterator[Callable[[], None]]:
    """How many cases are scored, on standard error, while somebody looks at it. Nothing in a pipe or a file."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=cases, label="Scoring", show_pos=True, file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def _draw(answer: Answer, folder: Path) -> None:
    from evaluator.reports.case_panel import draw_case  # matplotlib: only when pictures are asked for

    results = {result.case_id: result for result in answer.results}
    for case in answer.pairing.cases:
        result = results.get(case.case_id)
        if result is not None and not result.failure:
            draw_case(protocol=answer.protocol, case=case, result=result, path=folder / f"{case.case_id}.png")


def _report(answer: Answer) -> None:
    """The summary table, and everything a person should know before believing it."""
    for line in _summary_lines(answer):
        click.echo(line)
    protocol = answer.protocol
    click.echo(
        f"protocol {protocol.full_name} {protocol.sha256[:12]}, preset {protocol.preset}, "
        f"evaluator {evaluator.__version__}, {len(answer.results)} cases"
    )
    _list("References that cannot be used, not scored", [f"{u.case_id} ({u.problem})" for u in answer.unusable])
    _list("Not read, no format that is scored", answer.pairing.not_read)
    _list("Failed, scored as the protocol says", answer.failed)
    _list("Predictions without a reference, not scored", answer.pairing.leftover)
    _list("Names that look like a case's and are others, not scored", answer.pairing.lookalikes)
    _list("References hold more than is scored", _noted((r.case_id, r.reference_notes) for r in answer.results))
    _list("Predictions hold more than is scored", _noted((r.case_id, r.notes) for r in answer.results))
    _list("Tolerance ties with the voxel size, so NSD depends on the reader", _fragile(answer))


def _noted(found: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """One line for each thing that was found, with the cases it was found in."""
    cases: dict[str, list[str]] = {}
    for case_id, notes in found:
        for note in notes:
            cases.setdefault(note, []).append(case_id)
    return [f"{note} (in {len(names)} cases, first {names[0]})" for note, names in cases.items()]


def _summary_lines(answer: Answer) -> list[str]:
    """A row per label and one for the mean, a column per metric, aligned. Heading and mean in bold."""
    summary = summarise(answer.protocol, answer.results)
    titles = {spec.id: f"{spec.id} {spec.metric.unit}".strip() for spec in answer.protocol.metrics}
    fixed = [label.name for label in answer.protocol.labels if answer.protocol.labels_from_reference is None]
    labels = fixed or list(dict.fromkeys(name for row in summary.values() for name in row["per_label"]))
    rows = [
        ["label", *(titles[metric_id] for metric_id in summary)],
        *([label, *(_mean_and_sd(row["per_label"].get(label)) for row in summary.values())] for label in labels),
        ["mean", *(_mean_and_sd(row) for row in summary.values())],
    ]
    first, *others = (max(map(display_width, column)) for column in zip(*rows, strict=True))
    lines = [
        _GAP.join(
            [
                name + " " * (first - display_width(name)),
                *(cell.rjust(width) for cell, width in zip(cells, others, strict=True)),
            ]
        ).rstrip()
        for name, *cells in rows
    ]
    return [click.style(lines[0], bold=True), *lines[1:-1], click.style(lines[-1], bold=True)]


def _mean_and_sd(row: dict[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return "–"
    return f"{row['mean']:.4f}" + (f" ± {row['sd']:.4f}" if row.get("sd") is not None else "")


def _list(title: str, names: Sequence[str]) -> None:
    if names:
        more = f", and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        click.secho(f"{title}: {', '.join(names[:SHOWN_NAMES])}{more}", fg="yellow")


def _fragile(answer: Answer) -> list[str]:
    if not any(spec.metric.needs_tolerance for spec in answer.protocol.metrics):
        return []
    found: dict[str, str] = {}
    unusable = {case.case_id for case in answer.unusable}
    for case in answer.pairing.cases:
        if case.case_id in unusable:
            continue
        found |= fragile_tolerances(
            answer.protocol, reference_grid({name: path.resolve() for name, path in case.references.items()})
        )
    return [f"{label}: {text}" for label, text in found.items()]
