"""Is algorithm i better than algorithm j? Paired tests for all pairs at once, with multiplicity adjustment.

Values are algorithm × unit, where a unit is what counts as independent (case, patient or site). The Wilcoxon test
follows R's `wilcox.test(x, y, paired=TRUE, exact=FALSE, correct=TRUE)`, also for tiny samples:

    d = x - y on the pairs both have, zeros dropped, n left, r = mid-ranks of |d|, V = sum of r where d > 0
    z = (V - n(n+1)/4 ∓ 1/2) / sqrt(n(n+1)(2n+1)/24 - Σ(t³ - t)/48),   p from the normal distribution

All differences zero: one-sided p = 1 (R computes -0.5/0), which stays in the family. Two-sided p is NaN and leaves
it. A bootstrap replicate weights pairs by how often they were drawn: sorting |d| once per pair of algorithms serves
all replicates, and mid-ranks follow from cumulative weights, ties included.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index, Mask
from evaluator.ranking.document.config import Adjustment, Significance, Test
from evaluator.ranking.statistics.anytime import anytime_p
from evaluator.ranking.statistics.distributions import normal_tail, student_tail
from evaluator.ranking.statistics.signed_rank import Draws, drawn_signed_rank, signed_ranks

_CELLS_AT_ONCE = 2_000_000
_BATCH = 256  # replicates per pass: 256 × 500 running sums stay inside the second-level cache


@dataclass(frozen=True, eq=False)
class PairTests:
    """`p[i, j]`: how surprising the data were if i were not better than j. The diagonal is NaN."""

    p: Floats
    adjusted: Floats
    is_better: Mask

    def top(self, count: int) -> "PairTests":
        """Only the first few algorithms, with p still adjusted over all."""
        return PairTests(
            p=self.p[:count, :count],
            adjusted=self.adjusted[:count, :count],
            is_better=self.is_better[:count, :count],
        )

    def rank_ranges(self) -> Floats:
        """Algorithm × (best, worst) rank that the decisions leave open: 1 + how many are better, k - how many are worse."""
        count = len(self.is_better)
        return np.stack([1 + self.is_better.sum(axis=0), count - self.is_better.sum(axis=1)], axis=1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Known:
    """Tails already computed, by score row (its bytes, and its number among equal rows)."""

    rows: Mapping[tuple[bytes, int], int]
    tails: Floats


@dataclass(frozen=True)
class PairMemory:
    """What pairs of score rows told a test before: a new submission is then tested against the others only."""

    known: dict[Hashable, Known] = field(default_factory=dict)


def compare_pairs(values: Floats, *, larger_is_better: bool, rules: Significance, seed: int = 1) -> PairTests:
    """Every ordered pair. A two-sided test makes i better only where the data favour i."""
    tails = pair_tails(values if larger_is_better else -values, rules=rules, seed=seed)
    p = _sided(tails, rules)
    adjusted = adjust(p[None], rules)[0]
    return PairTests(p=p, adjusted=adjusted, is_better=_decide(adjusted, tails, rules, limit=rules.alpha))


def win_shares(
    values: Floats,
    *,
    larger_is_better: bool,
    rules: Significance,
    multiplicities: Floats | None = None,
    seed: int = 1,
    memory: PairMemory | None = None,
    place: Hashable = None,
) -> Floats:
    """Draw × algorithm: the share of the other algorithms that each is significantly better than.

    `memory` and `place` (which metric, structure and units these values are) save testing known pairs again.
    """
    count = len(values)
    if count < 2:
        return np.zeros((1 if multiplicities is None else len(multiplicities), count))
    signed = values if larger_is_better else -values
    if multiplicities is None:
        tails = pair_tails(signed, rules=rules, seed=seed, memory=memory, place=place)[None]
    elif rules.test is Test.WILCOXON:
        tails = _drawn_tails(signed, multiplicities)
    else:
        samples = (np.repeat(signed, row.astype(np.intp), axis=1) for row in multiplicities)
        tails = np.stack([pair_tails(sample, rules=rules, seed=seed) for sample in samples])
    p = _sided(tails, rules)
    limit = largest_rejected(p[:, _family(count, rules)], rules.adjust, alpha=rules.alpha)
    decided = _decide(p, tails, rules, limit=limit[:, None, None])
    return np.asarray(decided.sum(axis=-1) / (count - 1))


def neighbour_tails(values: Floats, *, rules: Significance, seed: int = 1) -> Floats:
    """One-sided p of "each row is better than the next one", larger values better."""
    one_row = _row_tester(values, rules=rules, seed=seed)
    return np.array([one_row(row, np.array([row + 1]))[0][0] for row in range(len(values) - 1)])


def _sided(tails: Floats, rules: Significance) -> Floats:
    """One-sided p as it is, two-sided twice the smaller tail, NaN when the pair does not differ at all."""
    if rules.is_one_sided:
        return tails
    mirrored = np.swapaxes(tails, -1, -2)
    return np.where((tails == 1) & (mirrored == 1), np.nan, np.minimum(2 * np.minimum(tails, mirrored), 1))


def _decide(p: Floats, tails: Floats, rules: Significance, *, limit: Floats | float) -> Mask:
    with np.errstate(invalid="ignore"):
        is_small = p <= limit
        return np.asarray(is_small if rules.is_one_sided else is_small & (tails < np.swapaxes(tails, -1, -2)))


def pair_tails(
    values: Floats, *, rules: Significance, seed: int, memory: PairMemory | None = None, place: Hashable = None
) -> Floats:
    """One-sided p of "i is better than j" for every ordered pair, larger values better. The diagonal is NaN."""
    count = len(values)
    tails = np.full((count, count), np.nan)
    fresh = list(range(count))
    key = (place, rules, seed, values.shape[1])
    if memory is not None:
        rows = _numbered(values)
        fresh = _recall(tails, rows, memory.known.get(key))
    one_row = _row_tester(values, rules=rules, seed=seed)
    is_fresh = np.zeros(count, dtype=bool)
    for row in fresh:
        others = np.flatnonzero(~is_fresh)
        others = others[others != row]
        is_fresh[row] = True
        tails[row, others], tails[others, row] = one_row(row, others)
    if memory is not None:
        memory.known[key] = Known(rows={name: index for index, name in enumerate(rows)}, tails=tails)
    return tails


def _numbered(values: Floats) -> list[tuple[bytes, int]]:
    seen: Counter[bytes] = Counter()
    names = []
    for row in values:
        content = row.tobytes()
        names.append((content, seen[content]))
        seen[content] += 1
    return names


def _recall(tails: Floats, rows: Sequence[tuple[bytes, int]], known: Known | None) -> list[int]:
    """Fill in what is known. Return the rows that are new."""
    if known is None:
        return list(range(len(rows)))
    before = np.array([known.rows.get(row, -1) for row in rows], dtype=np.intp)
    old = np.flatnonzero(before >= 0)
    tails[np.ix_(old, old)] = known.tails[np.ix_(before[old], before[old])]
    return [int(index) for index in np.flatnonzero(before < 0)]


def _row_tester(values: Floats, *, rules: Significance, seed: int) -> Callable[[int, Index], tuple[Floats, Floats]]:
    """A function that tests one row against others, both ways."""
    size = values.shape[1]
    random = np.random.default_rng(seed)
    if rules.test is Test.WILCOXON:
        return lambda row, others: _wilcoxon_row(values[row], values[others])
    if rules.test is Test.PERMUTATION:
        signs = random.integers(0, 2, size=(rules.repetitions, size), dtype=np.int8) * 2 - 1
        return lambda row, others: permutation_tails(gaps(values[row], values[others]), signs)
    if rules.test is Test.BOOTSTRAP:
        drawn = _drawn_units(size, rules.repetitions, random)
        return lambda row, others: bootstrap_tails(gaps(values[row], values[others]), drawn)
    if rules.test is Test.E_VALUE:
        return lambda row, others: _anytime_row(gaps(values[row], values[others]))
    return lambda row, others: _t_row(gaps(values[row], values[others]))


def _drawn_units(size: int, repetitions: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """How often each unit was drawn, repetition × unit. A byte each, for there may be many repetitions."""
    drawn = np.zeros((repetitions, size), dtype=np.uint8)
    for row in drawn:
        row[:] = np.bincount(random.integers(size, size=size), minlength=size)
    return drawn


def _anytime_row(differences: Floats) -> tuple[Floats, Floats]:
    return np.array([anytime_p(d) for d in differences]), np.array([anytime_p(-d) for d in differences])


def _t_row(differences: Floats) -> tuple[Floats, Floats]:
    return np.array([t_tail(d) for d in differences]), np.array([t_tail(-d) for d in differences])


def _wilcoxon_row(first: Floats, others: Floats) -> tuple[Floats, Floats]:
    """One row against many, in portions that stay small."""
    step = max(1, _CELLS_AT_ONCE // max(len(first), 1))
    parts = [signed_ranks(gaps(first, others[start : start + step])) for start in range(0, len(others), step)]
    if not parts:
        return np.empty(0), np.empty(0)
    deviation, sigma = (np.concatenate(side) for side in zip(*parts, strict=True))
    return _tail(deviation - 0.5, sigma), _tail(-deviation - 0.5, sigma)


def gaps(first: Floats, second: Floats) -> Floats:
    """Paired differences. NaN where a value is missing or both stand behind every number."""
    with np.errstate(invalid="ignore"):
        return first - second


def _tail(numerator: Floats, sigma: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return normal_tail(numerator / sigma)


def _drawn_tails(values: Floats, multiplicities: Floats) -> Floats:
    """Wilcoxon tails of every replicate: draw × i × j."""
    count = len(values)
    tails = np.full((len(multiplicities), count, count), np.nan)
    for first in range(0, len(multiplicities), _BATCH):
        draws = Draws.of(multiplicities[first : first + _BATCH])
        part = tails[first : first + _BATCH]
        for i in range(count):
            for j in range(i + 1, count):
                deviation, sigma = drawn_signed_rank(gaps(values[i], values[j]), draws)
                part[:, i, j], part[:, j, i] = _tail(deviation - 0.5, sigma), _tail(-deviation - 0.5, sigma)
    return tails


def t_tail(differences: Floats) -> float:
    """Paired t-test, P(T > t). No variance: certain when the mean is positive, 1 when it is zero or negative.

    NaN, like every test of means, when a value stands behind every number: it has no size.
    """
    d = differences[~np.isnan(differences)]
    if np.isinf(d).any():
        return math.nan
    if len(d) < 2:
        return 1.0
    spread = float(d.std(ddof=1))
    if spread == 0:
        return 0.0 if d.mean() > 0 else 1.0
    return student_tail(float(d.mean()) / (spread / math.sqrt(len(d))), len(d) - 1)


def permutation_tails(differences: Floats, signs: npt.NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Sign-flip permutation test of the mean of each row, both ways. The observed sample counts among the permutations."""
    d = np.where(np.isnan(differences), 0, differences)
    observed = np.where(np.isinf(d).any(axis=1), np.nan, _finite(d).sum(axis=1))
    slack = 1e-12 * np.maximum(1.0, np.abs(_finite(d)).sum(axis=1))
    up, down = np.ones(len(d)), np.ones(len(d))
    for sums in _resampled_sums(signs, _finite(d)):
        up += np.count_nonzero(sums >= observed - slack, axis=0)
        down += np.count_nonzero(sums <= observed + slack, axis=0)
    total = np.where(np.isnan(observed), np.nan, 1 + len(signs))
    return up / total, down / total


