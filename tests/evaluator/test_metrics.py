"""Every metric: golden values worked out by hand, then properties over the whole registry, then agreement on anatomy."""

import math

import numpy as np
import pytest
from scipy import ndimage

import evaluator
import evaluator.errors
from evaluator.errors import ProtocolError
from evaluator.metrics.components import label_components
from evaluator.metrics.lesions import LesionRules, match_lesions
from evaluator.metrics.objects import MatchRules, match_objects
from evaluator.metrics.registry import REGISTRY, Direction, Scope
from evaluator.protocol import load_protocol
from evaluator.protocol.definitions import PRESETS
from evaluator.scoring.case import score_case, score_labels
from evaluator.scoring.structures import measure_maps
from evaluator.volumes.geometry import Grid
from tests.evaluator import anatomy, oracle_surface_distance
from tests.evaluator.volume_files import save_nifti

LABEL_METRICS = [metric for metric in REGISTRY.values() if metric.scope is Scope.LABEL]
SYMMETRIC = {
    "dice", "iou", "volume_similarity", "volume_difference", "nsd", "hd", "hd95", "hd_percentile", "assd",
    "euler_difference", "betti0_difference", "betti1_difference", "betti2_difference", "intersection_voxels", "f1_at_iou",
}  # fmt: skip
BRATS = {"preset": "brats23-lesionwise"}
IDENTITY = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))


def protocol(*metrics, preset="deepmind", conventions=None):
    failed = {
        "failed": {metric.get("id", metric["name"]): None for metric in metrics if metric["name"] != "pooled_dice"}
    }
    return load_protocol({
        "protocol": 1,
        "name": "metrics",
        "preset": preset,
        "labels": {"organ": {"values": 1, "tolerance_mm": 1.0}},
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "s.nii.gz"}],
        "metrics": list(metrics),
        "conventions": failed | (conventions or {}),
    })  # fmt: skip


def values_of(reference, prediction, *metrics, spacing_mm=(1.0, 1.0, 1.0), **more):
    rules = protocol(*metrics, **more)
    reference, prediction = np.asarray(reference, np.uint8), np.asarray(prediction, np.uint8)
    measured = measure_maps(
        labels=rules.labels, reference=reference, prediction=prediction, spacing_mm=spacing_mm, backend="auto"
    )
    grid = Grid(shape=reference.shape, spacing_mm=spacing_mm, affine=IDENTITY)
    return {row.metric: row.value for row in score_labels(protocol=rules, measured=measured, grid=grid)}


def value_of(reference, prediction, name, **more):
    options = {key: more.pop(key) for key in list(more) if key in REGISTRY[name].options}
    return values_of(reference, prediction, {"name": name} | options, **more)[name]


def box(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*each) for each in ranges)] = True
    return mask


# Golden values


def test_two_single_voxels_two_millimetres_apart_share_half_their_surface_within_one():
    """Spacing (3, 2, 1), voxels 2 mm apart along z: NSD at 1 mm = 0.5, Dice 0."""
    reference, prediction = box((8, 8, 8), (3, 4), (3, 4), (3, 4)), box((8, 8, 8), (3, 4), (3, 4), (5, 6))
    assert value_of(reference, prediction, "nsd", spacing_mm=(3, 2, 1)) == 0.5
    assert value_of(reference, prediction, "dice", spacing_mm=(3, 2, 1)) == 0.0


def test_a_slab_one_layer_thicker_has_the_published_surface_dice():
    """Slabs 0:50 and 0:51 of 100³, spacing (2, 1, 1)."""
    reference, prediction = box((100, 100, 100), (0, 50)), box((100, 100, 100), (0, 51))
    found = values_of(
        reference, prediction, {"name": "nsd"}, {"name": "dice"}, {"name": "hd95"},
        {"name": "mean_distance_to_prediction"}, {"name": "mean_distance_to_reference"}, spacing_mm=(2, 1, 1),
    )  # fmt: skip
    assert found["nsd"] == pytest.approx(0.8361450085, abs=1e-9)
    assert found["dice"] == pytest.approx(0.9900990099, abs=1e-9)
    assert found["mean_distance_to_prediction"] == pytest.approx(0.322447, abs=1e-6)
    assert found["mean_distance_to_reference"] == pytest.approx(0.339396, abs=1e-6)
    assert found["hd95"] == 2.0


