"""Is algorithm i better than algorithm j? Paired tests for all pairs at once, with multiplicity adjustment.

Values are algorithm × unit, where a unit is what counts as independent (case, patient or site). The Wilcoxon test
follows R's `wilcox.test(x, y, paired=TRUE, exact=FALSE, correct=TRUE)`, also for tiny samples:

    d = x - y on the pairs both have, zeros dropped, n left; r = mid-ranks of |d|; V = sum of r where d > 0
    z = (V - n(n+1)/4 ∓ 1/2) / sqrt(n(n+1)(2n+1)/24 - Σ(t³ - t)/48),   p from the normal distribution

All differences zero: one-sided p = 1 (R computes -0.5/0), which stays in the family; two-sided p is NaN and leaves
it. A bootstrap replicate weights pairs by how often they were drawn: sorting |d| once per pair of algorithms serves
all replicates, and mid-ranks follow from cumulative weights, ties included.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluator.ranking.config import Adjustment, Significance, Test
from evaluator.ranking.distributions import normal_tail, student_tail
from evaluator.ranking.ties import Floats

_BATCH = 256  # replicates per pass: 256 × 500 cumulative weights stay inside the second-level cache


@dataclass(frozen=True, eq=False)
class PairTests:
    """`p[i, j]`: how surprising the data were if i were not better than j. The diagonal is NaN."""

    p: Floats
    adjusted: Floats
    is_better: npt.NDArray[np.bool_]


def compare_pairs(values: Floats, *, larger_is_better: bool, rules: Significance, seed: int = 1) -> PairTests:
    """Every ordered pair. A two-sided test makes i better only where the data favour i."""
    p, favours = _pair_p(values if larger_is_better else -values, rules=rules, seed=seed)
    adjusted = adjust(p[None], rules)[0]
    return PairTests(p=p, adjusted=adjusted, is_better=_decide(adjusted, favours, rules))


def win_shares(
    values: Floats, *, larger_is_better: bool, rules: Significance, multiplicities: Floats | None = None, seed: int = 1
) -> Floats:
    """Draw × algorithm: the share of the other algorithms that each is significantly better than."""
    count = len(values)
    if count < 2:
        return np.zeros((1 if multiplicities is None else len(multiplicities), count))
    signed = values if larger_is_better else -values
    if multiplicities is None:
        once_p, once_favours = _pair_p(signed, rules=rules, seed=seed)
        p, favours = once_p[None], once_favours[None]
    elif rules.test is Test.WILCOXON:
        p, favours = _wilcoxon_p(signed, multiplicities, is_one_sided=rules.is_one_sided)
    else:
        parts = [_pair_p(_expanded(signed, row), rules=rules, seed=seed) for row in multiplicities]
        p, favours = np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])
    return np.asarray(_decide(adjust(p, rules), favours, rules).sum(axis=-1) / (count - 1))


def one_pair(first: Floats, second: Floats, *, rules: Significance, seed: int = 1) -> float:
    """One-sided p of "the first is better", larger values better."""
    p, _ = _pair_p(np.stack([first, second]), rules=replace(rules, is_one_sided=True), seed=seed)
    return float(p[0, 1])


def _decide(adjusted: Floats, favours: npt.NDArray[np.bool_], rules: Significance) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((adjusted <= rules.alpha) & favours)


def _expanded(values: Floats, multiplicities: Floats) -> Floats:
    return np.repeat(values, multiplicities.astype(np.intp), axis=1)


def _pair_p(values: Floats, *, rules: Significance, seed: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """p and "the data favour i" for every ordered pair; larger values are better."""
    if rules.test is Test.WILCOXON:
        p, favours = _wilcoxon_p(values, np.ones((1, values.shape[1])), is_one_sided=rules.is_one_sided)
        return p[0], favours[0]
    size = values.shape[1]
    random = np.random.default_rng(seed)
    if rules.test is Test.PERMUTATION:
        signs = random.choice([-1.0, 1.0], size=(rules.repetitions, size))
        return _each_pair(values, lambda d: permutation_tail(d, signs), is_one_sided=rules.is_one_sided)
    if rules.test is Test.BOOTSTRAP:
        drawn = random.multinomial(size, np.full(size, 1 / max(size, 1)), size=rules.repetitions).astype(np.float64)
        return _each_pair(values, lambda d: bootstrap_tail(d, drawn), is_one_sided=rules.is_one_sided)
    return _each_pair(values, t_tail, is_one_sided=rules.is_one_sided)


def _each_pair(
    values: Floats, tail: Callable[[Floats], float], *, is_one_sided: bool
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    count = len(values)
    p = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(count):
            if i != j:
                p[i, j] = tail(values[i] - values[j])
    favours = p < p.T
    return (p, np.ones_like(favours)) if is_one_sided else (np.minimum(2 * np.minimum(p, p.T), 1), favours)


def t_tail(differences: Floats) -> float:
    """Paired t-test, P(T > t). No variance: certain when the mean is positive, 1 when it is zero or negative."""
    d = differences[~np.isnan(differences)]
    if len(d) < 2:
        return 1.0
    spread = float(d.std(ddof=1))
    if spread == 0:
        return 0.0 if d.mean() > 0 else 1.0
    return student_tail(float(d.mean()) / (spread / math.sqrt(len(d))), len(d) - 1)


def permutation_tail(differences: Floats, signs: Floats) -> float:
    """Sign-flip permutation test of the mean, with the observed sample counted among the permutations."""
    d = np.where(np.isnan(differences), 0, differences)
    observed = d.sum()
    slack = 1e-12 * max(1.0, float(np.abs(d).sum()))
    return float((1 + np.count_nonzero(signs @ d >= observed - slack)) / (1 + len(signs)))


def bootstrap_tail(differences: Floats, drawn: Floats) -> float:
    """Share of bootstrap samples in which the mean difference is not positive, the observed sample counted among
    them.
    """
    means = drawn @ np.where(np.isnan(differences), 0, differences)
    return float((1 + np.count_nonzero(means <= 0)) / (1 + len(drawn)))


def _wilcoxon_p(values: Floats, multiplicities: Floats, *, is_one_sided: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """p and "the data favour i", draw × i × j, larger values better."""
    draws, count = len(multiplicities), len(values)
    p = np.full((draws, count, count), np.nan)
    favours = np.zeros(p.shape, dtype=bool)
    for i in range(count):
        for j in range(i + 1, count):
            deviation, sigma = signed_rank(values[i] - values[j], multiplicities)
            favours[:, i, j], favours[:, j, i] = deviation > 0, deviation < 0
            if is_one_sided:
                p[:, i, j], p[:, j, i] = _tail(deviation - 0.5, sigma), _tail(-deviation - 0.5, sigma)
            else:
                p[:, i, j] = p[:, j, i] = 2 * _tail(np.abs(deviation) - 0.5 * (deviation != 0), sigma)
    return p, np.ones_like(favours) if is_one_sided else favours


def _tail(numerator: Floats, sigma: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return normal_tail(numerator / sigma)


def signed_rank(differences: Floats, multiplicities: Floats) -> tuple[Floats, Floats]:
    """V - n(n+1)/4 and its standard deviation under the null hypothesis, one per draw."""
    index = np.flatnonzero((differences != 0) & ~np.isnan(differences))
    index = index[np.argsort(np.abs(differences[index]))]
    if not index.size:
        return np.zeros(len(multiplicities)), np.zeros(len(multiplicities))
    size = np.abs(differences[index])
    is_positive = differences[index] > 0
    starts = np.flatnonzero(np.concatenate([[True], size[1:] != size[:-1]]))
    results = [
        _drawn_signed_rank(multiplicities[first : first + _BATCH, index], is_positive, starts)
        for first in range(0, len(multiplicities), _BATCH)
    ]
    deviation, variance = (np.concatenate(parts) for parts in zip(*results, strict=True))
    return deviation, np.sqrt(variance)


def _drawn_signed_rank(
    weights: Floats, is_positive: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]
) -> tuple[Floats, Floats]:
    positive = weights * is_positive
    if len(starts) < weights.shape[1]:
        weights, positive = (np.add.reduceat(part, starts, axis=1) for part in (weights, positive))
    mid_rank = np.cumsum(weights, axis=1)
    n = mid_rank[:, -1].copy()
    mid_rank -= (weights - 1) / 2
    v = np.einsum("bg,bg->b", positive, mid_rank)
    ties = np.einsum("bg,bg,bg->b", weights, weights, weights) - n
    return v - n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24 - ties / 48


def adjust(p: Floats, rules: Significance) -> Floats:
    """Adjusted p-values of each draw: draw × i × j. NaN stays NaN and does not count in the family."""
    count = p.shape[-1]
    is_member = ~np.eye(count, dtype=bool) if rules.is_one_sided else np.triu(np.ones((count, count), dtype=bool), 1)
    family = adjust_family(p[:, is_member], rules.adjust)
    result = np.full(p.shape, np.nan)
    result[:, is_member] = family
    return result if rules.is_one_sided else np.where(np.isnan(result), np.swapaxes(result, 1, 2), result)


def adjust_family(p: Floats, method: Adjustment) -> Floats:
    """Holm, Benjamini–Hochberg or Bonferroni along the last axis, as R's `p.adjust` does."""
    if method is Adjustment.NONE or not p.size:
        return p
    order = np.argsort(p, axis=-1)
    ordered = np.take_along_axis(p, order, axis=-1)
    size = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    place = np.arange(1, p.shape[-1] + 1)
    if method is Adjustment.HOLM:
        adjusted = np.maximum.accumulate((size - place + 1) * ordered, axis=-1)
    elif method is Adjustment.BONFERRONI:
        adjusted = size * ordered
    else:
        scaled = np.where(np.isnan(ordered), np.inf, size * ordered / place)
        adjusted = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    result = np.empty_like(p)
    np.put_along_axis(result, order, np.minimum(adjusted, 1), axis=-1)
    result[np.isnan(p)] = np.nan
    return result
