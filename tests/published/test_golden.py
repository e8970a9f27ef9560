"""Our evaluator over the inputs that the organizers' code was run over: `golden/`, and `README.md` on what differs and why."""

import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from evaluator.metrics.choices import parse_as_vlmevalkit, parse_choice
from evaluator.protocol import Protocol, load_named_protocol, load_protocol
from evaluator.results import CaseResult
from evaluator.scoring.case import score_case, summarise
from evaluator.scoring.tables import score_table
from published import inputs

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, *, over) -> dict:
    """The published answers, over these inputs and no others."""
    document = json.loads((GOLDEN / f"{name}.json").read_text())
    assert document["inputs"] == inputs.fingerprint(over), "the inputs changed: run tests/published/run.py --write"
    return document["answers"]


def saved(path: Path, array, *, spacing_mm, origin=(0.0, 0.0, 0.0)) -> Path:
    """As SimpleITK writes these inputs: its first two axes point the other way in NIfTI's space."""
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = np.array(origin) * (-1, -1, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return path


def one_map(folder: Path, case: inputs.Case, protocol: Protocol) -> CaseResult:
    """A case whose reference and prediction are one label map each."""
    reference = saved(folder / "R" / f"{case.name}.nii.gz", case.reference, spacing_mm=case.spacing_mm)
    predictions = None
    if case.prediction is not None:
        path = folder / "P" / f"{case.name}.nii.gz"
        origin = case.origin_of_prediction
        predictions = {protocol.output.name: saved(path, case.prediction, spacing_mm=case.spacing_mm, origin=origin)}
    return score_case(protocol=protocol, case_id=case.name, references={"r": reference}, predictions=predictions)


def of_arrays(metrics: list[dict]) -> Protocol:
    """A protocol of one label with these metrics, undefined where nothing is there."""
    return load_protocol(
        {
            "protocol": 1, "name": "own", "labels": {"a": 1}, "metrics": metrics,
            "outputs": [{"name": "s", "kind": "label_map", "file": "{case}.nii.gz"}],
            "conventions": {"failed": {metric["name"]: None for metric in metrics}},
        }
    )  # fmt: skip


def values(result: CaseResult) -> dict[str, float | None]:
    """Metric → value of the first label."""
    return {row.metric: row.value for row in result.rows if row.label == result.rows[0].label}


# --- MedFM


def medfm_auc(folder: Path, name: str, table) -> float | None:
    """Macro AUC of the data set a table belongs to, as the published code computes it."""
    protocol = load_named_protocol(f"medfm-{name.partition(',')[0]}@published")
    names = [label.name for label in protocol.labels]
    truth, scores = table
    rows = [[int(column == row) for column in range(len(names))] if isinstance(row, int) else row for row in truth]
    for file, cells in (("r.csv", rows), ("p.csv", scores)):
        lines = [",".join(map(str, [f"i{number}", *row])) for number, row in enumerate(cells)]
        (folder / file).write_text("\n".join([",".join(["case", *names]), *lines]) + "\n")
    results = score_table(protocol=protocol, reference=folder / "r.csv", prediction=folder / "p.csv")
    return summarise(protocol, results)["macro_auc"]["mean"]


MEDFM = inputs.medfm_tables()


@pytest.mark.parametrize("name", [name for name in MEDFM if name != "endo, first class absent"])
@pytest.mark.checked("medfm-colon@published", what="AUC after a softmax over each row", source="openmedlab/MedFM, run")
@pytest.mark.checked("medfm-chest@published", what="AUC of 19 findings with ties", source="openmedlab/MedFM, run")
@pytest.mark.checked("medfm-endo@published", what="AUC, also of a class that is absent", source="openmedlab/MedFM, run")
def test_areas_under_roc_are_medfms(tmp_path, name):
    answers = golden("medfm", over=list(MEDFM.items()))
    assert 100 * medfm_auc(tmp_path, name, MEDFM[name]) == pytest.approx(answers[name], abs=1e-11)


def test_medfms_script_stops_where_the_first_class_is_absent_and_ours_leaves_the_class_out(tmp_path):
    name = "endo, first class absent"
    assert golden("medfm", over=list(MEDFM.items()))[name] == "stops: UnboundLocalError"
    assert 0 < medfm_auc(tmp_path, name, MEDFM[name]) < 1


# --- GMAI-MMBench


@pytest.mark.checked(
    "gmai-mmbench@published", what="the letter read from 132 answers", source="VLMEvalKit matching_util.py, run"
)
def test_letters_are_read_as_vlmevalkit_reads_them():
    answers = golden("gmai-mmbench", over=list(inputs.ANSWERS))
    assert len(answers) == len(inputs.ANSWERS) > 100
    read = [parse_as_vlmevalkit(text, options=options) for text, options in inputs.ANSWERS]
    published = [None if letter == "Z" else letter for letter in answers]
    assert {
        text: (ours, theirs)
        for (text, _), ours, theirs in zip(inputs.ANSWERS, read, published, strict=True)
        if ours != theirs
    } == {}


def test_the_strict_parser_differs_from_vlmevalkits_where_the_readme_says_so():
    answers = golden("gmai-mmbench", over=list(inputs.ANSWERS))
    differing = {
        text: (parse_choice(text, options=options), letter if letter != "Z" else None)
        for (text, options), letter in zip(inputs.ANSWERS, answers, strict=True)
        if parse_choice(text, options=options) != (letter if letter != "Z" else None)
    }
    assert differing == {
        "The answer is E because of the outpouching that can be seen on the left side": ("E", None),
        "answer is Certainly unclear": (None, "C"),
        "answer is Both": (None, "B"),
        "I'm sorry, but without the image provided I choose C": ("C", None),
        "cannot determine the answer, B": (None, "B"),
        "I cannot process this file. B": (None, "B"),
        "Unable to determine, but B": (None, "B"),
    }


# --- HECKTOR 2022

HECKTOR = inputs.hecktor_folders()


@pytest.mark.parametrize(
    ("name", "mode"), [("whole", ""), ("whole", "@published"), ("one case not predicted", "@published")]
)
@pytest.mark.checked("hecktor22", what="aggregated Dice in mm³ at six voxel sizes", source="voreille/hecktor, run")
@pytest.mark.checked(
    "hecktor22@published", what="a case that is not predicted leaves the sums", source="voreille/hecktor, run"
)
def test_aggregated_dice_is_hecktors(tmp_path, name, mode):
    published = golden("hecktor22", over=inputs.tumours())[name]
    protocol = load_named_protocol(f"hecktor22{mode}")
    summary = summarise(protocol, [one_map(tmp_path, case, protocol) for case in HECKTOR[name]])["pooled_dice"]
    ours = {label: row["mean"] for label, row in summary["per_label"].items()} | {"mean": summary["mean"]}
    assert ours == {label: pytest.approx(value, abs=1e-12) for label, value in published.items()}


def test_what_is_refused_here_and_not_by_hecktors_script_costs_its_own_case(tmp_path):
    """The script resamples a larger grid, and stops at an unknown value. Here either costs the case."""
    published = golden("hecktor22", over=inputs.tumours())
    assert published["one prediction on a larger grid"] == published["whole"]
    assert published["one value that is no label"] == "stops: RuntimeError"
    protocol = load_named_protocol("hecktor22@published")
    failures = [
        one_map(tmp_path / name, HECKTOR[name][0], protocol).failure
        for name in ("one prediction on a larger grid", "one value that is no label")
    ]
    assert failures == ["output_invalid:shape_mismatch", "output_invalid:label_unknown"]


# --- SegRap 2023, task 2

SEGRAP = inputs.segrap_folders()


def two_channels(folder: Path, case: inputs.Case, protocol: Protocol) -> CaseResult:
    """GTVp and GTVnd are the same mask, as the harness writes them."""
    doubled = {
        side: None if mask is None else np.stack([mask, mask], axis=-1)
        for side, mask in (("reference", case.reference), ("prediction", case.prediction))
    }
    return one_map(folder, replace(case, **doubled), protocol)


@pytest.mark.checked("segrap23-gtv@published", what="Dice and NSD of eight cases", source="HiLab-git/SegRap2023, run")
def test_dice_and_nsd_are_segraps(tmp_path):
    published = golden("segrap23-gtv", over=inputs.volumes())
    protocol = load_named_protocol("segrap23-gtv@published")
    ours = {case.name: values(two_channels(tmp_path, case, protocol)) for case in SEGRAP["whole"] if case.name != "p6"}
    assert ours == {name: answer for name, answer in published["whole"].items() if name != "p6"}
    assert published["whole"]["p6"] == {"dice": 1.0, "nsd": 1.0}, "any value above 0 counts for the script"


@pytest.mark.parametrize(("name", "kept"), [("one case not predicted", 7), ("one slice less", None)])
def test_unsound_folders_are_worth_what_segraps_script_makes_of_them(tmp_path, name, kept):
    published = golden("segrap23-gtv", over=inputs.volumes())[name]
    protocol = load_named_protocol("segrap23-gtv@published")
    results = [two_channels(tmp_path, case, protocol) for case in SEGRAP[name] if case.name != "p6"]
    mean = summarise(protocol, results)["dice"]["mean"]
    if kept is None:
        assert (published, mean) == ("stops: ValueError", None)
    else:
        assert len(published) == kept
        others = [answer["dice"] for case, answer in published.items() if case != "p6"]
        assert mean == pytest.approx(math.fsum(others) / len(others), abs=1e-12)


# --- PI-CAI


@pytest.mark.parametrize(
    ("rule", "spare"), [("spare candidates count", "count"), ("spare candidates forgiven", "forgiven")]
)
@pytest.mark.parametrize("assignment", ["most_pairs", "largest_first"])
def test_lesions_are_matched_as_picai_eval_matches_them(tmp_path, rule, spare, assignment):
    """Also where a lesion hangs on which overlap is taken first, once as many pairs as possible are asked for."""
    published = golden("picai", over=[*inputs.lesions(), *inputs.confidences()])[rule]
    options = {"assignment": assignment, "spare_predictions": spare}
    metrics = [
        {"name": f"matched_{kind}", "iou": 0.1, "iou_rule": "at_least", **options}
        for kind in ("true_positives", "false_positives", "false_negatives")
    ]
    ours = {
        case.name: {
            name.removeprefix("matched_"): value
            for name, value in values(one_map(tmp_path, case, of_arrays(metrics))).items()
        }
        for case in inputs.lesions()
    }
    differing = {name for name in ours if ours[name] != published[name]}
    assert differing == (set() if assignment == "most_pairs" else {"chain"})
    assert published["chain"] == {"true_positives": 2, "false_positives": 0, "false_negatives": 0}


def test_the_area_under_roc_of_cases_is_picai_evals(tmp_path):
    cases, sure = inputs.lesions(), inputs.confidences()
    published = golden("picai", over=[*cases, *sure])["auroc"]
    rows = [
        (case.name, int(case.reference.any()), value if case.prediction.any() else 0.0)
        for case, value in zip(cases, sure, strict=True)
    ]
    for file, column in (("r.csv", 1), ("p.csv", 2)):
        (tmp_path / file).write_text("case,a\n" + "".join(f"{row[0]},{row[column]}\n" for row in rows))
    protocol = load_protocol(
        {
            "protocol": 1, "name": "picai", "labels": {"a": 1}, "metrics": [{"name": "macro_auc"}],
            "outputs": [{"name": "s", "kind": "table", "file": "s.csv", "columns": ["a"]}],
        }
    )  # fmt: skip
    results = score_table(protocol=protocol, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")
    assert summarise(protocol, results)["macro_auc"]["mean"] == pytest.approx(published, abs=1e-12)


def boxes_scored(tmp_path: Path, metrics: list[dict], *, cells: str) -> dict[str, float]:
    """Our scores of the boxes by metric id. Those of two dimensions take the first two axes."""
    corners = (0, 1, 3, 4) if cells == "boxes_2d" else range(6)

    def cell(boxes: list) -> str:
        return "; ".join(
            " ".join(str(number) for number in (*(box[at] for at in corners), *sure)) for box, sure in boxes
        )

    cases = inputs.box_cases()
    told = {
        "r.csv": [(case.name, cell([(box, ()) for box in case.reference])) for case in cases],
        "p.csv": [(case.name, cell([(box, (sure / 100,)) for box, sure in case.answer])) for case in cases],
    }
    for file, rows in told.items():
        (tmp_path / file).write_text("case,a\n" + "".join(f"{name},{text}\n" for name, text in rows))
    protocol = load_protocol(
        {
            "protocol": 1, "name": "boxes", "labels": {"a": 1}, "metrics": metrics,
            "outputs": [{"name": "s", "kind": "table", "file": "s.csv", "cells": cells}],
        }
    )  # fmt: skip
    results = score_table(protocol=protocol, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")
    return {name: summary["mean"] for name, summary in summarise(protocol, results).items()}


@pytest.mark.parametrize("spare", ["forgiven", "count"])
def test_the_average_precision_of_lesions_is_picai_evals(tmp_path, spare):
    published = golden("picai-findings", over=inputs.box_cases())[spare]
    rule = {"rule": "most_overlap", "iou": 0.1, "spare_predictions": spare}
    ours = boxes_scored(tmp_path, [{"name": "finding_precision", **rule}, {"name": "finding_auc"}], cells="boxes_3d")
    assert ours["finding_precision"] == pytest.approx(published["AP"], abs=1e-9)
    assert ours["finding_auc"] == pytest.approx(published["auroc"], abs=1e-9)
    assert 0.2 < published["AP"] < 0.95


def test_the_average_precision_of_boxes_is_cocos(tmp_path):
    published = golden("coco", over=inputs.box_cases())
    metrics = [
        {"name": "finding_precision", "id": "half", "interpolation": "coco"},
        {"name": "finding_precision", "id": "all", "interpolation": "coco", "iou_to": 0.95},
    ]
    ours = boxes_scored(tmp_path, metrics, cells="boxes_2d")
    assert ours["half"] == pytest.approx(published["AP at 0.5"], abs=1e-9)
    assert ours["all"] == pytest.approx(published["AP from 0.5 to 0.95"], abs=1e-9)


# --- grand-challenge's metrics package

CLOSE = {"dice": 3e-8, "iou": 3e-8, "hd": 1e-12, "assd": 1e-12, "volume_difference": 1e-12}
"""How far apart: its overlaps are single precision."""


def test_overlaps_distances_and_volumes_are_those_of_grand_challenge_metrics(tmp_path):
    published = golden("grand-challenge-metrics", over=inputs.volumes())
    metrics = [
        {"name": "dice"}, {"name": "iou"}, {"name": "hd", "surface": "voxels6"}, {"name": "hd95", "surface": "voxels6"},
        {"name": "assd", "surface": "voxels6", "combine": "larger"}, {"name": "volume_difference"},
        {"name": "relative_volume_difference"},
    ]  # fmt: skip
    for case in inputs.volumes():
        binary = replace(case, prediction=(case.prediction > 0).astype(np.uint8), origin_of_prediction=(0.0, 0.0, 0.0))
        ours, theirs = values(one_map(tmp_path, binary, of_arrays(metrics))), published[case.name]
        if not (case.reference.any() and case.prediction.any()):
            continue
        ours["volume_difference"] *= 1000.0  # theirs is in mm³
        for name, margin in CLOSE.items():
            assert ours[name] == pytest.approx(theirs[name], abs=margin, rel=1e-12), (case.name, name)
        assert abs(ours["relative_volume_difference"]) == pytest.approx(theirs["relative_volume_difference"], abs=1e-12)
        assert ours["hd95"] >= theirs["hd95"] - 1e-12, "theirs takes the value below the percentile, ours interpolates"


def test_empty_masks_stop_grand_challenge_metrics_or_give_a_distance_of_nothing():
    published = golden("grand-challenge-metrics", over=inputs.volumes())
    assert (published["p5"]["hd"], published["p5"]["hd95"]) == ("stops: ValueError", "stops: IndexError")
    assert published["p5"]["assd"] > 0, "the distance to a mask without a voxel"
    assert {case["accuracy"] for case in published.values()} == {0.0, 1.0}, "it rounds shares down"
