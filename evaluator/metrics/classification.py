"""Scores of classes over all rows of a table: area under the ROC curve and average precision, as scikit-learn defines them.

Both are means over the positive rows: of the share of negative rows that score lower, ties counting half, and of the precision at
the row's own score. So each positive row has a score of its own, which is what is stored, ranked and resampled. Negative rows have
none. A row without a prediction counts as the most wrong there is: behind everything if it is positive, in front if it is negative.
A column in which only one class occurs has no such score. It is left out of the mean, never filled in from its neighbour.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats


def wins_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """For each positive row the share of negative ones that score lower, ties counting half. None with one class only."""
    positive, scores = _prepared(references, predictions)
    negatives = np.sort(scores[~positive])
    if not positive.any() or not len(negatives):
        return [None] * len(positive)
    below = np.searchsorted(negatives, scores, side="left") + np.searchsorted(negatives, scores, side="right")
    return _of_positive_rows(positive, below / (2 * len(negatives)))


def precisions_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """For each positive row the share of positives among the rows that score as high as it does."""
    positive, scores = _prepared(references, predictions)
    order = np.sort(scores)
    hits = int(positive.sum()) - np.searchsorted(np.sort(scores[positive]), scores, side="left")
    chosen = len(order) - np.searchsorted(order, scores, side="left")
    return _of_positive_rows(positive, hits / chosen)


def mean_over_rows(scores: Sequence[float | None]) -> float | None:
    """A column's score from those of its rows. None without a positive row."""
    defined = [score for score in scores if score is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _of_positive_rows(positive: npt.NDArray[np.bool_], scores: Floats) -> list[float | None]:
    return [float(score) if holds else None for holds, score in zip(positive, scores, strict=True)]


def _prepared(references: Sequence[float], predictions: Sequence[float | None]) -> tuple[npt.NDArray[np.bool_], Floats]:
    positive = np.asarray(references, np.float64) > 0.5
    wrong = np.where(positive, -np.inf, np.inf)
    scores = np.array([np.nan if value is None else value for value in predictions], np.float64)
    return positive, np.where(np.isnan(scores), wrong, scores)
