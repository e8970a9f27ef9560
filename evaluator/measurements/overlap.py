"""Volume overlap of one label: three voxel counts, and everything that can be read off them.

Where a denominator is zero (both masks empty, or the one that counts), the answer is NaN: what it is *worth* is
decided in `conventions.py`, never here.
"""

from dataclasses import dataclass

NOT_DEFINED = float("nan")


@dataclass(frozen=True)
class Overlap:
    """How many voxels carry a label in the reference, in the prediction, and in both."""

    reference_voxels: int
    prediction_voxels: int
    intersection_voxels: int


def dice(overlap: Overlap) -> float:
    """Dice similarity coefficient 2|R∩P| / (|R| + |P|). NaN when both masks are empty."""
    return _ratio(2 * overlap.intersection_voxels, overlap.reference_voxels + overlap.prediction_voxels)


def intersection_over_union(overlap: Overlap) -> float:
    """Jaccard index |R∩P| / |R∪P|. NaN when both masks are empty."""
    union = overlap.reference_voxels + overlap.prediction_voxels - overlap.intersection_voxels
    return _ratio(overlap.intersection_voxels, union)


def precision(overlap: Overlap) -> float:
    """Share of the predicted voxels that are right. NaN when nothing was predicted."""
    return _ratio(overlap.intersection_voxels, overlap.prediction_voxels)


def recall(overlap: Overlap) -> float:
    """Share of the reference voxels that were found. NaN when the reference is empty."""
    return _ratio(overlap.intersection_voxels, overlap.reference_voxels)


def volume_similarity(overlap: Overlap) -> float:
    """1 - ||R| - |P|| / (|R| + |P|) (Taha and Hanbury 2015). NaN when both masks are empty."""
    total = overlap.reference_voxels + overlap.prediction_voxels
    return _ratio(total - abs(overlap.reference_voxels - overlap.prediction_voxels), total)


def relative_volume_difference(overlap: Overlap) -> float:
    """(|P| - |R|) / |R|: negative when the prediction is too small. NaN when the reference is empty."""
    return _ratio(overlap.prediction_voxels - overlap.reference_voxels, overlap.reference_voxels)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else NOT_DEFINED
