"""The self-test of a protocol: right rules pass it, wrong ones are found out."""

import copy

import numpy as np
import pytest

import hosting
from evaluator.protocol import PROTOCOLS_FOLDER, OutputKind, load_named_protocol, load_protocol
from evaluator.scoring import judge_trials, reference_rows, try_case, try_rows
from evaluator.scoring.self_test import answer_of, moved, shift_of
from evaluator.volumes import read_grid

NAMES = sorted(path.stem for path in PROTOCOLS_FOLDER.glob("*.yaml"))
RULES = {
    "protocol": 1,
    "name": "tried",
    "title": "Tried",
    "labels": {"core": {"values": 1, "tolerance_mm": 2}, "rim": {"values": 2, "tolerance_mm": 2}},
    "inputs": [{"name": "t1", "file": "{case}.nii.gz"}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "hd95"}, {"name": "nsd"}],
}


def rules(**changes):
    return load_protocol(copy.deepcopy(RULES) | changes)


def references_in(protocol, folder, *, cases):
    """Case → name → path, or the rows of the table."""
    hosting.reference_folder(protocol, folder, cases)
    if protocol.output.kind is OutputKind.TABLE:
        return reference_rows(folder / "references.csv")
    if protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        return {c: {label.name: folder / f"{c}-{n}.nii.gz" for n, label in enumerate(protocol.labels)} for c in cases}
    return {case: {"reference": next(folder.glob(f"{case}.*"))} for case in cases}


def trials_of(protocol, tmp_path):
    cases = [f"c{n}" for n in range(4 if protocol.table_form else 1)]
    references = references_in(protocol, tmp_path / "references", cases=cases)
    if protocol.table_form:
        scored = try_rows(protocol=protocol, references=references)
    else:
        tried = {}
        for case, files in references.items():
            (tmp_path / case).mkdir()
            tried[case] = try_case(protocol=protocol, case_id=case, references=files, scratch=tmp_path / case)
        scored = {trial: [results[trial] for results in tried.values()] for trial in next(iter(tried.values()))}
    return {trial.name: trial for trial in judge_trials(protocol, scored)}


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_that_ships_passes(name, tmp_path):
    trials = trials_of(load_named_protocol(name), tmp_path)
    assert {trial.name: trial.troubles for trial in trials.values() if trial.troubles} == {}


def test_the_four_answers_are_worth_what_is_known_beforehand(tmp_path):
    trials = trials_of(rules(), tmp_path)
    assert trials["reference"].means == {"dice": 1.0, "hd95": 0.0, "nsd": 1.0}
    assert trials["empty"].means["dice"] == trials["missing"].means["dice"] == 0.0
    assert 0 < trials["shifted"].means["dice"] < 1
    assert trials["shifted"].means["hd95"] > 2
    assert trials["shifted"].means["nsd"] < 1


def test_a_rule_that_gives_an_empty_answer_the_best_value_is_found_out(tmp_path):
    generous = {"prediction_empty": {"dice": 1}}
    trials = trials_of(rules(conventions=generous), tmp_path)
    assert trials["empty"].troubles[0] == "dice of core in c0 is 1, the best value there is"
    assert trials["shifted"].troubles == ()


def test_a_rule_that_leaves_missing_structures_out_is_told(tmp_path):
    trials = trials_of(rules(conventions={"prediction_empty": {"dice": None}}), tmp_path)
    assert "dice of core in c0 is left out" in trials["empty"].notes[0]


def test_a_tolerance_does_not_hide_the_shift(tmp_path):
    wide = {"core": {"values": 1, "tolerance_mm": 3}, "rim": {"values": 2, "tolerance_mm": 3}}
    trials = trials_of(rules(labels=wide, metrics=[{"name": "nsd"}]), tmp_path)
    assert trials["shifted"].means["nsd"] < 1


def test_a_shift_moves_towards_the_end_and_brings_background():
    array = np.arange(12).reshape(3, 4)
    assert moved(array, by=(1, 2)).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 4, 5]]


def test_a_reference_per_structure_becomes_one_map(tmp_path):
    protocol = rules()
    arrays = [np.zeros((6, 6, 6), np.uint8) for _ in range(2)]
    arrays[0][1:3, 1:3, 1:3], arrays[1][4, 4, 4] = 1, 1
    files = {
        name: hosting.volume([array], tmp_path / f"{name}.nii.gz")
        for name, array in zip(("core", "rim"), arrays, strict=True)
    }
    (answer,) = answer_of(protocol, files).values()
    assert np.unique(answer, return_counts=True)[1].tolist() == [207, 8, 1]
    by = shift_of([answer], grid=read_grid(files["core"]), protocol=protocol)
    assert by == (5, 5, 3)
