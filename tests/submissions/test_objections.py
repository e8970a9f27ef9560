"""Objections while results are under review, and when results become final."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

import factories
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError
from assay.leaderboards.models import Snapshot
from assay.leaderboards.selectors import leaderboard
from assay.submissions import objections
from assay.submissions.models import Objection
from assay.submissions.objections import MOST_OPEN, answer_objection, due_finals, object_to_results, objections_seen_by
from assay.workflow import flow
from assay.workflow.workers import reaper

NOW = factories.NOW
TEXT = "Case 7 has a shifted reference."


@pytest.fixture
def phase(scene):
    """Closed, released an hour ago, under review for a day; Pia's team has submitted."""
    phase = scene.phase
    phase.opens_at, phase.closes_at = NOW - timedelta(days=9), NOW - timedelta(hours=2)
    phase.released_at, phase.review_days = NOW - timedelta(hours=1), 1
    phase.save()
    factories.submission(phase=phase, team=scene.team, status="done")
    return phase


def answer(phase, found, user, *, is_upheld=True):
    return answer_objection(
        phase=phase, objection_id=found.pk, is_upheld=is_upheld, answer="We look at it.", user=user, now=NOW
    )


def test_a_team_objects_and_reads_the_answer_and_no_other_team_does(scene, phase):
    found = object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)
    assert not objections_seen_by(person=scene.otto, phase=phase, is_organizer=False).exists()
    assert list(objections_seen_by(person=scene.olga, phase=phase, is_organizer=True)) == [found]
    answer(phase, found, scene.olga)
    (seen,) = objections_seen_by(person=scene.pia, phase=phase, is_organizer=False)
    assert (seen.state, seen.answer, seen.decided_by) == ("upheld", "We look at it.", scene.olga)
    with pytest.raises(ConflictError, match="its answer already"):
        answer(phase, found, scene.stan, is_upheld=False)


def test_who_did_not_submit_cannot_object(scene, phase):
    with pytest.raises(NotAllowedError):
        object_to_results(phase=phase, person=scene.otto, text=TEXT, now=NOW)


@pytest.mark.parametrize("text", ["", "too short", "x" * 4001])
def test_an_objection_says_something(scene, phase, text):
    with pytest.raises(InvalidError):
        object_to_results(phase=phase, person=scene.pia, text=text, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"released_at": None},
        {"review_days": None},
        {"released_at": NOW - timedelta(days=2), "closes_at": NOW - timedelta(days=3)},
    ],
)
def test_there_is_a_time_to_object(scene, phase, change):
    type(phase).objects.filter(pk=phase.pk).update(**change)
    with pytest.raises(ConflictError, match="not under review"):
        object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)


def test_open_objections_of_a_team_are_limited(scene, phase):
    for _ in range(MOST_OPEN):
        object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)
    with pytest.raises(LimitReachedError):
        object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)


def notices(phase, now):
    phase.refresh_from_db()
    return " ".join(leaderboard(phase, is_organizer=False, now=now).notices)


def test_results_are_final_after_the_review_once_every_objection_is_answered(scene, phase):
    assert "Provisional: teams may object until" in notices(phase, NOW)
    found = object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)
    later = NOW + timedelta(days=1)
    assert due_finals(now=later) == []
    with pytest.raises(ConflictError, match="cannot be final yet"):
        flow.finalize(phase=phase, by=scene.olga, now=later)
    assert "an objection has no answer yet" in notices(phase, later)
    answer(phase, found, scene.olga, is_upheld=False)
    assert due_finals(now=NOW) == []
    reaper.finalize_due_results(now=later)
    assert "Final since" in notices(phase, later)
    assert list(Snapshot.objects.filter(phase=phase).values_list("cause", flat=True)) == [Snapshot.Cause.RESULTS_FINAL]
    assert due_finals(now=later) == []


def test_a_release_that_is_taken_back_is_final_no_more(scene, phase):
    type(phase).objects.filter(pk=phase.pk).update(finalized_at=NOW)
    phase.refresh_from_db()
    flow.take_back_release(phase=phase, by=scene.olga, now=NOW)
    assert phase.finalized_at is None


def test_the_database_keeps_an_answer_and_its_time_together(scene, phase):
    found = object_to_results(phase=phase, person=scene.pia, text=TEXT, now=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        Objection.objects.filter(pk=found.pk).update(state="upheld")
    assert Objection._meta.get_field("text").max_length == objections.LONGEST_TEXT
