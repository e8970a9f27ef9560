"""What the demo's board must say, checked against what it says. Pure: JSON in, sentences out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DICE_TOLERANCE = 0.02
"""Library versions move the mean Dice a little. A broken scorer, a wrong warp or a lost case moves it more."""
EXPECTED_DICE = {"Mixture": 0.878, "Thresholds": 0.809, "Otsu": 0.793, "Quantiles": 0.716}
"""Pooled over labels and the eight cases. Quantiles counts 0 for the case it crashed on."""
REAL_TEAMS_IN_ORDER = ("Mixture", "Thresholds", "Otsu")
CASES = 8
EXPECTED_FAILED_CASES = {"Mixture": 0, "Thresholds": 0, "Otsu": 0, "Quantiles": 1}
FAILED_TEAMS = {
    "Patience": "reached on 3 cases in a row; 8 of 8 cases failed",
    "Mirror": "8 of 8 cases failed",
}
NEVER_SHOWN = ("Traceback", "Error:", "/tmp", "/var", ".py")


@dataclass(frozen=True, kw_only=True)
class Board:
    """The leaderboard as anybody sees it, and each team's newest submission as the team sees it."""

    leaderboard: dict[str, Any]
    submissions: dict[str, dict[str, Any]]


def unmet(board: Board) -> list[str]:
    """One sentence per expectation that is not met. Empty when all are."""
    return [*_real_teams(board), *_failed_teams(board), *_plain_words(board)]


def _real_teams(board: Board) -> Iterator[str]:
    rows = {row["team"]: row for row in board.leaderboard["entries"] if row["rank"] is not None}
    order = [team for team in rows if team in REAL_TEAMS_IN_ORDER]
    if order != list(REAL_TEAMS_IN_ORDER):
        yield f"the order is {', '.join(order) or 'empty'}; expected {', '.join(REAL_TEAMS_IN_ORDER)}"
    for team, expected in EXPECTED_DICE.items():
        row = rows.get(team)
        if row is None:
            yield f"{team} is not ranked"
            continue
        dice = row["metrics"]["dice"]["mean"]
        if dice is None or abs(dice - expected) > DICE_TOLERANCE:
            yield f"{team} has a mean Dice of {dice}; expected {expected} within {DICE_TOLERANCE}"
        if (row["failed_cases"], row["case_count"]) != (EXPECTED_FAILED_CASES[team], CASES):
            yield f"{team} failed {row['failed_cases']} of {row['case_count']} cases; expected {EXPECTED_FAILED_CASES[team]} of {CASES}"
        if not row["seconds_per_case"] or not row["peak_memory_bytes"]:
            yield f"{team} has no time or no memory on the board"


def _failed_teams(board: Board) -> Iterator[str]:
    for team, words in FAILED_TEAMS.items():
        submission = board.submissions.get(team, {})
        if submission.get("status") != "failed" or words not in submission.get("verdict_text", ""):
            found = f"{submission.get('status')}: {submission.get('verdict_text')}"
            yield f"{team} is {found!r}; expected failed: {words!r}"


def _plain_words(board: Board) -> Iterator[str]:
    for team, submission in board.submissions.items():
        shown = submission.get("verdict_text", "")
        leaked = [fragment for fragment in NEVER_SHOWN if fragment in shown]
        if leaked:
            yield f"{team} is shown {shown!r}, which is no plain verdict ({', '.join(leaked)})"
