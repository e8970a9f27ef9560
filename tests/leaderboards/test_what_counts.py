"""Which submissions a board ranks: chosen ones, those in time, and each division by itself."""

import pytest

import factories
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import scores
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.submissions.models import Submission

pytestmark = pytest.mark.django_db


@pytest.fixture
def phase(scene):
    scores.forget_scores()
    return scene.phase


def enter(phase, *, level, team=None, **fields) -> Submission:
    team = team or factories.team(members=[factories.user()])
    submission = factories.submission(phase=phase, team=team, status="done", **fields)
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, protocol=submission.protocol, testset=submission.testset, status="done",
        is_active=True, created_at=factories.NOW, aggregates={"dice": {"mean": level}},
    )  # fmt: skip
    for case in submission.testset.cases.all():
        values = [[label, "dice", level, ""] for label in ("core", "rim")]
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)
    return submission


def rebuilt(phase, **wanted) -> list[tuple]:
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    assert rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    return shown(phase, **wanted)


def shown(phase, **wanted) -> list[tuple]:
    board = leaderboard(phase, is_organizer=False, now=factories.NOW, wanted=Wanted(**wanted))
    return [(row.number, row.rank) for row in board.entries]


def test_a_board_of_chosen_submissions_shows_the_chosen_one_and_else_the_latest(phase, scene):
    phase.leaderboard_shows = "chosen"
    phase.save()
    first = enter(phase, level=0.5, team=scene.team)
    enter(phase, level=0.9, team=scene.team)
    enter(phase, level=0.7)
    assert rebuilt(phase) == [(2, 1), (3, 2)]
    Submission.objects.filter(pk=first.pk).update(is_chosen=True)
    assert rebuilt(phase) == [(3, 1), (1, 2)]


def test_a_late_submission_is_shown_below_the_ranking_and_moves_nobody(phase, scene):
    enter(phase, level=0.5)
    enter(phase, level=0.4, team=scene.team)
    enter(phase, level=0.9, team=scene.team, is_late=True)
    enter(phase, level=0.95, team=scene.team, is_late=True)
    assert rebuilt(phase) == [(1, 1), (2, 2), (4, None)]
    (late,) = LeaderboardEntry.objects.filter(submission__is_late=True)
    assert (late.rank, late.score, late.case_count) == (None, None, 2)


def test_each_division_is_ranked_as_if_there_were_no_other(phase):
    phase.divisions = ["open", "closed"]
    phase.save()
    for level, division in ((0.9, "open"), (0.8, "closed"), (0.7, "open"), (0.6, "closed")):
        enter(phase, level=level, division=division)
    assert rebuilt(phase) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert shown(phase, division="closed") == [(2, 1), (4, 2)]
    assert shown(phase, division="open", sort="-dice") == [(1, 1), (3, 2)]


def test_ranks_of_a_division_tell_no_more_than_the_ladder_does(phase):
    ladder = {**factories.PROTOCOL, "release": {"mode": "ladder", "delta": 0.1}}
    phase.protocol = factories.protocol(challenge=phase.challenge, document=ladder)
    phase.divisions = ["open", "closed"]
    phase.save()
    for level, division in ((0.91, "open"), (0.81, "closed"), (0.79, "closed")):
        enter(phase, level=level, division=division)
    rebuilt(phase)
    assert shown(phase, division="closed") == [(2, 1), (3, 1)]
