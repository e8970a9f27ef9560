"""Aggregating one level: from values of cases to a value of a patient, of a site, of everything.

Blocks are draw × algorithm × structure × unit. A bootstrap replicate is a row of multiplicities (how often each unit
was drawn), so a thousand means are one matrix product. Weights enter once, on a block that is the same for all draws, and a second time
only where raters were drawn as well as cases.

NaN is left out, an infinity decides the result, and no valid value at all gives NaN. Without weights values are
summed in sorted order: equal multisets give equal means to the last bit, whatever the order of cases.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index
from evaluator.ranking.document.config import MEAN, Aggregate
from evaluator.ranking.errors import ConfigError


def reduce_units(values: Floats, *, parents: Index | None, how: Aggregate, weights: Floats | None = None) -> Floats:
    """Aggregate the last axis into its parents (`None`: one parent for all)."""
    if parents is None:
        return _aggregate(values, how, weights)[..., None]
    groups = [np.flatnonzero(parents == parent) for parent in range(int(parents.max(initial=-1)) + 1)]
    if weights is None and all(len(members) == 1 for members in groups) and how.kind != "std":
        return values[..., np.concatenate(groups)]
    parts = [
        _aggregate(values[..., members], how, None if weights is None else weights[:, members]) for members in groups
    ]
    return np.stack(parts, axis=-1)


def reduce_structures(values: Floats, *, weights: Sequence[float], how: Aggregate) -> Floats:
    """Aggregate the structure axis (third from the left) with the structures' own weights."""
    turned = np.moveaxis(values, 2, -1)
    if len(set(weights)) == 1:
        return _aggregate(turned, how, None)[:, :, None, :]
    factors = np.asarray(weights, dtype=np.float64)
    return weighted_mean(turned, np.broadcast_to(factors, turned.shape))[:, :, None, :]


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean over the last axis, NaN left out. NaN where nothing with weight is left."""
    is_used = ~np.isnan(values) & (weights > 0)
    total = np.where(is_used, weights, 0).sum(axis=-1)
    summed = np.where(is_used, values * np.where(is_used, weights, 1), 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, summed / total, np.nan)


def _aggregate(values: Floats, how: Aggregate, weights: Floats | None) -> Floats:
    if how.kind == "geometric":
        return _geometric(values, weights)
    if how.kind == "share_above":
        above = np.where(np.isnan(values), np.nan, (values > how.q).astype(np.float64))
        return _aggregate(above, MEAN, weights)
    if weights is not None and len(values) > 1:
        return _each_draw(values, how, weights)
    if how.kind in _CUTS:
        return _cut_mean(values if weights is None else values[0], weights, *_CUTS[how.kind](how.q))
    if weights is None:
        return _plain(values, how)
    if how.kind in ("mean", "sum", "std"):
        return _weighted_moments(values[0], weights, kind=how.kind)
    return _weighted_quantile(values[0], weights, q=_quantile_of(how))


def _each_draw(values: Floats, how: Aggregate, weights: Floats) -> Floats:
    """Values that differ from draw to draw already, each draw with its own weights."""
    if how.kind == "mean":
        return weighted_mean(values, np.broadcast_to(weights[:, None, None, :], values.shape))
    return np.concatenate([_aggregate(values[at : at + 1], how, weights[at : at + 1]) for at in range(len(values))])


def _geometric(values: Floats, weights: Floats | None) -> Floats:
    """exp of the mean logarithm. A zero makes it zero; below zero there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(values)
    if np.isnan(logarithms[~np.isnan(values)]).any():
        raise ConfigError("scheme aggregate geometric: found a value below zero; expected values from zero")
    return np.asarray(np.exp(_aggregate(logarithms, MEAN, weights)))


_CUTS: Mapping[str, Callable[[float], tuple[float, float]]] = {
    "trimmed": lambda q: (q, 1 - q),
    "highest": lambda q: (1 - q, 1.0),
    "lowest": lambda q: (0.0, q),
}
"""From which share of the sorted sample to which its mean is taken."""


