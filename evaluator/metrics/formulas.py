"""The formula of every metric of a label: from one `LabelPair` and the metric's options to a number.

Not-a-number and infinity are answers too: they say that the formula has none. What that is worth is not decided here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from evaluator.backends import measure_pair
from evaluator.measurements import overlap
from evaluator.measurements.overlap import Overlap
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances
from evaluator.metrics import distance, topology
from evaluator.metrics.label_pair import LabelPair
from evaluator.metrics.lesions import Lesion, LesionMatch, LesionRules
from evaluator.metrics.objects import MATCH_OPTIONS, MatchRules, ObjectMatch

Options = Mapping[str, Any]
Compute = Callable[[LabelPair, Options], float]
LESION_OPTIONS = ("neighbourhood", "dilation", "dilation_neighbourhood", "volume_threshold_mm3")
TOLERANT_SLACK_MM = 1e-4
"""What the tie rule `tolerant` forgives: more than float32 rounding of a header's spacing, far less than a voxel."""


def nsd(pair: LabelPair, options: Options) -> float:
    """NSD at the label's or the metric's tolerance. 0 where the label's Dice is too low to bother (FLARE)."""
    if options["min_dice_over"] == "label" and is_too_low(overlap.dice(pair.overlap), options):
        return 0.0
    tolerance_mm = pair.tolerance_mm if options["tolerance_mm"] is None else options["tolerance_mm"]
    slack_mm = TOLERANT_SLACK_MM if options["tie_rule"] == "tolerant" else 0.0
    surface = pair.distances(options["surface"])
    return distance.normalised_surface_dice(surface, tolerance_mm=float(tolerance_mm or 0.0) + slack_mm)


def is_too_low(dice: float, options: Options) -> bool:
    """Whether a Dice is below `min_dice`. Under the rule `exceeded` also when it just reaches it."""
    floor = float(options["min_dice"])
    return dice < floor or (options["min_dice_rule"] == "exceeded" and dice == floor)


def _percentile_distance(surface: SurfaceDistances, *, percent: float, options: Options) -> float:
    """A percentile of the distances, larger of the two directions, their mean, or of both pooled."""
    directions = (surface.reference_to_prediction, surface.prediction_to_reference)
    if options["combine"] == "pooled":
        pooled = DirectedDistances(
            np.concatenate([side.distances_mm for side in directions]),
            np.concatenate([side.codes for side in directions]),
            directions[0].area_of_code,
        )
        return _directed_percentile(pooled, percent=percent, options=options)
    values = [_directed_percentile(side, percent=percent, options=options) for side in directions]
    return max(values) if options["combine"] == "larger" else sum(values) / 2


def _directed_percentile(side: DirectedDistances, *, percent: float, options: Options) -> float:
    """By area without interpolation for surface elements. By NumPy's linear rule for boundary voxels, which weigh the same."""
    if options["surface"] == "surfels":
        return distance.directed_percentile(side, percent=percent)
    return float(np.percentile(side.distances_mm, percent)) if not side.is_empty else math.inf


def hd95(pair: LabelPair, options: Options) -> float:
    """The 95th percentile distance."""
    return _percentile_distance(pair.distances(options["surface"]), percent=95.0, options=options)


def hd_percentile(pair: LabelPair, options: Options) -> float:
    """Any percentile distance."""
    percent = float(options["percentile"])
    return _percentile_distance(pair.distances(options["surface"]), percent=percent, options=options)


def hd(pair: LabelPair, options: Options) -> float:
    """The largest distance."""
    return distance.hausdorff_distance(pair.distances(options["surface"]))


def assd(pair: LabelPair, options: Options) -> float:
    """The mean distance over both surfaces, pooled or as the mean or larger of both directions."""
    surface = pair.distances(options["surface"])
    if options["combine"] == "pooled":
        return distance.average_symmetric_surface_distance(surface)
    values = distance.mean_distances(surface)
    return max(values) if options["combine"] == "larger" else sum(values) / 2


