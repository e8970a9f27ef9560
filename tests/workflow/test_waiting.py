"""A team always reads what its submission waits for, and a page that is polled shows it as soon as it changes."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun, Node
from assay.workflow import flow
from assay.workflow.flow.waiting import line_of


def why(submission, **later) -> str:
    submission.refresh_from_db()
    return line_of(submission, now=timezone.now() + timedelta(**later)).why


def test_an_upload_waits_for_those_before_it_and_then_for_a_checker(stage):
    now = timezone.now()
    first = stage.submit(created_at=now, status_changed_at=now)
    second = stage.submit(created_at=now + timedelta(seconds=1), status_changed_at=now)
    assert why(second) == "1 upload is checked before it"
    assert why(first) == "", "it is about to be"
    assert why(first, minutes=5) == f"waiting for a checker since {now:%H:%M} UTC"
    first.status = "checking"
    first.save()
    assert why(first) == "the upload is being read and checked"


def test_a_queue_without_a_live_node_says_since_when(stage):
    submission = stage.submit()
    stage.check()
    seen = timezone.now() - timedelta(minutes=10)
    Node.objects.update(last_seen_at=seen)
    assert why(submission) == f"no live node in pool default since {seen:%d %b %Y %H:%M} UTC"
    Node.objects.update(status="draining", last_seen_at=timezone.now())
    assert why(submission) == "every node of pool default is draining"
    Node.objects.update(status="active")
    assert why(submission) == ""
    CaseRun.objects.filter(status="queued").update(not_before=timezone.now() + timedelta(seconds=30))
    assert why(submission).startswith("a fault of ours is being waited out; it is tried again at")


def test_scores_wait_for_those_before_them_for_a_fault_of_ours_or_for_a_scorer(stage):
    first, second = stage.submit(), stage.submit()
    stage.check()
    stage.run_cases()
    old, new = Evaluation.objects.order_by("created_at")
    assert why(new.submission) == "1 submission is scored before it"
    assert why(old.submission, minutes=5) == f"waiting for a scorer since {old.created_at:%H:%M} UTC"
    Evaluation.objects.filter(pk=old.pk).update(not_before=timezone.now() + timedelta(minutes=1))
    assert why(old.submission).startswith("a fault of ours is being waited out")
    Evaluation.objects.filter(pk=old.pk).update(status="running")
    assert why(old.submission) == "the cases are being scored"
    stage.score()
    assert {first.pk, second.pk} == {old.submission_id, new.submission_id}


def test_a_case_whose_node_went_silent_says_so(stage):
    submission = stage.submit()
    stage.check()
    assert stage.api().claim(slots=1, cached_images=[]) is not None
    since = timezone.now() - timedelta(minutes=3)
    CaseRun.objects.filter(status="running").update(lease_until=since)
    assert why(submission) == f"its node has been silent since {since:%H:%M} UTC; its case starts anew on another"


def test_a_cancel_under_way_says_so(stage):
    submission = stage.submit()
    stage.check()
    assert stage.api().claim(slots=1, cached_images=[]) is not None
    flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())
    assert why(submission) == "it is being cancelled; its containers are stopped"


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_what_has_ended_waits_for_nothing(stage, status):
    assert why(stage.submit(status=status, finished_at=factories.NOW)) == ""


def test_a_polled_page_changes_with_the_reason_and_is_empty_while_nothing_does(stage, client):
    Node.objects.update(last_seen_at=timezone.now())
    submission = stage.submit()
    stage.check()
    client.force_login(stage.scene.pia)
    page = client.get(reverse("portal:submission", args=[submission.pk]))
    assert "Position 1 in the queue." in page.content.decode()
    live = reverse("portal:submission-live", args=[submission.pk]) + f"?v={page.context['view'].version}"
    assert client.get(live).status_code == 204
    Node.objects.update(last_seen_at=timezone.now() - timedelta(hours=1))
    changed = client.get(live)
    assert "Position 1 in the queue: no live node in pool default since" in changed.content.decode()
