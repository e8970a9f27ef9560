"""Scores of classes and risks over all rows of a table, as scikit-learn and lifelines define them.

Every score is a mean over rows of a score of the row, which is what is stored, ranked and resampled.

    area under ROC, average precision    means over the positive rows
    recall (macro: balanced accuracy)    mean over the positive rows of whether the class was chosen
    Brier score, log loss                means of squared error and of -log of the probability of what is true
    calibration error                    mean of (prediction - truth), with the sign of its bin: the weighted gap of all bins
    quadratic kappa                      mean of 1 - squared error / mean squared error of all pairs of rows
    concordance                          mean over events of the share of later rows with a lower risk, by how many there are

The first two are means over the positive rows: of the share of negative rows that score lower, ties counting half, and of the precision at
the row's own score. So each positive row has a score of its own, which is what is stored, ranked and resampled. Negative rows have
none. A row without a prediction counts as the most wrong there is: behind everything if it is positive, in front if it is negative.
A column in which only one class occurs has no such score. It is left out of the mean, never filled in from its neighbour.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats

CALIBRATION_BINS = 10
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


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


def hits_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """For each positive row whether it was called positive (above one half). Their mean is the recall of the class.

    The mean over the columns of classes that exclude each other is scikit-learn's `balanced_accuracy_score`.
    """
    return [
        None if truth <= 0.5 else float(value is not None and value > 0.5)
        for truth, value in zip(references, predictions, strict=True)
    ]


def brier_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """(p - y)² of each row: `brier_score_loss`. A missing or impossible probability counts 1, the worst there is."""
    return [
        1.0 if value is None or not 0 <= value <= 1 else (value - float(truth > 0.5)) ** 2
        for truth, value in zip(references, predictions, strict=True)
    ]


def log_loss_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """-log of the probability of what is true: `log_loss`, probabilities kept `SMALLEST_PROBABILITY` away from 0 and 1."""
    losses: list[float | None] = []
    for truth, value in zip(references, predictions, strict=True):
        right = value if truth > 0.5 else None if value is None else 1 - value
        right = SMALLEST_PROBABILITY if right is None or not 0 <= right <= 1 else right
        losses.append(-math.log(min(max(right, SMALLEST_PROBABILITY), 1 - SMALLEST_PROBABILITY)))
    return losses


def calibration_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """Expected calibration error (Naeini et al. 2015) over `CALIBRATION_BINS` equal bins, [0, 0.1) … [0.9, 1].

    Each row has its gap with the sign of its bin's, so that the mean over rows is the weighted mean of the bins' absolute gaps. A
    missing or impossible probability has a gap of 1.
    """
    usable = [value is not None and 0 <= value <= 1 for value in predictions]
    p = np.array([value if fits else 0.0 for value, fits in zip(predictions, usable, strict=True)], np.float64)
    y = (np.asarray(references, np.float64) > 0.5).astype(np.float64)
    bins = np.minimum((p * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    sums = np.bincount(bins, weights=np.where(usable, p - y, 0.0), minlength=CALIBRATION_BINS)
    gaps = np.where(usable, np.where(sums[bins] < 0, -1.0, 1.0) * (p - y), 1.0)
    return [float(gap) for gap in gaps]


def kappa_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """Cohen's kappa with quadratic weights (`cohen_kappa_score(weights="quadratic")`): grades as numbers.

    A row without a grade counts as the grade of the references that is furthest from its own. None where nothing varies.
    """
    truth = np.asarray(references, np.float64)
    low, high = float(truth.min()), float(truth.max())
    furthest = np.where(truth - low > high - truth, low, high)
    graded = np.array([np.nan if value is None else round(value) for value in predictions], np.float64)
    graded = np.where(np.isnan(graded), furthest, graded)
    # Σ over all pairs of (r - p)², without the pairs.
    n = len(truth)
    expected = float((truth**2).sum() / n + (graded**2).sum() / n - 2 * truth.mean() * graded.mean())
    if expected <= 0:
        return [None] * n
    return [float(1 - (r - p) ** 2 / expected) for r, p in zip(truth, graded, strict=True)]


def concordance_of_rows(references: Sequence[float], predictions: Sequence[float | None]) -> list[float | None]:
    """Harrell's concordance of risks (lifelines' `concordance_index` with the sign of a risk).

    A reference is the time of an event, or minus the time up to which there was none. A pair counts where the earlier time is an
    event; equal times count where one is an event and the other is not. Equal risks count one half. A row without a risk is
    ordered wrongly in every pair.
    """
    time = np.abs(np.asarray(references, np.float64))
    has_event = np.asarray(references, np.float64) > 0
    risk = np.array([np.nan if value is None else value for value in predictions], np.float64)
    counts, wins = np.zeros(len(time)), np.zeros(len(time))
    for row in np.flatnonzero(has_event):
        later = (time > time[row]) | ((time == time[row]) & ~has_event)
        counts[row] = later.sum()
        with np.errstate(invalid="ignore"):
            wins[row] = (risk[later] < risk[row]).sum() + (risk[later] == risk[row]).sum() / 2
    used = counts > 0
    if not used.any():
        return [None] * len(time)
    share = wins / counts.sum() * used.sum()
    return [float(share[row]) if used[row] else None for row in range(len(time))]


def delong_interval(
    references: Sequence[float], predictions: Sequence[float | None], *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the area under ROC: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), cut at 0 and 1.

    The variance is that of the structural components: of the positive rows over their number, plus that of the negative rows. None
    with fewer than two rows of either class.
    """
    positive, scores = _prepared(references, predictions)
    ones, zeros = scores[positive], scores[~positive]
    if min(len(ones), len(zeros)) < 2:
        return None
    of_ones = _share_below(zeros, ones)
    of_zeros = 1 - _share_below(ones, zeros)
    area = float(of_ones.mean())
    spread = math.sqrt(float(of_ones.var(ddof=1)) / len(ones) + float(of_zeros.var(ddof=1)) / len(zeros))
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * spread
    return max(0.0, area - reach), min(1.0, area + reach)


def _share_below(others: Floats, scores: Floats) -> Floats:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(below / (2 * len(ordered)))


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
