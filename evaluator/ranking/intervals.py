"""Confidence intervals of a metric: how precisely the cases pin down an algorithm's aggregate.

For means over clusters the studentised bootstrap (bootstrap-t, Hall 1988), which holds its promise from ten clusters on, or
Student's interval where there are fewer than eight. For other aggregates BCa (Efron 1987) or percentiles. For medians the
bootstrap fails badly (its distribution sits on a few order statistics), so medians over clusters get the binomial order-statistic
interval.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import MEAN, Node
from evaluator.ranking.engine import aggregation_node, cluster_values
from evaluator.ranking.schemes.climb import Draws, climb_to_top, ladder, start
from evaluator.ranking.schemes.prepare import Prepared
from evaluator.ranking.schemes.reduction import quantile
from evaluator.ranking.stability import batches
from evaluator.ranking.statistics.distributions import normal_quantile, normal_tail, student_quantile

_LEFT_OUT_AT_ONCE = 1000
FEWEST_STUDENTISED = 8
"""Of fewer clusters many resamples have no spread, so that nothing can be divided by it."""
_FARTHEST = 1e4
"""A studentised value beyond this comes from a resample without spread."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Estimate and interval of one metric, one value per algorithm; `method` names how the interval was made."""

    estimate: Floats
    low: Floats
    high: Floats
    method: str


def metric_interval(name: str, prepared: Prepared, draws: Draws, *, kind: str = "percentile") -> Interval:
    """The interval of a metric's aggregate for every algorithm. `kind`: percentile, bca, or studentised.

    What is no plain mean over clusters has no studentised interval and gets BCa.
    """
    node = aggregation_node(prepared, name)
    block = start(node, name, prepared)
    estimate = climb_to_top(block, node, prepared, None).values[0, :, 0, 0]
    confidence = prepared.config.stability.confidence
    if _is_median_of_clusters(node, prepared):
        ends = np.array([median_interval(row, confidence=confidence) for row in cluster_values(name, prepared)])
        return Interval(estimate=estimate, low=ends[:, 0], high=ends[:, 1], method="order statistics")
    if not len(draws.multiplicities):
        nothing = np.full(estimate.shape, np.nan)
        return Interval(estimate=estimate, low=nothing, high=nothing, method="no bootstrap")
    tail = (1 - confidence) / 2
    if kind == "studentised" and _is_mean_of_clusters(node, prepared, draws):
        values = cluster_values(name, prepared)
        low, high = _studentised(values, draws.multiplicities, tail)
        worst, best = prepared.metrics[name].spec.bounds
        if worst is not None and (np.nan_to_num(values, nan=worst) >= worst).all():
            low = np.maximum(low, worst)
        if best is not None and (np.nan_to_num(values, nan=best) <= best).all():
            high = np.minimum(high, best)
        return Interval(estimate=estimate, low=low, high=high, method="studentised bootstrap")
    samples = _climbed(name, node, prepared, draws)
    if kind == "percentile":
        low, high = (quantile(samples.T, q) for q in (tail, 1 - tail))
        return Interval(estimate=estimate, low=low, high=high, method="percentile bootstrap")
    size = prepared.unit_count(prepared.config.cluster)
    left_out = _left_out(name, node, prepared, draws, size=size)
    bounds = [_bca(samples[:, i], float(estimate[i]), left_out[:, i], tail) for i in range(len(estimate))]
    return Interval(estimate=estimate, low=np.array(bounds)[:, 0], high=np.array(bounds)[:, 1], method="BCa bootstrap")


def aggregate_samples(name: str, prepared: Prepared, draws: Draws) -> Floats:
    """Draw × algorithm: a metric's aggregate in every replicate."""
    return _climbed(name, aggregation_node(prepared, name), prepared, draws)


def _climbed(name: str, node: Node, prepared: Prepared, draws: Draws) -> Floats:
    block = start(node, name, prepared)
    parts = [climb_to_top(block, node, prepared, batch).values[:, :, 0, 0] for batch in batches(prepared, draws)]
    return np.concatenate(parts)


