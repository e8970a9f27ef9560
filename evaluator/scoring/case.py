"""From the files of one case to its scores.

Theory of operation. `score_case` walks the protocol, never the prediction: for every metric and label there is exactly one
row, whatever the algorithm did. Each row is either what the formula gives or, where masks are empty or there is no usable
prediction, what the protocol's conventions say. Then its reason says which. A prediction that cannot be read fails its case,
not the scorer. A reference that cannot be read is the organizer's fault and stops the scoring.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluator.backends.reference_cache import ReferenceCache
from evaluator.errors import EvaluatorError, InvalidVolume
from evaluator.metrics import formulas
from evaluator.metrics.registry import Scope
from evaluator.protocol import LabelSpec, MetricSpec, OutputKind, Protocol
from evaluator.protocol.conventions import (
    ABORT,
    COMPUTE,
    SPOIL,
    Situation,
    Worth,
    resolve,
    situation_of,
)
from evaluator.results import ABORTED, NOT_DEFINED, NOT_MEASURED, ROUND_MARK, SPOILED, CaseResult, ScoreRow
from evaluator.scoring.external import ExternalScores, external_rows
from evaluator.scoring.structures import (
    MeasuredLabel,
    for_reference,
    measure_as_empty,
    measure_case,
    reference_grid,
    unnamed_values,
)
from evaluator.scoring.summaries import summarise
from evaluator.volumes.geometry import Grid

__all__ = ["score_case", "summarise", "telemetry_rows"]

OUTPUT_MISSING = "output_missing"
OUTPUT_INVALID = "output_invalid"
LOW_DICE = "low_dice"
CROP_EMPTY = "crop_empty"
"""The reason when an exclusive z-crop leaves no slice: the reference has one slice only. Scored as a missed structure."""


def score_case(
    *,
    protocol: Protocol,
    case_id: str,
    references: Mapping[str, Path],
    predictions: Mapping[str, Path] | None,
    failure: str | None = None,
    telemetry: Mapping[str, float] | None = None,
    external: ExternalScores | None = None,
    earlier_rounds: Sequence[Mapping[str, Path] | None] = (),
    backend: str = "auto",
    threads: int = 0,
    kept_references: ReferenceCache | None = None,
) -> CaseResult:
    """All scores of one case, whatever became of its prediction.

    `references` and `predictions` map output or structure names to files. A single file may have any name. `failure` is why
    there is no usable prediction: a verdict such as `timeout`, with or without a detail after a colon. `external` is what
    the protocol's metric image said of the case, where it ran: empty if it said nothing. `earlier_rounds` are the
    predictions after each earlier interaction, where the protocol follows a metric over them. `threads` 0 takes what the
    machine has. `kept_references` spares reading references that were scored against before, and changes no number.
    """
    if protocol.output.kind is OutputKind.TABLE:
        raise EvaluatorError("this protocol scores a table; use `score_table`, which scores all its rows at once")
    references = {name: path.resolve() for name, path in references.items()}  # ours may be links: nnU-Net's folders are
    grid = reference_grid(references)
    protocol = for_reference(protocol, references)
    failure = failure or (None if predictions else OUTPUT_MISSING)
    rows: list[ScoreRow] = []
    served_by = detail = ""
    reference_note = prediction_note = ""
    if failure is None:
        try:
            measure = partial(measure_case, backend=backend, threads=threads, kept_references=kept_references)
            measured = measure(protocol=protocol, references=references, predictions=predictions or {})
            apart = list(score_labels(protocol=protocol, measured=measured.labels, grid=grid))
            rows, served_by = zero_where_dice_is_low(protocol, spread_spoiled(apart)), measured.labels[0].backend
            reference_note, prediction_note = measured.reference_note, measured.prediction_note
        except InvalidVolume as problem:
            failure, detail = f"{OUTPUT_INVALID}:{problem.reason}", problem.detail
    if failure is not None:
        reference_note = _note_of(protocol, references)
        rows = list(_failed_rows(protocol, references, failure=failure, grid=grid))
    rows.extend(_round_rows(protocol, rows, references=references, earlier=earlier_rounds, backend=backend))
    rows.extend(external_rows(protocol, external, failure=failure, diagonal_mm=grid.diagonal_mm))
    rows.extend(telemetry_rows(protocol, telemetry or {}, failure=failure, voxels=grid.voxels))
    return CaseResult(
        case_id=case_id,
        rows=tuple(rows),
        backend=served_by,
        failure=failure or "",
        detail=detail,
        notes=(prediction_note,) if prediction_note else (),
        reference_notes=(reference_note,) if reference_note else (),
    )


def _note_of(protocol: Protocol, references: Mapping[str, Path]) -> str:
    """Values of the reference that no label names. Nothing is said of one that nobody had to read whole and nobody can."""
    try:
        return unnamed_values(protocol, references, of_reference=True)
    except InvalidVolume:
        return ""


def score_labels(*, protocol: Protocol, measured: Sequence[MeasuredLabel], grid: Grid) -> Iterator[ScoreRow]:
    """The rows of measured labels: label by label, metric by metric."""
    for item in measured:
        situation, reason = _situation(item)
        for spec in _metrics_of(protocol, item.label):
            worth = _worth(spec, protocol=protocol, situation=situation, reason=reason)
            value = _value(spec, item, worth=worth, grid=grid)
            yield _row(spec, item.label.name, worth=worth, value=value, reason=reason)


def spread_spoiled(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The same rows. Where one value of a metric is spoiled, the metric is undefined for every label of the case."""
    spoilt = {row.metric: row.reason for row in rows if row.reason.partition(":")[0] == SPOILED}
    return [replace(row, value=None, reason=spoilt[row.metric]) if row.metric in spoilt else row for row in rows]