def _cut_mean(values: Floats, weights: Floats | None, low: float, high: float) -> Floats:
    """The mean of the sorted sample between two shares of it; a value that stands on a cut counts in part."""
    rows = values.reshape(-1, values.shape[-1])
    drawn = np.ones((1, rows.shape[-1])) if weights is None else weights
    result = np.full((len(drawn), len(rows)), np.nan)
    for index, row in enumerate(rows):
        order = np.argsort(row)[: np.count_nonzero(~np.isnan(row))]
        if not order.size:
            continue
        reached = np.cumsum(drawn[:, order], axis=1)
        total = reached[:, -1:]
        cut = np.clip(reached, low * total, high * total)
        kept = np.diff(cut, axis=1, prepend=low * total)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[:, index] = np.where(kept > 0, kept * row[order], 0).sum(axis=1) / kept.sum(axis=1)
    return result[0].reshape(values.shape[:-1]) if weights is None else result.reshape(len(drawn), *values.shape[:-1])


def _quantile_of(how: Aggregate) -> float:
    return 0.5 if how.kind == "median" else how.q


def _plain(values: Floats, how: Aggregate) -> Floats:
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1] - np.isnan(ordered).sum(axis=-1)
    if how.kind in ("median", "quantile"):
        return _type7(ordered, count, q=_quantile_of(how))
    present = np.where(np.isnan(ordered), 0, ordered)
    total = present.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if how.kind == "sum":
            return np.where(count > 0, total, np.nan)
        mean = np.where(count > 0, total / count, np.nan)
        if how.kind == "mean":
            return mean
        squares = np.where(np.isnan(ordered), 0, (ordered - mean[..., None]) ** 2).sum(axis=-1)
        return np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)


def quantile(values: Floats, q: float) -> Floats:
    """Type 7 quantile along the last axis, NaN left out. NaN where nothing is left."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return _plain(values, Aggregate(kind="quantile", q=q))


def _type7(ordered: Floats, count: npt.NDArray[np.intp], *, q: float) -> Floats:
    """Quantile as R's type 7 and NumPy's default take it: linear between the two neighbouring order statistics."""
    place = np.maximum(count - 1, 0) * q
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    below = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
    above = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
    return _between(below, above, place - low)


def _between(below: Floats, above: Floats, share: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        mixed = (1 - share) * below + share * above
    return np.where((share == 0) | (below == above), below, mixed)


def _weighted_moments(values: Floats, weights: Floats, *, kind: str) -> Floats:
    """Mean, sum or standard deviation of the drawn sample, for all draws at once: draw × algorithm × structure."""
    rows = values.reshape(-1, values.shape[-1])
    finite = np.where(np.isfinite(rows), rows, 0)
    is_valid = ~np.isnan(rows)
    if is_valid.all():
        count = np.broadcast_to(weights.sum(axis=1)[:, None], (len(weights), len(rows)))
    else:
        count = weights @ is_valid.T.astype(np.float64)
    total = weights @ finite.T
    if np.isinf(rows).any():
        bad = (weights @ np.isinf(rows).T.astype(np.float64)) > 0
        total = np.where(bad, np.where(np.isinf(rows), rows, 0).sum(axis=1), total)
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind == "sum":
            result = np.where(count > 0, total, np.nan)
        elif kind == "mean":
            result = np.where(count > 0, total / count, np.nan)
        else:
            centre = finite.sum(axis=1) / np.maximum(is_valid.sum(axis=1), 1)
            squares = weights @ np.where(is_valid, (finite - centre[:, None]) ** 2, 0).T
            shifted = total - count * centre
            result = np.where(count > 1, np.sqrt(np.maximum(squares - shifted**2 / count, 0) / (count - 1)), np.nan)
    return result.reshape(len(weights), *values.shape[:-1])


def _weighted_quantile(values: Floats, weights: Floats, *, q: float) -> Floats:
    """Quantile of the sample in which each value stands as often as its multiplicity says."""
    rows = values.reshape(-1, values.shape[-1])
    result = np.empty((len(weights), len(rows)))
    for index, row in enumerate(rows):
        order = np.argsort(row)[: np.count_nonzero(~np.isnan(row))]
        result[:, index] = _quantiles_of_row(row[order], weights[:, order], q=q)
    return result.reshape(len(weights), *values.shape[:-1])


def _quantiles_of_row(ordered: Floats, weights: Floats, *, q: float) -> Floats:
    reached = np.cumsum(weights, axis=1)
    if not ordered.size:
        return np.full(len(weights), np.nan)
    count = reached[:, -1]
    place = np.maximum(count - 1, 0) * q
    low = np.floor(place)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    last = len(ordered) - 1
    below = ordered[np.minimum((reached <= low[:, None]).sum(axis=1), last)]
    above = ordered[np.minimum((reached <= high[:, None]).sum(axis=1), last)]
    return np.where(count > 0, _between(below, above, place - low), np.nan)
