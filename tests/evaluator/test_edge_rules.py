"""Every edge rule of every protocol that ships, by hand: what an empty mask, an invented, a missed and a missing structure are worth.

The first structure of a protocol is a bar of 5 × 4 × 4 voxels of 1 mm in an image of 10 × 6 × 12: one component, Euler number 1,
larger than any lesion threshold. Each row of a table reads (neither has it, only the prediction, only the reference, no output).
`None` is undefined. A table is written for both modes wherever the published code does something else.
"""

import math

import numpy as np
import pytest

from evaluator.metrics.registry import Scope
from evaluator.protocol import OutputKind, load_named_protocol, named_protocols
from evaluator.scoring.case import score_case
from tests.evaluator.volume_files import save_nifti

SHAPE = (10, 8, 12)
BAR = (slice(2, 7), slice(2, 6), slice(3, 7))
VOXELS = 80.0
DIAGONAL_MM = math.sqrt(10**2 + 8**2 + 12**2)

RATIO = (1.0, 0.0, 0.0, 0.0)
DISTANCE = (0.0, DIAGONAL_MM, DIAGONAL_MM, DIAGONAL_MM)
BRATS = (0.0, 374.0, 374.0, 374.0)
ABSENT_UNDEFINED = (None, None, 0.0, 0.0)
FALSE_POSITIVES_PUNISHED = (None, 0.0, 0.0, 0.0)
DROPPED = (1.0, 0.0, 0.0, None)
POOLED = {
    "intersection_voxels": (0.0, 0.0, 0.0, 0.0),
    "reference_voxels": (0.0, 0.0, VOXELS, VOXELS),
    "prediction_voxels": (0.0, VOXELS, 0.0, 0.0),
}
MATCHED = {
    "matched_true_positives": (0.0, 0.0, 0.0, 0.0),
    "matched_false_positives": (0.0, 1.0, 0.0, 0.0),
    "matched_false_negatives": (0.0, 0.0, 1.0, 1.0),
}


def accuracy(rule):
    return {"dice": rule, "nsd": rule}


FETA = {"dice": RATIO, "hd95": DISTANCE, "volume_similarity": RATIO}
RULES = {
    "a-eval": accuracy(RATIO),
    "a-eval@published": accuracy(DROPPED),
    "amos22": accuracy(RATIO),
    "brats23-lesionwise": {"lesion_dice": RATIO, "lesion_hd95": BRATS, "dice": RATIO, "hd95": BRATS},
    "btcv": {"dice": RATIO, "assd": DISTANCE, "hd": DISTANCE},
    "cellseg22": {"f1_at_iou": RATIO},
    "cellseg22@published": {"f1_at_iou": (0.0, 0.0, 0.0, 0.0)},
    "cvpr24-laptop": accuracy(RATIO),
    "cvpr24-laptop@published": {"dice": (None, None, 0.0, None), "nsd": (0.0, 0.0, 0.0, None)},
    "cvpr25-interactive": accuracy(RATIO),
    "cvpr25-interactive@published": {"dice": (None, None, 0.0, None), "nsd": (0.0, 0.0, 0.0, None)},
    "feta21": FETA,
    "feta22": FETA,
    "feta24-segmentation": FETA | {"euler_difference": (0.0, 1.0, 1.0, 1000.0)},
    "flare21": accuracy(RATIO),
    "flare21@published": accuracy(DROPPED),
    "flare22": accuracy(RATIO),
    "flare22@published": accuracy(DROPPED),
    "flare23": {"organ_dice": RATIO, "organ_nsd": RATIO},
    "flare23@published": {"organ_dice": DROPPED, "organ_nsd": DROPPED},
    "flare24-task1": accuracy(RATIO),
    "flare24-task1@published": accuracy(DROPPED),
    "flare24-task2": accuracy(RATIO),
    "flare24-task2@published": accuracy(DROPPED),
    "flare24-task3": accuracy(RATIO),
    "flare24-task3@published": accuracy(DROPPED),
    "hecktor22": POOLED,
    "hecktor22@published": {name: (*worth[:3], None) for name, worth in POOLED.items()},
    "hecktor25": {"dice": RATIO} | POOLED | MATCHED,
    "kits19": {"dice": RATIO},
    "kits19@published": {"dice": (None, 0.0, 0.0, 0.0)},
    "kits21": accuracy(RATIO),
    "kits23": accuracy(RATIO),
    "kits23@published": accuracy(DROPPED),
    "msd-colon": accuracy(ABSENT_UNDEFINED),
    "msd-liver": accuracy(ABSENT_UNDEFINED),
    "msd-pancreas": accuracy(ABSENT_UNDEFINED),
    "sam-med3d": accuracy(FALSE_POSITIVES_PUNISHED),
    "segrap23": accuracy(RATIO),
    "segrap23@published": accuracy(DROPPED),
    "segrap23-gtv": accuracy(RATIO),
    "segrap23-gtv@published": accuracy(DROPPED),
    "segrap25-gtv": accuracy(RATIO),
    "segrap25-lnctv": accuracy(RATIO),
    "toothfairy3": {"dice": RATIO, "hd95": DISTANCE},
    "totalsegmentator": accuracy(FALSE_POSITIVES_PUNISHED),
    "totalsegmentator@published": accuracy((None, None, 0.0, None)),
    "touchstone": accuracy(ABSENT_UNDEFINED),
}
ABORTED = {"cvpr24-laptop@published", "flare23@published", "totalsegmentator@published"}
TABLES = {
    "feta24-biometry", "gmai-mmbench", "hecktor22-outcome", "luna16", "medfm-chest", "medfm-colon", "medfm-endo", "picai-like",
}  # fmt: skip


