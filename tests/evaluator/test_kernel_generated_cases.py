"""The kernel against surface-distance on the full-size cases everything is timed on."""

import numpy as np
import pytest

from evaluator.backends import measure_files
from evaluator.bench.cases import CASES
from evaluator.measurements import overlap
from evaluator.metrics import distance
from tests.evaluator import oracle_surface_distance

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES)
def test_every_label_of_a_generated_case_agrees_with_surface_distance(name, tmp_path):
    pair = CASES[name]()
    reference, prediction = pair.write(tmp_path)
    spacing_mm = tuple(float(np.float32(size)) for size in pair.spacing_mm)
    measured = measure_files(reference=reference, prediction=prediction, labels=[(label,) for label in pair.labels])
    assert len(measured.labels) == len(pair.labels) > 5
    for label, found in zip(pair.labels, measured.labels, strict=True):
        masks = pair.reference == label, pair.prediction == label
        counts = found.overlap
        assert counts == overlap.Overlap(*(int(mask.sum()) for mask in (*masks, masks[0] & masks[1])))
        record = oracle_surface_distance.measure(*masks, spacing_mm)
        expected = oracle_surface_distance.values(record, tolerance_mm=2.0)
        there, back = distance.mean_distances(found.surface)
        assert distance.normalised_surface_dice(found.surface, tolerance_mm=2.0) == pytest.approx(
            expected["nsd"], rel=0, abs=1e-9, nan_ok=True
        )
        largest = max(
            (record[side].max(initial=np.inf if not record[side].size else 0.0))
            for side in ("distances_gt_to_pred", "distances_pred_to_gt")
        )
        assert distance.hausdorff_distance(found.surface) == pytest.approx(largest, rel=0, abs=1e-12)
        for value, key in ((distance.percentile_distance(found.surface, percent=95), "hd95"),
                           (there, "mean_there"), (back, "mean_back")):  # fmt: skip
            assert value == pytest.approx(expected[key], rel=0, abs=1e-12, nan_ok=True)