def _left_out(name: str, node: Node, prepared: Prepared, draws: Draws, *, size: int) -> Floats:
    """The aggregates without each cluster in turn; a portion at a time, for there may be twenty thousand."""
    parts = []
    for first in range(0, size, _LEFT_OUT_AT_ONCE):
        rows = 1 - np.eye(min(_LEFT_OUT_AT_ONCE, size - first), size, k=first)
        parts.append(_climbed(name, node, prepared, replace(draws, multiplicities=rows, raters=None)))
    return np.concatenate(parts)


def _is_median_of_clusters(node: Node, prepared: Prepared) -> bool:
    top = ladder(node)[-1]
    return node.aggregate.get(top, MEAN).kind == "median" and prepared.config.cluster == top and node.levels[-1] == top


def _is_mean_of_clusters(node: Node, prepared: Prepared, draws: Draws) -> bool:
    """Whether the aggregate is the plain mean of independent values, one per cluster."""
    top = ladder(node)[-1]
    is_plain = prepared.config.cluster == top and node.levels[-1] == top and not prepared.config.stability.nested
    return is_plain and node.aggregate.get(top, MEAN).kind == "mean" and draws.raters is None


def _studentised(values: Floats, multiplicities: Floats, tail: float) -> tuple[Floats, Floats]:
    """Ends of bootstrap-t intervals of the means of the rows. Student's where clusters are few or resamples have no spread."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=1) / count
        centred = np.where(there, values - mean[:, None], 0.0)
        error = np.sqrt((centred**2).sum(axis=1) / (count - 1) / count)
        drawn = multiplicities @ there.T.astype(np.float64)
        means = multiplicities @ centred.T / drawn
        errors = np.sqrt(np.maximum(multiplicities @ (centred**2).T / drawn - means**2, 0.0) / (drawn - 1))
        t = np.where(np.abs(means) <= 1e-12 * error, 0.0, means / errors)
    t = np.nan_to_num(t, nan=0.0, posinf=10 * _FARTHEST, neginf=-10 * _FARTHEST)
    below, above = quantile(t.T, 1 - tail), quantile(t.T, tail)
    plain = np.array([student_quantile(tail, int(n) - 1) if n > 1 else 0.0 for n in count])
    is_student = (count < FEWEST_STUDENTISED) | (np.maximum(np.abs(below), np.abs(above)) > _FARTHEST)
    error = np.where(count > 1, error, 0.0)
    return mean - np.where(is_student, plain, below) * error, mean - np.where(is_student, -plain, above) * error


def _bca(samples: Floats, estimate: float, left_out: Floats, tail: float) -> tuple[float, float]:
    """Bias-corrected and accelerated; falls back to the percentile interval when nothing varies."""
    below = float((samples < estimate).mean() + (samples == estimate).mean() / 2)
    if not 0 < below < 1 or not np.isfinite(left_out).all():
        return float(quantile(samples, tail)), float(quantile(samples, 1 - tail))
    bias = normal_quantile(below)
    spread = left_out.mean() - left_out
    scale = float((spread**2).sum()) ** 1.5
    acceleration = float((spread**3).sum()) / (6 * scale) if scale > 0 else 0.0
    shifted = [bias + normal_quantile(q) for q in (tail, 1 - tail)]
    levels = [float(1 - normal_tail(np.array(bias + z / (1 - acceleration * z)))) for z in shifted]
    return float(quantile(samples, levels[0])), float(quantile(samples, levels[1]))


def median_interval(values: Floats, *, confidence: float) -> tuple[float, float]:
    """The narrowest symmetric pair of order statistics that covers the median with at least this confidence.

    With n values, x(l) and x(n+1-l) cover with probability 1 - 2 P(Bin(n, 1/2) < l). Fewer than six values cannot reach
    95 %: then the whole range is given.
    """
    ordered = np.sort(values[~np.isnan(values)])
    n = len(ordered)
    if n == 0:
        return math.nan, math.nan
    allowed = round((1 - confidence) / 2 * 10**12) * 2**n // 10**12
    below, place = 0, 0
    while below + math.comb(n, place) <= allowed:
        below += math.comb(n, place)
        place += 1
    index = max(place - 1, 0)
    return float(ordered[index]), float(ordered[n - 1 - index])