def test_counts_and_ratios_of_two_boxes():
    """|R| = 64, |P| = 96, |R∩P| = 48 voxels of 0.5 mm³."""
    reference, prediction = box((10, 10, 10), (0, 4), (0, 4), (0, 4)), box((10, 10, 10), (1, 7), (0, 4), (0, 4))
    found = values_of(
        reference, prediction, *({"name": name} for name in (
            "dice", "iou", "precision", "recall", "volume_similarity", "volume_difference", "relative_volume_difference",
            "reference_voxels", "prediction_voxels", "intersection_voxels",
        )), spacing_mm=(0.5, 1.0, 1.0),
    )  # fmt: skip
    assert found == {
        "dice": pytest.approx(96 / 160), "iou": pytest.approx(48 / 112), "precision": 0.5, "recall": 0.75,
        "volume_similarity": pytest.approx(1 - 32 / 160), "volume_difference": pytest.approx(32 * 0.5 / 1000),
        "relative_volume_difference": 0.5, "reference_voxels": 64, "prediction_voxels": 96, "intersection_voxels": 48,
    }  # fmt: skip


def test_hausdorff_of_a_far_island_is_its_distance_and_hd95_forgives_it():
    reference = box((40, 20, 20), (2, 18), (2, 18), (2, 18))
    prediction = reference | box((40, 20, 20), (37, 38), (9, 10), (9, 10))
    assert value_of(reference, prediction, "hd") == 20.0
    assert value_of(reference, prediction, "hd95") == 0.0


@pytest.mark.parametrize("surface", ["surfels", "voxels6", "voxels26"])
def test_pooling_both_directions_lies_between_the_two(surface):
    """An island only the prediction has: one direction is all zeros, so pooling halves what the larger one reports."""
    reference, island = box((40, 20, 20), (2, 18), (2, 18), (2, 18)), box((40, 20, 20), (30, 38), (2, 18), (2, 18))
    larger, pooled, mean = (
        value_of(reference, reference | island, "hd_percentile", percentile=80, combine=combine, surface=surface)
        for combine in ("larger", "pooled", "mean")
    )
    assert 0 <= pooled < larger
    assert mean == larger / 2


def test_the_mean_of_means_and_the_pooled_mean_differ_as_the_surfaces_do():
    """Reference to prediction 0 everywhere. Back, the island's surface counts: pooled weighs by area, the mean by direction."""
    reference, prediction = box((9, 9, 9), (2, 6), (2, 6), (2, 6)), box((9, 9, 9), (1, 7), (1, 7), (1, 7))
    values = [value_of(reference, prediction, "assd", combine=combine) for combine in ("pooled", "mean", "larger")]
    assert values[0] != values[1]
    assert values[2] == max(values)


def test_a_low_dice_sets_flares_nsd_to_zero():
    reference, prediction = box((8, 8, 8), (3, 4), (3, 4), (3, 4)), box((8, 8, 8), (3, 4), (3, 4), (4, 5))
    assert value_of(reference, prediction, "nsd") == 1.0
    assert value_of(reference, prediction, "nsd", min_dice=0.2) == 0.0


def test_the_tolerant_rule_takes_in_a_distance_that_float32_pushed_over_the_tolerance():
    spacing = float(np.float32(0.8))
    reference, prediction = box((9, 9, 9), (2, 6), (2, 6), (2, 6)), box((9, 9, 9), (3, 7), (2, 6), (2, 6))
    strict = value_of(reference, prediction, "nsd", tolerance_mm=0.8, spacing_mm=(spacing,) * 3)
    tolerant = value_of(reference, prediction, "nsd", tolerance_mm=0.8, tie_rule="tolerant", spacing_mm=(spacing,) * 3)
    assert strict < tolerant == 1.0


def test_topology_differences_of_a_ball_and_a_hollow_ball():
    full, hollow = box((7, 7, 7), (1, 6), (1, 6), (1, 6)), box((7, 7, 7), (1, 6), (1, 6), (1, 6))
    hollow[3, 3, 3] = False
    found = values_of(
        full, hollow, *({"name": f"{kind}_difference"} for kind in ("euler", "betti0", "betti1", "betti2"))
    )
    assert found == {"euler_difference": 1, "betti0_difference": 0, "betti1_difference": 0, "betti2_difference": 1}