def bootstrap_tails(differences: Floats, drawn: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Share of bootstrap samples in which the mean of a row is not positive (not negative), the observed one counted too."""
    d = np.where(np.isnan(differences), 0, differences)
    up, down = np.ones(len(d)), np.ones(len(d))
    for sums in _resampled_sums(drawn, _finite(d)):
        up += np.count_nonzero(sums <= 0, axis=0)
        down += np.count_nonzero(sums >= 0, axis=0)
    total = np.where(np.isinf(d).any(axis=1), np.nan, 1 + len(drawn))
    return up / total, down / total


def _finite(d: Floats) -> Floats:
    return np.where(np.isinf(d), 0, d)


def _resampled_sums(resamples: npt.NDArray[np.integer], differences: Floats) -> Iterator[Floats]:
    """Repetition × row sums of the resampled differences, a portion of the repetitions at a time."""
    step = max(1, _CELLS_AT_ONCE // max(resamples.shape[1], 1))
    for first in range(0, len(resamples), step):
        yield resamples[first : first + step].astype(np.float64) @ differences.T


def adjust(p: Floats, rules: Significance) -> Floats:
    """Adjusted p-values of each draw: draw × i × j. NaN stays NaN and does not count in the family."""
    is_member = _family(p.shape[-1], rules)
    family = adjust_family(p[:, is_member], rules.adjust)
    result = np.full(p.shape, np.nan)
    result[:, is_member] = family
    return result if rules.is_one_sided else np.where(np.isnan(result), np.swapaxes(result, 1, 2), result)


def _family(count: int, rules: Significance) -> Mask:
    """The tests that are adjusted together: all ordered pairs, or all unordered ones when the test has two sides."""
    return ~np.eye(count, dtype=bool) if rules.is_one_sided else np.triu(np.ones((count, count), dtype=bool), 1)


def largest_rejected(p: Floats, method: Adjustment, *, alpha: float) -> Floats:
    """For each row the largest p whose adjusted value is at most alpha, -1 when none is.

    Says the same as comparing `adjust_family` with alpha, at the price of a sort without indices: a quarter of the time
    on a million pairs.
    """
    if method is Adjustment.NONE:
        return np.full(len(p), alpha)
    ordered = np.sort(p, axis=-1)
    size = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    place = np.arange(1, p.shape[-1] + 1)
    factor = {Adjustment.HOLM: size - place + 1, Adjustment.BH: size / place, Adjustment.BONFERRONI: size}[method]
    with np.errstate(invalid="ignore"):
        is_small = factor * ordered <= alpha
    if method is Adjustment.HOLM:
        count = np.logical_and.accumulate(is_small, axis=-1).sum(axis=-1)
    else:
        count = np.where(is_small.any(axis=-1), p.shape[-1] - is_small[:, ::-1].argmax(axis=-1), 0)
    last = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None], axis=-1)[:, 0]
    return np.where(count > 0, last, -1.0)


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