def mean_distance(side: int) -> Compute:
    """The mean distance of one direction: 0 from the reference, 1 from the prediction."""
    return lambda pair, options: distance.mean_distances(pair.distances(options["surface"]))[side]


def of_overlap(function: Callable[[Overlap], float]) -> Compute:
    """A formula that reads voxel counts only."""
    return lambda pair, _options: function(pair.overlap)


def weighed(function: Callable[[Overlap], float]) -> Compute:
    """A count of voxels, or the volume they fill."""
    return lambda pair, options: function(pair.overlap) * (pair.voxel_mm3 if options["weigh_by"] == "mm3" else 1.0)


def volume_difference_ml(pair: LabelPair, _options: Options) -> float:
    """Absolute difference of the volumes."""
    voxels = abs(pair.overlap.prediction_voxels - pair.overlap.reference_voxels)
    return voxels * pair.voxel_mm3 / 1000.0


def euler_difference(pair: LabelPair, _options: Options) -> float:
    """Absolute difference of the Euler numbers."""
    reference, prediction = pair.boxed_masks()
    return abs(topology.euler_number(prediction) - topology.euler_number(reference))


def betti_difference(kind: str) -> Compute:
    """Absolute difference of one Betti number."""

    def compute(pair: LabelPair, _options: Options) -> float:
        reference, prediction = pair.boxed_masks()
        expected, found = topology.betti_numbers(reference), topology.betti_numbers(prediction)
        return float(abs(getattr(found, kind) - getattr(expected, kind)))

    return compute


def _lesion_match(pair: LabelPair, options: Options) -> LesionMatch:
    return pair.lesions(LesionRules(**{key: options[key] for key in LESION_OPTIONS}))


def lesion_dice(pair: LabelPair, options: Options) -> float:
    """Mean Dice over lesions, 0 for each missed or false one."""
    return _lesion_match(pair, options).mean_over_lesions(_dice_of_lesion, worst=0.0, nothing=1.0)


def _dice_of_lesion(lesion: Lesion) -> float:
    shared = int(np.count_nonzero(lesion.reference & lesion.prediction))
    return 2 * shared / (int(np.count_nonzero(lesion.reference)) + int(np.count_nonzero(lesion.prediction)))


def lesion_hd95(pair: LabelPair, options: Options) -> float:
    """Mean HD95 over lesions, the penalty for each missed or false one."""

    def hd95_of(lesion: Lesion) -> float:
        measured = measure_pair(
            reference=lesion.reference, prediction=lesion.prediction, spacing_mm=pair.spacing_mm, labels=[(1,)]
        )
        return distance.percentile_distance(measured.labels[0].surface, percent=95.0)

    return _lesion_match(pair, options).mean_over_lesions(hd95_of, worst=float(options["penalty_mm"]), nothing=0.0)


def _f1(match: LesionMatch | ObjectMatch, *, nothing: float = 1.0) -> float:
    denominator = 2 * match.true_positives + match.false_positives + match.false_negatives
    return 2 * match.true_positives / denominator if denominator else nothing


def lesion_f1(pair: LabelPair, options: Options) -> float:
    """F1 over lesions."""
    return _f1(_lesion_match(pair, options))


def lesion_count(kind: str) -> Compute:
    """How many lesions were found, missed or invented."""
    return lambda pair, options: float(getattr(_lesion_match(pair, options), kind))


def _object_match(pair: LabelPair, options: Options) -> ObjectMatch:
    return pair.objects(MatchRules(**{key: options[key] for key in MATCH_OPTIONS}))


def match_count(kind: str) -> Compute:
    """How many objects were found, missed or invented."""
    return lambda pair, options: float(getattr(_object_match(pair, options), kind))


def f1_at_iou(pair: LabelPair, options: Options) -> float:
    """F1 over objects matched one to one by overlap; `without_objects` where neither side has one that counts."""
    return _f1(_object_match(pair, options), nothing=float(options["without_objects"]))
