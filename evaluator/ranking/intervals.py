"""Confidence intervals of a metric: how precisely the cases pin down an algorithm's aggregate.

For means the bootstrap interval, percentile or BCa (Efron 1987), over the clusters. For medians the bootstrap fails badly
(its distribution sits on a few order statistics), so medians over clusters get the binomial order-statistic interval.
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
from evaluator.ranking.statistics.distributions import normal_quantile, normal_tail

_LEFT_OUT_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Interval:
    """Estimate and interval of one metric, one value per algorithm; `method` names how the interval was made."""

    estimate: Floats
    low: Floats
    high: Floats
    method: str


def metric_interval(name: str, prepared: Prepared, draws: Draws, *, uses_bca: bool = False) -> Interval:
    """The interval of a metric's aggregate for every algorithm."""
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
    samples = _climbed(name, node, prepared, draws)
    tail = (1 - confidence) / 2
    if not uses_bca:
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
