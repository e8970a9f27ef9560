"""Catalogue item 86: the right answer to another case is a wrong answer."""

import numpy as np
import pytest

from evaluator.protocol import load_protocol
from evaluator.scoring.case import score_case
from tests.evaluator.volume_files import save_nifti

PROTOCOL = """
protocol: 1
name: swapped
title: Swapped
labels: {core: {values: 1, tolerance_mm: 1}}
inputs: [{name: t1, file: "{case}.nii.gz"}]
outputs: [{name: segmentation, kind: label_map, file: "{case}.nii.gz"}]
metrics: [{name: dice}]
"""


def box(start: int) -> np.ndarray:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[start : start + 4, 4:8, 4:8] = 1
    return labels


@pytest.mark.catalogue(
    86,
    attack="the output of one case handed in for another",
    verdict="scores low, nothing else",
    guard="every case has its own reference",
)
def test_two_answers_exchanged_score_what_they_overlap(tmp_path):
    references = {name: save_nifti(tmp_path / f"{name}.nii.gz", box(start)) for name, start in (("a", 0), ("b", 7))}
    protocol = load_protocol(PROTOCOL)
    for case, other in (("a", "b"), ("b", "a")):
        for prediction, expected in ((case, 1.0), (other, 0.0)):
            result = score_case(
                protocol=protocol,
                case_id=case,
                references={"segmentation": references[case]},
                predictions={"segmentation": references[prediction]},
                failure=None,
            )
            assert [row.value for row in result.rows] == [expected]