def zero_where_dice_is_low(protocol: Protocol, rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The same rows. A metric with `min_dice_over: case` is 0 for every label where the case's mean Dice is too low, or undefined."""
    kept = list(rows)
    for spec in protocol.metrics:
        if spec.options.get("min_dice_over") != "case":
            continue
        base = next(other.id for other in protocol.metrics if other.metric.name == "dice")
        values = [row.value for row in rows if row.metric == base and row.value is not None]
        if not values or formulas.is_too_low(math.fsum(values) / len(values), spec.options):
            kept = [replace(row, value=0.0, reason=LOW_DICE) if row.metric == spec.id else row for row in kept]
    return kept


def _situation(item: MeasuredLabel) -> tuple[Situation | None, str]:
    """Which convention applies to a label, judged on the whole volume first and then where the protocol looks."""
    situation = situation_of(item.whole)
    if situation is None and not item.pair.overlap.reference_voxels:
        return Situation.PREDICTION_EMPTY, CROP_EMPTY
    situation = situation or situation_of(item.pair.overlap)
    return situation, situation.value if situation else ""


def _worth(spec: MetricSpec, *, protocol: Protocol, situation: Situation | None, reason: str) -> Worth:
    """What the conventions say a value is worth. `by_failure` may speak of a crop that leaves nothing, too."""
    if situation is None:
        return COMPUTE
    return protocol.conventions.worth(situation, metric_id=spec.id, failure=reason if reason == CROP_EMPTY else None)


def _value(spec: MetricSpec, item: MeasuredLabel, *, worth: Worth, grid: Grid) -> float | None:
    computed = math.nan
    if worth == COMPUTE and spec.metric.compute:
        computed = spec.metric.compute(item.pair, _in_millimetres(spec.options, grid))
    return resolve(worth, computed=computed, diagonal_mm=grid.diagonal_mm)


def _in_millimetres(options: Mapping[str, Any], grid: Grid) -> Mapping[str, Any]:
    """The options with a penalty that no protocol stated: the diagonal, as a distance to an empty mask is worth."""
    if options.get("penalty_mm", 0.0) is None:
        return {**options, "penalty_mm": grid.diagonal_mm}
    return options


def _failed_rows(protocol: Protocol, references: Mapping[str, Path], *, failure: str, grid: Grid) -> Iterator[ScoreRow]:
    """What the protocol says a case without a usable prediction is worth. `compute` means: as if it were empty."""
    worths = {
        spec.id: protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure=failure)
        for spec in protocol.metrics
        if spec.metric.scope is Scope.LABEL
    }
    computed: dict[str, list[ScoreRow]] = {}
    if COMPUTE in worths.values():
        for item in measure_as_empty(protocol=protocol, references=references):
            computed[item.label.name] = list(_rows_as_empty(protocol, item, worths, failure=failure, grid=grid))
    for label in protocol.labels:
        rows = {row.metric: row for row in computed.get(label.name, ())}
        for spec in _metrics_of(protocol, label):
            worth = worths[spec.id]
            value = resolve(worth, computed=math.nan, diagonal_mm=grid.diagonal_mm)
            yield rows.get(spec.id) or _row(spec, label.name, worth=worth, value=value, reason=failure)


