"""What the organizers' code does where their rules say something else: each defect by its own example, worked out by hand."""

import numpy as np
import pytest

from evaluator.errors import ProtocolError
from evaluator.protocol import OutputKind, Protocol, load_named_protocol, load_protocol, named_protocols
from evaluator.protocol.modes import Mode
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.scoring.case import score_case, summarise
from evaluator.scoring.gains import gains_of_leaving_out
from evaluator.scoring.tables import score_table
from tests.evaluator.volume_files import save_nifti

DEFECTS = [
    (name, defect.id)
    for name in named_protocols()
    for defect in load_named_protocol(name).defects
    if defect.example is not None
]
WITH_DEFECTS = sorted({name for name, _ in DEFECTS})
SHAPE = (10, 6, 12)


def filled(protocol: Protocol, spans) -> np.ndarray:
    """A map, or channels, with each named label as a bar of 4 by 3 voxels on its slices `spans[label]`."""
    labels = {label.name: label for label in protocol.labels}
    if protocol.output.kind is OutputKind.MULTICHANNEL:
        image = np.zeros((*SHAPE, protocol.channels), np.uint8)
        for name, (start, stop) in spans.items():
            image[2:6, 1:4, start:stop, labels[name].channel] = 1
    else:
        image = np.zeros(SHAPE, np.uint8)
        for name, (start, stop) in spans.items():
            image[2:6, 1:4, start:stop] = labels[name].values[-1]
    return image


def score(protocol, tmp_path, reference, prediction, *, case_id="c1"):
    files = {"reference": save_nifti(tmp_path / f"{case_id}-r.nii.gz", reference)}
    predictions = None
    if prediction is not None:
        predictions = {protocol.output.name: save_nifti(tmp_path / f"{case_id}-p.nii.gz", prediction)}
    return score_case(protocol=protocol, case_id=case_id, references=files, predictions=predictions)


def value_of(result, label, metric):
    (row,) = [row for row in result.rows if (row.label, row.metric) == (label, metric)]
    return row.value


def one_case(protocol, tmp_path, label, metric, reference, prediction):
    reference, prediction = ({label: span} if span else {} for span in (reference, prediction))
    result = score(protocol, tmp_path, filled(protocol, reference), filled(protocol, prediction))
    return value_of(result, label, metric)


def first_label(protocol):
    return protocol.labels[0].name


def mean_of_a_perfect_and_a_missing_case(protocol, tmp_path, metric):
    reference = filled(protocol, {first_label(protocol): (3, 7)})
    results = [
        score(protocol, tmp_path, reference, reference, case_id="c1"),
        score(protocol, tmp_path, reference, None, case_id="c2"),
    ]
    return next(iter(summarise(protocol, results)[metric]["per_label"].values()))["mean"]


def spleen_beside(protocol, tmp_path, metric):
    """Surface elements lie at voxel corners: the facing ones are 3 mm apart, the far ones 4 mm."""
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    reference[2, 3, 5] = prediction[6, 3, 5] = 1
    return value_of(score(protocol, tmp_path, reference, prediction), "spleen", metric)


