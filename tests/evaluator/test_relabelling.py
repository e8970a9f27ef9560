"""Label maps in another data set's values: by name, checked against the lists A-Eval publishes."""

import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.commands.protocol import protocol as command
from evaluator.errors import EvaluatorError
from evaluator.protocol import load_named_protocol
from evaluator.scoring.relabelling import value_map, words_of
from evaluator.volumes import read_label_map
from tests.evaluator.volume_files import save_nifti

A_EVAL = {  # uni-medical/A-Eval label_systems.py: value there → value in the ten shared classes
    "flare22": {1: 5, 2: 2, 3: 1, 4: 7, 7: 8, 8: 9, 9: 4, 10: 10, 11: 6, 13: 3},
    "amos22": {1: 1, 2: 2, 3: 3, 4: 4, 5: 10, 6: 5, 7: 6, 10: 7, 11: 8, 12: 9},
    "btcv": {1: 1, 2: 2, 3: 3, 4: 4, 5: 10, 6: 5, 7: 6, 11: 7, 12: 8, 13: 9},
    "totalsegmentator": {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 15: 10},
}


@pytest.mark.parametrize("name", A_EVAL)
def test_names_give_the_lists_that_a_eval_publishes(name):
    assert value_map(load_named_protocol(name), load_named_protocol("a-eval")) == A_EVAL[name]


def test_the_words_of_a_name_decide_and_not_how_they_are_written():
    assert words_of("Kidney_right") == words_of("right kidney") == words_of("kidney-Right")
    assert words_of("left kidney") != words_of("right kidney")


def test_regions_have_no_value_and_masks_no_map():
    assert value_map(load_named_protocol("kits23"), load_named_protocol("kits23")) == {2: 2}  # the tumour alone
    with pytest.raises(EvaluatorError, match="segrap23 has no label maps"):
        value_map(load_named_protocol("segrap23"), load_named_protocol("a-eval"))


def test_a_folder_is_written_in_the_other_values_and_the_rest_is_background(tmp_path):
    (tmp_path / "flare").mkdir()
    array = np.zeros((4, 4, 4), np.uint8)
    array[0], array[1], array[2] = 1, 13, 5  # liver, left kidney, and the aorta, which A-Eval does not have
    save_nifti(tmp_path / "flare/case_1.nii.gz", array, spacing_mm=(1.0, 2.0, 3.0))
    words = ["relabel", tmp_path / "flare", "--from", "flare22", "--to", "a-eval", "-o", tmp_path / "shared"]
    answer = CliRunner().invoke(command, [str(word) for word in words])
    assert answer.exit_code == 0, answer.output
    assert "10 structures in 1 files" in answer.output
    found = read_label_map(tmp_path / "shared/case_1.nii.gz")
    assert found.grid.spacing_mm == (1.0, 2.0, 3.0)
    assert [int(found.array[plane].max()) for plane in range(4)] == [5, 3, 0, 0]
    assert int(found.array[2].max()) == 0


def test_what_the_source_lacks_is_said(tmp_path):
    (tmp_path / "maps").mkdir()
    save_nifti(tmp_path / "maps/a.nii.gz", np.ones((3, 3, 3), np.uint8))
    words = ["relabel", tmp_path / "maps", "--from", "touchstone", "--to", "a-eval", "-o", tmp_path / "out"]
    answer = CliRunner().invoke(command, [str(word) for word in words])
    assert "touchstone has no value for: gallbladder, right adrenal gland" in answer.output
    empty = CliRunner().invoke(command, ["relabel", str(tmp_path / "out" / ".."), *map(str, words[2:])])
    assert empty.exit_code == 1
    assert "holds no volume" in empty.output
