"""From the scores of all cases to a submission's summary.

The headline of a metric is the mean over cases of each case's mean over labels: every case counts the same, however many of its
labels are defined. Undefined values are left out and counted. A case without any defined value leaves the mean too, and shows in
`n_undefined`. The standard deviation is that of the case means (n − 1). Pooled metrics divide sums over all cases instead.
Where one value aborted the scoring, as published scripts do, nothing of the submission counts.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluator.metrics.registry import Pooled
from evaluator.protocol import MetricSpec, Protocol
from evaluator.results import ABORTED, ROUND_MARK, CaseResult

Values = Mapping[str, Mapping[str, float | None]]
"""case → label → value, of one metric."""


def summarise(
    protocol: Protocol, results: Sequence[CaseResult], attributes: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Metric id → mean, sd, median, n, n_undefined, per_label, and one `per_<attribute>` for each of the protocol's breakdowns.

    A score that is the mean of a curve's points has the points, too: `curve`, rate → mean.
    """
    attributes = attributes or {}
    if any(row.reason.partition(":")[0] == ABORTED for result in results for row in result.rows):
        results = [_emptied(result) for result in results]
    return {spec.id: _summary_of(spec, results, protocol.breakdowns, attributes) for spec in protocol.metrics}


def _emptied(result: CaseResult) -> CaseResult:
    return replace(result, rows=tuple(replace(row, value=None) for row in result.rows))


def _summary_of(
    spec: MetricSpec,
    results: Sequence[CaseResult],
    breakdowns: Sequence[str],
    attributes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    if spec.metric.pooled:
        return _pooled_summary(spec.metric.pooled, results)
    if spec.metric.is_over_all:
        return _summary_over_cases(spec, results) | _curve(spec, results)
    return _summary(_values_of(spec.id, results), breakdowns=breakdowns, attributes=attributes)


def _summary_over_cases(spec: MetricSpec, results: Sequence[CaseResult]) -> dict[str, Any]:
    """The mean of each column over its rows. The headline is the mean of the columns that are defined."""
    values = _values_of(spec.id, results).values()
    scores: dict[str, float | None] = {}
    before: float | None = None
    for label in next(iter(values), {}):
        score = _mean(row[label] for row in values)
        if score is None and spec.options.get("one_sided") == "previous":
            score = before
        scores[label] = before = score
    return _statistics(list(scores.values())) | {
        "n": len(results),
        "n_undefined": sum(score is None for score in scores.values()),
        "per_label": {label: {"mean": score, "sd": None, "n": len(results)} for label, score in scores.items()},
    }


def _curve(spec: MetricSpec, results: Sequence[CaseResult]) -> dict[str, Any]:
    """The points of a FROC curve. Nothing where none were kept, as in a table that was imported."""
    if "rates" not in spec.metric.options:
        return {}
    by_rate: dict[str, dict[str, list[float | None]]] = {}
    for result in results:
        for row in result.rows:
            base, _, rate = row.metric.partition(ROUND_MARK)
            if base == spec.id and rate:
                by_rate.setdefault(rate, {}).setdefault(row.label, []).append(row.value)
    points = {rate: _mean([_mean(values) for values in labels.values()]) for rate, labels in by_rate.items()}
    return {"curve": {rate: points[rate] for rate in sorted(points, key=float)}} if points else {}


def _pooled_summary(pooled: Pooled, results: Sequence[CaseResult]) -> dict[str, Any]:
    """A ratio of sums per label. The headline is their mean. Every case counts, so nothing is ever left out."""
    above, below = _sums(pooled.numerator, results), _sums(pooled.denominator, results)
    ratios = {label: above[label] / below[label] if below[label] else None for label in below}
    return _statistics(list(ratios.values())) | {
        "n": len(results),
        "n_undefined": sum(ratio is None for ratio in ratios.values()),
        "per_label": {label: {"mean": ratio, "sd": None, "n": len(results)} for label, ratio in ratios.items()},
    }


def _sums(terms: Mapping[str, float], results: Sequence[CaseResult]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for result in results:
        for row in result.rows:
            if row.metric in terms:
                sums[row.label] = sums.get(row.label, 0.0) + terms[row.metric] * (row.value or 0.0)
    return sums


def _values_of(metric_id: str, results: Sequence[CaseResult]) -> Values:
    return {
        result.case_id: {row.label: row.value for row in result.rows if row.metric == metric_id} for result in results
    }


def _summary(
    values: Values, *, breakdowns: Sequence[str], attributes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    case_means = {case_id: _mean(row.values()) for case_id, row in values.items()}
    labels = list(dict.fromkeys(label for row in values.values() for label in row))
    summary = _statistics(list(case_means.values())) | {
        "n_undefined": sum(value is None for row in values.values() for value in row.values()),
        "per_label": {
            label: _statistics([row[label] for row in values.values() if label in row]) for label in labels if label
        },
    }
    for name in breakdowns:
        groups: dict[str, list[float | None]] = {}
        for case_id, mean in case_means.items():
            groups.setdefault(str(attributes.get(case_id, {}).get(name, "")), []).append(mean)
        summary[f"per_{name}"] = {group: _statistics(groups[group]) for group in sorted(groups)}
    return summary


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    return {
        "mean": _mean(defined),
        "sd": statistics.stdev(defined) if len(defined) > 1 else None,
        "median": statistics.median(defined) if defined else None,
        "n": len(defined),
    }


def _mean(values: Any) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
