"""Scores of classes over all rows of a table: area under the ROC curve and average precision, as scikit-learn defines them.

A row without a prediction counts as the most wrong there is: behind everything if it is positive, in front if it is negative.
A column in which only one class occurs has no such score; it is left out of the mean, never filled in from its neighbour.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def area_under_roc(references: Sequence[float], predictions: Sequence[float | None]) -> float | None:
    """Probability that a positive row is scored above a negative one, ties counting half; None with one class only."""
    positive, scores = _prepared(references, predictions)
    count_positive, count_negative = int(positive.sum()), int((~positive).sum())
    if not count_positive or not count_negative:
        return None
    order = np.sort(scores)
    ranks = (np.searchsorted(order, scores, side="left") + np.searchsorted(order, scores, side="right") + 1) / 2
    wins = float(ranks[positive].sum()) - count_positive * (count_positive + 1) / 2
    return wins / (count_positive * count_negative)


def average_precision(references: Sequence[float], predictions: Sequence[float | None]) -> float | None:
    """Sum over thresholds of the step in recall times the precision there; None without a positive row."""
    positive, scores = _prepared(references, predictions)
    total = int(positive.sum())
    if not total:
        return None
    thresholds, group = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(group, weights=positive, minlength=len(thresholds)))
    chosen = np.cumsum(np.bincount(group, minlength=len(thresholds)))
    steps = np.diff(hits, prepend=0.0) / total
    return float(np.sum(steps * hits / chosen))


def _prepared(references: Sequence[float], predictions: Sequence[float | None]) -> tuple[npt.NDArray[np.bool_], Floats]:
    positive = np.asarray(references, np.float64) > 0.5
    wrong = np.where(positive, -np.inf, np.inf)
    scores = np.array([np.nan if value is None else value for value in predictions], np.float64)
    return positive, np.where(np.isnan(scores), wrong, scores)
