"""The compiled kernel against the oracle where its ways of working could go wrong: blocks, instructions, far sources, threads."""

import math
import platform

import numpy as np
import pytest

from evaluator.backends import LabelValues, PairMeasurements, cpu, measure_pair
from evaluator.backends import reference as oracle
from evaluator.kernel import reductions
from evaluator.kernel.elements import coordinate, neighbour_codes, pack_corners
from evaluator.kernel.labels import label_tables
from evaluator.kernel.library import describe, load_kernel
from evaluator.kernel.scans import ScannedVolume, array_source, scan_volumes
from evaluator.measurements.surface import DirectedDistances, element_areas
from evaluator.metrics import distance
from tests.evaluator import label_maps

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")


def assert_same(first: PairMeasurements, second: PairMeasurements) -> None:
    """Equal to the last bit, whatever the order of elements."""
    assert len(first.labels) == len(second.labels) > 0
    for one, other in zip(first.labels, second.labels, strict=True):
        assert one.overlap == other.overlap
        for name in ("reference_to_prediction", "prediction_to_reference"):
            ours, theirs = getattr(one.surface, name), getattr(other.surface, name)
            assert np.array_equal(as_sorted_pairs(ours), as_sorted_pairs(theirs))


def as_sorted_pairs(directed: DirectedDistances) -> np.ndarray:
    order = np.lexsort((directed.codes, directed.distances_mm))
    return np.stack([directed.distances_mm[order], directed.codes[order].astype(float)])


def assert_kernel_equals_oracle(reference, prediction, spacing_mm, labels: list[LabelValues], **how) -> None:
    question = {"reference": reference, "prediction": prediction, "spacing_mm": spacing_mm, "labels": labels}
    assert_same(measure_pair(**question, backend="cpu", **how), measure_pair(**question, backend="numpy"))


def test_it_says_that_it_serves():
    assert "compiled kernel serves" in describe()


@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 127, 128, 130, 200])
def test_rows_of_every_length_around_a_block_of_sixty_four(length):
    generator = np.random.default_rng(length)
    for shape in ((3, 4, length), (length, 2, 3), (2, length, 2), (length, 5), (5, length)):
        reference = label_maps.random_label_map(shape=shape, labels=3, density=0.7, generator=generator)
        prediction = label_maps.random_label_map(shape=shape, labels=3, density=0.7, generator=generator)
        assert_kernel_equals_oracle(reference, prediction, (1.1, 0.7, 2.3)[: len(shape)], [(1,), (2, 3), (0,)])


