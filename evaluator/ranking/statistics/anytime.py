"""Tests that may be looked at after every case: for boards that stay open while their test set grows.

For each pair the signs of the paired differences, in the order of the cases, make a betting process. Under "i is better than j in at
most half of the cases that differ" its value is a nonnegative supermartingale that starts at 1, so that it ever reaches 1/α with
probability α at most (Ville 1939), however often somebody looks. The bet is the likelihood ratio of a share p against one half,
mixed evenly over p from one half to one (Robbins, Ann. Math. Stat. 41, 1970; Ramdas, Grünwald, Vovk and Shafer, Stat. Sci. 38, 2023):

    E = 2 ∫ (2p)^wins (2 - 2p)^losses dp = 2^(n + 1) B(wins + 1, losses + 1) (1 - I½(wins + 1, losses + 1))

The anytime-valid p is one over the largest value so far. Differences of zero say nothing.
"""

import math

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.statistics.distributions import incomplete_beta


def anytime_p(differences: Floats) -> float:
    """p of "the first is better", valid after every difference at once. NaN are left out."""
    signs = np.sign(differences[~np.isnan(differences)])
    signs = signs[signs != 0]
    if not signs.size:
        return 1.0
    wins = np.cumsum(signs > 0)
    seen = np.arange(1, signs.size + 1)
    # The process can only have its largest value after a win: losses lower it.
    best = max(
        (log_e_value(int(w), int(n - w)) for w, n, s in zip(wins, seen, signs, strict=True) if s > 0), default=0.0
    )
    return min(1.0, math.exp(-max(best, 0.0)))


def log_e_value(wins: int, losses: int) -> float:
    """The logarithm of the mixture after so many wins and losses."""
    a, b = wins + 1.0, losses + 1.0
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    above = 1 - incomplete_beta(0.5, a, b)
    if above <= 0:
        return -math.inf
    return (wins + losses + 1) * math.log(2) + log_beta + math.log(above)
