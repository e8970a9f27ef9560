"""The demo's checks find what they are there to find."""

import pytest

from containers.examples.demo.expectations import EXPECTED_DICE, EXPECTED_FAILED_CASES, FAILED_TEAMS, Board, unmet


@pytest.fixture
def board() -> Board:
    entries = [
        {
            "rank": rank, "team": team, "metrics": {"dice": {"mean": EXPECTED_DICE[team], "sd": 0.01}}, "case_count": 8,
            "failed_cases": EXPECTED_FAILED_CASES[team], "seconds_per_case": 1.0, "peak_memory_bytes": 2**27,
        }
        for rank, team in enumerate(("Mixture", "Thresholds", "Quantiles", "Otsu"), start=1)
    ]  # fmt: skip
    submissions = {team: {"status": "failed", "verdict_text": words} for team, words in FAILED_TEAMS.items()}
    return Board(leaderboard={"entries": entries}, submissions=submissions)


def test_the_board_of_a_good_run_meets_every_expectation(board):
    assert unmet(board) == []


def test_another_order_of_the_real_algorithms_is_noticed(board):
    board.leaderboard["entries"].reverse()
    assert unmet(board) == ["the order is Otsu, Thresholds, Mixture; expected Mixture, Thresholds, Otsu"]


def test_a_score_that_is_off_is_noticed(board):
    board.leaderboard["entries"][0]["metrics"]["dice"]["mean"] = 0.95
    assert unmet(board) == ["Mixture has a mean Dice of 0.95; expected 0.878 within 0.02"]


def test_a_lost_case_is_noticed(board):
    board.leaderboard["entries"][3]["case_count"] = 7
    assert unmet(board) == ["Otsu failed 0 of 7 cases; expected 0 of 8"]


def test_a_missing_team_is_noticed(board):
    del board.leaderboard["entries"][2]
    assert unmet(board) == ["Quantiles is not ranked"]


def test_a_misbehaving_team_that_succeeds_is_noticed(board):
    board.submissions["Mirror"] = {"status": "done", "verdict_text": ""}
    assert unmet(board) == ["Mirror is 'done: '; expected failed: '8 of 8 cases failed'"]


def test_a_traceback_in_a_verdict_is_noticed(board):
    board.submissions["Patience"]["verdict_text"] += " Traceback"
    (problem,) = unmet(board)
    assert problem.endswith("failed Traceback', which is no plain verdict (Traceback)")