@pytest.mark.parametrize("instructions", [None, "avx2", "plain"])
@pytest.mark.parametrize("shape", [(4097, 3, 4), (8200, 2, 2), (128, 9, 5), (63, 30, 4), (4160, 3)])
def test_background_is_skipped_but_never_what_borders_on_it(shape, instructions, monkeypatch):
    """Labels at the ends of blocks of sixty-four and of rows, with blocks of nothing between them. Rows of over 64 blocks."""
    if instructions:
        monkeypatch.setenv("ASSAY_KERNEL_INSTRUCTIONS", instructions)
    generator = np.random.default_rng(shape[0])
    reference, prediction = np.zeros((2, *shape), np.uint8)
    for label_map in (reference, prediction):
        for place in (0, 1, 62, 63, 64, 127, 128, shape[0] // 2, shape[0] - 65, shape[0] - 2, shape[0] - 1):
            if 0 <= place < shape[0] and generator.random() < 0.8:
                label_map[(place, *(int(generator.integers(0, size)) for size in shape[1:]))] = generator.integers(1, 3)
    arranged = [np.asfortranarray(each) for each in (reference, prediction)]
    assert_kernel_equals_oracle(*arranged, (0.7, 1.0, 3.1)[: len(shape)], [(1,), (2,), (1, 2)])
    assert_kernel_equals_oracle(*arranged, (0.7, 1.0, 3.1)[: len(shape)], [(0, 1), (2,)])


ON_ARM = platform.machine() in ("aarch64", "arm64")


@pytest.mark.parametrize("instructions", ["neon", "plain"] if ON_ARM else ["avx512", "avx2", "sse2", "plain"])
def test_every_instruction_set_finds_the_same(instructions, monkeypatch):
    monkeypatch.setenv("ASSAY_KERNEL_INSTRUCTIONS", instructions)
    if instructions not in describe() and instructions != "plain":
        pytest.skip(f"this processor has no {instructions}")
    generator = np.random.default_rng(5)
    reference = label_maps.random_label_map(shape=(150, 21, 14), labels=5, density=0.4, generator=generator)
    prediction = label_maps.disturb(reference, generator=generator)
    assert_kernel_equals_oracle(reference, prediction, (0.5, 0.9, 2.0), [(value,) for value in range(1, 6)])


@pytest.mark.slow
@pytest.mark.skipif("avx512" not in describe(), reason="this processor has no AVX-512: run where there is one")
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 2.5), (0.5, 0.5, 0.5), (0.1, 3.0, 0.7), (5.0, 0.3, 0.4)])
def test_many_sources_at_once_find_what_each_finds_alone(axes, spacing_mm, monkeypatch):
    """Thin sheets, islands and rows that begin and end anywhere: every lane must stand for its own source."""
    generator = np.random.default_rng(axes[0] * 7 + axes[1])
    reference = label_maps.random_label_map(shape=(190, 60, 40), labels=4, density=0.3, generator=generator)
    reference[60:, :, 12] = 0  # labels end at different places
    reference[:, 30, :] *= generator.random(reference.shape[:1] + reference.shape[2:]) < 0.5
    prediction = label_maps.disturb(reference, generator=generator)
    prediction[100:] = np.where(prediction[100:] == 2, 0, prediction[100:])  # and some are far from the other's
    arranged = [np.asfortranarray(each).transpose(axes) for each in (reference, prediction)]
    question = {"reference": arranged[0], "prediction": arranged[1], "labels": [(1,), (2,), (3, 4), (4,)]}
    together = measure_pair(**question, spacing_mm=spacing_mm, backend="cpu")
    monkeypatch.setenv("ASSAY_KERNEL_INSTRUCTIONS", "plain")
    assert "plain" in describe()
    assert_same(together, measure_pair(**question, spacing_mm=spacing_mm, backend="cpu"))


def two_balls(shape: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...], radius: int) -> np.ndarray:
    grid = np.indices(shape)
    label_map = np.zeros(shape, np.uint8)
    for centre in (first, second):
        squared = sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True))
        label_map[squared <= radius**2] = 1
    return label_map


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 2.5), (3.0, 0.4, 0.4), (1.0, 1.0, 1.0), (0.3, 2.0, 0.7)])
def test_islands_far_beyond_the_windows_are_measured_exactly(spacing_mm):
    reference = two_balls((140, 44, 30), (20, 20, 10), (28, 24, 12), 6)
    prediction = two_balls((140, 44, 30), (21, 20, 10), (125, 34, 22), 5)
    assert_kernel_equals_oracle(reference, prediction, spacing_mm, [(1,)])
    assert_kernel_equals_oracle(reference.T, prediction.T, spacing_mm, [(1,)])


@pytest.mark.slow
@pytest.mark.parametrize("instructions", [None, "avx2", "plain"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_surface_of_which_every_element_is_far_is_measured_exactly(axes, instructions, monkeypatch):
    """Shells inside each other and pieces elsewhere, two bytes a voxel: nearly every distance comes from the cells."""
    if instructions:
        monkeypatch.setenv("ASSAY_KERNEL_INSTRUCTIONS", instructions)
    grid = np.indices((50, 52, 48))
    radius = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, (25, 26, 24), strict=True)))
    reference, prediction = np.zeros((2, 50, 52, 48), np.uint16)
    reference[(radius < 23) & (radius > 22)] = 1
    prediction[(radius < 6) & (radius > 5)] = 1
    prediction[2:5, 3:5, 40:46] = 1
    reference[:9, :9, :9], prediction[-9:, -9:, -9:] = 300, 300
    arranged = [np.asfortranarray(each).transpose(axes) for each in (reference, prediction)]
    assert_kernel_equals_oracle(*arranged, (0.5, 0.7, 1.1), [(1,), (300,)])
    assert_kernel_equals_oracle(*(each % 256 for each in arranged), (1.0, 1.0, 1.0), [(1,), (44,)])


