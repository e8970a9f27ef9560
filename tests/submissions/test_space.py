"""Nobody keeps the disk from others by announcing files, and everybody has a share."""

import io
import threading
from datetime import timedelta

import pytest
from django.db import connection

import factories
from assay.accounts.errors import ConflictError, OutOfSpaceError
from assay.submissions import space, uploads
from assay.submissions.models import Upload

GIB, MIB = 2**30, 2**20


@pytest.fixture
def disk(settings, monkeypatch):
    """A disk with a little more free space than the attack of the report announced."""
    settings.UPLOAD_KEEP_FREE_BYTES = 2 * GIB
    usage = type("Usage", (), {"free": 120 * GIB})
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage)
    return usage


def start(user, *, total_bytes: int, now) -> Upload:
    return uploads.start_upload(user=user, filename="image.tar", purpose="image", total_bytes=total_bytes, now=now)


@pytest.mark.django_db
def test_empty_uploads_keep_no_space_from_others(disk, settings, now):
    settings.QUOTA_STORAGE_GIB = 1000
    stranger = factories.user()
    for _ in range(11):
        start(stranger, total_bytes=10 * GIB, now=now)
    start(factories.user(), total_bytes=20 * MIB, now=now)
    assert space.promised_bytes(now=now) == 11 * space.FIRST_PROMISE_BYTES + 20 * MIB


@pytest.mark.django_db
def test_a_promise_grows_with_what_has_arrived_up_to_what_is_missing(now):
    upload = factories.upload(user=factories.user(), total_bytes=10 * GIB)
    for arrived, promised in ((0, 64 * MIB), (10 * MIB, 64 * MIB), (GIB, GIB), (6 * GIB, 4 * GIB), (10 * GIB, 0)):
        Upload.objects.filter(pk=upload.pk).update(offset_bytes=arrived)
        assert space.promised_bytes(now=now) == promised
    assert space.promised_bytes(now=now, but=upload.pk) == 0


@pytest.mark.django_db
def test_an_empty_upload_is_gone_within_an_hour_and_one_that_arrives_is_not(now):
    person = factories.user()
    empty, begun = (start(person, total_bytes=100, now=now) for _ in range(2))
    uploads.append(upload=begun, offset_bytes=0, stream=io.BytesIO(b"x"), length_bytes=1, now=now)
    uploads.expire_uploads(now=now + timedelta(hours=1))
    assert list(Upload.objects.values_list("pk", flat=True)) == [begun.pk]
    assert not uploads.part_path(empty.pk).exists()


@pytest.mark.django_db
def test_a_piece_that_does_not_fit_is_refused_and_what_arrived_stays(disk, now):
    upload = start(factories.user(), total_bytes=1000, now=now)
    uploads.append(upload=upload, offset_bytes=0, stream=io.BytesIO(b"x" * 400), length_bytes=400, now=now)
    disk.free = 2 * GIB + 100
    with pytest.raises(OutOfSpaceError) as refusal:
        uploads.append(upload=upload, offset_bytes=400, stream=io.BytesIO(b"x" * 600), length_bytes=600, now=now)
    assert refusal.value.fault == "platform"
    disk.free = 3 * GIB
    upload.refresh_from_db()
    assert upload.offset_bytes == 400
    uploads.append(upload=upload, offset_bytes=400, stream=io.BytesIO(b"x" * 600), length_bytes=600, now=now)
    assert upload.completed_at


@pytest.mark.django_db
def test_a_share_counts_what_is_kept_and_what_is_announced(scene, settings, now):
    settings.QUOTA_STORAGE_GIB = 3
    factories.complete_upload(user=scene.pia, total_bytes=GIB, offset_bytes=GIB)
    image = factories.image(team=scene.team, rewritten_bytes=GIB)
    factories.submission(phase=scene.phase, team=scene.team, image=image)
    factories.submission(phase=scene.phase, team=scene.team, image=image)
    start(scene.pia, total_bytes=GIB - 1, now=now)
    with pytest.raises(ConflictError, match="share of the disk") as refusal:
        start(scene.pia, total_bytes=2, now=now)
    assert refusal.value.code == "quota_reached"
    assert refusal.value.expected == f"at most {3 * GIB} bytes"
    start(scene.otto, total_bytes=2, now=now)
    scene.pia.quota_storage_gib = 4
    scene.pia.save()
    start(scene.pia, total_bytes=2, now=now)


@pytest.mark.django_db
def test_a_share_of_nothing_takes_nothing(now):
    with pytest.raises(ConflictError):
        start(factories.user(quota_storage_gib=0), total_bytes=1, now=now)


@pytest.mark.django_db(transaction=True)
def test_two_uploads_that_start_at_once_are_both_counted(settings, now):
    settings.QUOTA_STORAGE_GIB = 1
    person, outcomes, barrier = factories.user(), [], threading.Barrier(2)

    def one() -> None:
        barrier.wait()
        try:
            start(person, total_bytes=GIB, now=now)
            outcomes.append("started")
        except ConflictError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "started"]
