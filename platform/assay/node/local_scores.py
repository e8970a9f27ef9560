"""Scoring what a local run left, as a server does: canonical files or rows in, case results out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from assay.node.folder import FolderCase, case_name
from assay.node.orders import WorkOrder
from assay.node.outputs import CheckedOutputs
from assay.node.rounds import round_name
from containers.spec import Usage
from containers.verdicts import Verdict
from evaluator.protocol import Protocol
from evaluator.results import CaseResult
from evaluator.scoring import measured_of, reference_rows, score_case, score_rows
from evaluator.volumes import TableRow, read_table


def verdict_of(checked: CheckedOutputs, *, place: int) -> tuple[Verdict, str]:
    """How the case at this place of the batch ended."""
    return checked.failed_cases.get(str(place), (checked.verdict, checked.reason))


def predictions_of(checked: CheckedOutputs, *, place: int) -> dict[str, Path]:
    """Output name → canonical file, of the files that answer for this case alone."""
    prefix = f"{place}/"
    return {file.name.removeprefix(prefix): file.path for file in checked.files if file.name.startswith(prefix)}


def answer_of(checked: CheckedOutputs, *, place: int, number: int) -> dict[str, Path] | None:
    """Output name → canonical file of one round of an interactive case; None where it left none."""
    prefix = round_name(number, f"{place}/")
    answer = {file.name.removeprefix(prefix): file.path for file in checked.files if file.name.startswith(prefix)}
    return answer or None


def score_batch(
    cases: Sequence[FolderCase],
    *,
    protocol: Protocol,
    order: WorkOrder,
    checked: CheckedOutputs,
    usage: Usage,
) -> Iterator[CaseResult]:
    """The scores of every case of one container, in order."""
    if protocol.table_form is not None:
        yield from _score_rows(cases, protocol=protocol, order=order, checked=checked)
        return
    rounds = protocol.interaction.rounds if protocol.interaction else 1
    for place, case in enumerate(cases):
        verdict, _ = verdict_of(checked, place=place)
        answers = [answer_of(checked, place=place, number=number) for number in range(rounds)]
        latest = next((answer for answer in reversed(answers) if answer), None)
        yield score_case(
            protocol=protocol,
            case_id=case.case_id,
            references=case.references,
            predictions=latest
            if protocol.interaction
            else protocol.without_documents(predictions_of(checked, place=place)) or None,
            earlier_rounds=answers[:-1],
            failure=None if verdict == Verdict.OK else str(verdict),
            telemetry=measured_of(usage),
        )


def _score_rows(
    cases: Sequence[FolderCase], *, protocol: Protocol, order: WorkOrder, checked: CheckedOutputs
) -> list[CaseResult]:
    references: dict[str, TableRow] = {}
    predictions: dict[str, TableRow] = {}
    failures: dict[str, str] = {}
    answered, read = _tables(order, checked), cache(reference_rows)
    for place, case in enumerate(cases):
        (path,) = case.references.values()
        references[case.case_id] = read(path).get(case.row or case.case_id, TableRow({}))
        verdict, _ = verdict_of(checked, place=place)
        if verdict != Verdict.OK:
            failures[case.case_id] = str(verdict)
        elif case_name(case) in answered.get(str(place), {}):
            predictions[case.case_id] = answered[str(place)][case_name(case)]
    return score_rows(protocol=protocol, references=references, predictions=predictions, failures=failures)


def _tables(order: WorkOrder, checked: CheckedOutputs) -> dict[str, Mapping[str, TableRow]]:
    """Case → the rows of the table that answers for it. A shared one is read once."""
    paths, read = {file.name: file.path for file in checked.files}, cache(read_table)
    return {
        case: read(paths[expected.spec.name])
        for expected in order.outputs
        if expected.spec.name in paths
        for case in expected.cases
    }
