"""Ranks from values: how equals share, when two numbers count as equal, and what happens to those that have none.

Everything here works on keys: smaller is better, NaN is not ranked at all, +inf is ranked behind every number. Ranks
behind are counted: (1, 2, 2, missing) is 1, 2, 2, 4. challengeR continues from the largest *rank* instead (1, 2, 2,
3).
"""

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats
from evaluator.ranking.document.config import TieMethod


def rank(
    keys: Floats, *, method: TieMethod = TieMethod.MIN, tolerance: float = 0.0, follow_challenger: bool = False
) -> Floats:
    """Rank along the last axis."""
    order = np.argsort(keys, axis=-1)
    ordered = np.take_along_axis(keys, order, axis=-1)
    is_new = _starts_group(ordered, tolerance=tolerance)
    position = np.arange(keys.shape[-1], dtype=np.float64)
    ranks = np.empty(keys.shape)
    np.put_along_axis(ranks, order, _shared(is_new, position, method=method), axis=-1)
    ranks[np.isnan(keys)] = np.nan
    if follow_challenger and np.isinf(keys).any():
        _challenger_last(ranks, keys, method=method)
    return ranks


def _starts_group(ordered: Floats, *, tolerance: float) -> npt.NDArray[np.bool_]:
    """Whether each sorted key opens a new group of equals.

    With a tolerance a key joins the group of the best key it is within tolerance of: no chain of small steps ties the
    first with the last.
    """
    is_new = np.ones(ordered.shape, dtype=bool)
    if tolerance == 0:
        is_new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        return is_new
    leader = ordered[..., 0].copy()
    for place in range(1, ordered.shape[-1]):
        here = ordered[..., place]
        with np.errstate(invalid="ignore"):
            joins = (here == leader) | (here - leader <= tolerance)
        is_new[..., place] = ~joins
        leader = np.where(joins, leader, here)
    return is_new


def _shared(is_new: npt.NDArray[np.bool_], position: Floats, *, method: TieMethod) -> Floats:
    if method is TieMethod.DENSE:
        return np.cumsum(is_new, axis=-1).astype(np.float64)
    start = np.maximum.accumulate(np.where(is_new, position, 0), axis=-1)
    if method is TieMethod.MIN:
        return start + 1
    is_last = np.ones_like(is_new)
    is_last[..., :-1] = is_new[..., 1:]
    end = np.minimum.accumulate(np.where(is_last, position, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    return end + 1 if method is TieMethod.MAX else (start + end) / 2 + 1


def _challenger_last(ranks: Floats, keys: Floats, *, method: TieMethod) -> None:
    is_last = np.isinf(keys)
    largest = np.where(is_last | np.isnan(ranks), 0, ranks).max(axis=-1, keepdims=True)
    count = is_last.sum(axis=-1, keepdims=True)
    behind = largest + ((count + 1) / 2 if method is TieMethod.AVERAGE else 1)
    np.copyto(ranks, np.broadcast_to(behind, ranks.shape), where=is_last)


def round_significant(values: Floats, digits: int | None) -> Floats:
    """Round to significant digits, so that equal means tie although their sums differ in the last bit."""
    if digits is None:
        return values
    magnitude = np.abs(values)
    is_plain = np.isfinite(values) & (magnitude > 1e-280)
    exponent = np.floor(np.log10(np.where(is_plain, magnitude, 1.0)))
    scale = 10.0 ** (digits - 1 - exponent)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(is_plain, np.rint(np.where(is_plain, values, 0) * scale) / scale, values)