def auc_of_three_classes(protocol, tmp_path, metric):
    """0.5 (both rows alike), 1 (in order), none (negatives only)."""
    names = [label.name for label in protocol.labels][:3]
    document = {**protocol.document, "labels": protocol.document["labels"][:3]}
    header = ",".join(["case", *names])
    (tmp_path / "r.csv").write_text(f"{header}\na,1,1,0\nb,0,0,0\n")
    (tmp_path / "p.csv").write_text(f"{header}\na,0.5,0.9,0.1\nb,0.5,0.1,0.2\n")
    smaller = load_protocol(document)
    results = score_table(protocol=smaller, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")
    return summarise(smaller, results)[metric]["mean"]


def without_cells(protocol, tmp_path, metric):
    nothing = np.zeros((8, 8), np.uint16)
    return value_of(score(protocol, tmp_path, nothing, nothing), "cell", metric)


def cells_across_tiles(protocol, tmp_path, metric):
    """Two cells found, one missed across column 2000, one missed elsewhere."""
    reference = np.zeros((5000, 5000), np.uint16)
    for number, x in enumerate((10, 30, 1998, 3000), start=1):
        reference[x : x + 4, 10:14] = number
    prediction = np.where(reference <= 2, reference, 0)
    return value_of(score(protocol, tmp_path, reference, prediction), "cell", metric)


def two_organs_missed(protocol, tmp_path, metric):
    reference = filled(protocol, {"left adrenal gland": (2, 5), "esophagus": (6, 9)})
    result = score(protocol, tmp_path, reference, np.zeros_like(reference))
    values = [row.value for row in result.rows if row.metric == metric]
    return sum(values) / len(values)


def tumour_called_three(protocol, tmp_path, metric):
    reference = filled(protocol, {"tumour": (3, 7)}) // filled(protocol, {"tumour": (3, 7)}).max() * 2
    return value_of(score(protocol, tmp_path, reference, reference // 2 * 3), "tumour", metric)


def a_stray_value(protocol, tmp_path, metric):
    reference = np.zeros(SHAPE, np.uint8)
    reference[2:6, 1:4, 3:7] = 1
    prediction = reference.copy()
    prediction[9, 5, 11] = 9
    return value_of(score(protocol, tmp_path, reference, prediction), first_label(protocol), metric)


def another_origin(protocol, tmp_path, metric):
    image = filled(protocol, {first_label(protocol): (3, 7)})
    moved = np.eye(4)
    moved[:3, 3] = 50
    files = {"reference": save_nifti(tmp_path / "r.nii.gz", image)}
    predictions = {protocol.output.name: save_nifti(tmp_path / "p.nii.gz", image, affine=moved)}
    result = score_case(protocol=protocol, case_id="c", references=files, predictions=predictions)
    return value_of(result, first_label(protocol), metric)


def one_slice_less(protocol, tmp_path, metric):
    image = filled(protocol, {first_label(protocol): (3, 7)})
    return value_of(score(protocol, tmp_path, image, image[:, :, 1:]), first_label(protocol), metric)


def table_of_two(protocol, tmp_path, metric, *, reference, prediction):
    """A table scored whole: the texts of two files."""
    (tmp_path / "r.csv").write_text(reference)
    (tmp_path / "p.csv").write_text(prediction)
    results = score_table(protocol=protocol, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")
    return summarise(protocol, results)[metric]["mean"]


EXAMPLES = {
    "letters-that-begin-words": lambda p, folder, metric: table_of_two(
        p,
        folder,
        metric,
        reference="case,answer,A,B\nq,B,Left,Right\n",
        prediction="case,answer\nq,The answer is Both.\n",
    ),
    "softmax-over-scores": lambda p, folder, metric: table_of_two(
        p,
        folder,
        metric,
        reference="case,negative,tumour\na,0,1\nb,1,0\n",
        prediction="case,negative,tumour\na,.9,.8\nb,.1,.7\n",
    ),
    "eight-classes": two_organs_missed,
    "every-value-above-one-is-tumour": tumour_called_three,
    "unknown-values-are-background": a_stray_value,
    "headers-not-compared": another_origin,
    "other-shape-crash": one_slice_less,
    "no-cells-score-nothing": without_cells,
    "tiles-cut-cells": cells_across_tiles,
    "missing-cases-dropped": mean_of_a_perfect_and_a_missing_case,
    "missing-case-crash": mean_of_a_perfect_and_a_missing_case,
    "exclusive-crop": lambda p, folder, metric: one_case(
        p, folder, "aorta" if "aorta" in {label.name for label in p.labels} else "esophagus", metric, (3, 7), (3, 6)
    ),
    "one-slice-crash": lambda p, folder, metric: one_case(p, folder, "aorta", metric, (3, 4), (3, 4)),
    "tolerances-by-number": spleen_beside,
    "crops-by-number": lambda p, folder, metric: one_case(p, folder, "liver", metric, (3, 7), (3, 10)),
    "nan-spreads": lambda p, folder, metric: one_case(p, folder, first_label(p), metric, None, None),
    "false-positives-free": lambda p, folder, metric: one_case(p, folder, first_label(p), metric, None, (3, 7)),
    "nan-of-two-empty-masks": lambda p, folder, metric: one_case(p, folder, "tumour", metric, None, None),
    "auc-of-the-class-before": auc_of_three_classes,
}


@pytest.mark.parametrize(("name", "defect_id"), DEFECTS)
def test_a_defect_is_worth_exactly_what_its_document_says(name, defect_id, tmp_path):
    example = next(d.example for d in load_named_protocol(name).defects if d.id == defect_id)
    found = {}
    for mode in Mode:
        (tmp_path / mode).mkdir()
        found[mode] = EXAMPLES[defect_id](load_named_protocol(f"{name}@{mode}"), tmp_path / mode, example.metric)
    assert found == {
        Mode.CORRECTED: pytest.approx(example.corrected, abs=5e-5),
        Mode.PUBLISHED: pytest.approx(example.published, abs=5e-5),
    }


def test_defects_are_named_for_every_challenge_whose_code_is_known_to_differ():
    assert WITH_DEFECTS == [
        "a-eval", "cellseg22", "cvpr24-laptop", "cvpr25-interactive", "flare21", "flare22", "flare23", "flare24-task1", "flare24-task2",
        "flare24-task3", "gmai-mmbench", "hecktor22", "kits19", "kits23", "medfm-chest", "medfm-colon", "medfm-endo", "segrap23", "segrap23-gtv", "totalsegmentator",
    ]  # fmt: skip


@pytest.mark.parametrize("name", named_protocols())
def test_a_defect_is_brought_about_with_an_example_or_says_that_it_is_not(name):
    for defect in load_named_protocol(name).defects:
        assert bool(defect.settings) == (defect.example is not None)
        assert bool(defect.settings) != ("Not reproduced" in defect.what)


@pytest.mark.parametrize("name", named_protocols())
def test_the_published_mode_is_a_document_like_any_other(name):
    corrected, published = load_named_protocol(name), load_named_protocol(f"{name}@published")
    assert load_protocol(published.document).sha256 == published.sha256 != corrected.sha256
    assert load_protocol(corrected.document, mode=Mode.PUBLISHED).sha256 == published.sha256
    assert published.full_name == f"{name}@published"
    assert (corrected.full_name, corrected.mode) == (name, Mode.CORRECTED)
    changed = {key for key in corrected.document if corrected.document[key] != published.document[key]}
    if name in WITH_DEFECTS:
        assert changed > {"mode", "defects"}
        assert not any(defect.settings for defect in published.defects)
    else:
        assert changed <= {"mode"}


@pytest.mark.parametrize("name", named_protocols())
def test_leaving_a_case_out_gains_nothing_under_corrected_rules(name):
    assert not any(gain.is_gain for gain in gains_of_leaving_out(load_named_protocol(name)))


@pytest.mark.parametrize("name", WITH_DEFECTS)
def test_the_gain_of_leaving_a_case_out_is_half_the_range_where_missing_cases_are_dropped(name):
    published = load_named_protocol(f"{name}@published")
    gains = gains_of_leaving_out(published)
    defects = {defect.id for defect in published.defects}
    if "missing-cases-dropped" in defects:
        assert gains
        half = 2 / 3 if any(spec.metric.pooled for spec in published.metrics) else 0.5  # 2·1 / (2 + 1) over both cases
        assert {(gain.honest, gain.left_out) for gain in gains} == {(half, 1.0)}
    elif "missing-case-crash" in defects:
        assert {(gain.honest, gain.left_out) for gain in gains} == {(0.5, None)}
    else:
        assert {(gain.honest, gain.left_out) for gain in gains} <= {(0.5, 0.5)}


def ranks(protocol, tmp_path, *, left_out):
    """Two teams on two cases: Hana hands in a half-right second case, Lars leaves it out or hands in nothing right."""
    table_rows = []
    cases = {"Hana": [(3, 7), (3, 5)], "Lars": [(3, 7), None]}
    reference = filled(protocol, {first_label(protocol): (3, 7)})
    for who, spans in cases.items():
        for number, span in enumerate(spans):
            prediction = None if span is None else filled(protocol, {first_label(protocol): span})
            result = score(protocol, tmp_path, reference, prediction, case_id=f"c{number}")
            table_rows += [(who, f"c{number}", r.label, r.metric, r.value, r.reason) for r in result.rows]
    assert left_out == any(row[-1] == "output_missing" for row in table_rows)
    ranking = {"metrics": ["dice"], "scheme": "value", "missing": protocol.ranking.get("missing", {"any": 0})}
    return {
        entry.algorithm: entry.rank
        for entry in rank_algorithms(ScoreTable.from_rows(table_rows), parse_ranking(ranking)).entries
    }


def test_leaving_a_hard_case_out_wins_under_flare22s_code_and_loses_under_its_rules(tmp_path):
    assert ranks(load_named_protocol("flare22"), tmp_path, left_out=True) == {"Hana": 1, "Lars": 2}
    assert ranks(load_named_protocol("flare22@published"), tmp_path, left_out=True) == {"Hana": 2, "Lars": 1}


def test_a_script_that_stops_leaves_the_whole_submission_without_a_score_or_rank(tmp_path):
    protocol = load_named_protocol("totalsegmentator@published")
    reference = filled(protocol, {"spleen": (3, 7)})
    good = score(protocol, tmp_path, reference, reference, case_id="c1")
    missing = score(protocol, tmp_path, reference, None, case_id="c2")
    assert {row.reason for row in missing.rows} == {"aborted:output_missing"}
    assert {row["mean"] for row in summarise(protocol, [good, missing]).values()} == {None}
    assert summarise(protocol, [good])["dice"]["mean"] == 1.0
    second = score(protocol, tmp_path, reference, reference, case_id="c2")
    table = ScoreTable.from_rows(
        (who, result.case_id, row.label, row.metric, row.value, row.reason)
        for who, results in {"whole": [good, second], "stopped": [good, missing]}.items()
        for result in results
        for row in result.rows
    )
    ranked = rank_algorithms(table, parse_ranking({"metrics": ["dice"], "scheme": "value", "missing": {"any": 0}}))
    assert {entry.algorithm: entry.rank for entry in ranked.entries} == {"whole": 1, "stopped": None}


TWO_TARGETS = {
    "protocol": 1,
    "name": "two-targets",
    "preset": "flare22",
    "labels": {"first": {"values": 1, "tolerance_mm": 2}, "second": {"values": 2, "tolerance_mm": 2}},
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "nsd", "min_dice_over": "case", "min_dice_rule": "exceeded"}],
    "conventions": {"both_empty": {"dice": "spoil", "nsd": None}},
}


@pytest.mark.checked(
    "cvpr24-laptop@published",
    what="not-a-number spreads over a case and zeroes its NSD",
    source="JunMa11 CVPR24_time_eval.py, evaluation/compute_metrics.py",
)
def test_not_a_number_in_one_label_takes_the_whole_case_with_it(tmp_path):
    """CVPR 2024: the mean of 1 and NaN is NaN, NaN > 0.2 is false, so NSD is 0 though the only target is perfect."""
    protocol = load_protocol(TWO_TARGETS)
    image = filled(protocol, {"first": (3, 7)})
    found = {(row.label, row.metric): (row.value, row.reason) for row in score(protocol, tmp_path, image, image).rows}
    assert found == {
        ("first", "dice"): (None, "spoiled:both_empty"),
        ("second", "dice"): (None, "spoiled:both_empty"),
        ("first", "nsd"): (0.0, "low_dice"),
        ("second", "nsd"): (0.0, "low_dice"),
    }


@pytest.mark.parametrize(("voxels", "nsd_is_zero"), [(1, True), (2, False)])
def test_a_mean_dice_of_exactly_one_fifth_is_too_low_where_it_has_to_be_exceeded(tmp_path, voxels, nsd_is_zero):
    """Nine voxels against one common one: 2 / 10 = 0.2. With two common ones 4 / 11."""
    protocol = load_protocol({**TWO_TARGETS, "labels": {"first": {"values": 1, "tolerance_mm": 2}}})
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    reference[0:9, 3, 5] = 1
    prediction[0:voxels, 3, 5] = 1
    assert (value_of(score(protocol, tmp_path, reference, prediction), "first", "nsd") == 0.0) == nsd_is_zero
    reached = load_protocol({**protocol.document, "metrics": [{"name": "dice"}, {"name": "nsd", "min_dice": 0.2}]})
    assert value_of(score(reached, tmp_path, reference, prediction), "first", "nsd") > 0.0


def test_what_a_failed_case_consumed_can_count_as_it_was_measured(tmp_path):
    protocol = load_named_protocol("flare22@published")
    files = {"r": save_nifti(tmp_path / "r.nii.gz", filled(protocol, {"liver": (3, 7)}))}
    result = score_case(
        protocol=protocol, case_id="c1", references=files, predictions=None, telemetry={"wall_seconds": 4.5}
    )
    assert value_of(result, "", "time") == 4.5
    assert value_of(result, "", "gpu_auc") is None


DOCUMENT = """\
protocol: 1
name: own
mode: published
labels:
  liver: {values: 1, tolerance_mm: 5}
outputs:
  - {name: segmentation, kind: label_map, file: segmentation.nii.gz}
metrics:
  - {name: dice}
defects:
  - id: odd
    what: Something odd.
    source: a script
    settings: {labels: {liver: {z_crop: exclusive}}}
"""


def test_an_organizer_may_change_a_published_protocol_further():
    published = load_protocol(DOCUMENT)
    assert published.labels[0].z_crop == "exclusive"
    changed = {**published.document, "labels": [{**published.document["labels"][0], "z_crop": "none"}]}
    assert load_protocol(changed).labels[0].z_crop == "none"
    assert load_protocol(DOCUMENT, mode=Mode.CORRECTED).labels[0].z_crop == "none"


@pytest.mark.parametrize(
    ("change", "line", "found"),
    [
        (("liver: {z_crop", "lever: {z_crop"), 14, "'lever'"),
        (("z_crop: exclusive", "z_crop: sideways"), 11, '"sideways"'),
        (("what: Something odd.", "why: not"), 11, "expected also the key 'what'"),
        (("mode: published", "mode: wrong"), 3, '"wrong"'),
        (("settings: {labels:", "settings: {inputs:"), 14, "inputs"),
    ],
)
def test_a_defect_that_cannot_be_laid_over_its_document_is_an_error_with_a_line(change, line, found):
    with pytest.raises(ProtocolError) as caught:
        load_protocol(DOCUMENT.replace(*change))
    assert caught.value.line == line
    assert found in str(caught.value)


def test_an_unknown_mode_of_a_named_protocol_lists_the_two():
    with pytest.raises(ProtocolError, match="corrected, published"):
        load_named_protocol("flare22@real")
