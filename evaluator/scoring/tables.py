"""Tables as predictions: classes, measurements, answers. One row per case, found by name, never by position.

The columns are the labels of the protocol. The reference table may have more: the texts of the options A, B, C … of
multiple-choice questions. Rows of the prediction that are no case are left out. A case without a row, or with a cell that cannot
be read, gets the worst value and a reason, and the others stand. How tables are read is `volumes/tables.py`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluator.errors import InvalidReference, InvalidVolume
from evaluator.metrics.choices import PARSERS
from evaluator.metrics.classification import delong_interval
from evaluator.metrics.registry import OverCases, Scope
from evaluator.protocol import LabelSpec, MetricSpec, Protocol
from evaluator.protocol.conventions import Situation, resolve
from evaluator.results import CaseResult, ScoreRow
from evaluator.scoring.findings import (
    CELL_INVALID,
    CLASS_ABSENT,
    CellPair,
    landmark_distance,
    score_findings,
    score_rates,
)
from evaluator.volumes.findings import Cells
from evaluator.volumes.tables import TableForm, TableRow, read_answers, read_table

ROW_MISSING = "row_missing"
OUTPUT_MISSING = "output_missing"
EVENT_COLUMN = "event"
"""Of a reference table for survival: 1 where the event happened at the time of the row, 0 where it had not happened by then."""
LARGEST_EXPONENT = 709.0
"""Beyond it the exponential is no double."""
_OPTION_LETTERS = "ABCDEFGHIJ"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)


def score_table(
    *, protocol: Protocol, reference: Path, prediction: Path | None, failure: str | None = None
) -> list[CaseResult]:
    """The scores of every row of the reference table."""
    references = reference_rows(reference)
    failure = failure or (None if prediction else OUTPUT_MISSING)
    predictions: Mapping[str, TableRow] = {}
    detail = ""
    if failure is None and prediction:
        try:
            predictions = read_answers(prediction, form=form_of(protocol), names=references)
        except InvalidVolume as problem:
            failure, detail = f"output_invalid:{problem.reason}", problem.detail
    failures = dict.fromkeys(references, failure) if failure else {}
    results = score_rows(protocol=protocol, references=references, predictions=predictions, failures=failures)
    return [replace(result, detail=detail) for result in results] if detail else results


def form_of(protocol: Protocol) -> TableForm:
    """What the scored table has to look like."""
    return protocol.table_form or TableForm(columns=tuple(label.name for label in protocol.labels))


def auc_intervals(*, protocol: Protocol, reference: Path, prediction: Path) -> dict[str, list[float]]:
    """Label → DeLong's 95 % interval of its area under ROC, where both classes have two rows. A table that is none has no interval."""
    references = reference_rows(reference)
    try:
        predictions = read_table(prediction)
    except InvalidVolume:
        return {}
    found = {}
    for label in protocol.labels:
        cells = [
            _cell_of(label, row, predictions.get(case_id, TableRow({})), failure="")
            for case_id, row in references.items()
        ]
        truths = [_number(cell.reference) or 0.0 for cell in cells]
        interval = delong_interval(truths, [None if cell.reason else _number(cell.prediction) for cell in cells])
        if interval is not None:
            found[label.name] = list(interval)
    return found


def reference_rows(path: Path) -> dict[str, TableRow]:
    """The rows of a reference table. One that cannot be read is the organizer's fault."""
    try:
        return read_table(path)
    except InvalidVolume as problem:
        raise InvalidReference(f"the reference table cannot be used: {problem}") from problem


def score_rows(
    *,
    protocol: Protocol,
    references: Mapping[str, TableRow],
    predictions: Mapping[str, TableRow],
    failures: Mapping[str, str],
) -> list[CaseResult]:
    """The scores of every reference row, all cases together: some scores need the whole column.

    `failures` says of a case why nothing of its prediction can be used.
    """
    columns = _columns(protocol, references, predictions, failures=failures)
    return [
        CaseResult(
            case_id=case_id,
            rows=tuple(rows[position] for rows in columns.values()),
            failure=failures.get(case_id, "" if case_id in predictions else ROW_MISSING),
        )
        for position, case_id in enumerate(references)
    ]


