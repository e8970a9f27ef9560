"""Rows → what the evaluator is given for one case: paths of the references, canonical copies of the predictions, or a failure.

Predictions are written by strangers. They are read here only by the strict reader in its limited child process, which never
sees a reference. The evaluator reads the canonical files that child wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import Q

from assay.evaluations.models import CaseScores, Evaluation
from assay.runs.models import CaseRun
from assay.runs.specs import grid_of, opaque_name, output_key, round_key
from assay.testsets import storage
from assay.testsets.models import Case
from containers.verdicts import Verdict
from evaluator.errors import InvalidReference, InvalidVolume
from evaluator.protocol import Protocol
from evaluator.results import CaseResult, ScoreRow
from evaluator.scoring import measured_of, reference_rows
from evaluator.volumes import (
    DOCUMENT_SUFFIX,
    TableForm,
    TableRow,
    canonicalise,
    canonicalise_json,
    canonicalise_table,
    read_table,
)

ROWS_AT_ONCE = 100
"""Of cases and case runs, because a test set may have thousands. Curves are let go as they are read."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a run has for a case: the case run, and the case as it was played (a cohort's outputs carry its position)."""

    case_run: CaseRun
    played: Case


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """One case, ready for the evaluator: `predictions` is None exactly when `failure` says why."""

    references: Mapping[str, Path]
    predictions: Mapping[str, Path] | None
    failure: str | None
    documents: Mapping[str, Path] = field(default_factory=dict)
    """JSON beside what is scored, by output."""
    earlier_rounds: Sequence[Mapping[str, Path] | None] = ()
    """Of an interactive case: the answer of each round before the last, None where it left none."""


def answers_of(evaluation: Evaluation, *, cases: Sequence[Case] | None = None) -> dict[int, Answer]:
    """What the run has for these cases of the evaluation's test set, or for all of them, by the case's key.

    Cases are matched by name: a corrected test set is a version with rows, and perhaps an order, of its own.
    """
    run = evaluation.run
    if run is None:
        return {}
    run.submission = evaluation.submission
    case_runs = CaseRun.objects.filter(run=run)
    if cases is None:
        cases = list(evaluation.testset.cases.all())
    else:
        case_runs = case_runs.filter(Q(case=None) | Q(case__case_id__in=[case.case_id for case in cases]))
    answering = []
    for case_run in case_runs.iterator(chunk_size=ROWS_AT_ONCE):
        case_run.usage = case_run.usage.without_curves()
        answering.append(case_run)
    known = {case.pk: case for case in cases}
    known |= Case.objects.in_bulk({row.case_id for row in answering if row.case_id} - known.keys())
    for case_run in answering:  # one record of the run and of each case, because there may be thousands
        case_run.run = run
        case_run.case = known[case_run.case_id] if case_run.case_id else None
    by_name = {row.case.case_id: Answer(case_run=row, played=row.case) for row in answering if row.case is not None}
    for cohort in (row for row in answering if row.case is None):
        played = evaluation.submission.testset.cases.filter(case_id__in=[case.case_id for case in cases])
        by_name |= {case.case_id: Answer(case_run=cohort, played=case) for case in played}
    return {case.pk: by_name[case.case_id] for case in cases if case.case_id in by_name}


def references_of(case: Case) -> dict[str, Path]:
    """The case's reference files by name."""
    return {file["name"]: storage.unchanged_path(file["key"], sha256=file["sha256"]) for file in case.references}


def prepare_case(*, case: Case, answer: Answer | None, protocol: Protocol, scratch: Path) -> PreparedCase:
    """Find the case's reference files and make canonical copies of its predictions below `scratch`."""
    references = references_of(case)
    failure = failure_of(answer)
    if failure is not None or answer is None:
        return PreparedCase(references=references, predictions=None, failure=failure)
    case_run = answer.case_run
    if protocol.interaction is not None and any(output["name"].startswith("round-") for output in case_run.outputs):
        answers = answers_by_round(case_run, case=case, protocol=protocol, scratch=scratch)
        rounds = [answers.get(number) for number in range(protocol.interaction.rounds)]
        latest = next((answer for answer in reversed(rounds) if answer is not None), None)
        failure = None if latest else str(Verdict.OUTPUT_INVALID)
        return PreparedCase(references=references, predictions=latest, failure=failure, earlier_rounds=rounds[:-1])
    try:
        outputs = outputs_of(answer)
        volumes = [output for output in outputs if output["name"] not in protocol.documents]
        predictions = canonical_copies(volumes, case=case, protocol=protocol, scratch=scratch)
        documents = {
            output["name"]: canonicalise_json(
                source=storage.local_path(output["key"]), destination=scratch / f"document-{place}{DOCUMENT_SUFFIX}"
            ).path
            for place, output in enumerate(outputs)
            if output["name"] in protocol.documents
        }
    except InvalidVolume as problem:
        failure = with_reason(Verdict.OUTPUT_INVALID, problem.reason)
        return PreparedCase(references=references, predictions=None, failure=failure)
    return PreparedCase(references=references, predictions=predictions, failure=None, documents=documents)


def answers_by_round(
    case_run: CaseRun, *, case: Case, protocol: Protocol, scratch: Path
) -> dict[int, Mapping[str, Path]]:
    """Canonical copies of what an interactive case answered, by round. A round whose answer cannot be read is left out."""
    answers: dict[int, Mapping[str, Path]] = {}
    for number in range(protocol.interaction.rounds if protocol.interaction else 0):
        prefix = round_key(number, name="")
        outputs = [
            {**o, "name": o["name"].removeprefix(prefix)} for o in case_run.outputs if o["name"].startswith(prefix)
        ]
        place = scratch / str(number)
        place.mkdir()
        try:
            if outputs:
                answers[number] = canonical_copies(outputs, case=case, protocol=protocol, scratch=place)
        except InvalidVolume:
            continue
    return answers


