"""The example of evaluator/kernel/README.md, computed."""

import math

import numpy as np
import pytest

from evaluator import evaluate
from evaluator.backends import reference as oracle
from evaluator.kernel.elements import coordinate, neighbour_codes
from evaluator.kernel.labels import label_tables
from evaluator.kernel.library import load_kernel
from evaluator.kernel.scans import ScannedVolume, array_source, scan_volumes
from evaluator.measurements.surface import element_areas

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="the kernel was not built: no C compiler here")

# Rows are y, columns x, so the last array axis is the README's x.
REFERENCE = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
PREDICTION = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], np.uint8)
SPACING_MM = (2.0, 1.0)
CORNERS = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2)]
CODES = [0x88, 0xCC, 0x44, 0x22, 0x33, 0x11]
LENGTH_MM = 4 * math.sqrt(5) / 2 + 2
LENGTH_APART_MM = 2 * math.sqrt(5) / 2


@pytest.fixture(scope="module")
def scans():
    sources = [array_source(REFERENCE), array_source(PREDICTION)]
    with scan_volumes(sources, table=label_tables([(1,)])[0], is_planar=True, threads=1) as scanned:
        return [ScannedVolume.copy(scan) for scan in scanned]


def test_the_runs(scans):
    assert [scan.run_ends.tolist() for scan in scans] == [[5, 7, 12], [6, 8, 12]]


def test_the_elements(scans):
    elements = scans[0].elements
    assert list(zip(coordinate(elements, 0).tolist(), coordinate(elements, 1).tolist(), strict=True)) == CORNERS
    assert neighbour_codes(elements).tolist() == CODES
    assert int(elements[0]) == 1 | 1 << 18 | 0 << 36 | 0x88 << 54


def test_the_lengths_and_distances():
    surfaces = oracle.measure_surfaces(reference=REFERENCE == 1, prediction=PREDICTION == 1, spacing_mm=SPACING_MM)
    directed = surfaces.reference_to_prediction
    lengths = element_areas(SPACING_MM)[directed.codes]
    assert lengths == pytest.approx([math.sqrt(5) / 2, 1, math.sqrt(5) / 2] * 2)
    assert directed.distances_mm.tolist() == [1, 0, 0, 1, 0, 0]


def test_the_metrics():
    scores = evaluate(
        reference=REFERENCE,
        prediction=PREDICTION,
        spacing_mm=SPACING_MM,
        labels={"label": 1},
        metrics=("dice", "nsd", "assd", "hd95"),
        tolerance_mm=0.5,
    )
    found = [scores.value("label", name) for name in ("dice", "nsd", "assd", "hd95")]
    assert found == pytest.approx([0.5, 1 - LENGTH_APART_MM / LENGTH_MM, LENGTH_APART_MM / LENGTH_MM, 1.0])
    assert found[1:3] == pytest.approx([0.6545, 0.3455], abs=5e-5)