def _metrics_of(protocol: Protocol, label: LabelSpec) -> list[MetricSpec]:
    return [
        spec
        for spec in protocol.metrics
        if spec.metric.scope is Scope.TABLE and (not spec.labels or label.name in spec.labels)
    ]


def _columns(
    protocol: Protocol,
    references: Mapping[str, TableRow],
    predictions: Mapping[str, TableRow],
    *,
    failures: Mapping[str, str],
) -> dict[tuple[str, str], list[ScoreRow]]:
    """Label and metric → one row per case, in the order of the reference table. Points of a curve follow their score."""
    columns = {}
    for label in protocol.labels:
        cells = [
            _cell_of(label, row, predictions.get(case_id, TableRow({})), failure=failures.get(case_id, ""))
            for case_id, row in references.items()
        ]
        for spec in _metrics_of(protocol, label):
            columns[label.name, spec.id] = _scored(protocol, spec, label, cells)
            if "rates" in spec.metric.options:
                pairs, kind = [cell.pair for cell in cells], Cells(protocol.output.cells)
                points = score_rates(pairs, spec=spec, label=label.name, cells=kind)
                columns |= {(label.name, name): rows for name, rows in points.items()}
    return columns


def _scored(protocol: Protocol, spec: MetricSpec, label: LabelSpec, cells: Sequence["_Cell"]) -> list[ScoreRow]:
    """One row per case, of one column."""
    metric = spec.metric
    if metric.over_findings:
        pairs, kind = [cell.pair for cell in cells], Cells(protocol.output.cells)
        return score_findings(pairs, spec=spec, label=label.name, cells=kind, over_findings=metric.over_findings)
    if metric.over_cases:
        return _scored_together(protocol, spec, label, cells, over_cases=metric.over_cases)
    return [_score_cell(protocol, spec, label, cell) for cell in cells]


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One cell of a column with its reference. `reason` says why there is nothing to compare."""

    label: str
    reference_row: TableRow
    prediction_row: TableRow
    reason: str

    @property
    def reference(self) -> str:
        """The reference's text."""
        return self.reference_row.cells.get(self.label, "").strip()

    @property
    def prediction(self) -> str:
        """The prediction's text."""
        return self.prediction_row.cells.get(self.label, "")

    @property
    def pair(self) -> CellPair:
        """Both texts."""
        return CellPair(reference=self.reference, prediction=self.prediction, reason=self.reason)


def _cell_of(label: LabelSpec, reference: TableRow, prediction: TableRow, *, failure: str) -> _Cell:
    reason = failure or ("" if label.name in prediction.cells else ROW_MISSING)
    return _Cell(label=label.name, reference_row=reference, prediction_row=prediction, reason=reason)


def _scored_together(
    protocol: Protocol, spec: MetricSpec, label: LabelSpec, cells: Sequence[_Cell], *, over_cases: OverCases
) -> list[ScoreRow]:
    """Scores that need the whole column. A cell that cannot be read counts as the most wrong. Its row says so."""
    truths = []
    for cell in cells:
        truth = _time(cell) if spec.metric.name == "concordance" else _number(cell.reference)
        if truth is None:
            expected = {"concordance": "a time, and 0 or 1 in a column event", "quadratic_kappa": "a grade as a number"}
            raise InvalidReference(
                f"column {label.name} of the reference table holds {cell.reference!r}; expected "
                f"{expected.get(spec.metric.name, '0 or 1')}"
            )
        truths.append(truth)
    numbers = [None if cell.reason else _answer(protocol, spec, label, cell) for cell in cells]
    rows = []
    for cell, number, score in zip(cells, numbers, over_cases(truths, numbers), strict=True):
        reason = cell.reason or (CELL_INVALID if number is None else "")
        reason = CLASS_ABSENT if score is None else reason
        rows.append(ScoreRow(label=label.name, metric=spec.id, value=score, reason=reason))
    return rows


def _answer(protocol: Protocol, spec: MetricSpec, label: LabelSpec, cell: _Cell) -> float | None:
    """The number of a cell, or whether its class is the one with the row's largest number."""
    if spec.options.get("decision") == "largest":
        chosen = _largest(protocol, cell.prediction_row)
        return None if chosen is None else float(chosen == label.name)
    if spec.options.get("normalise") == "softmax":
        return _softmax(protocol, label, cell.prediction_row)
    return _number(cell.prediction)


