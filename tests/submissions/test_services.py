"""Accepting a submission: what is frozen, what is refused, and who wins when two want the last attempt."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

import factories
import people
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, TooLargeError
from assay.accounts.models import AuditEvent
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.services import Entry, create_submission


def submit(scene, *, now, upload=None, **changes) -> Submission:
    values = {
        "user": scene.pia,
        "phase": scene.phase,
        "team": scene.team,
        "upload": upload or factories.complete_upload(user=scene.pia),
        "name": "Threshold",
    }
    return create_submission(Entry(**(values | changes)), now=now)


def test_what_decides_a_result_is_frozen_on_acceptance(scene, now):
    submission = submit(scene, now=now)
    assert submission.status == Submission.Status.RECEIVED
    assert submission.protocol == scene.phase.protocol
    assert submission.limits == scene.phase.protocol.document["resources"]
    assert submission.testset == scene.phase.chosen_testset.testset
    assert submission.testset.frozen_at == now
    assert submission.image.status == AlgorithmImage.Status.CHECKING
    assert submission.is_charged
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"submission.received", "testset.frozen"} <= verbs


def test_numbers_count_from_one_within_a_phase(scene, now):
    scene.phase.concurrent_limit = 5
    scene.phase.save()
    assert [submit(scene, now=now).number for _ in range(3)] == [1, 2, 3]


def test_an_upload_that_is_not_complete_is_refused(scene, now):
    with pytest.raises(ConflictError, match="not complete"):
        submit(scene, now=now, upload=factories.upload(user=scene.pia))


def test_predictions_are_refused_by_a_phase_for_containers(scene, now):
    upload = factories.complete_upload(user=scene.pia, purpose=Upload.Purpose.PREDICTIONS)
    with pytest.raises(InvalidError) as refusal:
        submit(scene, now=now, upload=upload)
    assert (refusal.value.found, refusal.value.expected) == ("predictions", "image")


def test_a_phase_for_predictions_takes_an_archive_without_an_image(scene, now):
    scene.phase.kind = "predictions"
    scene.phase.save()
    upload = factories.complete_upload(user=scene.pia, purpose=Upload.Purpose.PREDICTIONS)
    submission = submit(scene, now=now, upload=upload)
    assert (submission.image, submission.predictions) == (None, upload)


def test_a_file_larger_than_the_phase_takes_is_refused(scene, now):
    scene.phase.max_image_bytes = 9
    with pytest.raises(TooLargeError):
        submit(scene, now=now)


def test_the_same_file_again_is_asked_about_first(scene, now):
    scene.phase.concurrent_limit = 5
    scene.phase.save()
    upload = factories.complete_upload(user=scene.pia)
    first = submit(scene, now=now, upload=upload)
    with pytest.raises(ConflictError, match="submission #1") as refusal:
        submit(scene, now=now, upload=upload)
    assert refusal.value.code == "duplicate"
    again = submit(scene, now=now, upload=upload, allows_duplicate=True)
    assert again.image == first.image


def test_the_same_file_after_a_failure_is_no_duplicate_and_is_checked_again(scene, now):
    upload = factories.complete_upload(user=scene.pia)
    first = submit(scene, now=now, upload=upload)
    Submission.objects.filter(pk=first.pk).update(status=Submission.Status.FAILED)
    AlgorithmImage.objects.update(status=AlgorithmImage.Status.REJECTED, reason="layers")
    second = submit(scene, now=now, upload=upload)
    assert second.image.status == AlgorithmImage.Status.CHECKING
    assert second.image.reason == ""


def test_a_closed_phase_is_refused_with_the_time_it_closed(scene, now):
    later = scene.phase.closes_at + timedelta(days=1)
    with pytest.raises(ConflictError, match=f"The phase closed at {scene.phase.closes_at:%a %d %b %Y %H:%M} UTC"):
        submit(scene, now=later)


def test_a_used_up_limit_says_when_the_next_attempt_comes_back(scene, now):
    scene.phase.submission_limit, scene.phase.concurrent_limit = 1, 5
    scene.phase.save()
    submit(scene, now=now)
    with pytest.raises(LimitReachedError) as refusal:
        submit(scene, now=now)
    assert refusal.value.retry_at == now + timedelta(days=1)


def test_a_refunded_attempt_can_be_used_again(scene, now):
    scene.phase.submission_limit, scene.phase.concurrent_limit = 1, 5
    scene.phase.save()
    first = submit(scene, now=now)
    Submission.objects.filter(pk=first.pk).update(is_charged=False)
    assert submit(scene, now=now).number == 2


def test_otto_has_to_join_first(scene, now):
    with pytest.raises(ConflictError, match="You have not joined this challenge"):
        submit(scene, now=now, user=scene.otto, team=None)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_want_the_last_attempt_at_once_one_gets_it(now):
    scene = people.scene()
    scene.phase.submission_limit, scene.phase.concurrent_limit = 1, 10
    scene.phase.save()
    uploads = [factories.complete_upload(user=scene.pia) for _ in range(6)]
    start, outcomes = threading.Barrier(len(uploads)), []

    def race(upload: Upload) -> None:
        try:
            start.wait()
            outcomes.append(submit(scene, now=now, upload=upload).number)
        except LimitReachedError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=race, args=[upload]) for upload in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [1, *["refused"] * 5]


def test_a_rejected_archive_that_is_not_kept_has_to_be_uploaded_again(scene, now):
    upload = factories.complete_upload(user=scene.pia)
    first = submit(scene, now=now, upload=upload)
    Submission.objects.filter(pk=first.pk).update(status=Submission.Status.FAILED)
    AlgorithmImage.objects.update(status=AlgorithmImage.Status.REJECTED, report={"message": "130 layers"})
    Upload.objects.update(key="")
    upload.refresh_from_db()
    with pytest.raises(ConflictError) as refusal:
        submit(scene, now=now, upload=upload)
    assert (refusal.value.code, refusal.value.found) == ("upload_gone", "130 layers")
