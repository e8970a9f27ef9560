"""What a site lets out: building the release by its rules, and showing a person exactly the bytes that would leave. Pure."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluator.disclosure import SMALLEST_GROUP, MetricRelease, TooFewCases, release_metric, release_pooled
from evaluator.protocol import MetricSpec, Protocol
from evaluator.results import CaseResult
from evaluator.scoring import summarise

__all__ = ["SMALLEST_GROUP", "Release", "TooFewCases", "build_release", "shown_bytes"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """The numbers that would leave, and what stays: metric or metric.group, for the people of the site."""

    metrics: Mapping[str, Any]
    """Metric id → numbers. `None` for a metric that is withheld as a whole."""
    withheld: tuple[str, ...]


def build_release(
    protocol: Protocol, results: Sequence[CaseResult], attributes: Mapping[str, Mapping[str, str]]
) -> Release:
    """The part of the scores that may leave. Raises `TooFewCases` where nothing may."""
    if len(results) < SMALLEST_GROUP:
        raise TooFewCases(f"the data has {len(results)} cases; numbers about fewer than {SMALLEST_GROUP} do not leave")
    summaries = summarise(protocol, results, attributes)
    metrics: dict[str, Any] = {}
    withheld: list[str] = []
    for spec in protocol.metrics:
        try:
            released = _released(spec, results, summary=summaries[spec.id], attributes=attributes, protocol=protocol)
        except TooFewCases:
            metrics[spec.id] = None
            withheld.append(spec.id)
            continue
        metrics[spec.id] = released.numbers
        withheld += [f"{spec.id}.{name}" for name in released.withheld]
    if all(numbers is None for numbers in metrics.values()):
        raise TooFewCases(f"no metric has values of {SMALLEST_GROUP} cases")
    return Release(metrics=metrics, withheld=tuple(withheld))


def _released(
    spec: MetricSpec,
    results: Sequence[CaseResult],
    *,
    summary: Mapping[str, Any],
    attributes: Mapping[str, Mapping[str, str]],
    protocol: Protocol,
) -> MetricRelease:
    if summary["mean"] is None:
        raise TooFewCases(f"{spec.id} has no value in any case")
    if spec.metric.pooled or spec.metric.over_cases:
        return release_pooled(summary, patients=_contributors(spec, results))
    return release_metric(_values(spec, results), attributes=attributes, breakdowns=protocol.breakdowns)


def _values(spec: MetricSpec, results: Sequence[CaseResult]) -> dict[str, dict[str, float | None]]:
    return {
        result.case_id: {row.label: row.value for row in result.rows if row.metric == spec.id} for result in results
    }


def _contributors(spec: MetricSpec, results: Sequence[CaseResult]) -> Counter[str]:
    """Per label, how many patients a value over all cases depends on."""
    pooled = spec.metric.pooled
    terms = set(pooled.numerator) | set(pooled.denominator) if pooled else {spec.id}
    return Counter(
        label
        for result in results
        for label in {row.label for row in result.rows if row.metric in terms and (row.value or not pooled)}
    )


def shown_bytes(metrics: Mapping[str, Any]) -> str:
    """Exactly what would be sent, for a person to read."""
    return json.dumps(metrics, indent=2, sort_keys=True, ensure_ascii=False)