@pytest.mark.parametrize("name", ["flipped", "shifted", "full", "one voxel", "noise", "empty", "opposite corners"])
def test_adversarial_pairs_are_measured_exactly(name):
    generator = np.random.default_rng(9)
    reference = label_maps.random_label_map(shape=(90, 22, 13), labels=2, density=0.0, generator=generator)
    if name == "flipped":
        prediction = np.ascontiguousarray(reference[::-1, ::-1])
    elif name == "shifted":
        prediction = np.roll(reference, 40, axis=0)
    elif name == "full":
        prediction = np.ones_like(reference)
    elif name == "noise":
        prediction = generator.integers(0, 3, reference.shape).astype(np.uint8)
    elif name == "opposite corners":
        reference, prediction = np.zeros((2, *reference.shape), np.uint8)
        reference[0, 0, 0] = prediction[-1, -1, -1] = 1
    else:
        prediction = np.zeros_like(reference)
        prediction[70, 3, 10] = name == "one voxel"
    assert_kernel_equals_oracle(reference, prediction, (0.7, 1.0, 3.1), [(1,), (2,), (1, 2)])


def test_the_number_of_threads_changes_nothing():
    reference, prediction, spacing_mm = next(label_maps.pairs(seed=31, count=1))
    labels = [(value,) for value in range(1, 7)]
    question = {"reference": reference, "prediction": prediction, "spacing_mm": spacing_mm, "labels": labels}
    alone = measure_pair(**question, backend="cpu", threads=1)
    for threads in (2, 5, 40):
        together = measure_pair(**question, backend="cpu", threads=threads)
        for one, other in zip(alone.labels, together.labels, strict=True):
            assert one.overlap == other.overlap
            for name in ("reference_to_prediction", "prediction_to_reference"):
                ours, theirs = getattr(one.surface, name), getattr(other.surface, name)
                assert np.array_equal(ours.distances_mm, theirs.distances_mm)
                assert np.array_equal(ours.codes, theirs.codes)


def test_more_labels_than_a_byte_can_name_are_told_apart():
    generator = np.random.default_rng(2)
    reference = generator.integers(0, 400, (12, 9, 8)).astype(np.int16)
    prediction = np.where(generator.random(reference.shape) < 0.2, 0, reference).astype(np.int16)
    labels = [(value,) for value in range(400)] + [tuple(range(100, 380))]
    assert_kernel_equals_oracle(reference, prediction, (1.0, 1.5, 2.0), labels)


def test_strided_and_reversed_views_are_measured_where_they_lie():
    generator = np.random.default_rng(3)
    whole = generator.integers(0, 3, (24, 30, 28)).astype(np.uint16)
    for view in (whole[::2, ::3, 1:9], whole[::-1, :, ::-1], whole[4], whole[:, :, 3], whole.T[2:, ::-2]):
        other = np.roll(view, 1, axis=0)
        assert_kernel_equals_oracle(view, other, (1.0, 2.0, 0.5)[: view.ndim], [(1,), (2,)])


def directed_of(distances_mm, codes) -> DirectedDistances:
    return DirectedDistances(np.array(distances_mm, float), np.array(codes, np.uint8), element_areas((0.8, 0.8, 2.5)))


def percentile_by_definition(directed: DirectedDistances, percent: float) -> float:
    order = np.lexsort((directed.areas, directed.distances_mm))
    areas = directed.areas[order]
    position = np.searchsorted(np.cumsum(areas) / np.sum(areas), percent / 100)
    return float(directed.distances_mm[order[min(position, areas.size - 1)]])


@pytest.mark.parametrize("instructions", [None, "plain"])
def test_percentiles_without_a_sort_are_those_of_the_definition(instructions, monkeypatch):
    if instructions:
        monkeypatch.setenv("ASSAY_KERNEL_INSTRUCTIONS", instructions)
    generator = np.random.default_rng(12)
    for size in (1, 2, 20, 100, 3000, 40_000):
        for spread in (0.0, 1.0, 60.0):
            distances_mm = np.round(generator.exponential(1.0, size), 1) + spread * (generator.random(size) < 0.04)
            directed = directed_of(distances_mm * (spread > 0), generator.integers(1, 255, size))
            for percent in (0.0, 5.0, 50.0, 95.0, 99.9, 100.0):
                expected = percentile_by_definition(directed, percent)
                assert distance.directed_percentile(directed, percent=percent) == expected


