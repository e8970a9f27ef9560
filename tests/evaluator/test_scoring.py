"""From files to scores: numbers worked out by hand, and every way a case can fail."""

import json
import math

import numpy as np
import pytest

from evaluator.errors import InvalidReference
from evaluator.metrics import components
from evaluator.protocol import load_protocol
from evaluator.scoring.case import score_case, summarise
from tests.evaluator.volume_files import save_nifti

LIVER, SPLEEN = 1, 2
DIAGONAL_MM = math.sqrt(10**2 + 10**2 + 20**2)  # 10 × 10 × 10 voxels of 1 × 1 × 2 mm


def protocol(**changes):
    document = {
        "protocol": 1,
        "name": "two-organs",
        "labels": {"liver": {"values": LIVER, "tolerance_mm": 1}, "spleen": {"values": SPLEEN, "tolerance_mm": 1}},
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "segmentation.nii.gz"}],
        "metrics": [{"name": "dice"}, {"name": "nsd"}, {"name": "hd95"}],
    }
    return load_protocol(document | changes)


@pytest.fixture
def case(tmp_path):
    """The liver is a 4 × 4 × 4 box. The prediction has it one voxel further along x. The spleen is in neither."""
    reference, prediction = np.zeros((10, 10, 10), np.uint8), np.zeros((10, 10, 10), np.uint8)
    reference[2:6, 2:6, 2:6] = LIVER
    prediction[3:7, 2:6, 2:6] = LIVER
    return {
        "references": {"reference": save_nifti(tmp_path / "reference.nii.gz", reference, spacing_mm=(1, 1, 2))},
        "predictions": {"segmentation": save_nifti(tmp_path / "prediction.nii.gz", prediction, spacing_mm=(1, 1, 2))},
    }


def scores(result):
    return {(row.label, row.metric): (row.value, row.reason) for row in result.rows}


def test_a_box_shifted_by_one_voxel_scores_what_paper_and_pencil_say(case):
    found = scores(score_case(protocol=protocol(), case_id="c1", **case))
    assert found["liver", "dice"] == (2 * 48 / 128, "")
    assert found["liver", "nsd"] == (1.0, "")
    assert found["liver", "hd95"] == (1.0, "")


@pytest.mark.catalogue(
    82,
    attack="empty prediction of an empty structure",
    verdict="stated value with its reason",
    guard="conventions: no NaN reaches the ranking",
)
def test_a_structure_absent_from_both_is_perfect_and_says_why(case):
    found = scores(score_case(protocol=protocol(), case_id="c1", **case))
    assert found["spleen", "dice"] == (1.0, "both_empty")
    assert found["spleen", "hd95"] == (0.0, "both_empty")


def test_every_metric_of_every_label_has_one_row_in_protocol_order(case):
    result = score_case(protocol=protocol(), case_id="c1", **case)
    assert [(row.label, row.metric) for row in result.rows] == [
        (label, metric) for label in ("liver", "spleen") for metric in ("dice", "nsd", "hd95")
    ]


@pytest.mark.catalogue(
    81, attack="a case that never ends", verdict="stated worst value", guard="scoring walks the reference list"
)
def test_a_timed_out_case_scores_the_worst_value_with_the_verdict_as_reason(case):
    result = score_case(
        protocol=protocol(), case_id="c1", references=case["references"], predictions=None, failure="timeout"
    )
    assert scores(result)["liver", "dice"] == (0.0, "timeout")
    assert scores(result)["spleen", "dice"] == (0.0, "timeout")
    assert scores(result)["liver", "hd95"] == (pytest.approx(DIAGONAL_MM), "timeout")


def test_a_missing_prediction_scores_the_worst_value(case):
    result = score_case(protocol=protocol(), case_id="c1", references=case["references"], predictions=None)
    assert scores(result)["liver", "nsd"] == (0.0, "output_missing")


def test_a_failure_class_can_have_its_own_worth(case):
    special = protocol(conventions={"failed": {"hd95": 100}, "by_failure": {"timeout": {"hd95": 200}}})
    timed_out = score_case(
        protocol=special, case_id="c1", references=case["references"], predictions=None, failure="timeout"
    )
    crashed = score_case(
        protocol=special, case_id="c1", references=case["references"], predictions=None, failure="nonzero_exit"
    )
    assert scores(timed_out)["liver", "hd95"][0] == 200.0
    assert scores(crashed)["liver", "hd95"][0] == 100.0


