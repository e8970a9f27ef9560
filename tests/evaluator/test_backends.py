"""Every backend against numbers worked by hand and against surface-distance."""

import itertools
import math

import numpy as np
import pytest

from evaluator.backends import PairMeasurements, available_backends, measure_pair
from evaluator.measurements import overlap
from evaluator.measurements.surface import SurfaceDistances
from evaluator.metrics import distance
from tests.evaluator import label_maps, oracle_surface_distance

BACKENDS = available_backends()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def measure_one(reference, prediction, spacing_mm, backend) -> tuple[overlap.Overlap, SurfaceDistances]:
    measured = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=[(1,)], backend=backend
    ).labels[0]
    return measured.overlap, measured.surface


def test_there_is_a_backend_to_test():
    assert "numpy" in BACKENDS


def test_two_single_voxels_two_millimetres_apart_touch_on_half_their_surface(backend):
    reference, prediction = np.zeros((2, 10, 10, 10), np.uint8)
    reference[5, 5, 5] = prediction[5, 6, 5] = 1
    counts, surface = measure_one(reference, prediction, (3, 2, 1), backend)
    assert overlap.dice(counts) == 0
    assert distance.normalised_surface_dice(surface, tolerance_mm=1) == pytest.approx(0.5, abs=1e-12)
    assert distance.hausdorff_distance(surface) == 2


def test_a_slab_one_slice_thicker_reproduces_the_published_numbers(backend):
    reference, prediction = np.zeros((2, 100, 100, 100), np.uint8)
    reference[0:50] = 1
    prediction[0:51] = 1
    counts, surface = measure_one(reference, prediction, (2, 1, 1), backend)
    assert overlap.dice(counts) == pytest.approx(0.9900990099, abs=1e-10)
    assert distance.normalised_surface_dice(surface, tolerance_mm=1) == pytest.approx(0.8361450085, abs=1e-9)
    assert distance.mean_distances(surface) == pytest.approx((0.322447, 0.339396), abs=1e-6)
    assert distance.percentile_distance(surface, percent=95) == 2


def test_one_voxel_has_eight_corner_elements_of_equal_area(backend):
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1, 1, 1] = 1
    counts, surface = measure_one(mask, mask, (1, 1, 1), backend)
    assert counts == overlap.Overlap(1, 1, 1)
    areas = surface.reference_to_prediction.areas
    assert areas == pytest.approx([math.sqrt(3) / 8] * 8)
    assert distance.hausdorff_distance(surface) == 0


@pytest.mark.catalogue(
    82, attack="everything is foreground", verdict="a defined distance", guard="surfaces close at the border"
)
def test_a_label_that_fills_the_image_is_closed_at_the_border(backend):
    mask = np.ones((4, 5, 6), np.uint8)
    _, surface = measure_one(mask, mask, (1, 1, 1), backend)
    inner = 3 * 4 * 5
    assert surface.reference_to_prediction.codes.size == 5 * 6 * 7 - inner


def test_a_square_in_two_dimensions_has_its_edges_and_cut_corners(backend):
    mask = np.zeros((6, 6), np.uint8)
    mask[2:4, 2:4] = 1
    _, surface = measure_one(mask, mask, (2.0, 1.0), backend)
    lengths = np.sort(surface.reference_to_prediction.areas)
    diagonal = 0.5 * math.sqrt(5)
    assert lengths == pytest.approx([1, 1] + [diagonal] * 4 + [2, 2])


def test_an_empty_prediction_is_infinitely_far_away(backend):
    reference, prediction = np.zeros((2, 5, 5, 5), np.uint8)
    reference[2, 2, 2] = 1
    counts, surface = measure_one(reference, prediction, (1, 1, 1), backend)
    assert counts == overlap.Overlap(1, 0, 0)
    assert overlap.dice(counts) == 0
    assert distance.normalised_surface_dice(surface, tolerance_mm=5) == 0
    assert distance.percentile_distance(surface, percent=95) == math.inf
    assert distance.hausdorff_distance(surface) == math.inf
    assert math.isnan(distance.mean_distances(surface)[1])


def test_nothing_can_be_said_about_two_empty_masks(backend):
    empty = np.zeros((5, 5, 5), np.uint8)
    counts, surface = measure_one(empty, empty, (1, 1, 1), backend)
    assert math.isnan(overlap.dice(counts))
    assert math.isnan(distance.normalised_surface_dice(surface, tolerance_mm=5))
    assert math.isnan(distance.average_symmetric_surface_distance(surface))
    assert distance.percentile_distance(surface, percent=95) == math.inf


def agree_with_surface_distance(measured: PairMeasurements, reference, prediction, spacing_mm) -> int:
    compared = 0
    for label in measured.labels:
        masks = np.isin(reference, label.values), np.isin(prediction, label.values)
        expected_overlap = (int(masks[0].sum()), int(masks[1].sum()), int((masks[0] & masks[1]).sum()))
        assert label.overlap == overlap.Overlap(*expected_overlap)
        record = oracle_surface_distance.measure(*masks, spacing_mm)
        directions = (label.surface.reference_to_prediction, label.surface.prediction_to_reference)
        for ours, name, area_name in zip(
            directions, ("gt_to_pred", "pred_to_gt"), ("surfel_areas_gt", "surfel_areas_pred"), strict=True
        ):
            theirs = record[f"distances_{name}"]
            assert ours.distances_mm.size == theirs.size
            order = np.lexsort((ours.areas, ours.distances_mm))
            np.testing.assert_allclose(ours.distances_mm[order], theirs, rtol=0, atol=1e-12)
            np.testing.assert_allclose(np.sort(ours.areas), np.sort(record[area_name]), rtol=0, atol=0)
        for tolerance_mm in (0.5, 1.0, 2.5):
            expected = oracle_surface_distance.values(record, tolerance_mm=tolerance_mm)
            surface = label.surface
            found = {
                "nsd": distance.normalised_surface_dice(surface, tolerance_mm=tolerance_mm),
                "hd95": distance.percentile_distance(surface, percent=95),
                "hd50": distance.percentile_distance(surface, percent=50),
                "mean_there": distance.mean_distances(surface)[0],
                "mean_back": distance.mean_distances(surface)[1],
            }
            assert found == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)
            compared += 1
    return compared


