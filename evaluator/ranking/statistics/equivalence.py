"""Are two algorithms equal for all that matters? A test that finds no difference has not shown that there is none.

Two one-sided tests (Schuirmann 1987): with a margin m, the smallest mean difference that matters, two algorithms are equivalent when
"the mean difference is at most -m" and "… at least m" are both refuted, over what counts as independent. Each is refuted only when two
paired tests refute it: Student's, and Student's of a statistic from which the skewness is removed (the cubic transformation of Hall
1992, "On the removal of skewness by transformation"). Where most cases agree and a few differ much, Student's alone calls pairs equal too
often. The decision is the same as that of the interval lying inside ±m, which holds both tests' intervals of confidence 1 - 2α.
"""

import math
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Floats, Mask
from evaluator.ranking.document.config import Adjustment
from evaluator.ranking.statistics.distributions import student_quantile, student_tail
from evaluator.ranking.statistics.significance import adjust_family, gaps, t_tail


@dataclass(frozen=True, eq=False, kw_only=True)
class Equivalence:
    """Algorithm × algorithm. `difference`: mean of row minus column; `low` to `high` its interval, of confidence 1 - 2α at least.

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
    """The largest p of both one-sided questions and both tests. 1 where fewer than two pairs tell, NaN where a value has no size."""
    sides = (differences + margin, margin - differences)
    found = [test(side) for side in sides for test in (t_tail, _skewed_tail)]
    return max(found, key=lambda p: math.inf if math.isnan(p) else p)


def _bend(d: Floats) -> float:
    """How far the t statistic of these values leans: skewness / (3 √n), 0 where they have none."""
    n = len(d)
    centred = d - d.mean()
    spread = float((centred**2).mean())
    if n < 3 or spread == 0:
        return 0.0
    skewness = float((centred**3).mean()) / spread**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    return float(skewness / (3 * math.sqrt(n)))


def _skewed_tail(differences: Floats) -> float:
    """As `t_tail`, of the statistic that Hall's transformation makes symmetric."""
    d = differences[~np.isnan(differences)]
    bend = 0.0 if np.isinf(d).any() or len(d) < 2 else _bend(d)
    if bend == 0 or d.std(ddof=1) == 0:
        return t_tail(d)
    stretch = 1 + bend * float(d.mean()) / (float(d.std(ddof=1)) / math.sqrt(len(d)))
    return student_tail((stretch * stretch * stretch - 1) / (3 * bend) + bend / 2, len(d) - 1)


def _straightened(t: float, bend: float) -> float:
    """The statistic that Hall's transformation takes to `t`."""
    return t if bend == 0 else (float(np.cbrt(1 + 3 * bend * (t - bend / 2))) - 1) / bend


def equivalences(values: Floats, *, margin: float, alpha: float) -> Equivalence:
    """Every pair of rows of algorithm × unit."""
    count = len(values)
    parts = {name: np.full((count, count), np.nan) for name in ("difference", "low", "high", "p")}
    for i in range(count):
        for j in range(i + 1, count):
            d = gaps(values[i], values[j])
            d = d[~np.isnan(d)]
            parts["p"][i, j] = parts["p"][j, i] = equivalence_p(d, margin)
            mean, low, high = _interval(d, alpha=alpha)
            parts["difference"][i, j], parts["difference"][j, i] = mean, -mean
            parts["low"][i, j], parts["low"][j, i] = low, -high
            parts["high"][i, j], parts["high"][j, i] = high, -low
    upper = np.triu(np.ones((count, count), dtype=bool), 1)
    adjusted = np.full((count, count), np.nan)
    adjusted[upper] = adjust_family(parts["p"][upper][None], Adjustment.HOLM)[0]
    adjusted = np.where(upper, adjusted, adjusted.T)
    with np.errstate(invalid="ignore"):
        return Equivalence(margin=margin, alpha=alpha, **parts, adjusted=adjusted, is_equivalent=adjusted <= alpha)


def _interval(d: Floats, *, alpha: float) -> tuple[float, float, float]:
    """Mean, and the ends of the smallest interval that holds both tests'. Without two finite differences there is none."""
    if len(d) < 2 or np.isinf(d).any():
        return math.nan, math.nan, math.nan
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(len(d))
    t, bend = student_quantile(alpha, len(d) - 1), _bend(d)
    below, above = max(t, _straightened(t, bend)), min(-t, _straightened(-t, bend))
    return mean, mean - below * error, mean - above * error