def canonical_copies(
    outputs: Sequence[Mapping[str, Any]], *, case: Case, protocol: Protocol, scratch: Path
) -> dict[str, Path]:
    """Stored volumes, read strictly and written again. Raises InvalidVolume."""
    return {
        output["name"]: canonicalise(
            source=storage.unchanged_path(output["key"], sha256=output["sha256"]),
            destination=scratch / f"{place}.nii.gz",
            grid=grid_of(case),
            allowed_values=protocol.allowed_values,
            channels=protocol.channels,
            tolerance=protocol.geometry,
        ).path
        for place, output in enumerate(outputs)
    }


@dataclass(frozen=True, kw_only=True)
class PreparedRows:
    """All cases of a protocol that scores tables: their reference rows, the rows predicted, and why a case has none."""

    references: Mapping[str, TableRow]
    predictions: Mapping[str, TableRow]
    failures: Mapping[str, str]


def prepare_rows(
    *, cases: Sequence[Case], answers: Mapping[int, Answer], protocol: Protocol, scratch: Path
) -> PreparedRows:
    """Find every case's reference row, and its row in a canonical copy of the table that answers for it."""
    references: dict[str, TableRow] = {}
    predictions: dict[str, TableRow] = {}
    failures: dict[str, str] = {}
    tables: dict[str, Mapping[str, TableRow] | str] = {}
    for case in cases:
        references[case.case_id] = reference_row(case)
        answer = answers.get(case.pk)
        failure = failure_of(answer)
        if failure is None and answer is not None:
            table = table_of(answer, name=protocol.output.name)
            if table and table["key"] not in tables:
                played = [answers[other.pk].played for other in cases if other.pk in answers]
                tables[table["key"]] = read_stored_table(
                    table, case_run=answer.case_run, played=played, protocol=protocol, scratch=scratch
                )
            rows = tables[table["key"]] if table else {}
            if isinstance(rows, str):
                failure = rows
            elif case.case_id in rows:
                predictions[case.case_id] = rows[case.case_id]
        if failure is not None:
            failures[case.case_id] = failure
    return PreparedRows(references=references, predictions=predictions, failures=failures)


def reference_row(case: Case) -> TableRow:
    """The case's row of its reference table. Raises InvalidReference."""
    rows = [reference_rows(path) for path in references_of(case).values()]
    found = [row[case.case_id] for row in rows if case.case_id in row]
    if len(found) != 1:
        raise InvalidReference(f"case {case.case_id} has {len(found)} reference rows; expected one, in a table")
    return found[0]


def table_of(answer: Answer, *, name: str) -> Mapping[str, Any] | None:
    """The stored table that answers for the case."""
    names = (name, output_key(answer.case_run, answer.played, name=name))
    return next((output for output in answer.case_run.outputs if output["name"] in names), None)


def read_stored_table(
    table: Mapping[str, Any], *, case_run: CaseRun, played: Sequence[Case], protocol: Protocol, scratch: Path
) -> Mapping[str, TableRow] | str:
    """The rows of a stored table by case, read strictly. Or why it cannot be used."""
    form = TableForm(columns=tuple(label.name for label in protocol.labels))
    try:
        made = canonicalise_table(
            source=storage.unchanged_path(table["key"], sha256=table["sha256"]),
            destination=scratch / "table.csv",
            form=form,
            names=names_in_table(case_run, played=played),
        )
    except InvalidVolume as problem:
        return with_reason(Verdict.OUTPUT_INVALID, problem.reason)
    return read_table(made.path)


def names_in_table(case_run: CaseRun, *, played: Sequence[Case]) -> dict[str, str]:
    """What cases are called in a stored table → their own names. Who hands in a table knows them. A container does not."""
    if case_run.run.submission.image_id is None:
        return {case.case_id: case.case_id for case in played}
    answered = played if case_run.case is None else [case_run.case]
    return {opaque_name(case_run, case): case.case_id for case in answered}


def failure_of(answer: Answer | None) -> str | None:
    """Why there is no usable prediction, as `verdict:reason`; None when there is one. Some cases of a cohort may have failed."""
    if answer is None or answer.case_run.verdict in ("", Verdict.UNRUN):
        return str(Verdict.UNRUN)
    if answer.case_run.verdict != Verdict.OK:
        return with_reason(answer.case_run.verdict, answer.case_run.reason)
    failed = (answer.case_run.usage.failed_cases or {}).get(str(answer.played.position))
    return with_reason(*failed) if failed else None


def with_reason(verdict: str, reason: str = "") -> str:
    """Both from closed vocabularies. Rules about a failure look at the verdict, people at the reason too."""
    return f"{verdict}:{reason}" if reason else str(verdict)


def telemetry_of(answer: Answer | None) -> dict[str, float]:
    """What the run of a case consumed, by the names metrics have."""
    return measured_of(answer.case_run.usage) if answer is not None else {}


def outputs_of(answer: Answer) -> Sequence[Mapping[str, Any]]:
    """The case's stored predictions, named as the protocol's outputs (a cohort's carry the case's position)."""
    prefix, outputs = output_key(answer.case_run, answer.played, name=""), answer.case_run.outputs
    return [{**o, "name": o["name"].removeprefix(prefix)} for o in outputs if o["name"].startswith(prefix)]


def stored_result(row: CaseScores, *, backend: str) -> CaseResult:
    """A case's stored scores as the evaluator's record."""
    rows = tuple(ScoreRow.from_json(score) for score in row.scores)
    return CaseResult(case_id=row.case.case_id, rows=rows, backend=backend)