# Lesions


@pytest.fixture
def lesions():
    """Reference: a 4³ lesion that is half found, an 8-voxel one below the threshold, a 4³ one that is missed. One false one."""
    shape = (60, 20, 20)
    found, tiny = box(shape, (2, 6), (2, 6), (2, 6)), box(shape, (20, 22), (2, 4), (2, 4))
    missed, false = box(shape, (36, 40), (2, 6), (2, 6)), box(shape, (52, 55), (10, 13), (10, 13))
    reference = found | tiny | missed
    prediction = box(shape, (4, 6), (2, 6), (2, 6)) | tiny | false
    return reference, prediction


@pytest.mark.checked(
    "brats23-lesionwise",
    what="lesion-wise Dice and HD95 by hand",
    source="rachitsaluja/BraTS-2023-Metrics",
)
def test_each_lesion_counts_once_and_each_missed_or_false_one_the_worst(lesions):
    """One lesion at Dice 2·32/(64+32) = 2/3 and HD95 2 mm, one missed, one false: a third of it, and 374 mm twice."""
    found = values_of(*lesions, *({"name": name} for name in ("lesion_dice", "lesion_hd95", "lesion_f1")), **BRATS)
    assert found["lesion_dice"] == pytest.approx((2 / 3) / 3)
    assert found["lesion_hd95"] == pytest.approx((2.0 + 374 + 374) / 3)
    assert found["lesion_f1"] == 0.5


def test_a_lesion_below_the_threshold_is_neither_scored_nor_a_false_positive(lesions):
    match = match_lesions(
        reference=lesions[0],
        prediction=lesions[1],
        spacing_mm=(1, 1, 1),
        rules=LesionRules(dilation=3, volume_threshold_mm3=50),
    )
    assert (match.true_positives, match.false_negatives, match.false_positives) == (1, 1, 1)
    all_scored = match_lesions(
        reference=lesions[0], prediction=lesions[1], spacing_mm=(1, 1, 1), rules=LesionRules(dilation=3)
    )
    assert (all_scored.true_positives, all_scored.false_negatives, all_scored.false_positives) == (2, 1, 1)


@pytest.mark.checked(
    "brats23-lesionwise",
    what="lesions that join when dilated are one",
    source="rachitsaluja/BraTS-2023-Metrics",
)
def test_reference_components_that_touch_when_dilated_are_one_lesion():
    shape = (30, 12, 12)
    reference = box(shape, (2, 6), (2, 6), (2, 6)) | box(shape, (9, 13), (2, 6), (2, 6))
    match = match_lesions(
        reference=reference, prediction=reference, spacing_mm=(1, 1, 1), rules=LesionRules(dilation=3)
    )
    assert len(match.lesions) == 1
    apart = match_lesions(
        reference=reference, prediction=reference, spacing_mm=(1, 1, 1), rules=LesionRules(dilation=0)
    )
    assert len(apart.lesions) == 2


def test_lesions_of_empty_masks_follow_the_formula():
    """BraTS 2023: nothing there and nothing found 1 and 0 mm. Only false positives 0 and 374 mm. Only misses 0 and 374 mm."""
    nothing, lesion = np.zeros((20, 20, 20), bool), box((20, 20, 20), (2, 8), (2, 8), (2, 8))
    wanted = ({"name": "lesion_dice"}, {"name": "lesion_hd95"})
    assert values_of(nothing, nothing, *wanted, **BRATS) == {"lesion_dice": 1.0, "lesion_hd95": 0.0}
    assert values_of(nothing, lesion, *wanted, **BRATS) == {"lesion_dice": 0.0, "lesion_hd95": 374.0}
    assert values_of(lesion, nothing, *wanted, **BRATS) == {"lesion_dice": 0.0, "lesion_hd95": 374.0}


