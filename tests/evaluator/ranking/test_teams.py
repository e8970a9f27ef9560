"""One submission of each team."""

from evaluator.ranking.teams import one_per_team

TEAMS = {"a1": "A", "b1": "B", "a2": "A", "b2": "B"}


def ranked(**ranks):
    return lambda: ranks


def test_the_latest_is_the_last_that_was_entered() -> None:
    assert one_per_team(TEAMS, rule="latest", ranks=ranked()) == ("a2", "b2")


def test_the_best_is_the_first_entered_where_two_tie() -> None:
    assert one_per_team(TEAMS, rule="best", ranks=ranked(a1=2, a2=2, b1=3, b2=1)) == ("b2", "a1")


def test_an_unranked_submission_is_the_best_only_of_a_team_that_has_no_other() -> None:
    found = one_per_team(TEAMS | {"c1": "C"}, rule="best", ranks=ranked(a1=None, a2=4, b1=1, b2=2, c1=None))
    assert found == ("b1", "a2", "c1")


def test_all_are_kept_without_ranking_them() -> None:
    assert one_per_team(TEAMS, rule="all", ranks=lambda: 1 / 0) == tuple(TEAMS)