def test_a_tie_at_the_percentile_falls_as_the_reference_implementation_lets_it_fall():
    directed = directed_of(np.arange(20.0), np.full(20, 1))
    assert reductions.percentile(directed, share=0.95) is None
    assert distance.directed_percentile(directed, percent=95) == percentile_by_definition(directed, 95)


def test_a_sample_that_misleads_is_found_out():
    distances_mm = np.ones(12_800)
    distances_mm[::100] = 50.0  # all that the sample sees, and one part in a hundred of the whole
    for each in (distances_mm, 51.0 - distances_mm):
        directed = directed_of(each, np.full(each.size, 7))
        for percent in (5.0, 50.0, 95.0):
            assert reductions.percentile(directed, share=percent / 100) == percentile_by_definition(directed, percent)


def test_sums_of_areas_are_the_same_with_and_without_lanes(monkeypatch):
    generator = np.random.default_rng(6)
    for size in (1, 7, 8, 500, 513, 10_003):
        directed = directed_of(generator.exponential(2.0, size), generator.integers(1, 255, size))
        sums = reductions.sum_areas(directed, tolerance_mm=1.5)
        with monkeypatch.context() as patch:
            patch.setenv("ASSAY_KERNEL_INSTRUCTIONS", "plain")
            assert reductions.sum_areas(directed, tolerance_mm=1.5) == sums


def test_sums_of_areas_are_those_of_numpy():
    generator = np.random.default_rng(4)
    directed = directed_of(generator.exponential(2.0, 50_000), generator.integers(1, 255, 50_000))
    sums = reductions.sum_areas(directed, tolerance_mm=1.5)
    assert sums is not None
    assert sums.total == pytest.approx(math.fsum(directed.areas), rel=1e-13)
    assert sums.within == pytest.approx(math.fsum(directed.areas[directed.distances_mm <= 1.5]), rel=1e-13)
    assert sums.weighted == pytest.approx(math.fsum(directed.areas * directed.distances_mm), rel=1e-13)


@pytest.mark.parametrize("axes", [2, 3])
def test_points_in_any_order_find_their_nearest_points(axes):
    generator = np.random.default_rng(8)
    spacing_mm = (0.9, 0.31, 2.7)[:axes]
    for count, size in ((1, 5), (400, 12), (3000, 90)):
        sources, targets = generator.integers(-size, size, (2, count, axes))
        found = cpu.nearest_distances(sources=sources, targets=targets, spacing_mm=spacing_mm)
        expected = oracle.nearest_distances(sources=sources, targets=targets, spacing_mm=spacing_mm)
        assert np.array_equal(found, expected)


def test_values_beyond_sixty_three_bits_are_no_label():
    reference = np.array([[0, 2**64 - 4, 5], [5, 1, 2**63]], np.uint64)
    measured = measure_pair(
        reference=reference, prediction=reference, spacing_mm=(1, 1), labels=[(-4,), (5,)], backend="cpu"
    )
    assert [label.overlap.reference_voxels for label in measured.labels] == [0, 2]


def test_python_and_c_pack_elements_alike():
    """A single voxel has eight corners, and each of them has it for another of its eight neighbours."""
    volume = np.zeros((70, 5, 300), np.uint8)
    volume[64, 3, 299] = 1  # z, y, x
    table = label_tables([(1,)])[0]
    with scan_volumes([array_source(volume)], table=table, is_planar=False, threads=1) as (scan,):
        elements = ScannedVolume.copy(scan).elements
    corners = np.array([(x, y, z) for z in (64, 65) for y in (3, 4) for x in (299, 300)])
    np.testing.assert_array_equal(np.stack([coordinate(elements, axis) for axis in range(3)], axis=1), corners)
    np.testing.assert_array_equal(neighbour_codes(elements), [1 << bit for bit in reversed(range(8))])
    places = pack_corners(corners, fastest_first=(0, 1, 2))
    np.testing.assert_array_equal(places, elements & np.uint64(2**54 - 1))
    assert [coordinate(int(elements[-1]), axis) for axis in range(3)] == [300, 4, 65]