def test_every_protocol_of_masks_has_its_rules_written_down():
    expected = {name for name in named_protocols() if name not in TABLES}
    expected |= {
        f"{name}@published" for name in expected if any(defect.settings for defect in load_named_protocol(name).defects)
    }
    assert set(RULES) == expected
    for name in TABLES:
        assert load_named_protocol(name).output.kind is OutputKind.TABLE


def image(protocol, *, is_there):
    label = protocol.labels[0]
    if protocol.output.kind is OutputKind.MULTICHANNEL:
        array = np.zeros((*SHAPE, protocol.channels), np.uint8)
        array[(*BAR, label.channel)] = is_there
    else:
        array = np.zeros(SHAPE, np.uint8)
        array[BAR] = label.values[0] if is_there else 0
    return array


@pytest.mark.parametrize("name", RULES)
def test_edge_rules_are_worth_what_is_written_down(name, tmp_path):
    protocol = load_named_protocol(name)
    of_one_mask = [spec.id for spec in protocol.metrics if spec.metric.scope is Scope.LABEL]
    files = {
        there: save_nifti(tmp_path / f"{there}.nii.gz", image(protocol, is_there=there)) for there in (False, True)
    }
    situations = [(False, False), (False, True), (True, False), (True, None)]
    found: dict[str, list[float | None]] = {}
    for reference, prediction in situations:
        predictions = None if prediction is None else {protocol.output.name: files[prediction]}
        result = score_case(
            protocol=protocol, case_id="c", references={"reference": files[reference]}, predictions=predictions
        )
        for row in result.rows:
            is_first = protocol.labels_from_reference is not None or row.label == protocol.labels[0].name
            if is_first and row.metric in of_one_mask:
                found.setdefault(row.metric, []).append(row.value)
    assert {metric: tuple(row) for metric, row in found.items()} == {
        metric: pytest.approx(row, nan_ok=False) for metric, row in RULES[name].items()
    }
    assert {row.reason for row in result.rows if row.label} == {
        "aborted:output_missing" if name in ABORTED else "output_missing"
    }