def _rows_as_empty(
    protocol: Protocol, item: MeasuredLabel, worths: Mapping[str, Worth], *, failure: str, grid: Grid
) -> Iterator[ScoreRow]:
    """The metrics of one label whose worth is what they would be had nothing been predicted."""
    for spec in _metrics_of(protocol, item.label):
        if worths[spec.id] == COMPUTE:
            worth = _worth(spec, protocol=protocol, situation=situation_of(item.whole), reason="")
            value = _value(spec, item, worth=worth, grid=grid)
            yield _row(spec, item.label.name, worth=worth, value=value, reason=failure)


def telemetry_rows(
    protocol: Protocol, telemetry: Mapping[str, float], *, failure: str | None, voxels: int
) -> Iterator[ScoreRow]:
    """What the run of this case consumed, for protocols that score it. A failed case gets the stated worst, or what it took."""
    for spec in protocol.metrics:
        if spec.metric.scope is not Scope.CASE:
            continue
        measured = _beyond_allowance(spec, telemetry.get(spec.metric.name), voxels=voxels)
        if failure is None:
            yield _row(spec, "", worth=COMPUTE, value=measured, reason="" if measured is not None else NOT_MEASURED)
        else:
            worth = protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure=failure)
            value = resolve(worth, computed=math.nan if measured is None else measured, diagonal_mm=0.0)
            yield _row(spec, "", worth=worth, value=value, reason=failure)


def _beyond_allowance(spec: MetricSpec, measured: float | None, *, voxels: int) -> float | None:
    """What remains of a time after what is free: so many seconds, or so many for each million voxels if that is more."""
    if measured is None or "free_seconds" not in spec.options:
        return measured
    by_size = float(spec.options["free_seconds_per_megavoxel"]) * voxels / 1e6
    return max(0.0, measured - max(float(spec.options["free_seconds"]), by_size))


def _round_rows(
    protocol: Protocol,
    final: Sequence[ScoreRow],
    *,
    references: Mapping[str, Path],
    earlier: Sequence[Mapping[str, Path] | None],
    backend: str,
) -> Iterator[ScoreRow]:
    """The area under a metric over interactions, and its values after the earlier ones (`dice@0`, `dice@1`, …).

    A round that wrote nothing usable counts with what stood before it. Where the last value is undefined, so is the area: a case
    that a published script leaves out leaves with all its metrics.
    """
    specs = [spec for spec in protocol.metrics if spec.metric.scope is Scope.ROUNDS]
    if not specs:
        return
    one_round = replace(protocol, metrics=tuple(spec for spec in protocol.metrics if spec not in specs))
    rounds = [
        score_case(protocol=one_round, case_id="", references=references, predictions=predictions, backend=backend).rows
        for predictions in _carried_forward(earlier)
    ]
    bases = {spec.id: next(m.id for m in protocol.metrics if m.metric.name == spec.metric.base) for spec in specs}
    for number, rows in enumerate(rounds):
        yield from (
            replace(row, metric=f"{row.metric}{ROUND_MARK}{number}") for row in rows if row.metric in bases.values()
        )
    for spec in specs:
        base = bases[spec.id]
        for label in protocol.labels:
            series = [
                next(row.value or 0.0 for row in rows if (row.label, row.metric) == (label.name, base))
                for rows in (*rounds, final)
            ]
            last = next(row for row in final if (row.label, row.metric) == (label.name, base))
            area = None if last.value is None else area_over_rounds(series[-spec.options["rounds"] :])
            reason = last.reason
            yield _row(spec, label.name, worth=COMPUTE, value=area, reason=reason)


def _carried_forward(rounds: Sequence[Mapping[str, Path] | None]) -> Iterator[Mapping[str, Path] | None]:
    latest: Mapping[str, Path] | None = None
    for predictions in rounds:
        latest = predictions or latest
        yield latest


def area_over_rounds(values: Sequence[float]) -> float:
    """Trapezoidal area under values one unit apart. 0 for a single one."""
    return math.fsum((a + b) / 2 for a, b in pairwise(values))


def _metrics_of(protocol: Protocol, label: LabelSpec) -> list[MetricSpec]:
    return [
        spec
        for spec in protocol.metrics
        if spec.metric.scope is Scope.LABEL and (not spec.labels or label.name in spec.labels)
    ]


def _row(spec: MetricSpec, label: str, *, worth: Worth, value: float | None, reason: str) -> ScoreRow:
    if value is not None and spec.rounding is not None:
        value = round(value, spec.rounding)
    if worth in (SPOIL, ABORT):
        reason = f"{SPOILED if worth == SPOIL else ABORTED}:{reason}"
    return ScoreRow(
        label=label, metric=spec.id, value=value, reason=reason or ("" if value is not None else NOT_DEFINED)
    )
