"""Published challenges, rule by rule: each scorer's steps are written out here once more, over surface-distance, and compared.

The steps are those of the published scripts. The masks are random, small and of every kind of emptiness.
"""

import numpy as np
import pytest
import SimpleITK as sitk

from evaluator.protocol import load_named_protocol, load_protocol
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.scoring.case import score_case
from evaluator.scoring.tables import score_table
from tests.evaluator import oracle_surface_distance
from tests.evaluator.volume_files import save_nifti

SPACING_MM = (0.8, 0.8, 2.5)
SHAPE = (24, 22, 20)


def random_maps(seed, values):
    """A reference of blocks, some absent, and a prediction that shifts, drops, shrinks and invents them."""
    generator = np.random.default_rng(seed)
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for value in values:
        start = generator.integers(0, 14, 3)
        size = generator.integers(1, 9, 3)
        block = tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))
        if generator.random() < 0.8:
            reference[block] = value
        shift = generator.integers(-2, 3, 3)
        moved = tuple(slice(max(0, a + s), max(0, a + s) + b) for a, b, s in zip(start, size, shift, strict=True))
        if generator.random() < 0.8:
            prediction[moved] = value
    return reference, prediction


def scored(protocol, reference, prediction, tmp_path):
    files = {
        name: save_nifti(tmp_path / f"{name}.nii.gz", array, spacing_mm=SPACING_MM)
        for name, array in (("reference", reference), ("segmentation", prediction))
    }
    result = score_case(
        protocol=protocol,
        case_id="c",
        references={"reference": files["reference"]},
        predictions={"segmentation": files["segmentation"]},
    )
    return {(row.label, row.metric): row.value for row in result.rows}


def dice(reference, prediction):
    total = int(reference.sum()) + int(prediction.sum())
    return 2 * int((reference & prediction).sum()) / total if total else float("nan")


def nsd(reference, prediction, tolerance_mm):
    spacing = tuple(float(np.float32(value)) for value in SPACING_MM)
    record = oracle_surface_distance.measure(reference, prediction, spacing)
    return oracle_surface_distance.values(record, tolerance_mm=tolerance_mm)["nsd"]


def flare22_steps(reference, prediction, *, tolerance_mm, is_cropped):
    """The steps of FLARE22_DSC_NSD_Eval.py, in its order."""
    if not reference.any() and not prediction.any():
        return 1.0, 1.0
    if not reference.any() or not prediction.any():
        return 0.0, 0.0
    if is_cropped:
        slices = np.flatnonzero(reference.any(axis=(0, 1)))
        reference, prediction = (mask[:, :, slices[0] : slices[-1]] for mask in (reference, prediction))
        if not reference.size:
            return None, None  # the published script stops here
    overlap = dice(reference, prediction)
    return round(overlap, 4), round(nsd(reference, prediction, tolerance_mm), 4) if overlap >= 0.2 else 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.checked(
    "flare22@published",
    what="Dice and NSD of 13 organs on random masks, each step written out again over surface-distance",
    source="JunMa11/FLARE FLARE22_DSC_NSD_Eval.py",
)
def test_flare22_scores_as_its_published_steps_do(seed, tmp_path):
    protocol = load_named_protocol("flare22@published")
    reference, prediction = random_maps(seed, range(1, 14))
    found = scored(protocol, reference, prediction, tmp_path)
    for label in protocol.labels:
        expected = flare22_steps(
            reference == label.values[0],
            prediction == label.values[0],
            tolerance_mm=label.tolerance_mm,
            is_cropped=label.z_crop == "exclusive",
        )
        assert (found[label.name, "dice"], found[label.name, "nsd"]) == pytest.approx(expected, abs=1e-9), label.name


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.checked(
    "kits23",
    what="Dice and NSD of nested regions on random masks over surface-distance",
    source="neheller/kits23 configuration/labels.py and evaluation",
)
def test_kits23_scores_its_nested_regions_as_published(seed, tmp_path):
    protocol = load_named_protocol("kits23")
    reference, prediction = random_maps(seed, (1, 2, 3))
    found = scored(protocol, reference, prediction, tmp_path)
    regions = {
        "kidney_and_mass": ((1, 2, 3), 1.0330772532390826),
        "mass": ((2, 3), 1.1328796488598762),
        "tumor": ((2,), 1.1498198361434828),
    }
    for name, (values, tolerance_mm) in regions.items():
        ours, theirs = np.isin(reference, values), np.isin(prediction, values)
        if ours.any() and theirs.any():
            expected = (dice(ours, theirs), nsd(ours, theirs, tolerance_mm))
        else:
            expected = (1.0, 1.0) if not ours.any() and not theirs.any() else (0.0, 0.0)
        assert (found[name, "dice"], found[name, "nsd"]) == pytest.approx(expected, abs=1e-9), name


