"""How large differences are, beside whether they are there: Cliff's delta, and the critical difference of mean ranks."""

import math
from functools import lru_cache

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.statistics.distributions import normal_tail


def cliffs_delta(values: Floats, *, larger_is_better: bool) -> Floats:
    """Algorithm × algorithm: the share of pairs of cases in which i is better than j, minus the share in which it is worse.

    Source: Cliff, Psychological Bulletin 114 (1993). NaN are left out. The diagonal is 0.
    """
    signed = values if larger_is_better else -values
    rows = [np.sort(row[~np.isnan(row)]) for row in signed]
    delta = np.zeros((len(rows), len(rows)))
    for i, first in enumerate(rows):
        for j, second in enumerate(rows):
            if i != j and first.size and second.size:
                below = np.searchsorted(second, first, side="left").sum()
                above = (second.size - np.searchsorted(second, first, side="right")).sum()
                delta[i, j] = (below - above) / (first.size * second.size)
    return delta


def critical_difference(count: int, cases: int, *, alpha: float = 0.05) -> float:
    """The difference of two mean ranks that is significant by the Nemenyi test: q √(k (k + 1) / 6 n).

    Source: Demšar, Journal of Machine Learning Research 7 (2006), table 5 of which has q.
    """
    return nemenyi_quantile(count, alpha) * math.sqrt(count * (count + 1) / (6 * cases))


@lru_cache(maxsize=256)
def nemenyi_quantile(count: int, alpha: float) -> float:
    """The upper quantile of the studentised range of `count` normals with infinite degrees of freedom, over √2, by halving."""
    z = np.linspace(-8.5, 8.5, 4001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    upper = normal_tail(z)

    def within(q: float) -> float:
        inside = np.clip(normal_tail(z - q) - upper, 0, 1)
        return float(np.trapezoid(count * density * inside ** (count - 1), z))

    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 1 - alpha else (low, middle)
    return high / math.sqrt(2)
