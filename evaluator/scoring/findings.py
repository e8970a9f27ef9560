"""Cells of findings to scores: points and boxes of one column, all cases together, and landmarks one by one.

A cell of the reference that cannot be read is the organizer's fault. A cell of an answer that cannot be read, or that is not there,
counts as a case without a usable answer, and its row says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.errors import InvalidReference, InvalidVolume
from evaluator.metrics.findings import CaseFindings, OverFindings, froc_by_rate
from evaluator.protocol import MetricSpec
from evaluator.results import ROUND_MARK, ScoreRow
from evaluator.volumes.findings import Cells, Findings, parse_answer, parse_reference

CELL_INVALID = "cell_invalid"
CLASS_ABSENT = "class_absent"
"""The reason of a score over all rows where the row does not show the class: it has a say in the others' scores only."""


@dataclass(frozen=True, kw_only=True)
class CellPair:
    """A cell of a column with its reference. `reason` says why there is nothing to compare."""

    reference: str
    prediction: str
    reason: str


def score_findings(
    pairs: Sequence[CellPair], *, spec: MetricSpec, label: str, cells: Cells, over_findings: OverFindings
) -> list[ScoreRow]:
    """One row per case, all cases together."""
    cases, reasons = _cases_of(pairs, spec=spec, label=label, cells=cells)
    return _rows(over_findings(cases, spec.options), reasons=reasons, metric=spec.id, label=label)


def score_rates(pairs: Sequence[CellPair], *, spec: MetricSpec, label: str, cells: Cells) -> dict[str, list[ScoreRow]]:
    """The points of a FROC curve beside its score, as metrics of their own: `froc@0.125`, `froc@0.25`, …"""
    cases, reasons = _cases_of(pairs, spec=spec, label=label, cells=cells)
    names = {f"{spec.id}{ROUND_MARK}{rate:g}": scores for rate, scores in froc_by_rate(cases, spec.options).items()}
    return {name: _rows(scores, reasons=reasons, metric=name, label=label) for name, scores in names.items()}


def _cases_of(
    pairs: Sequence[CellPair], *, spec: MetricSpec, label: str, cells: Cells
) -> tuple[list[CaseFindings], list[str]]:
    """The cases, and why one has no usable answer."""
    cases, reasons = [], []
    for pair in pairs:
        answer = None if pair.reason else answered(pair.prediction, cells=cells)
        reasons.append(pair.reason or (CELL_INVALID if answer is None else ""))
        cases.append(CaseFindings(referred(pair.reference, label=label, cells=cells), answer))
    _refuse_points_without_size(cases, spec=spec, label=label, cells=cells)
    return cases, reasons


def _rows(scores: Sequence[float | None], *, reasons: Sequence[str], metric: str, label: str) -> list[ScoreRow]:
    return [
        ScoreRow(label=label, metric=metric, value=score, reason=CLASS_ABSENT if score is None else reason)
        for score, reason in zip(scores, reasons, strict=True)
    ]


def landmark_distance(pair: CellPair, *, label: str, cells: Cells) -> float | None:
    """How far the landmark is from its reference, in mm. None where the answer is not one point."""
    (there,) = _one(referred(pair.reference, label=label, cells=cells), label=label)
    answer = answered(pair.prediction, cells=cells)
    return math.dist(answer[0].place, there.place) if answer and len(answer) == 1 else None


def referred(text: str, *, label: str, cells: Cells) -> Findings:
    """The reference's findings. Raises InvalidReference."""
    try:
        return parse_reference(text, cells=cells)
    except InvalidVolume as problem:
        raise InvalidReference(f"column {label} of the reference table: {problem.detail}") from problem


def answered(text: str, *, cells: Cells) -> Findings | None:
    """The answer's findings. None where the cell cannot be read."""
    try:
        return parse_answer(text, cells=cells)
    except InvalidVolume:
        return None


def _one(findings: Findings, *, label: str) -> Findings:
    if len(findings) != 1:
        raise InvalidReference(f"column {label} of the reference table holds {len(findings)} points; expected one")
    return findings


def _refuse_points_without_size(cases: Sequence[CaseFindings], *, spec: MetricSpec, label: str, cells: Cells) -> None:
    """Half the diameter is how far away an answer may be, unless the metric says it."""
    if cells.are_boxes or spec.options.get("within_mm", 0.0) is not None:
        return
    if any(not finding.diameter > 0 for case in cases for finding in case.reference):
        expected = "its diameter after its coordinates, or `within_mm` at the metric"
        raise InvalidReference(
            f"column {label} of the reference table holds a point without a size; expected {expected}"
        )
