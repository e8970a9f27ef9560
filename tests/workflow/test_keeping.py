"""How long files are kept: rules of a phase, a review that holds them, images of two phases, and deletion that a team asked for."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
from assay.accounts.errors import ConflictError
from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun
from assay.submissions.models import AlgorithmImage, Submission
from assay.testsets.storage import has_file
from assay.workflow import flow
from assay.workflow.flow.keeping import delete_files, delete_what_is_over, lets_go
from assay.workflow.flow.resuming import rerun_case
from assay.workflow.operations.garbage import find_garbage
from assay.workflow.workers.reaper import STEPS
from markup import markup

pytestmark = pytest.mark.django_db
RULES = {"keep_images_days": 30, "keep_predictions_days": 20, "keep_logs_days": 10}


@pytest.fixture
def scored(stage) -> Submission:
    """A submission that ran and was scored, with real files behind it, in a phase that keeps them for some days."""
    submission = stage.submit()
    stage.play()
    Phase.objects.filter(pk=submission.phase_id).update(closes_at=timezone.now(), **RULES)
    submission.refresh_from_db()
    assert submission.status == "done"
    return submission


def left(submission: Submission) -> dict[str, bool]:
    """What there still is of it, by rows and by files."""
    case_runs = CaseRun.objects.filter(run__submission=submission)
    keys = [output["key"] for row in case_runs for output in row.outputs]
    image = AlgorithmImage.objects.get(pk=submission.image_id)
    return {"images": image.status == "accepted", "predictions": bool(keys) and all(map(has_file, keys))}


def days_later(days: float, capture) -> None:
    with capture(execute=True):
        delete_what_is_over(now=timezone.now() + timedelta(days=days))


def test_each_kind_goes_when_its_days_are_over_and_scores_stay(scored, django_capture_on_commit_callbacks):
    files = [output["key"] for row in CaseRun.objects.all() for output in row.outputs]
    scores = Evaluation.objects.get().aggregates
    for days, expected in ((19, (True, True)), (21, (True, False)), (31, (False, False))):
        days_later(days, django_capture_on_commit_callbacks)
        assert tuple(left(scored).values()) == expected, days
    assert files
    assert not any(map(has_file, files))
    assert Evaluation.objects.get().aggregates == scores
    scored.refresh_from_db()
    assert scored.predictions_deleted_at
    assert scored.logs_deleted_at
    assert not [found for found in find_garbage(now=timezone.now() + timedelta(days=40)) if "runs" in found.key]


def test_what_has_no_predictions_is_never_scored_again(scored, scene, django_capture_on_commit_callbacks):
    case = scored.testset.cases.first()
    days_later(25, django_capture_on_commit_callbacks)
    assert flow.rejudge(submission_ids=[scored.pk], by=scene.olga, now=timezone.now()) == []
    with pytest.raises(ConflictError, match="is deleted"):
        rerun_case(submission_id=scored.pk, case_id=case.case_id, by=scene.olga, now=timezone.now())


@pytest.mark.parametrize(
    ("change", "goes"),
    [
        ({}, True),
        ({"review_days": 7}, False),
        ({"late_until": timedelta(days=60)}, False),
        ({"keep_logs_days": None}, False),
    ],
)
def test_nothing_goes_under_review_or_before_the_end(scene, now, change, goes):
    phase = scene.phase
    phase.closes_at, phase.keep_logs_days = now - timedelta(days=11), 10
    for name, value in change.items():
        setattr(phase, name, now + value if isinstance(value, timedelta) else value)
    assert lets_go(phase, days=phase.keep_logs_days, now=now) == goes
    if "review_days" in change:
        phase.finalized_at = now
        assert lets_go(phase, days=phase.keep_logs_days, now=now)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_nothing_goes_while_it_is_being_scored(scored, status, django_capture_on_commit_callbacks):
    Evaluation.objects.update(status=status)
    days_later(99, django_capture_on_commit_callbacks)
    assert tuple(left(scored).values()) == (True, True)


def test_an_image_stays_while_another_phase_keeps_it(scored, scene, django_capture_on_commit_callbacks):
    other = factories.phase(challenge=scene.challenge, slug="open", testset=scored.testset)
    second = factories.submission(phase=other, team=scored.team, image=scored.image, status="done")
    days_later(99, django_capture_on_commit_callbacks)
    assert tuple(left(scored).values()) == (True, False)
    Phase.objects.filter(pk=other.pk).update(closes_at=other.opens_at + timedelta(hours=1), keep_images_days=0)
    Submission.objects.filter(pk=second.pk).update(status="running")
    days_later(99, django_capture_on_commit_callbacks)
    assert left(scored)["images"]
    Submission.objects.filter(pk=second.pk).update(status="done")
    days_later(99, django_capture_on_commit_callbacks)
    assert not left(scored)["images"]


def test_the_reaper_looks_after_it_at_the_price_of_one_query_without_rules(scene, now, django_assert_max_num_queries):
    assert delete_what_is_over in STEPS
    factories.submission(phase=scene.phase, team=scene.team, status="done")
    with django_assert_max_num_queries(20):
        delete_what_is_over(now=now)
    assert AlgorithmImage.objects.get().status == "accepted"


def test_a_team_asks_and_the_organizers_delete_with_a_reason(scored, scene, client, django_capture_on_commit_callbacks):
    page = reverse("portal:submission", args=[scored.pk])
    client.force_login(scene.pia)
    assert "Ask that its files be deleted" in markup(client.get(page))
    assert client.post(reverse("portal:decide", args=[scored.pk]), {"action": "ask-deletion"}).status_code == 302
    shown = markup(client.get(page))
    assert "Deletion of its files" in shown
    assert "Ask that its files" not in shown
    client.force_login(scene.olga)
    assert "asks that the files of" in markup(client.get(reverse("organizers:overview", args=["brains"])))
    desk = reverse("organizers:submission", args=["brains", scored.pk])
    client.post(desk, {"action": "delete-files"})
    assert left(scored)["predictions"]  # a reason is asked for
    with django_capture_on_commit_callbacks(execute=True):
        client.post(desk, {"action": "delete-files", "reason": "The team asked."})
    assert tuple(left(scored).values()) == (False, False)
    assert "The team asked." in markup(client.get(reverse("organizers:audit", args=["brains"])))
    assert "asks that" not in markup(client.get(reverse("organizers:overview", args=["brains"])))
    case = scored.testset.cases.first()
    for address in (desk, reverse("organizers:case", args=["brains", scored.pk, case.case_id])):
        assert client.get(address).status_code == 200
    client.force_login(scene.pia)
    assert "deleted" in markup(client.get(page))


def test_by_hand_an_image_that_was_entered_elsewhere_stays(scored, scene, django_capture_on_commit_callbacks):
    factories.submission(phase=scene.phase, team=scored.team, image=scored.image, status="done")
    with django_capture_on_commit_callbacks(execute=True):
        assert delete_files(submission_ids=[scored.pk], reason="x", by=scene.olga, now=timezone.now()) == 1
    assert tuple(left(scored).values()) == (True, False)


def test_strangers_ask_for_nothing(scored, scene, client):
    client.force_login(scene.otto)
    assert client.post(reverse("portal:decide", args=[scored.pk]), {"action": "ask-deletion"}).status_code == 404
    scored.refresh_from_db()
    assert scored.deletion_asked_at is None
