"""Tables as predictions: classes, measurements, answers. One row per case, found by name, never by position.

A table is a CSV file in UTF-8 with a header, a column `case` and one column per label of the protocol. The reference table may
have more columns: the texts of the options A, B, C … of multiple-choice questions. Rows of the prediction that are no case are
left out; a case without a row, or with a cell that cannot be read, gets the worst value and a reason, and the others stand.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluator.choices import parse_choice
from evaluator.conventions import Situation, resolve
from evaluator.errors import InvalidReference, InvalidVolume, Reason
from evaluator.metrics import Scope
from evaluator.protocol import LabelSpec, MetricSpec, Protocol
from evaluator.results import CaseResult, ScoreRow
from evaluator.volumes.header import refuse
from evaluator.volumes.strict import ReaderLimits, open_untrusted

KEY = "case"
MAX_TABLE_BYTES = 64 << 20
ROW_MISSING = "row_missing"
CELL_INVALID = "cell_invalid"
_OPTION_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Row:
    """One line of a table by column."""

    cells: Mapping[str, str]

    def options(self) -> dict[str, str]:
        """The columns that hold options of a question."""
        return {letter: self.cells[letter] for letter in _OPTION_LETTERS if self.cells.get(letter)}


def read_table(path: Path) -> dict[str, Row]:
    """The rows of an untrusted table by case; InvalidVolume with `table_invalid` when it is not a table."""
    with open_untrusted(path, limits=ReaderLimits(file_bytes=MAX_TABLE_BYTES)) as source:
        content = source.read()
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise refuse(Reason.TABLE_INVALID, found=problem, expected="comma-separated text in UTF-8") from None
    header = lines[0] if lines else []
    if KEY not in header or len(set(header)) != len(header):
        raise refuse(Reason.TABLE_INVALID, found=f"columns {header}", expected=f"different columns, `{KEY}` among them")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = dict(zip(header, line, strict=False))
        if len(line) != len(header) or cells[KEY] in rows:
            raise refuse(
                Reason.TABLE_INVALID, found=f"line {number}", expected="as many cells as columns, each case once"
            )
        rows[cells[KEY]] = Row(cells)
    return rows


def score_table(
    *, protocol: Protocol, reference: Path, prediction: Path | None, failure: str | None = None
) -> list[CaseResult]:
    """The scores of every row of the reference table."""
    try:
        references = read_table(reference)
    except InvalidVolume as problem:
        raise InvalidReference(f"the reference table cannot be used: {problem}") from problem
    failure = failure or (None if prediction else "output_missing")
    predictions: Mapping[str, Row] = {}
    if failure is None and prediction:
        try:
            predictions = read_table(prediction)
        except InvalidVolume as problem:
            failure = f"output_invalid:{problem.reason}"
    return [
        CaseResult(
            case_id=case_id,
            rows=tuple(_score_row(protocol, row, predictions.get(case_id), failure=failure)),
            failure=failure or ("" if case_id in predictions else ROW_MISSING),
        )
        for case_id, row in references.items()
    ]


def _score_row(
    protocol: Protocol, reference: Row, prediction: Row | None, *, failure: str | None
) -> Iterator[ScoreRow]:
    for label in protocol.labels:
        ours = reference.cells.get(label.name, "").strip()
        theirs = prediction.cells.get(label.name) if prediction else None
        reason = failure or (ROW_MISSING if theirs is None else "")
        for spec in protocol.metrics:
            if spec.metric.scope is Scope.TABLE and (not spec.labels or label.name in spec.labels):
                yield from _score_cell(protocol, spec, label, ours, theirs, options=reference.options(), reason=reason)


def _score_cell(
    protocol: Protocol,
    spec: MetricSpec,
    label: LabelSpec,
    ours: str,
    theirs: str | None,
    *,
    options: dict[str, str],
    reason: str,
) -> Iterator[ScoreRow]:
    """One score, or for a score over all rows the two numbers it is computed from."""
    if spec.metric.over_cases:
        truth, score = _number(ours), None if reason else _number(theirs or "")
        if truth is None:
            raise InvalidReference(f"column {label.name} of the reference table holds {ours!r}; expected 0 or 1")
        yield ScoreRow(label=label.name, metric=f"{spec.id}_reference", value=truth)
        reason = reason or (CELL_INVALID if score is None else "")
        yield ScoreRow(label=label.name, metric=f"{spec.id}_prediction", value=score, reason=reason)
        return
    value = None if reason or theirs is None else _compare(spec, ours, theirs, options)
    if value is None:
        reason = reason or CELL_INVALID
        worth = protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure=reason)
        value = resolve(worth, computed=math.nan, diagonal_mm=0.0)
    elif spec.rounding is not None:
        value = round(value, spec.rounding)
    yield ScoreRow(label=label.name, metric=spec.id, value=value, reason=reason)


def _compare(spec: MetricSpec, ours: str, theirs: str, options: dict[str, str]) -> float | None:
    """One cell against its reference; None when the prediction says nothing that can be compared."""
    if spec.metric.name == "accuracy":
        return float(theirs.strip() == ours)
    if spec.metric.name == "choice_accuracy":
        return float(parse_choice(theirs, options=options or dict.fromkeys(_OPTION_LETTERS[:4], "")) == ours)
    truth, measured = _number(ours), _number(theirs)
    if not truth:
        raise InvalidReference(f"the reference table holds {ours!r}; expected a number other than 0")
    return None if measured is None else 100.0 * abs(measured - truth) / abs(truth)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
