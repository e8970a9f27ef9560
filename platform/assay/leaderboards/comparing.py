"""Two or three rows of a leaderboard side by side: paired differences metric by metric, structure by structure, case by case.

A case counts with the mean over its structures, as in summaries, and only where both rows have a value. Differences are the second
minus the first. Their interval is the percentile bootstrap of the mean over cases, and p is Wilcoxon's two-sided signed rank,
Holm-adjusted over every pair and metric on the page. Where single cases are not the viewer's to see, means are all there is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any
from uuid import UUID

import numpy as np
from django.utils.translation import gettext as _

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.selectors import LeaderboardRow, MetricColumn
from evaluator.arrays import Floats
from evaluator.ranking import Adjustment, Significance, adjust_family, compare_pairs

MOST_ROWS = 3
REPLICATES = 1000
CONFIDENCE = 0.95
SEED = 1
AGREEMENT = 1.96  # standard deviations on either side of the mean
TWO_SIDED = Significance(is_one_sided=False)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a row's numbers came from. A comparison across different ones says so."""

    image: str
    protocol: int
    testset: str
    evaluator: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One pair in one metric, over the cases both have. `p` is None where nothing differs.

    `limits` are Bland and Altman's limits of agreement, between which 95 % of the differences lie where they are normal.
    """

    first: int
    second: int
    cases: int
    mean: float | None
    low: float | None
    high: float | None
    limits: tuple[float, float] | None
    wins: int
    ties: int
    losses: int
    p: float | None


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """One metric: every row's mean, its means per structure, its cases, and the pairs."""

    column: MetricColumn
    means: tuple[float | None, ...]
    structures: Mapping[str, tuple[float | None, ...]]
    cases: Mapping[str, tuple[float | None, ...]]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything the page shows."""

    rows: tuple[LeaderboardRow, ...]
    origins: tuple[Origin, ...]
    metrics: tuple[MetricComparison, ...]

    @property
    def differs_in(self) -> list[str]:
        """In what the rows' origins differ that should be the same."""
        names = {
            "protocol": _("protocol versions"),
            "testset": _("test sets"),
            "evaluator": _("versions of the evaluator"),
        }
        return [words for name, words in names.items() if len({getattr(origin, name) for origin in self.origins}) > 1]


def compare_rows(
    rows: Sequence[LeaderboardRow], *, phase: Phase, columns: Sequence[MetricColumn], shows_cases: bool
) -> Comparison:
    """The rows side by side, in at most two queries."""
    evaluations = {
        evaluation.submission_id: evaluation
        for evaluation in Evaluation.objects.filter(
            submission_id__in=[row.submission_id for row in rows], submission__phase=phase, is_active=True
        )
        .select_related("submission__image", "protocol", "testset")
        .defer("testset__report")
    }
    chosen = [evaluations[row.submission_id] for row in rows]
    scores = _case_values(chosen) if shows_cases else [{} for _ in chosen]
    labels = [label.name for label in rules_of(phase.protocol).labels]
    metrics = [
        _compare_metric(column, rows=rows, scores=scores, labels=labels)
        for column in columns
        if column.direction in ("max", "min")
    ]
    return Comparison(
        rows=tuple(rows), origins=tuple(_origin(evaluation) for evaluation in chosen), metrics=tuple(_adjusted(metrics))
    )


def _origin(evaluation: Evaluation) -> Origin:
    image = evaluation.submission.image
    return Origin(
        image=image.image_id if image else "",
        protocol=evaluation.protocol.version,
        testset=f"{evaluation.testset.name} version {evaluation.testset.version}",
        evaluator=evaluation.evaluator_version,
    )


def _case_values(evaluations: Sequence[Evaluation]) -> list[dict[str, dict[str, float]]]:
    """For each evaluation: metric → case → mean over its structures."""
    found: dict[UUID, dict[str, dict[str, float]]] = {evaluation.id: {} for evaluation in evaluations}
    rows = CaseScores.objects.filter(evaluation__in=evaluations).order_by("case__position")
    for evaluation_id, case_id, scores in rows.values_list("evaluation_id", "case__case_id", "scores"):
        values: dict[str, list[float]] = {}
        for _label, metric, value, _reason in scores:
            if value is not None:
                values.setdefault(metric, []).append(value)
        for metric, of_case in values.items():
            found[evaluation_id].setdefault(metric, {})[case_id] = math.fsum(of_case) / len(of_case)
    return [found[evaluation.id] for evaluation in evaluations]


def _compare_metric(
    column: MetricColumn,
    *,
    rows: Sequence[LeaderboardRow],
    scores: Sequence[Mapping[str, Mapping[str, float]]],
    labels: Sequence[str],
) -> MetricComparison:
    summaries: list[Mapping[str, Any]] = [row.metrics.get(column.name) or {} for row in rows]
    of_cases = [values.get(column.name, {}) for values in scores]
    cases = {case: tuple(values.get(case) for values in of_cases) for values in of_cases for case in values}
    there = {label for summary in summaries for label in summary.get("per_label", {})}
    return MetricComparison(
        column=column,
        means=tuple(summary.get("mean") for summary in summaries),
        structures={
            label: tuple((summary.get("per_label", {}).get(label) or {}).get("mean") for summary in summaries)
            for label in labels
            if label in there
        },
        cases=cases,
        differences=tuple(
            difference_of(list(cases.values()), first=first, second=second, larger_is_better=column.direction == "max")
            for first, second in combinations(range(len(rows)), 2)
            if cases
        ),
    )


def difference_of(
    cases: Sequence[Sequence[float | None]], *, first: int, second: int, larger_is_better: bool
) -> Difference:
    """One pair over the cases both have; p not adjusted yet. A win is the second row's."""
    pairs = [(case[first], case[second]) for case in cases if case[first] is not None and case[second] is not None]
    values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    differences = values[:, 1] - values[:, 0]
    better = differences if larger_is_better else -differences
    low, high = _interval(differences)
    p = (
        float(compare_pairs(values.T, larger_is_better=larger_is_better, rules=TWO_SIDED).p[0, 1])
        if pairs
        else math.nan
    )
    return Difference(
        first=first,
        second=second,
        cases=len(pairs),
        mean=float(differences.mean()) if pairs else None,
        low=low,
        high=high,
        limits=_limits(differences),
        wins=int((better > 0).sum()),
        ties=int((better == 0).sum()),
        losses=int((better < 0).sum()),
        p=None if math.isnan(p) else p,
    )


def _interval(differences: Floats) -> tuple[float | None, float | None]:
    if len(differences) < 2:
        return None, None
    drawn = np.random.default_rng(SEED).integers(0, len(differences), size=(REPLICATES, len(differences)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences[drawn].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def _limits(differences: Floats) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    mean, reach = float(differences.mean()), AGREEMENT * float(differences.std(ddof=1))
    return mean - reach, mean + reach


def _adjusted(metrics: Sequence[MetricComparison]) -> list[MetricComparison]:
    """The same with every p adjusted for all that are on the page."""
    p = [d.p if d.p is not None else math.nan for metric in metrics for d in metric.differences]
    family = iter(adjust_family(np.array([p]), Adjustment.HOLM)[0].tolist() if p else [])
    adjusted = []
    for metric in metrics:
        differences = []
        for difference in metric.differences:
            value = next(family)
            differences.append(replace(difference, p=None if math.isnan(value) else value))
        adjusted.append(replace(metric, differences=tuple(differences)))
    return adjusted
