"""Archived images run again: in the next phase, in next year's, on a new test set. By itself, in one act, or by a team."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

import factories
from assay.accounts.errors import ConflictError
from assay.challenges.models import Phase
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import scores
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.submissions.models import AlgorithmImage, Submission
from assay.testsets.services import choose_testset
from assay.workflow.flow.carrying import carry, carry_by_team, due_carries, plan_rerun, rerun
from assay.workflow.workers import reaper

pytestmark = pytest.mark.django_db
NOW = factories.NOW


@pytest.fixture
def other(scene):
    """A second team in the challenge."""
    person = factories.user(username="paul")
    team = factories.team(name="Paul", members=[person])
    factories.membership(challenge=scene.challenge, user=person, team=team)
    return team


@pytest.fixture
def last_year(scene, other):
    """A phase that is over: Pia's team ranked 1 and 3, the other one 2."""
    phase = factories.phase(
        challenge=scene.challenge, slug="last-year", title="Last year", testset=factories.testset(challenge=scene.challenge),
        opens_at=NOW - timedelta(days=90), closes_at=NOW - timedelta(days=60),
    )  # fmt: skip
    for team, rank in ((scene.team, 3), (other, 2), (scene.team, 1)):
        factories.entry(phase=phase, rank=rank, team=team)
    return phase


def test_next_years_phase_runs_the_archived_images_in_one_act(scene, last_year):
    made = rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW)
    assert [(row.rerun_of.number, row.team.name, row.status) for row in made] == [
        (3, "Pia and friends", "received"),
        (2, "Paul", "received"),
    ]
    assert {(row.is_charged, row.is_refunded, row.testset) for row in made} == {
        (False, True, scene.phase.chosen_testset.testset)
    }
    assert [row.image for row in made] == [row.rerun_of.image for row in made]
    assert rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW) == []
    assert [row.why_not for row in plan_rerun(source=last_year, target=scene.phase, which="all").candidates] == [
        "",
        "entered already",
        "entered already",
    ]


def test_the_database_holds_one_rerun_of_each(scene, last_year):
    (made, *_) = rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        factories.submission(phase=scene.phase, team=scene.team, rerun_of=made.rerun_of)


def test_an_image_that_is_gone_is_said_and_keeps_no_other_back(scene, last_year, other):
    AlgorithmImage.objects.filter(team=other).update(status="deleted")
    plan = plan_rerun(source=last_year, target=scene.phase, which="best")
    assert [row.why_not for row in plan.candidates] == ["", "its image is not kept any more"]
    assert [row.team for row in rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW)] == [
        scene.team
    ]


NO_ROOM = "the budget of the phase leaves no room for it"


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ({"budget_hours": 1000, "team_budget_hours": 1000, "budget_gib": 99, "team_budget_gib": 99}, ["", ""]),
        ({"budget_hours": 0}, [NO_ROOM, NO_ROOM]),
        ({"team_budget_gib": 0}, [NO_ROOM, NO_ROOM]),
        ({"budget_gib": 2}, ["", NO_ROOM]),  # the first image has 3 GiB: the last one that is entered may overrun
        ({"budget_gib": 4}, ["", ""]),
    ],
)
def test_images_that_the_budget_leaves_no_room_for_are_named_and_wait(scene, last_year, budgets, expected):
    AlgorithmImage.objects.update(rewritten_bytes=3 * 2**30)
    Phase.objects.filter(pk=scene.phase.pk).update(**budgets)
    scene.phase.refresh_from_db()
    plan = plan_rerun(source=last_year, target=scene.phase, which="best")
    assert [row.why_not for row in plan.candidates] == expected
    made = rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW)
    assert [row.rerun_of.number for row in made] == [3, 2][: expected.count("")]
    Phase.objects.filter(pk=scene.phase.pk).update(**dict.fromkeys(budgets))
    scene.phase.refresh_from_db()
    rerun(source=last_year, target=scene.phase, which="best", by=scene.olga, now=NOW)
    assert scene.phase.submissions.exclude(rerun_of=None).count() == 2


def test_each_run_that_is_entered_holds_the_longest_it_may_take(scene, last_year):
    """Two cases of ten minutes each: 20 minutes an image. One hour holds them all, and none is entered once an hour is held."""
    scene.phase.budget_hours = 1
    scene.phase.save()
    held = factories.submission(phase=scene.phase, team=scene.team, status="running", reserved_seconds=3540)
    plan = plan_rerun(source=last_year, target=scene.phase, which="best")
    assert [row.why_not for row in plan.candidates] == ["", NO_ROOM]
    held.reserved_seconds = 3600
    held.save()
    assert not plan_rerun(source=last_year, target=scene.phase, which="best").ready