def test_many_random_pairs_agree_with_surface_distance(backend):
    compared = 0
    for reference, prediction, spacing_mm in label_maps.pairs(seed=7, count=24):
        labels = [(value,) for value in range(1, int(reference.max()) + 1)]
        measured = measure_pair(
            reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels, backend=backend
        )
        compared += agree_with_surface_distance(measured, reference, prediction, spacing_mm)
    assert compared > 100


def test_far_apart_flipped_and_shifted_predictions_agree_with_surface_distance(backend):
    generator = np.random.default_rng(3)
    reference = label_maps.random_label_map(shape=(70, 30, 20), labels=3, density=0.0, generator=generator)
    reference[35:] = 0
    labels = [(value,) for value in range(1, 4)]
    for prediction in (reference[::-1], np.roll(reference, 33, axis=0), reference[:, ::-1, ::-1]):
        spacing_mm = (0.7, 1.3, 3.0)
        measured = measure_pair(
            reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels, backend=backend
        )
        assert agree_with_surface_distance(measured, reference, prediction, spacing_mm)


def test_regions_may_overlap_and_nest(backend):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=11, count=1))
    labels = [(1, 2, 3), (1, 2), (2,), (99,), (0,)]
    measured = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels, backend=backend
    )
    assert [label.values for label in measured.labels] == labels
    assert agree_with_surface_distance(measured, reference, prediction, spacing_mm)


@pytest.mark.parametrize("storage", ["int8", "int16", ">i2", "uint16", "int32", ">i4", "uint32", "int64", "f4", "f8"])
def test_storage_changes_nothing(backend, storage):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=5, count=1))
    labels = [(1,), (2,)]
    plain = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels, backend=backend
    )
    stored = measure_pair(
        reference=reference.astype(storage),
        prediction=prediction.astype(storage),
        spacing_mm=spacing_mm,
        labels=labels,
        backend=backend,
    )
    assert_equal_measurements(plain, stored)


def test_large_label_values_are_labels_like_any_other(backend):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=5, count=1))
    table = np.array([0, 12175, 2035, 70000, -4, 5, 6, 7])
    renamed = measure_pair(
        reference=table[reference],
        prediction=table[prediction],
        spacing_mm=spacing_mm,
        labels=[(12175,), (70000, -4)],
        backend=backend,
    )
    plain = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=[(1,), (3, 4)], backend=backend
    )
    assert_equal_measurements(renamed, plain)


def test_memory_order_and_flips_change_nothing_but_the_order_of_elements(backend):
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=5, count=1))
    labels = [(1,), (2,)]
    plain = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=labels, backend=backend
    )
    for order in itertools.permutations(range(3)):
        stored = [array.transpose(order).copy().transpose(np.argsort(order)) for array in (reference, prediction)]
        assert_equal_measurements(
            plain,
            measure_pair(
                reference=stored[0], prediction=stored[1], spacing_mm=spacing_mm, labels=labels, backend=backend
            ),
        )


def assert_equal_measurements(first: PairMeasurements, second: PairMeasurements) -> None:
    assert len(first.labels) == len(second.labels) > 0
    for one, other in zip(first.labels, second.labels, strict=True):
        assert one.overlap == other.overlap
        for name in ("reference_to_prediction", "prediction_to_reference"):
            ours, theirs = getattr(one.surface, name), getattr(other.surface, name)
            assert ours.distances_mm.size == theirs.distances_mm.size
            first_order = np.lexsort((ours.areas, ours.distances_mm))
            second_order = np.lexsort((theirs.areas, theirs.distances_mm))
            assert np.array_equal(ours.distances_mm[first_order], theirs.distances_mm[second_order])
            assert np.array_equal(ours.areas[first_order], theirs.areas[second_order])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": np.zeros((2, 2, 3), np.uint8)}, "same shape"),
        ({"spacing_mm": (1, 1)}, "one per axis"),
        ({"spacing_mm": (1, 1, float("nan"))}, "finite"),
        ({"spacing_mm": (1, 1, 0)}, "above zero"),
        ({"labels": [()]}, "at least one voxel value"),
        ({"reference": np.full((2, 2, 2), 0.5)}, "whole numbers"),
        ({"reference": np.zeros((2, 2, 2), complex)}, "whole numbers"),
        ({"backend": "abacus"}, "expected one of"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_what_was_expected(change, message):
    question = {
        "reference": np.zeros((2, 2, 2), np.uint8),
        "prediction": np.zeros((2, 2, 2), np.uint8),
        "spacing_mm": (1, 1, 1),
        "labels": [(1,)],
    }
    with pytest.raises(ValueError, match=message):
        measure_pair(**(question | change))
