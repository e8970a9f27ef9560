"""Boards that challenges published, ranked again from what they published. The README beside this file names the sources."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluator.protocol import load_named_protocol
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.ranking.document.presets import preset_document, preset_names

FOLDER = Path(__file__).parent


def facts(name: str) -> list[list[str]]:
    return [line.split() for line in (FOLDER / name).read_text("utf-8").splitlines()]


def one_case(rows: Sequence[tuple[str, dict[str, float]]]) -> ScoreTable:
    return ScoreTable.from_rows(
        (team, "all", "", name, value, "") for team, values in rows for name, value in values.items()
    )


@pytest.mark.parametrize(
    "ranking", [{"preset": "feta"}, load_named_protocol("feta24-segmentation").ranking], ids=["preset", "protocol"]
)
def test_the_board_of_feta_2024_follows_from_its_ranks_per_metric(ranking) -> None:
    """Values that order the teams as each published column does. The ranks are not those of the published means."""
    rows, expected = [], {}
    for team, dice, hd95, volume, euler, mean, final in facts("feta24.txt"):
        expected[team] = (int(final), float(mean))
        values = {"dice": 1 - int(dice) / 100, "hd95": float(hd95)}
        rows.append((team, {**values, "volume_similarity": 1 - int(volume) / 100, "euler_difference": float(euler)}))
    assert len(rows) == 16
    found = rank_algorithms(one_case(rows), parse_ranking(ranking))
    assert {entry.algorithm: (entry.rank, entry.score) for entry in found.entries} == expected


@pytest.mark.parametrize(("task", "count"), [("1", 39), ("2", 30)])
def test_the_validation_boards_of_segrap_2025_follow_from_their_values(task: str, count: int) -> None:
    """Every submission is a row. The script of the page gives equal values the best of their ranks, compared exactly."""
    rows, overall, mean = [], {}, {}
    for number, row in enumerate(row for row in facts("segrap25.txt") if row[0] == task):
        name = f"{row[1]} {number}"
        rows.append((name, {"dice": float(row[2]), "nsd": float(row[3])}))
        overall[name], mean[name] = int(row[6]), (int(row[4]) + int(row[5])) / 2
    assert len(rows) == count
    found = rank_algorithms(one_case(rows), parse_ranking({"preset": "segrap25-validation"}))
    assert found.ranks() == overall
    assert {entry.algorithm: entry.score for entry in found.entries} == mean


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_where_it_comes_from_and_whether_a_board_confirms_it(name: str) -> None:
    document = preset_document(name)
    assert len(document["source"]) > 15
    assert document["board"]
    if "memory" in document["source"]:
        assert document.get("unconfirmed"), "what is from memory is unconfirmed"


def test_only_boards_of_this_folder_are_said_to_be_in_it() -> None:
    said = {name for name in preset_names() if "tests/published_boards" in preset_document(name)["board"]}
    assert said == {"feta", "segrap25-validation"}
