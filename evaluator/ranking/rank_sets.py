"""Rank sets: for every algorithm the ranks that the data leave open, all of them right at once with the stated confidence.

Source: Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks", Review of Economic Studies 91 (2024): simultaneous confidence
intervals of all pairwise differences give simultaneous sets of ranks. An algorithm's set starts behind those that are better
beyond doubt, and ends before those that are worse beyond doubt.

The differences are those of the values that stand for the whole scheme in tests (`engine.headline`), one per cluster: the metric
where there is one, else the mean rank of a case over all metrics. One bootstrap over clusters gives the largest of all
studentised differences (bootstrap-t and max-T: Hall 1988, Romano and Wolf 2005). Its quantile is the limit of every pair.
"""

import math
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Floats, Mask
from evaluator.ranking.document.config import TieMethod
from evaluator.ranking.statistics.significance import gaps
from evaluator.ranking.statistics.ties import rank

REPLICATES = 1000
FEWEST_CLUSTERS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class RankSets:
    """`low` and `high` per algorithm. `is_better[i, j]`: i is better than j with every other claim of the table at once."""

    low: Floats
    high: Floats
    is_better: Mask
    confidence: float
    critical: float

    @property
    def leaders(self) -> tuple[int, ...]:
        """The algorithms that no other is better than beyond doubt."""
        return tuple(np.flatnonzero(self.low == 1).tolist())

    def top(self, count: int) -> "RankSets":
        """Only the first few algorithms. Their sets stay those among all."""
        return RankSets(
            low=self.low[:count],
            high=self.high[:count],
            is_better=self.is_better[:count, :count],
            confidence=self.confidence,
            critical=self.critical,
        )


def rank_sets(values: Floats, *, larger_is_better: bool, confidence: float, seed: int) -> RankSets:
    """Rank sets of algorithm × cluster `values`. NaN is a pair that is not there; an infinite value makes all count as ranks.

    Fewer than `FEWEST_CLUSTERS` clusters separate nobody.
    """
    values = _finite(values if larger_is_better else -values)
    count, size = values.shape
    t = np.zeros((count, count))
    largest = np.zeros(REPLICATES)
    if size >= FEWEST_CLUSTERS and count > 1:
        random = np.random.default_rng(seed)
        drawn = random.integers(size, size=(REPLICATES, size)) + size * np.arange(REPLICATES)[:, None]
        multiplicities = (
            np.bincount(drawn.ravel(), minlength=REPLICATES * size).reshape(REPLICATES, size).astype(np.float64)
        )
        for first in range(count - 1):
            differences = gaps(values[first], values[first + 1 :])
            observed, resampled = _studentised(differences, multiplicities)
            t[first, first + 1 :], t[first + 1 :, first] = observed, -observed
            largest = np.maximum(largest, resampled.max(axis=1))
    critical = float(np.sort(largest)[min(REPLICATES - 1, math.ceil(confidence * (REPLICATES + 1)) - 1)])
    is_better = t > critical if size >= FEWEST_CLUSTERS else np.zeros_like(t, dtype=bool)
    return RankSets(
        low=1.0 + is_better.sum(axis=0),
        high=float(count) - is_better.sum(axis=1),
        is_better=np.asarray(is_better),
        confidence=confidence,
        critical=critical,
    )


def _finite(values: Floats) -> Floats:
    if not np.isinf(values).any():
        return values
    return np.asarray(rank(values.T, method=TieMethod.AVERAGE).T, dtype=np.float64)


def _studentised(differences: Floats, multiplicities: Floats) -> tuple[Floats, Floats]:
    """t of every row, and of every replicate around it. A replicate without spread says nothing about its distance: infinite."""
    is_there = (~np.isnan(differences)).astype(np.float64)
    d = np.where(is_there > 0, differences, 0.0)
    n = is_there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = d.sum(axis=1) / n
        spread = np.sqrt((((d - mean[:, None]) * is_there) ** 2).sum(axis=1) / (n - 1) / n)
        t = np.where(n > 1, mean / spread, 0.0)
        centred = (d - mean[:, None]) * is_there
        counts = n[None] if is_there.all() else multiplicities @ is_there.T  # a draw holds as many as there are
        means = multiplicities @ centred.T / counts
        spreads = np.sqrt(np.maximum(multiplicities @ (centred**2).T / counts - means**2, 0) / (counts - 1))
        scale = np.sqrt((centred**2).sum(axis=1) / np.maximum(n, 1))
        is_flat = spreads <= 1e-9 * scale
        resampled = np.where(is_flat, np.where(np.abs(means) <= 1e-12 * scale, 0.0, math.inf), np.abs(means) / spreads)
    return np.nan_to_num(t, nan=0.0, posinf=math.inf, neginf=-math.inf), np.nan_to_num(
        resampled, nan=0.0, posinf=math.inf
    )