def test_predictions_are_about_their_cases_and_do_not_run_again(scene, last_year):
    last_year.kind = "predictions"
    with pytest.raises(ConflictError, match="Only container images"):
        plan_rerun(source=last_year, target=scene.phase, which="best")


def score(submission, *, level) -> None:
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, protocol=submission.protocol, testset=submission.testset, status="done",
        is_active=True, created_at=NOW, aggregates={"dice": {"mean": level}},
    )  # fmt: skip
    for case in submission.testset.cases.all():
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=[["core", "dice", level, ""]])


def test_on_a_new_test_set_the_rerun_takes_the_place_of_the_first_run(scene, other):
    scores.forget_scores()
    first = factories.submission(phase=scene.phase, team=scene.team, status="done")
    second = factories.submission(phase=scene.phase, team=other, status="done")
    for row, level in ((first, 0.9), (second, 0.5)):
        score(row, level=level)
    assert [row.why_not for row in plan_rerun(source=scene.phase, target=scene.phase, which="all").candidates] == [
        "it ran on this test set"
    ] * 2
    newer = factories.testset(challenge=scene.challenge, case_ids=["x", "y"])
    choose_testset(phase=scene.phase, testset=newer, user=scene.olga, now=NOW)
    scene.phase.refresh_from_db()
    made = rerun(source=scene.phase, target=scene.phase, which="all", by=scene.olga, now=NOW)
    for row, level in zip(made, (0.4, 0.6), strict=True):
        Submission.objects.filter(pk=row.pk).update(status="done")
        score(row, level=level)
    ask_for_rebuild(phase_id=scene.phase.pk, now=NOW)
    assert rebuild_leaderboard(phase_id=scene.phase.pk, now=NOW)
    entries = LeaderboardEntry.objects.filter(phase=scene.phase).order_by("rank")
    assert [(row.submission.rerun_of.number, row.rank) for row in entries] == [(2, 1), (1, 2)]


@pytest.fixture
def follows(scene, last_year):
    scene.phase.requires, scene.phase.carry_over = last_year, "best"
    scene.phase.save()
    return scene.phase


def test_the_best_carry_over_by_themselves_once_the_next_phase_is_open(scene, follows):
    reaper.carry_over_images(now=NOW)
    assert [row.rerun_of.number for row in follows.submissions.order_by("number")] == [3, 2]
    reaper.carry_over_images(now=NOW)
    assert follows.submissions.count() == 2


def test_with_a_rank_asked_for_only_they_carry_over(scene, follows):
    follows.requires_rank = 1
    follows.save()
    (phase,) = due_carries(now=NOW)
    assert [row.team for row in carry(phase=phase, now=NOW)] == [scene.team]


@pytest.mark.parametrize("waits", [{"opens_at": NOW + timedelta(days=1)}, {"is_paused": True}, {"carry_over": "none"}])
def test_nothing_carries_over_before_its_time(follows, waits):
    assert due_carries(now=NOW)
    type(follows).objects.filter(pk=follows.pk).update(**waits)
    assert due_carries(now=NOW) == []


def test_nothing_carries_over_while_the_phase_before_runs(follows, last_year):
    last_year.closes_at = NOW + timedelta(days=1)
    last_year.save()
    assert due_carries(now=NOW) == []


def test_a_team_enters_one_of_its_own_for_an_attempt(scene, follows, last_year):
    follows.carry_over = "team"
    follows.submission_limit, follows.concurrent_limit = 1, 9
    follows.save()
    mine = last_year.submissions.get(number=1)
    made = carry_by_team(submission=mine, phase=follows, by=scene.pia, now=NOW)
    assert (made.rerun_of, made.is_charged, made.team) == (mine, True, scene.team)
    with pytest.raises(Exception, match=r"submissions .* are used"):
        carry_by_team(submission=last_year.submissions.get(number=3), phase=follows, by=scene.pia, now=NOW)


def test_rows_are_locked_in_the_order_of_a_submission(scene, follows, last_year):
    """Two that lock in different orders wait for each other for ever. Found with the phase locked alone."""
    follows.carry_over = "team"
    follows.save()
    with CaptureQueriesContext(connection) as seen:
        carry_by_team(submission=last_year.submissions.get(number=1), phase=follows, by=scene.pia, now=NOW)
    locking = [row["sql"] for row in seen if " FOR " in row["sql"] and row["sql"].startswith("SELECT")]
    tables = [sql.partition(' FROM "')[2].partition('"')[0] for sql in locking]
    assert tables[:3] == ["challenges_challenge", "challenges_phase", "accounts_user"]


def test_a_phase_that_carries_the_best_leaves_nothing_to_the_teams(scene, follows, last_year):
    with pytest.raises(ConflictError, match="not carried over here"):
        carry_by_team(submission=last_year.submissions.get(number=1), phase=follows, by=scene.pia, now=NOW)