def test_a_small_lesion_that_was_missed_counts_unless_the_protocol_states_a_threshold():
    """One lesion of 27 mm³. No challenge's threshold is the default of a general metric."""
    lesion = box((12, 12, 12), (4, 7), (4, 7), (4, 7))
    wanted = [{"name": name} for name in ("lesion_f1", "lesion_dice", "lesion_false_negatives")]
    missed = values_of(lesion, np.zeros_like(lesion), *wanted)
    assert missed == {"lesion_f1": 0.0, "lesion_dice": 0.0, "lesion_false_negatives": 1.0}
    ignored = values_of(lesion, np.zeros_like(lesion), *wanted, **BRATS)
    assert ignored == {"lesion_f1": 1.0, "lesion_dice": 1.0, "lesion_false_negatives": 0.0}


def test_a_missed_lesion_is_the_diagonal_away_unless_the_protocol_states_a_penalty():
    """The image is 12 × 12 × 12 mm. 374 mm is the diagonal of a brain scan of BraTS."""
    lesion = box((12, 12, 12), (4, 7), (4, 7), (4, 7))
    assert value_of(lesion, np.zeros_like(lesion), "lesion_hd95") == pytest.approx(12 * 3**0.5)
    assert value_of(lesion, np.zeros_like(lesion), "lesion_hd95", penalty_mm=374) == 374.0


@pytest.mark.parametrize("option", [{"dilation": 2.5}, {"dilation": True}, {"dilation": -1}])
def test_voxels_are_whole_numbers(option):
    with pytest.raises(ProtocolError, match="a whole number from 0 to 50"):
        protocol({"name": "lesion_f1"} | option)


def test_f1_matches_components_one_to_one_by_overlap():
    shape = (30, 10, 10)
    reference = box(shape, (0, 4), (0, 4), (0, 4)) | box(shape, (10, 14), (0, 4), (0, 4))
    prediction = box(shape, (0, 4), (0, 4), (0, 3)) | box(shape, (13, 17), (0, 4), (0, 4))
    match = match_objects(label_components(reference), label_components(prediction), rules=MatchRules(iou=0.5))
    assert (match.true_positives, match.false_negatives, match.false_positives) == (1, 1, 1)
    assert value_of(reference, prediction, "f1_at_iou", iou=0.5) == 0.5
    assert value_of(reference, prediction, "f1_at_iou", iou=0.1) == 1.0


# The registry


def random_pair(seed, shape=(9, 8, 7)):
    """A blob and its noisy copy."""
    generator = np.random.default_rng(seed)
    corner = generator.integers(1, 3, len(shape))
    reference = box(shape, *((start, start + 4) for start in corner))
    return reference, reference ^ (generator.random(shape) < 0.05)


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is(metric):
    assert metric.title
    assert metric.definition
    assert metric.source
    assert metric.compute
    if metric.direction is not Direction.NONE:
        assert metric.best is not None


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_metric_stays_within_its_bounds(metric, seed):
    reference, prediction = random_pair(seed)
    value = value_of(reference, prediction, metric.name, spacing_mm=(0.7, 1.0, 2.5))
    assert metric.lower is None or value >= metric.lower
    assert metric.upper is None or value <= metric.upper


@pytest.mark.parametrize(
    "metric", [metric for metric in LABEL_METRICS if metric.direction], ids=lambda metric: metric.name
)
def test_a_perfect_prediction_gets_the_best_value_and_so_does_rightly_nothing(metric):
    reference, _ = random_pair(1)
    assert value_of(reference, reference, metric.name) == metric.best
    nothing = np.zeros_like(reference)
    assert value_of(nothing, nothing, metric.name) == metric.best


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_symmetric_metrics_do_not_care_which_mask_is_which(name):
    reference, prediction = random_pair(4)
    spacing_mm = (0.7, 1.0, 2.5)
    forth = value_of(reference, prediction, name, spacing_mm=spacing_mm)
    assert forth == pytest.approx(value_of(prediction, reference, name, spacing_mm=spacing_mm))


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda metric: metric.name)
def test_permuting_the_axes_with_their_spacings_changes_nothing(metric):
    reference, prediction = random_pair(5)
    plain = value_of(reference, prediction, metric.name, spacing_mm=(0.7, 1.0, 2.5))
    turned = value_of(
        reference.transpose(2, 0, 1), prediction.transpose(2, 0, 1), metric.name, spacing_mm=(2.5, 0.7, 1.0)
    )
    assert turned == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda metric: metric.name)
