"""Wilcoxon's signed-rank statistic: for many rows of differences at once, or for many bootstrap draws of one row.

V is the sum of the mid-ranks of |d| over positive d, zeros dropped. A draw that takes pair i w_i times has, for pairs sorted
by |d| with running sums C of the w's, the mid-rank C_i - (w_i - 1)/2: one running sum serves all draws. Pairs with equal |d|
are added up first and then behave as one.

All sums are whole numbers (2 V is used where halves occur), so single precision is exact while they stay below 2²⁴, and half
the memory traffic of double precision. Larger samples use double.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats
from evaluator.ranking.document.config import TieMethod
from evaluator.ranking.statistics.ties import rank

Reals = npt.NDArray[np.floating]

_LARGEST_SINGLE = 4000  # 2 V ≤ n (n + 1) < 2²⁴
_BLOCK = 24  # rows per block of a running sum: about √500


@dataclass(frozen=True, eq=False)
class Draws:
    """Multiplicities, unit × draw, with Σ(w³ - w), the tie term of a sample whose units all differ."""

    counts: Reals
    tie_terms: Floats
    all_ties: Floats

    @classmethod
    def of(cls, multiplicities: Floats) -> "Draws":
        """From draw × unit."""
        size = multiplicities.sum(axis=1).max(initial=0)
        kind: type[np.floating] = np.float32 if size <= _LARGEST_SINGLE else np.float64
        counts = np.ascontiguousarray(multiplicities.T).astype(kind)
        tie_terms = np.ascontiguousarray((multiplicities**3 - multiplicities).T)
        return cls(counts=counts, tie_terms=tie_terms, all_ties=tie_terms.sum(axis=0))


def signed_ranks(differences: Floats) -> tuple[Floats, Floats]:
    """V - n(n+1)/4 and its standard deviation for each row of differences.

    The variance of V is a quarter of the sum of squared mid-ranks: R's formula with the tie correction, rewritten.
    """
    ranks = rank(np.where(differences == 0, np.nan, np.abs(differences)), method=TieMethod.AVERAGE)
    ranks[np.isnan(ranks)] = 0
    n = np.count_nonzero(ranks, axis=-1)
    v = np.where(differences > 0, ranks, 0).sum(axis=-1)
    return v - n * (n + 1) / 4, np.sqrt((ranks**2).sum(axis=-1) / 4)


def drawn_signed_rank(differences: Floats, draws: Draws) -> tuple[Floats, Floats]:
    """V - n(n+1)/4 and its standard deviation for each draw of one row of differences."""
    kept = np.flatnonzero((differences != 0) & ~np.isnan(differences))
    if not kept.size:
        nothing = np.zeros(draws.counts.shape[1])
        return nothing, nothing
    kept = kept[np.argsort(np.abs(differences[kept]))]
    size = np.abs(differences[kept])
    counts = draws.counts[kept]
    is_positive = (differences[kept] > 0).astype(counts.dtype)
    starts = np.flatnonzero(np.concatenate([[True], size[1:] != size[:-1]]))
    if len(starts) == len(kept):
        running = running_sums(counts)
        twice_v = is_positive @ (counts * (2 * running - counts + 1))
        everything = len(kept) == len(differences)
        ties = draws.all_ties if everything else draws.tie_terms[kept].sum(axis=0)
    else:
        positive = np.add.reduceat(counts * is_positive[:, None], starts, axis=0)
        counts = np.add.reduceat(counts, starts, axis=0)
        running = running_sums(counts)
        twice_v = np.einsum("gb,gb->b", positive, 2 * running - counts + 1)
        exact = counts.astype(np.float64)
        ties = np.einsum("gb,gb,gb->b", exact, exact, exact) - exact.sum(axis=0)
    n = running[-1].astype(np.float64)
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return twice_v.astype(np.float64) / 2 - n * (n + 1) / 4, np.sqrt(variance)


def running_sums(rows: Reals) -> Reals:
    """Cumulative sums down the first axis.

    Blocks of rows advance together, so every addition is a long vector operation: a quarter of the time of `cumsum`, which
    adds one number at a time and waits for it.
    """
    length, width = rows.shape
    count = -(-length // _BLOCK)
    padded = np.zeros((count * _BLOCK, width), dtype=rows.dtype)
    padded[:length] = rows
    blocks = padded.reshape(count, _BLOCK, width)
    for row in range(1, _BLOCK):
        blocks[:, row] += blocks[:, row - 1]
    for block in range(1, count):
        blocks[block] += blocks[block - 1, -1]
    return padded[:length]
