"""Are two algorithms equal for all that matters? A test that finds no difference has not shown that there is none.

Two one-sided tests (Schuirmann 1987): with a margin m, the smallest mean difference that matters, two algorithms are equivalent when
"the mean difference is at most -m" and "… at least m" are both refuted. Paired t-tests over what counts as independent. The decision is
the same as that of the interval of confidence 1 - 2α lying inside ±m.
"""

import math
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Floats, Mask
from evaluator.ranking.document.config import Adjustment
from evaluator.ranking.statistics.distributions import student_quantile
from evaluator.ranking.statistics.significance import adjust_family, gaps, t_tail


@dataclass(frozen=True, eq=False, kw_only=True)
class Equivalence:
    """Algorithm × algorithm. `difference`: mean of row minus column; `low` to `high` its interval of confidence 1 - 2α.

    `adjusted` is p by Holm over all unordered pairs, and `is_equivalent` is decided by it. Diagonals are NaN and false.
    """

    margin: float
    alpha: float
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    adjusted: Floats
    is_equivalent: Mask

    def top(self, count: int) -> "Equivalence":
        """Only the first few algorithms, with p still adjusted over all."""
        parts = {name: getattr(self, name)[:count, :count] for name in _MATRICES}
        return Equivalence(margin=self.margin, alpha=self.alpha, **parts)


_MATRICES = ("difference", "low", "high", "p", "adjusted", "is_equivalent")


def equivalence_p(differences: Floats, margin: float) -> float:
    """The larger p of the two one-sided t-tests. 1 where fewer than two pairs tell, NaN where a value has no size."""
    return max(
        t_tail(differences + margin), t_tail(margin - differences), key=lambda p: math.inf if math.isnan(p) else p
    )


def equivalences(values: Floats, *, margin: float, alpha: float) -> Equivalence:
    """Every pair of rows of algorithm × unit."""
    count = len(values)
    parts = {name: np.full((count, count), np.nan) for name in ("difference", "low", "high", "p")}
    for i in range(count):
        for j in range(i + 1, count):
            d = gaps(values[i], values[j])
            d = d[~np.isnan(d)]
            parts["p"][i, j] = parts["p"][j, i] = equivalence_p(d, margin)
            mean, half = _interval(d, alpha=alpha)
            for row, column, sign in ((i, j, 1), (j, i, -1)):
                parts["difference"][row, column] = sign * mean
                parts["low"][row, column], parts["high"][row, column] = sign * mean - half, sign * mean + half
    upper = np.triu(np.ones((count, count), dtype=bool), 1)
    adjusted = np.full((count, count), np.nan)
    adjusted[upper] = adjust_family(parts["p"][upper][None], Adjustment.HOLM)[0]
    adjusted = np.where(upper, adjusted, adjusted.T)
    with np.errstate(invalid="ignore"):
        return Equivalence(margin=margin, alpha=alpha, **parts, adjusted=adjusted, is_equivalent=adjusted <= alpha)


def _interval(d: Floats, *, alpha: float) -> tuple[float, float]:
    """Mean and half width. Without two finite differences there is none."""
    if len(d) < 2 or np.isinf(d).any():
        return math.nan, math.nan
    return float(d.mean()), student_quantile(alpha, len(d) - 1) * float(d.std(ddof=1)) / math.sqrt(len(d))