def test_padding_with_background_changes_nothing(metric):
    reference, prediction = random_pair(6)
    stated = {"penalty_mm": 374.0} if "penalty_mm" in metric.options else {}  # else the diagonal, which grows
    padded = value_of(np.pad(reference, 3), np.pad(prediction, 3), metric.name, **stated)
    assert padded == pytest.approx(value_of(reference, prediction, metric.name, **stated), abs=1e-9)


def test_more_tolerance_never_lowers_nsd():
    reference, prediction = random_pair(7)
    values = [value_of(reference, prediction, "nsd", tolerance_mm=tolerance) for tolerance in (0, 0.5, 1, 1.5, 2, 5)]
    assert values == sorted(values)


def test_a_higher_percentile_never_lowers_the_distance_and_a_hundred_is_the_largest():
    reference, prediction = random_pair(8)
    values = [value_of(reference, prediction, "hd_percentile", percentile=percent) for percent in (50, 90, 95, 99, 100)]
    assert values == sorted(values)
    assert values[-1] == value_of(reference, prediction, "hd")


def test_flat_images_have_contours():
    reference, prediction = box((20, 20), (5, 15), (5, 15)), box((20, 20), (6, 16), (5, 15))
    assert value_of(reference, prediction, "hd95", spacing_mm=(0.2, 0.3)) == pytest.approx(0.2)
    assert value_of(reference, prediction, "nsd", tolerance_mm=0.2, spacing_mm=(0.2, 0.3)) == 1.0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_scores_a_perfect_prediction_as_perfect(preset):
    reference, _ = random_pair(1)
    found = values_of(reference, reference, {"name": "dice"}, {"name": "nsd"}, {"name": "hd95"}, preset=preset)
    assert found == {"dice": 1.0, "nsd": 1.0, "hd95": 0.0}


def test_a_preset_decides_what_a_missed_structure_costs():
    reference, _ = random_pair(1)
    nothing = np.zeros_like(reference)
    costs = {preset: value_of(reference, nothing, "hd95", preset=preset) for preset in PRESETS}
    assert costs["deepmind"] == pytest.approx(math.sqrt(9**2 + 8**2 + 7**2))
    assert costs["brats23-lesionwise"] == 374.0
    assert costs["topcow24"] == 90.0
    assert costs["medpy"] is None


# Real pairs


VOXEL_BOUNDARIES = {
    "pooled": {"name": "hd95", "surface": "voxels6", "combine": "pooled"},
    "larger": {"name": "hd95", "surface": "voxels6"},
    "largest": {"name": "hd", "surface": "voxels6"},
}
"""HD95 and HD of boundary voxels in the conventions of other libraries, by our names for them here."""


def boundary_distances(mask, other, spacing_mm):
    """From each boundary voxel of one mask to the nearest of the other, by SciPy alone."""
    edge, other_edge = (each & ~ndimage.binary_erosion(each) for each in (mask, other))
    return ndimage.distance_transform_edt(~other_edge, sampling=spacing_mm)[edge]


@pytest.mark.parametrize("name", anatomy.pairs())
def test_anatomy_in_files_scores_as_other_libraries_score_boundary_voxels(name, tmp_path):
    """Dice exact. The distances within what single precision makes of a spacing."""
    pair = anatomy.pairs()[name].unchanged()
    references = {"r": save_nifti(tmp_path / "r.nii.gz", pair.reference, spacing_mm=pair.spacing_mm)}
    predictions = {"segmentation": save_nifti(tmp_path / "p.nii.gz", pair.prediction, spacing_mm=pair.spacing_mm)}
    rules = load_protocol({
        "protocol": 1,
        "name": "anatomy",
        "labels": {str(value): int(value) for value in np.unique(pair.reference) if value},
        "unknown_values": "background",
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "s.nii.gz"}],
        "metrics": [{"name": "dice"}, *({**metric, "id": id_} for id_, metric in VOXEL_BOUNDARIES.items())],
    })  # fmt: skip
    result = score_case(protocol=rules, case_id="one", references=references, predictions=predictions)
    found = {(row.label, row.metric): row.value for row in result.rows}
    for label in rules.labels:
        ours, theirs = pair.reference == label.values[0], pair.prediction == label.values[0]
        there, back = (boundary_distances(*both, pair.spacing_mm) for both in ((ours, theirs), (theirs, ours)))
        expected = {
            "dice": 2 * int((ours & theirs).sum()) / (int(ours.sum()) + int(theirs.sum())),
            "pooled": np.percentile(np.concatenate([there, back]), 95),
            "larger": max(np.percentile(there, 95), np.percentile(back, 95)),
            "largest": max(there.max(), back.max()),
        }
        assert {metric: found[label.name, metric] for metric in expected} == pytest.approx(expected, rel=1e-6)
    assert len(found) == 4 * len(rules.labels)