def test_a_missing_case_can_count_as_all_background(case):
    kits19 = protocol(conventions={"failed": {"dice": "compute", "nsd": "compute", "hd95": "compute"}})
    found = scores(score_case(protocol=kits19, case_id="c1", references=case["references"], predictions=None))
    assert found["liver", "dice"] == (0.0, "output_missing")
    assert found["spleen", "dice"] == (1.0, "output_missing")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"not an image"), "format_unsupported"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "truncated"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "trailing_data"),
        (lambda path: save_nifti(path, np.zeros((10, 10, 9), np.uint8), spacing_mm=(1, 1, 2)), "shape_mismatch"),
        (lambda path: save_nifti(path, np.zeros((10, 10, 10), np.uint8), spacing_mm=(1, 1, 3)), "spacing_mismatch"),
        (lambda path: save_nifti(path, np.full((10, 10, 10), 9, np.uint8), spacing_mm=(1, 1, 2)), "label_unknown"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_a_prediction_that_cannot_be_used_fails_its_case_with_a_reason(case, spoil, reason):
    spoil(case["predictions"]["segmentation"])
    found = scores(score_case(protocol=protocol(), case_id="c1", **case))
    assert found["liver", "dice"] == (0.0, f"output_invalid:{reason}")


def test_a_reference_that_cannot_be_used_is_nobodys_score(case):
    case["references"]["reference"].write_bytes(b"not an image")
    with pytest.raises(InvalidReference):
        score_case(protocol=protocol(), case_id="c1", **case)


def test_unlisted_values_count_as_background_where_the_protocol_says_so(case, tmp_path):
    prediction = np.full((10, 10, 10), 9, np.uint8)
    prediction[2:6, 2:6, 2:6] = LIVER
    case["predictions"]["segmentation"] = save_nifti(tmp_path / "nine.nii.gz", prediction, spacing_mm=(1, 1, 2))
    found = scores(score_case(protocol=protocol(unknown_values="background"), case_id="c1", **case))
    assert found["liver", "dice"] == (1.0, "")


def test_flares_exclusive_crop_throws_the_last_reference_slice_away(tmp_path):
    """Reference on z = 3..6, prediction without slice 6: exclusive 1.0, inclusive 0.857."""
    reference, prediction = np.zeros((6, 6, 10), np.uint8), np.zeros((6, 6, 10), np.uint8)
    reference[1:3, 1:3, 3:7] = LIVER
    prediction[1:3, 1:3, 3:6] = LIVER
    case = {
        "references": {"r": save_nifti(tmp_path / "r.nii.gz", reference)},
        "predictions": {"segmentation": save_nifti(tmp_path / "p.nii.gz", prediction)},
    }
    dice = {}
    for z_crop in ("exclusive", "inclusive", "none"):
        labels = {"aorta": {"values": LIVER, "tolerance_mm": 1, "z_crop": z_crop}}
        found = scores(score_case(protocol=protocol(labels=labels), case_id="c1", **case))
        dice[z_crop] = found["aorta", "dice"][0]
    assert dice == {"exclusive": 1.0, "inclusive": pytest.approx(6 / 7), "none": pytest.approx(6 / 7)}


def test_an_exclusive_crop_of_a_single_slice_scores_as_missed_and_says_so(tmp_path):
    array = np.zeros((6, 6, 10), np.uint8)
    array[1:3, 1:3, 4] = LIVER
    files = {"r": save_nifti(tmp_path / "r.nii.gz", array)}
    labels = {"aorta": {"values": LIVER, "tolerance_mm": 1, "z_crop": "exclusive"}}
    found = scores(score_case(protocol=protocol(labels=labels), case_id="c1", references=files, predictions=files))
    assert found["aorta", "dice"] == (0.0, "crop_empty")


def test_one_mask_per_structure_scores_like_the_label_map(case, tmp_path):
    masks = protocol(outputs=[{"name": "masks", "kind": "mask_per_structure", "file": "{structure}.nii.gz"}])
    prediction = np.zeros((10, 10, 10), np.uint8)
    prediction[3:7, 2:6, 2:6] = 1
    files = {
        "liver": save_nifti(tmp_path / "liver.nii.gz", prediction, spacing_mm=(1, 1, 2)),
        "spleen": save_nifti(tmp_path / "spleen.nii.gz", 0 * prediction, spacing_mm=(1, 1, 2)),
    }
    found = score_case(protocol=masks, case_id="c1", references=case["references"], predictions=files)
    assert found.rows == score_case(protocol=protocol(), case_id="c1", **case).rows


def test_a_missing_mask_of_one_structure_fails_the_case(case, tmp_path):
    masks = protocol(outputs=[{"name": "masks", "kind": "mask_per_structure", "file": "{structure}.nii.gz"}])
    files = {"liver": save_nifti(tmp_path / "liver.nii.gz", np.zeros((10, 10, 10), np.uint8), spacing_mm=(1, 1, 2))}
    found = scores(score_case(protocol=masks, case_id="c1", references=case["references"], predictions=files))
    assert found["spleen", "dice"] == (0.0, "output_invalid:missing")


def test_overlapping_channels_are_scored_each_on_its_own(tmp_path):
    channels = protocol(
        labels={"larynx": {"channel": 1, "tolerance_mm": 2}, "glottis": {"channel": 0, "tolerance_mm": 1}},
        outputs=[{"name": "masks", "kind": "multichannel", "file": "masks.nii.gz"}],
    )
    reference, prediction = np.zeros((8, 8, 8, 2), np.uint8), np.zeros((8, 8, 8, 2), np.uint8)
    reference[2:6, 2:6, 2:6, 1] = prediction[2:6, 2:6, 2:6, 1] = 1
    reference[2:4, 2:4, 2:4, 0], prediction[2:4, 2:4, 2:3, 0] = 1, 1
    found = scores(
        score_case(
            protocol=channels,
            case_id="c1",
            references={"r": save_nifti(tmp_path / "r.nii.gz", reference)},
            predictions={"masks": save_nifti(tmp_path / "p.nii.gz", prediction)},
        )
    )
    assert found["larynx", "dice"] == (1.0, "")
    assert found["glottis", "dice"] == (pytest.approx(2 / 3), "")


def test_a_summary_counts_every_case_once_and_breaks_down_by_site(case):
    wanted = protocol(breakdowns=["site"], metrics=[{"name": "dice"}])
    good = score_case(protocol=wanted, case_id="c1", **case)
    failed = score_case(protocol=wanted, case_id="c2", references=case["references"], predictions=None)
    summary = summarise(wanted, [good, failed], {"c1": {"site": "A"}, "c2": {"site": "B"}})["dice"]
    assert summary["mean"] == pytest.approx((0.875 + 0.0) / 2)
    assert summary["n"] == 2
    assert summary["per_label"]["liver"]["mean"] == 0.375
    assert summary["per_site"]["A"]["mean"] == 0.875
    assert json.loads(json.dumps(summary)) == summary


def test_undefined_values_are_left_out_and_counted(case):
    wanted = protocol(metrics=[{"name": "dice"}], conventions={"both_empty": {"dice": None}})
    result = score_case(protocol=wanted, case_id="c1", **case)
    summary = summarise(wanted, [result])["dice"]
    assert summary["mean"] == 0.75
    assert summary["n_undefined"] == 1


def test_what_a_run_consumed_is_scored_and_a_failed_run_gets_the_stated_worst(case):
    timed = protocol(
        metrics=[{"name": "dice"}, {"name": "wall_seconds", "id": "time"}, {"name": "peak_memory_mb", "id": "memory"}],
        conventions={"failed": {"time": 3600, "memory": 8192}},
    )
    ran = score_case(protocol=timed, case_id="c1", telemetry={"wall_seconds": 12.5}, **case)
    failed = score_case(
        protocol=timed, case_id="c2", references=case["references"], predictions=None, failure="timeout"
    )
    assert scores(ran)["", "time"] == (12.5, "")
    assert scores(ran)["", "memory"] == (None, "not_measured")
    assert scores(failed)["", "time"] == (3600.0, "timeout")
    assert summarise(timed, [ran, failed])["time"]["mean"] == pytest.approx((12.5 + 3600) / 2)


def test_noise_that_would_exhaust_the_scorer_fails_its_case_instead(case, tmp_path, monkeypatch):
    monkeypatch.setattr(components, "MAX_RUNS", 20)
    noise = np.random.default_rng(1).integers(0, 2, (10, 10, 10)).astype(np.uint8)
    case["predictions"]["segmentation"] = save_nifti(tmp_path / "noise.nii.gz", noise, spacing_mm=(1, 1, 2))
    lesions = protocol(metrics=[{"name": "dice"}, {"name": "lesion_dice"}])
    found = scores(score_case(protocol=lesions, case_id="c1", **case))
    assert found["liver", "dice"] == (0.0, "output_invalid:too_fragmented")
