"""The one table of a submission's legal changes, and the one update that makes them."""

import pytest

import factories
from assay.accounts.models import AuditEvent
from assay.submissions.lifecycle import FINAL, TRANSITIONS, sources_of
from assay.submissions.models import Submission
from assay.submissions.services import Ended, change_status

Status = Submission.Status


def test_every_status_has_its_row():
    assert set(TRANSITIONS) == set(Status)


def test_nothing_leaves_a_final_status_and_everything_else_can_end():
    for status, targets in TRANSITIONS.items():
        if status in FINAL:
            assert targets == frozenset()
        else:
            assert {Status.FAILED, Status.CANCELLED} <= targets


def test_done_is_reached_from_scoring_only():
    assert sources_of(Status.DONE) == {Status.SCORING}


def test_every_status_but_the_first_can_be_reached():
    assert [status for status in Status if not sources_of(status)] == [Status.RECEIVED]


@pytest.mark.parametrize("to", list(Status))
@pytest.mark.parametrize("origin", list(Status))
def test_a_change_happens_exactly_where_the_table_allows_it(scene, now, origin, to):
    submission = factories.submission(phase=scene.phase, team=scene.team, status=origin)
    changed = change_status(submission_id=submission.pk, to=to, now=now, actor_label="test")
    submission.refresh_from_db()
    assert changed is (to in TRANSITIONS[origin])
    assert submission.status == (to if changed else origin)
    assert AuditEvent.objects.filter(verb=f"submission.{to}", object_id=str(submission.pk)).count() == int(changed)
    assert (submission.finished_at == now) is (changed and to in FINAL)


def test_sources_narrow_from_where_a_change_may_come(scene, now):
    submission = factories.submission(phase=scene.phase, team=scene.team, status=Status.RUNNING)
    narrowed = {"submission_id": submission.pk, "to": Status.FAILED, "now": now, "actor_label": "test"}
    assert not change_status(**narrowed, sources=[Status.QUEUED])
    assert change_status(**narrowed, sources=[Status.RUNNING], ended=Ended(verdict="timeout", is_charged=False))
    submission.refresh_from_db()
    assert (submission.verdict, submission.is_charged) == ("timeout", False)
