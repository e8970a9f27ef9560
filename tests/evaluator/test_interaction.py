"""Prompts made from where an answer is wrong, worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest

from evaluator.errors import ProtocolError
from evaluator.protocol import load_named_protocol, load_protocol
from evaluator.scoring.case import score_case
from evaluator.scoring.interaction import Click, LabelPrompts, Prompts, centre_of_largest, make_prompts, wall_seconds_of
from tests.evaluator.volume_files import save_nifti

SHAPE = (20, 12, 9)
DOCUMENT = {
    "protocol": 1,
    "name": "clicks",
    "labels": {"lesion": 1, "node": 2, "never here": 3},
    "outputs": [{"name": "mask", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "dice_auc"}],
    "resources": {"run_mode": "interactive", "wall_seconds": 90, "wall_seconds_per": "label"},
    "interaction": {"clicks": 3},
}
PROTOCOL = load_protocol(DOCUMENT)


def block(*sides, value=1):
    array = np.zeros(SHAPE, np.uint8)
    array[tuple(slice(*side) for side in sides)] = value
    return array


REFERENCE = block((2, 9), (2, 9), (1, 8)) + block((12, 17), (4, 9), (2, 7), value=2)


@pytest.fixture
def ask(tmp_path):
    """The prompts of a round, given the answer so far."""
    reference = save_nifti(tmp_path / "reference.nii.gz", REFERENCE, spacing_mm=(1.0, 1.0, 5.0))

    def go(number, answer=None, earlier=None):
        predictions = None
        if answer is not None:
            predictions = {"mask": save_nifti(tmp_path / "answer.nii.gz", answer, spacing_mm=(1.0, 1.0, 5.0))}
        return make_prompts(
            protocol=PROTOCOL, number=number, references={"r": reference}, predictions=predictions, earlier=earlier
        )

    return go


def test_the_first_round_tells_the_box_of_every_structure_that_is_there(ask):
    assert ask(0).labels == (
        LabelPrompts(name="lesion", values=(1,), box=((2, 2, 1), (8, 8, 7))),
        LabelPrompts(name="node", values=(2,), box=((12, 4, 2), (16, 8, 6))),
    )


def test_a_click_lies_in_the_middle_of_the_largest_error_and_says_which_kind_it_is(ask):
    """Half of the lesion (x from 5) is missed, and the node is right but for a blob outside of it."""
    answer = block((2, 5), (2, 9), (1, 8)) + block((12, 17), (4, 9), (2, 7), value=2)
    answer[14:17, 0:3, 3:6] = 2
    boxed = ask(0)
    lesion, node = ask(1, answer, boxed).labels
    assert lesion.box == boxed.labels[0].box, "what was told before is told again"
    assert lesion.clicks == (Click(at=(6, 3, 2), is_foreground=True),)
    assert node.clicks == (Click(at=(15, 1, 4), is_foreground=False),)


def test_clicks_add_up_and_end_where_nothing_is_wrong(ask):
    first = ask(1, block((2, 5), (2, 9), (1, 8)), ask(0))
    assert [len(label.clicks) for label in first.labels] == [1, 1]
    second = ask(2, REFERENCE, first)
    assert second == first


def test_before_there_is_an_answer_everything_is_an_error(ask):
    assert [label.clicks for label in ask(1).labels] == [
        (Click(at=(5, 5, 4), is_foreground=True),),
        (Click(at=(14, 6, 4), is_foreground=True),),
    ]


def test_the_largest_error_counts_voxels_and_touches_over_corners():
    error = np.zeros((12, 5, 5), bool)
    error[0, 0, 0] = error[1, 1, 1] = error[2, 2, 2] = True  # one error of three, over corners
    error[8:10, 4, 4] = True
    assert centre_of_largest(error) == (0, 0, 0), "all three lie equally deep: the first in array order"
    error[8:12, 4, 4] = True
    assert centre_of_largest(error) == (8, 4, 4)
    assert centre_of_largest(np.zeros((3, 3, 3), bool)) is None


def test_the_border_of_the_image_is_outside():
    assert centre_of_largest(np.ones((5, 5, 5), bool)) == (2, 2, 2)


def test_prompts_read_back_what_they_wrote(ask):
    prompts = ask(1, None, ask(0))
    assert Prompts.from_json(prompts.to_json()) == prompts


def test_the_time_limit_grows_with_the_structures_of_the_case(ask):
    assert wall_seconds_of(PROTOCOL, ask(0)) == 180.0
    assert wall_seconds_of(PROTOCOL, Prompts(labels=())) == 90.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interaction": None}, "no `interaction`"),
        ({"resources": {"run_mode": "case"}}, "`interaction` without run_mode interactive"),
        (
            {"outputs": [{"name": "m", "kind": "table", "file": "m.csv"}], "metrics": [{"name": "accuracy"}]},
            "label_map",
        ),
    ],
)
def test_a_protocol_that_cannot_be_played_in_rounds_is_refused(changes, message):
    with pytest.raises(ProtocolError, match=message):
        load_protocol({**DOCUMENT, **changes})


def test_cvpr25_ships_with_six_rounds():
    interaction = load_named_protocol("cvpr25-interactive").interaction
    assert (interaction.box, interaction.clicks, interaction.rounds) == (True, 5, 6)


def test_cvpr25_rounds_no_value_of_any_round(tmp_path):
    """Dice 2·190 / (210 + 190) = 0.95 at first, 2·188 / 398 afterwards: areas and values keep every digit, as the script does."""
    reference = save_nifti(tmp_path / "r.nii.gz", block((2, 9), (2, 8), (1, 6)))
    answers = []
    for number in range(6):
        array = block((2, 9), (2, 8), (1, 6))
        array[2, 2, 1 : 1 + number % 4] = 0
        answers.append({"segmentation": save_nifti(tmp_path / f"p{number}.nii.gz", array)})
    found = score_case(
        protocol=load_named_protocol("cvpr25-interactive@published"), case_id="c", references={"r": reference},
        predictions=answers[-1], earlier_rounds=answers[:-1],
    )  # fmt: skip
    dice = [2 * (210 - number % 4) / (420 - number % 4) for number in range(6)]
    values = {row.metric: row.value for row in found.rows}
    assert [values[f"dice@{number}"] for number in range(5)] == dice[:5]
    assert values["dice"] == dice[5]
    assert values["dice_auc"] == pytest.approx(sum((a + b) / 2 for a, b in pairwise(dice[1:])), abs=1e-15)


def test_a_case_without_an_answer_leaves_cvpr25_as_published_with_all_its_metrics(tmp_path):
    reference = save_nifti(tmp_path / "r.nii.gz", block((2, 9), (2, 8), (1, 6)))
    for mode, expected in (("@published", {None}), ("", {0.0, 90.0})):
        found = score_case(
            protocol=load_named_protocol(f"cvpr25-interactive{mode}"), case_id="c", references={"r": reference},
            predictions=None, earlier_rounds=[None] * 5,
        )  # fmt: skip
        assert {row.value for row in found.rows} == expected