@pytest.mark.checked(
    "touchstone",
    what="an absent organ is undefined, a missed one 0",
    source="MrGiovanni/Touchstone per-case CSVs",
)
def test_touchstone_leaves_an_absent_organ_undefined_and_a_missed_one_at_zero(tmp_path):
    protocol = load_named_protocol("touchstone")
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    reference[2:6, 2:6, 2:6] = 1
    prediction[10:12, 10:12, 10:12] = 2
    found = scored(protocol, reference, prediction, tmp_path)
    assert found["aorta", "dice"] == 0.0
    assert found["gall_bladder", "dice"] is None
    assert found["liver", "dice"] is None


@pytest.mark.checked(
    "segrap23 segrap23-gtv",
    what="Dice and NSD of overlapping channels over surface-distance, files as the organizers write them",
    source="HiLab-git/SegRap2023 stacked_results_to_4d_mha.py, SegRap_Task001_DSC_NSD_Eval.py",
)
def test_segrap_masks_come_as_four_dimensional_metaimages(tmp_path):
    """`JoinSeries` of one mask per structure, written compressed, as the organizers' own example does it. Structures overlap."""
    generator = np.random.default_rng(3)
    masks = {side: (generator.random((3, 7, 8, 9)) < 0.4).astype(np.uint8) for side in ("reference", "prediction")}
    paths = {}
    for side, channels in masks.items():
        images = [sitk.GetImageFromArray(channel) for channel in channels]
        for image in images:
            image.SetSpacing((0.5, 0.5, 3.0))
        paths[side] = tmp_path / f"{side}.mha"
        sitk.WriteImage(sitk.JoinSeries(images), str(paths[side]), True)
    protocol = load_protocol({
        "protocol": 1,
        "name": "three-of-segrap",
        "preset": "segrap23",
        "labels": {f"organ{index}": {"channel": index, "tolerance_mm": 1} for index in range(3)},
        "outputs": [{"name": "segmentation", "kind": "multichannel", "file": "image.mha"}],
        "metrics": [{"name": "dice"}, {"name": "nsd"}],
    })  # fmt: skip
    result = score_case(
        protocol=protocol,
        case_id="c",
        references={"reference": paths["reference"]},
        predictions={"segmentation": paths["prediction"]},
    )
    for index in range(3):
        ours, theirs = (masks[side][index].astype(bool) for side in ("reference", "prediction"))
        record = oracle_surface_distance.measure(ours.T, theirs.T, (0.5, 0.5, 3.0))
        expected = {
            "dice": round(dice(ours, theirs), 4),
            "nsd": round(oracle_surface_distance.values(record, tolerance_mm=1.0)["nsd"], 4),
        }
        found = {row.metric: row.value for row in result.rows if row.label == f"organ{index}"}
        assert found == pytest.approx(expected, abs=1e-9)


def test_a_four_dimensional_file_with_too_few_channels_is_refused(tmp_path):
    protocol = load_named_protocol("segrap23")
    empty = [sitk.Image(4, 4, 4, sitk.sitkUInt8) for _ in range(44)]
    sitk.WriteImage(sitk.JoinSeries(empty), str(tmp_path / "p.mha"))
    sitk.WriteImage(sitk.JoinSeries([*empty, empty[0]]), str(tmp_path / "r.mha"))
    result = score_case(
        protocol=protocol,
        case_id="c",
        references={"reference": tmp_path / "r.mha"},
        predictions={"segmentation": tmp_path / "p.mha"},
    )
    assert {row.reason for row in result.rows} == {"output_invalid:shape_mismatch"}


def block(*corners, value):
    array = np.zeros(SHAPE, np.uint8)
    array[tuple(slice(start, stop) for start, stop in corners)] = value
    return array


@pytest.mark.checked(
    "kits19",
    what="unknown values and missing cases are background",
    source="kits19 rules page, starter_code/evaluation.py",
)
def test_kits19_counts_unknown_values_and_missing_cases_as_background(tmp_path):
    protocol = load_named_protocol("kits19")
    kidney = block((2, 10), (2, 10), (2, 10), value=1)
    kidney[4:6, 4:6, 4:6] = 2
    noisy = kidney.copy()
    noisy[20:22, 20:22, 15:17] = 9
    found = scored(protocol, kidney, noisy, tmp_path)
    assert list(found.values()) == [1.0, 1.0]
    missing = score_case(
        protocol=protocol, case_id="c", references={"r": tmp_path / "reference.nii.gz"}, predictions=None
    )
    assert [(row.value, row.reason) for row in missing.rows] == [(0.0, "output_missing")] * 2


@pytest.mark.checked(
    "flare24-task1",
    what="other values and tumours in healthy scans score 0",
    source="JunMa11/FLARE T1_FLARE24_DSC_NSD_Eval.py",
)
def test_flare24s_tumour_task_punishes_any_other_value_and_any_tumour_in_the_healthy(tmp_path):
    protocol = load_named_protocol("flare24-task1")
    healthy, tumour = np.zeros(SHAPE, np.uint8), block((2, 10), (2, 10), (2, 10), value=1)
    assert scored(protocol, healthy, healthy, tmp_path)["lesion", "nsd"] == 1.0
    assert scored(protocol, healthy, tumour, tmp_path)["lesion", "dice"] == 0.0
    assert scored(protocol, tumour, 2 * tumour, tmp_path)["lesion", "dice"] == 0.0


