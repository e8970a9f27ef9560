"""What a site lets out: building the release by its rules, and showing a person exactly the bytes that would leave. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluator.disclosure import SMALLEST_GROUP, MetricRelease, Told, TooFewCases, release_metric, release_pooled
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
    told: Mapping[str, Sequence[Told]] = field(default_factory=dict)
    """Name of a metric → how its numbers divide the patients. It stays, and later releases are held against it."""


def build_release(
    protocol: Protocol,
    results: Sequence[CaseResult],
    attributes: Mapping[str, Mapping[str, str]],
    *,
    earlier: Mapping[str, Sequence[Told]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> Release:
    """The part of the scores that may leave. Raises `TooFewCases` where nothing may.

    `earlier`: name of a metric → what was released of it before. `patients`: case → hash of everything about it.
    """
    patients = dict.fromkeys((result.case_id for result in results), "") if patients is None else patients
    if len(results) < SMALLEST_GROUP:
        raise TooFewCases(f"the data has {len(results)} cases; numbers about fewer than {SMALLEST_GROUP} do not leave")
    summaries = summarise(protocol, results, attributes)
    metrics: dict[str, Any] = {}
    withheld: list[str] = []
    told: dict[str, list[Told]] = {}
    for spec in protocol.metrics:
        try:
            released = _released(
                spec,
                results,
                summary=summaries[spec.id],
                attributes=attributes,
                protocol=protocol,
                earlier=(earlier or {}).get(spec.metric.name, ()),
                patients=patients,
            )
        except TooFewCases:
            metrics[spec.id] = None
            withheld.append(spec.id)
            continue
        metrics[spec.id] = released.numbers
        if released.told is not None:
            told.setdefault(spec.metric.name, []).append(released.told)
        withheld += [f"{spec.id}.{name}" for name in released.withheld]
    if all(numbers is None for numbers in metrics.values()):
        raise TooFewCases(f"no metric has values of {SMALLEST_GROUP} cases")
    return Release(metrics=metrics, withheld=tuple(withheld), told=told)


def _released(
    spec: MetricSpec,
    results: Sequence[CaseResult],
    *,
    summary: Mapping[str, Any],
    attributes: Mapping[str, Mapping[str, str]],
    protocol: Protocol,
    earlier: Sequence[Told],
    patients: Mapping[str, str],
) -> MetricRelease:
    if summary["mean"] is None:
        raise TooFewCases(f"{spec.id} has no value in any case")
    if spec.metric.pooled or spec.metric.is_over_all:
        contributors = _contributors(spec, results)
        return release_pooled(summary, contributors=contributors, earlier=earlier, patients=patients)
    return release_metric(
        _values(spec, results),
        attributes=attributes,
        breakdowns=protocol.breakdowns,
        earlier=earlier,
        patients=patients,
    )


def _values(spec: MetricSpec, results: Sequence[CaseResult]) -> dict[str, dict[str, float | None]]:
    return {
        result.case_id: {row.label: row.value for row in result.rows if row.metric == spec.id} for result in results
    }


def _contributors(spec: MetricSpec, results: Sequence[CaseResult]) -> dict[str, set[str]]:
    """Per label, the patients that a value over all cases depends on."""
    pooled = spec.metric.pooled
    terms = set(pooled.numerator) | set(pooled.denominator) if pooled else {spec.id}
    found: dict[str, set[str]] = {}
    for result in results:
        for row in result.rows:
            if row.metric in terms and (row.value or not pooled):
                found.setdefault(row.label, set()).add(result.case_id)
    return found


def shown_bytes(metrics: Mapping[str, Any]) -> str:
    """Exactly what would be sent, for a person to read."""
    return json.dumps(metrics, indent=2, sort_keys=True, ensure_ascii=False)