@pytest.mark.parametrize("name", anatomy.pairs())
def test_anatomy_equals_surface_distance_to_the_last_digits(name):
    """Dice identical; HD, HD95 and means within 1e-12 mm; NSD within 1e-9."""
    pair = anatomy.pairs()[name].unchanged()
    rules = protocol(
        {"name": "dice"}, {"name": "nsd"}, {"name": "hd"}, {"name": "hd95"}, {"name": "mean_distance_to_prediction"},
        {"name": "mean_distance_to_reference"},
    )  # fmt: skip
    grid = Grid(shape=pair.reference.shape, spacing_mm=pair.spacing_mm, affine=IDENTITY)
    for value in set(np.unique(pair.reference)) - {0}:
        ours, theirs = pair.reference == value, pair.prediction == value
        measured = measure_maps(
            labels=rules.labels, reference=ours, prediction=theirs, spacing_mm=pair.spacing_mm, backend="auto"
        )
        found = {row.metric: row.value for row in score_labels(protocol=rules, measured=measured, grid=grid)}
        record = oracle_surface_distance.measure(ours, theirs, pair.spacing_mm)
        expected = oracle_surface_distance.values(record, tolerance_mm=1.0)
        assert found["dice"] == 2 * int((ours & theirs).sum()) / (int(ours.sum()) + int(theirs.sum()))
        assert found["nsd"] == pytest.approx(expected["nsd"], abs=1e-9)
        assert found["hd95"] == pytest.approx(expected["hd95"], abs=1e-12)
        largest = max(record["distances_gt_to_pred"].max(), record["distances_pred_to_gt"].max())
        assert found["hd"] == pytest.approx(largest, abs=1e-12)
        assert found["mean_distance_to_prediction"] == pytest.approx(expected["mean_there"], abs=1e-12)
        assert found["mean_distance_to_reference"] == pytest.approx(expected["mean_back"], abs=1e-12)


# Arrays


def test_arrays_score_like_files_and_batches_like_single_pairs():
    reference, prediction = (mask.astype(np.int16) for mask in random_pair(9))
    one = evaluator.evaluate(
        reference=reference, prediction=prediction, spacing_mm=(1, 1, 2), labels={"organ": 1}, tolerance_mm=1
    )
    batch = evaluator.evaluate(
        reference=np.stack([reference] * 3), prediction=np.stack([prediction] * 3), spacing_mm=(1, 1, 2), labels={"organ": 1},
        tolerance_mm={"organ": 1},
    )  # fmt: skip
    assert [scores.rows for scores in batch] == [one.rows] * 3
    assert one.value("organ", "dice") == one.mean("dice")


def test_anything_that_speaks_dlpack_is_an_array():
    class Tensor:
        def __init__(self, array):
            self._array = array

        def __dlpack__(self, **options):
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    reference, prediction = (mask.astype(np.uint8) for mask in random_pair(9))
    scores = evaluator.evaluate(
        reference=Tensor(reference), prediction=Tensor(prediction), spacing_mm=(1, 1, 1), labels=[1], metrics=["dice"]
    )
    assert scores.value("1", "dice") == value_of(reference, prediction, "dice")


def test_arrays_of_different_shapes_or_rules_given_twice_are_refused():
    with pytest.raises(evaluator.errors.EvaluatorError, match="the same shape twice"):
        evaluator.evaluate(
            reference=np.zeros((2, 2)), prediction=np.zeros((2, 3)), spacing_mm=(1, 1), labels=[1], metrics=["dice"]
        )
    with pytest.raises(evaluator.errors.EvaluatorError, match="exactly one"):
        evaluator.evaluate(reference=np.zeros((2, 2)), prediction=np.zeros((2, 2)), spacing_mm=(1, 1))
