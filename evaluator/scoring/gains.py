"""What a submission gains by leaving a case out: computed under the protocol's own conventions and means, never asserted.

Two cases, one predicted perfectly and one worth nothing, are summarised as they are and once more without the prediction of the
second. Under rules as they are meant the mean stays. Where missing cases are left out of it, it rises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluator.metrics.registry import Direction, Scope
from evaluator.protocol import MetricSpec, Protocol
from evaluator.protocol.conventions import ABORT, Situation, Worth, resolve
from evaluator.results import ABORTED, CaseResult, ScoreRow
from evaluator.scoring.summaries import summarise

_EACH = (
    "reference_voxels",
    "prediction_voxels",
    "intersection_voxels",
    "lesion_true_positives",
    "matched_true_positives",
)
FOUND = dict.fromkeys(_EACH, 1.0)
"""The counts of one structure that was found whole."""
MISSED = dict.fromkeys(("reference_voxels", "lesion_false_negatives", "matched_false_negatives"), 1.0)
"""The counts of one that was missed."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The mean of one metric with the bad case handed in and with it left out. None where no score is left."""

    metric: str
    honest: float
    left_out: float | None

    def __str__(self) -> str:
        after = "no value" if self.left_out is None else f"{self.left_out:g}"
        return f"{self.metric} {self.honest:g} → {after}{', a gain' if self.is_gain else ''}"

    @property
    def is_gain(self) -> bool:
        """Whether leaving the case out pays."""
        return self.left_out is not None and self.left_out > self.honest


def gains_of_leaving_out(protocol: Protocol) -> tuple[Gain, ...]:
    """One entry for every metric that runs from 0 to 1: of a label, or pooled over cases."""
    return tuple(
        _pooled_gain(protocol, spec) if spec.metric.pooled else _gain(protocol, spec)
        for spec in protocol.metrics
        if spec.metric.pooled or _is_ratio(spec)
    )


def _is_ratio(spec: MetricSpec) -> bool:
    metric = spec.metric
    is_bounded = metric.direction is Direction.MAX and metric.upper is not None and metric.lower is not None
    return metric.scope is Scope.LABEL and is_bounded


def _pooled_gain(protocol: Protocol, spec: MetricSpec) -> Gain:
    """One structure found whole in the first case, and missed, or left out, in the second."""
    label = (spec.labels or tuple(label.name for label in protocol.labels))[0]
    counts = [each.id for each in protocol.metrics if each.metric.name in FOUND.keys() | MISSED.keys()]
    names = {each.id: each.metric.name for each in protocol.metrics}

    def case(number: int, worth_of: Mapping[str, float | None]) -> CaseResult:
        rows = tuple(ScoreRow(label=label, metric=count, value=worth_of[count], reason="") for count in counts)
        return CaseResult(case_id=f"case-{number}", rows=rows)

    found = {count: FOUND.get(names[count], 0.0) for count in counts}
    missed = {count: MISSED.get(names[count], 0.0) for count in counts}
    left_out = {
        count: resolve(
            protocol.conventions.worth(Situation.FAILED, metric_id=count, failure="output_missing"),
            computed=missed[count],
            diagonal_mm=0.0,
        )
        for count in counts
    }
    honest, without = (
        summarise(protocol, [case(1, found), case(2, second)])[spec.id]["mean"] for second in (missed, left_out)
    )
    return Gain(metric=spec.id, honest=honest or 0.0, left_out=without)


def _gain(protocol: Protocol, spec: MetricSpec) -> Gain:
    failed = protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure="output_missing")
    honest = _mean(protocol, spec, [spec.metric.upper, spec.metric.lower])
    return Gain(metric=spec.id, honest=honest or 0.0, left_out=_mean(protocol, spec, [spec.metric.upper, failed]))


def _mean(protocol: Protocol, spec: MetricSpec, worths: Sequence[Worth]) -> float | None:
    """The headline of cases with these worths in the first label the metric speaks of. `compute` of nothing is the worst."""
    label = (spec.labels or tuple(label.name for label in protocol.labels))[0]
    results = [
        CaseResult(
            case_id=f"case-{number}",
            rows=(
                ScoreRow(
                    label=label,
                    metric=spec.id,
                    value=resolve(worth, computed=spec.metric.lower or 0.0, diagonal_mm=0.0),
                    reason=ABORTED if worth == ABORT else "",
                ),
            ),
        )
        for number, worth in enumerate(worths)
    ]
    mean: float | None = summarise(protocol, results)[spec.id]["mean"]
    return mean