@pytest.mark.checked(
    "flare23",
    what="organs and lesions are reported apart",
    source="JunMa11/FLARE FLARE23_DSC_NSD_Eval.py",
)
def test_flare23_reports_organs_and_lesions_apart(tmp_path):
    protocol = load_named_protocol("flare23")
    reference = block((2, 10), (2, 10), (2, 10), value=1) + block((12, 20), (12, 20), (12, 18), value=14)
    found = scored(protocol, reference, reference, tmp_path)
    assert found["liver", "organ_dice"] == found["lesion", "lesion_only_nsd"] == 1.0
    assert ("lesion", "organ_dice") not in found


@pytest.mark.checked(
    "feta24-biometry",
    what="percent error by hand",
    source="fetachallenge.github.io Evaluation.markdown",
)
def test_fetal_biometry_is_a_percentage_of_the_reference(tmp_path):
    protocol = load_named_protocol("feta24-biometry")
    (tmp_path / "r.csv").write_text("case,LCC,HV,bBIP,sBIP,TCD\nsub-1,40,50,60,70,20\n")
    (tmp_path / "p.csv").write_text("case,LCC,HV,bBIP,sBIP,TCD\nsub-1,42,50,60,,20\n")
    (result,) = score_table(protocol=protocol, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")
    assert [row.value for row in result.rows] == [5.0, 0.0, 0.0, 100.0, 0.0]


def team_rows(protocol, tmp_path, team, cases):
    """Scores of one team: for each case the slices its liver is predicted on (None: a time-out), and what the run consumed."""
    for case_id, (stop, seconds, gpu_area, cpu_area) in cases.items():
        reference = block((2, 22), (2, 10), (2, 10), value=1)
        files = {"reference": save_nifti(tmp_path / f"{case_id}.nii.gz", reference)}
        predictions = None
        if stop is not None:
            prediction = block((2, stop), (2, 10), (2, 10), value=1)
            predictions = {"segmentation": save_nifti(tmp_path / f"{team}-{case_id}.nii.gz", prediction)}
        telemetry = {
            "wall_seconds": seconds, "gpu_memory_mb_seconds": gpu_area, "cpu_percent_seconds": cpu_area,
        }  # fmt: skip
        result = score_case(
            protocol=protocol,
            case_id=case_id,
            references=files,
            predictions=predictions,
            failure=None if predictions else "timeout",
            telemetry=telemetry,
        )
        yield from ((team, case_id, row.label, row.metric, row.value, row.reason) for row in result.rows)


def ranked(protocol, tmp_path):
    teams = {
        "A": {"c1": (22, 10.0, 0.0, 500.0), "c2": (22, 10.0, 0.0, 500.0)},
        "B": {"c1": (10, 5.0, 0.0, 900.0), "c2": (22, 5.0, 0.0, 900.0)},
        "C": {"c1": (22, 20.0, 4096.0, 400.0), "c2": (None, 1.0, 0.0, 10.0)},
    }
    rows = [row for team, cases in teams.items() for row in team_rows(protocol, tmp_path, team, cases)]
    entries = rank_algorithms(ScoreTable.from_rows(rows), parse_ranking(protocol.ranking)).entries
    return rows, {entry.algorithm: (entry.rank, entry.score) for entry in entries}


@pytest.mark.checked(
    "flare22",
    what="ranks of three teams by hand: weights 1, 1, 1, ½, ½ and the worst values of a stuck container",
    source="flare22.grand-challenge.org/Evaluation",
)
def test_flare22_ranks_accuracy_and_cost_with_its_weights_and_worst_values(tmp_path):
    """Weights 1, 1, 1, ½, ½. First case: A 1+1+2+½+1, B 3+3+1+½+1½, C 1+1+3+1½+½. Second: A 5, B 4½, C last in all: 12."""
    rows, ranks = ranked(load_named_protocol("flare22"), tmp_path)
    worst = {metric: value for team, case, label, metric, value, _ in rows if (team, case, label) == ("C", "c2", "")}
    assert worst == {"time": 3600.0, "gpu_auc": 29491200.0, "cpu_auc": 360000.0}
    assert {value for team, case, label, _, value, _ in rows if (team, case) == ("C", "c2") and label} == {0.0}
    assert ranks == {"A": (1, 10.5 / 8), "B": (2, 13.5 / 8), "C": (3, 19 / 8)}


@pytest.mark.checked(
    "flare22@published",
    what="the gain of leaving a case out by hand",
    source="JunMa11/FLARE FLARE22_DSC_NSD_Eval.py, load_json.py",
)
def test_under_flare22s_code_a_container_that_gives_up_at_once_shares_the_first_place(tmp_path):
    """C is ranked first by what it took in the case it left out, and not at all by Dice and NSD: (7 + 1 + ½ + ½) / 6 = 1½."""
    _, ranks = ranked(load_named_protocol("flare22@published"), tmp_path)
    assert ranks == {"A": (1, 12 / 8), "B": (3, 15 / 8), "C": (1, 9 / 6)}
