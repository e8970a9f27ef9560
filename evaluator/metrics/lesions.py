"""Lesion-wise scores: reference lesions are matched with predicted ones first, then each lesion is scored on its own.

The rules are those of BraTS 2023 (rachitsaluja/BraTS-2023-Metrics): the reference is dilated. Reference components whose dilated
forms join count as one lesion. A predicted component belongs to every lesion whose dilated form it touches. A lesion is scored
against all components that belong to it. A lesion smaller than the threshold is not scored, but components that touch it are not
false positives either. Each scored lesion without a match is a false negative, each component without a lesion a false positive.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Mask
from evaluator.metrics.boxes import bounding_box, joined
from evaluator.metrics.components import dilate, label_components, overlapping_pairs


@dataclass(frozen=True, kw_only=True)
class LesionRules:
    """How lesions are told apart and matched."""

    neighbourhood: int = 26
    dilation: int = 0
    dilation_neighbourhood: int = 18
    volume_threshold_mm3: float = 0.0


@dataclass(frozen=True)
class Lesion:
    """One scored reference lesion and the predicted voxels that belong to it, within a common box."""

    reference: Mask
    prediction: Mask

    @property
    def is_found(self) -> bool:
        """Whether any predicted component belongs to it."""
        return bool(self.prediction.any())


@dataclass(frozen=True)
class LesionMatch:
    """The scored lesions of a reference, and how many predicted components belong to no lesion at all."""

    lesions: tuple[Lesion, ...]
    false_positives: int

    @property
    def true_positives(self) -> int:
        """Scored lesions that were found."""
        return sum(lesion.is_found for lesion in self.lesions)

    @property
    def false_negatives(self) -> int:
        """Scored lesions that were missed."""
        return len(self.lesions) - self.true_positives

    def mean_over_lesions(self, score: Callable[[Lesion], float], *, worst: float, nothing: float) -> float:
        """Sum of the lesions' scores, `worst` for each one missed and each false positive, over their number.

        `nothing` where there is no lesion to score and none was invented.
        """
        count = len(self.lesions) + self.false_positives
        if not count:
            return nothing
        scores = [score(lesion) if lesion.is_found else worst for lesion in self.lesions]
        return (math.fsum(scores) + worst * self.false_positives) / count


def match_lesions(
    *, reference: Mask, prediction: Mask, spacing_mm: tuple[float, ...], rules: LesionRules
) -> LesionMatch:
    """Match predicted components with reference lesions."""
    grown = dilate(reference, neighbourhood=rules.dilation_neighbourhood, iterations=rules.dilation)
    lesion_map = label_components(grown, neighbourhood=rules.neighbourhood)
    component_map = label_components(prediction, neighbourhood=rules.neighbourhood)
    touched, touching, _ = (numbers.tolist() for numbers in overlapping_pairs(lesion_map, component_map))
    voxel_mm3 = math.prod(spacing_mm)
    lesions = []
    for number in range(1, lesion_map.count + 1):
        reference_mask = reference & (lesion_map.labels == number)
        if np.count_nonzero(reference_mask) * voxel_mm3 <= rules.volume_threshold_mm3:
            continue
        owned = [component for lesion, component in zip(touched, touching, strict=True) if lesion == number]
        lesions.append(
            _boxed(reference_mask, np.isin(component_map.labels, owned) if owned else np.zeros_like(prediction))
        )
    return LesionMatch(lesions=tuple(lesions), false_positives=component_map.count - len(set(touching)))


def _boxed(reference: Mask, prediction: Mask) -> Lesion:
    """Both masks cut down to the box they share, so that scoring a small lesion costs little."""
    box = joined(bounding_box(reference), bounding_box(prediction))
    return Lesion(reference, prediction) if box is None else Lesion(reference[box], prediction[box])