def _softmax(protocol: Protocol, label: LabelSpec, row: TableRow) -> float | None:
    """The share of a cell's exponential in those of its row. None where a cell of the row cannot be read or is too large."""
    scores = [_number(row.cells.get(each.name, "")) for each in protocol.labels]
    if any(score is None or score > LARGEST_EXPONENT for score in scores):
        return None
    exponentials = np.array([math.exp(score or 0.0) for score in scores])
    share = exponentials[[each.name for each in protocol.labels].index(label.name)] / exponentials.sum()
    return float(share) if math.isfinite(share) else None


def _time(cell: _Cell) -> float | None:
    """The time of an event, or minus the time up to which there was none. The reference table has a column `event` of 0 and 1."""
    time, event = _number(cell.reference), cell.reference_row.cells.get(EVENT_COLUMN, "").strip()
    if time is None or time <= 0 or event not in ("0", "1"):
        return None
    return time if event == "1" else -time


def _score_cell(protocol: Protocol, spec: MetricSpec, label: LabelSpec, cell: _Cell) -> ScoreRow:
    reason = cell.reason
    if spec.metric.is_of_points and not cell.reference:
        return ScoreRow(label=label.name, metric=spec.id, value=None, reason=CLASS_ABSENT)
    value = None if reason else _compare(protocol, spec, cell)
    if value is None:
        reason = reason or CELL_INVALID
        worth = protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure=reason)
        value = resolve(worth, computed=math.nan, diagonal_mm=0.0)
    elif spec.rounding is not None:
        value = round(value, spec.rounding)
    return ScoreRow(label=label.name, metric=spec.id, value=value, reason=reason)


def _compare(protocol: Protocol, spec: MetricSpec, cell: _Cell) -> float | None:
    """One cell against its reference. None when the prediction says nothing that can be compared."""
    expected, answered = cell.reference, cell.prediction
    if spec.metric.is_of_points:
        return _of_landmark(protocol, spec, cell)
    if spec.options.get("decision") == "largest":
        wanted, chosen = (_largest(protocol, row) for row in (cell.reference_row, cell.prediction_row))
        if wanted is None:
            raise InvalidReference(f"the reference table holds {expected!r}; expected a number in every column")
        return None if chosen is None else float(chosen == wanted)
    if spec.metric.name == "accuracy":
        return float(answered.strip() == expected)
    if spec.metric.name == "choice_accuracy":
        options = _options(cell.reference_row) or dict.fromkeys(_OPTION_LETTERS[:4], "")
        return float(PARSERS[spec.options["parser"]](answered, options=options) == expected)
    truth, measured = _number(expected), _number(answered)
    if truth is not None and spec.metric.name in ("absolute_error", "squared_error"):
        power = 2 if spec.metric.name == "squared_error" else 1
        return None if measured is None else float(abs(measured - truth) ** power)
    if not truth:
        raise InvalidReference(f"the reference table holds {expected!r}; expected a number other than 0")
    return None if measured is None else 100.0 * abs(measured - truth) / abs(truth)


def _of_landmark(protocol: Protocol, spec: MetricSpec, cell: _Cell) -> float | None:
    distance = landmark_distance(cell.pair, label=cell.label, cells=Cells(protocol.output.cells))
    if distance is None or spec.metric.name == "landmark_error":
        return distance
    return float(distance <= spec.options["within_mm"])


def _options(row: TableRow) -> dict[str, str]:
    """The columns that hold options of a question."""
    return {letter: row.cells[letter] for letter in _OPTION_LETTERS if row.cells.get(letter)}


def _largest(protocol: Protocol, row: TableRow) -> str | None:
    """The label with the row's largest number, the first of equals. None when one cannot be read."""
    scores = {label.name: _number(row.cells.get(label.name, "")) for label in protocol.labels}
    known = {name: score for name, score in scores.items() if score is not None}
    return max(known, key=lambda name: known[name]) if len(known) == len(scores) else None


def _number(text: str) -> float | None:
    """A plain decimal number, and nothing else a programming language would take for one."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None
