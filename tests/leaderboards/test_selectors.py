"""The leaderboard as it is shown: to whom, in what order, and at what price."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import factories
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard


def board(scene, *, is_organizer=False):
    return leaderboard(scene.phase, is_organizer=is_organizer, now=factories.NOW)


@pytest.mark.parametrize("rows", [2, 20])
def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(scene, rows, django_assert_num_queries):
    for place in range(rows):
        factories.entry(phase=scene.phase, rank=place + 1)
    with django_assert_num_queries(3):  # the rows, the disqualified ones and the best means
        assert len(board(scene).entries) == rows


def test_unranked_rows_come_last_and_shared_ranks_stay_fractions(scene):
    for rank in (None, 2.5, 1, 2.5):
        factories.entry(phase=scene.phase, rank=rank)
    assert [row.rank for row in board(scene).entries] == [1, 2.5, 2.5, None]


def test_an_embargoed_leaderboard_is_for_organizers(scene):
    factories.entry(phase=scene.phase, rank=1)
    scene.phase.is_embargoed = True
    hidden = board(scene)
    assert (hidden.is_visible, hidden.entries) == (False, [])
    assert hidden.why_hidden
    assert len(board(scene, is_organizer=True).entries) == 1


def test_a_phase_that_shows_verdicts_only_shows_no_leaderboard(scene):
    factories.entry(phase=scene.phase, rank=1)
    scene.phase.protocol = factories.protocol(
        challenge=scene.challenge, document={**factories.PROTOCOL, "release": "verdict_only"}
    )
    assert board(scene).entries == []
    assert "verdict only" in board(scene).why_hidden


def test_an_anonymous_phase_names_no_team_but_to_organizers(scene):
    factories.entry(phase=scene.phase, rank=1, team=scene.team)
    scene.phase.is_anonymous = True
    assert board(scene).entries[0].team == "Team 1"
    assert board(scene, is_organizer=True).entries[0].team == "Pia and friends"


def test_the_columns_carry_units_and_directions(scene):
    (column,) = board(scene).metrics
    assert (column.name, column.direction) == ("dice", "max")


def test_a_rebuild_never_falls_between_two_looks_at_the_entries(scene):
    """It writes all entries anew: keys of the old board are nothing on the new one."""
    for rank in range(1, 4):
        factories.entry(phase=scene.phase, rank=rank)
    with CaptureQueriesContext(connection) as asked:
        part = leaderboard(scene.phase, is_organizer=True, now=factories.NOW, wanted=Wanted(sort="-dice", limit=2))
    assert [row.number for row in part.entries] == [1, 2]
    assert len([query for query in asked if '"means"' in query["sql"]]) == 1
