"""Boards that challenges published, ranked again from what they published. Facts are typed from their pages."""

import pytest

from evaluator.protocol import load_named_protocol
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms

FETA24 = """
mic-dkfz-feta24   1  1  2  7   2.75  1
cemrg_feta        4  3  4  2   3.25  2
vicorob           2  2  3  6   3.25  2
feta_sigma        3  4  5  5   4.25  4
pasteurdbc        6  6  9  3   6     5
upfetal24         5  5  6  10  6.5   6
lit               9  9  8  1   6.75  7
cesne-digair      8  10 1  9   7     8
hilab             7  7  11 8   8.25  9
unipd-sum-aug     10 8  12 4   8.5   10
lmrcmc            11 11 7  12  10.25 11
jwcrad            12 12 10 11  11.25 12
qd_neuroincyte    13 14 13 13  13.25 13
falcons           14 13 14 14  13.75 14
ichilov-tau-maya  15 15 15 15  15    15
paramahir_2023    16 16 16 16  16    16
"""
"""FeTA 2024, task 1: ranks by Dice, HD95, volume similarity and Euler error, their mean, the final rank.
Source: fetachallenge.github.io, pages/Results.markdown (commit 8a38c5d). The published ranks are not those of the published
means, and how they were made of labels and cases is not said."""


@pytest.mark.parametrize(
    "ranking", [{"preset": "feta"}, load_named_protocol("feta24-segmentation").ranking], ids=["preset", "protocol"]
)
def test_the_board_of_feta_2024_follows_from_its_ranks_per_metric(ranking) -> None:
    """Values that order the teams as each published column does: 16 of 16 final ranks and mean ranks."""
    rows, expected = [], {}
    for line in FETA24.split("\n")[1:-1]:
        team, dice, hd95, volume, euler, mean, final = line.split()
        expected[team] = (int(final), float(mean))
        values = {
            "dice": 1 - int(dice) / 100,
            "hd95": float(hd95),
            "volume_similarity": 1 - int(volume) / 100,
            "euler_difference": float(euler),
        }
        rows += [(team, "all", "brain", name, value, "") for name, value in values.items()]
    found = rank_algorithms(ScoreTable.from_rows(rows), parse_ranking(ranking))
    assert {entry.algorithm: (entry.rank, entry.score) for entry in found.entries} == expected


def one_case(**values: dict[str, float]) -> ScoreTable:
    return ScoreTable.from_rows(
        (team, "c", "", metric, value, "") for team, found in values.items() for metric, value in found.items()
    )


def test_min_max_scales_over_the_teams_as_wmh_does() -> None:
    table = one_case(
        a={"dice": 0.8, "hd95": 4}, b={"dice": 0.6, "hd95": 2}, c={"dice": 0.7, "hd95": 12}
    )  # dice: 1, 0, 0.5; hd95: 0.8, 1, 0
    found = rank_algorithms(table, parse_ranking({"metrics": ["dice", "hd95"], "scheme": "min_max"}))
    assert {entry.algorithm: entry.score for entry in found.entries} == pytest.approx({"a": 0.9, "b": 0.5, "c": 0.25})
    assert found.larger_is_better


def test_a_value_behind_every_number_is_the_worst_of_the_teams() -> None:
    rows = [("a", "c", "", "dice", 0.8, ""), ("b", "c", "", "dice", 0.6, ""), ("x", "c", "", "dice", None, "failed")]
    config = parse_ranking({"metrics": ["dice"], "scheme": "min_max", "missing": {"any": "rank_last"}})
    found = rank_algorithms(ScoreTable.from_rows(rows), config)
    assert {entry.algorithm: entry.score for entry in found.entries} == {"a": 1, "b": 0, "x": 0}


def test_rank_scores_are_mapped_and_multiplied_as_learn2reg_does() -> None:
    table = one_case(
        a={"dice": 0.9, "tre": 3}, b={"dice": 0.8, "tre": 1}, c={"dice": 0.7, "tre": 2}
    )  # dice: 1, 0.55, 0.1; tre: 0.1, 1, 0.55
    found = rank_algorithms(table, parse_ranking({"metrics": ["dice", "tre"], "scheme": "rank_scores"}))
    scores = {entry.algorithm: entry.score for entry in found.entries}
    assert scores == pytest.approx({"a": (1 * 0.1) ** 0.5, "b": (0.55 * 1) ** 0.5, "c": (0.1 * 0.55) ** 0.5})
    assert found.ranks() == {"b": 1, "a": 2, "c": 3}
