"""Components and topology: small shapes whose numbers one can see, then agreement with SciPy on random masks."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from evaluator.metrics.components import dilate, label_components
from evaluator.metrics.topology import Betti, betti_numbers, euler_number

CONNECTIVITY = {6: 1, 18: 2, 26: 3}
MASKS = [
    (shape, density, neighbourhood)
    for shape, density, neighbourhood in itertools.product(
        [(9, 8, 7), (1, 5, 6), (4, 1, 1), (12, 11), (18, 18, 18)], [0.05, 0.2, 0.4, 0.7], [6, 18, 26]
    )
]


def random_mask(shape, density):
    return np.random.default_rng(round(density * 100) + sum(shape)).random(shape) < density


@pytest.mark.parametrize(("shape", "density", "neighbourhood"), MASKS)
def test_components_are_those_scipy_finds(shape, density, neighbourhood):
    mask = random_mask(shape, density)
    structure = ndimage.generate_binary_structure(len(shape), min(CONNECTIVITY[neighbourhood], len(shape)))
    theirs, count = ndimage.label(mask, structure)
    ours = label_components(mask, neighbourhood=neighbourhood)
    assert ours.count == count
    assert (ours.labels[~mask] == 0).all()
    assert len(np.unique(np.stack([ours.labels[mask], theirs[mask]]), axis=1).T) == count


@pytest.mark.parametrize("neighbourhood", [6, 18, 26])
def test_dilation_is_scipys_and_stops_at_the_border(neighbourhood):
    mask = random_mask((9, 8, 7), 0.05)
    structure = ndimage.generate_binary_structure(3, CONNECTIVITY[neighbourhood])
    for iterations in (1, 3):
        np.testing.assert_array_equal(
            dilate(mask, neighbourhood=neighbourhood, iterations=iterations),
            ndimage.binary_dilation(mask, structure, iterations),
        )


def ring():
    mask = np.zeros((5, 5, 3), bool)
    mask[1:4, 1:4, 1] = True
    mask[2, 2, 1] = False
    return mask


def hollow_ball():
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[2, 2, 2] = False
    return mask


def two_voxels_sharing_a_corner():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "betti", "euler"),
    [
        (np.zeros((3, 3, 3), bool), Betti(0, 0, 0), 0),
        (np.ones((1, 1, 1), bool), Betti(1, 0, 0), 1),
        (ring(), Betti(1, 1, 0), 0),
        (hollow_ball(), Betti(1, 0, 1), 2),
        (two_voxels_sharing_a_corner(), Betti(1, 0, 0), 1),
        (ring()[:, :, 1], Betti(1, 1, 0), 0),
        (np.array([[1, 0, 1]], bool), Betti(2, 0, 0), 2),
    ],
)
def test_shapes_one_can_see_have_the_numbers_one_expects(mask, betti, euler):
    assert betti_numbers(mask) == betti
    assert euler_number(mask) == euler


@pytest.mark.parametrize("seed", range(5))
def test_the_euler_number_is_the_alternating_sum_of_betti_numbers_and_ignores_axis_order(seed):
    mask = np.random.default_rng(seed).random((6, 7, 8)) < 0.3
    betti = betti_numbers(mask)
    assert euler_number(mask) == betti.components - betti.tunnels + betti.cavities
    assert betti_numbers(mask.transpose(2, 0, 1)) == betti
    assert betti.tunnels >= 0
