"""Resumable uploads: what is promised is on disk, what is damaged is not kept, and nobody writes where somebody else does."""

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import pytest

import factories
from assay.accounts.errors import ConflictError, InvalidError, OutOfSpaceError, TooLargeError
from assay.submissions import space, uploads
from assay.submissions.models import Upload
from assay.testsets import storage

CONTENT = bytes(range(256)) * 40


class Line(io.BytesIO):
    """A connection that breaks after `breaks_after` bytes."""

    def __init__(self, content: bytes, *, breaks_after: int) -> None:
        super().__init__(content)
        self.left = breaks_after

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.left:
            raise ConnectionResetError
        piece = super().read(min(size or 0, self.left, 100))
        self.left -= len(piece)
        return piece


@pytest.fixture
def start(db, now):
    user = factories.user()

    def start(*, content: bytes = CONTENT, **changes) -> Upload:
        values = {"user": user, "filename": "image.tar", "purpose": "image", "total_bytes": len(content), "now": now}
        return uploads.start_upload(**(values | changes))

    return start


def test_an_upload_in_pieces_ends_in_storage_with_its_hash(start, now):
    upload = start(expected_sha256=hashlib.sha256(CONTENT).hexdigest())
    for offset in range(0, len(CONTENT), 3000):
        upload = uploads.append(
            upload=upload, offset_bytes=offset, stream=io.BytesIO(CONTENT[offset : offset + 3000]), now=now
        )
    assert upload.completed_at == now
    assert upload.sha256 == hashlib.sha256(CONTENT).hexdigest()
    with storage.open_file(upload.key) as file:
        assert file.read() == CONTENT
    assert not uploads.part_path(upload.pk).exists()


def test_a_broken_connection_leaves_what_had_arrived(start, now):
    upload = uploads.append(upload=start(), offset_bytes=0, stream=Line(CONTENT, breaks_after=700), now=now)
    assert upload.offset_bytes == 700
    upload.refresh_from_db()
    assert upload.offset_bytes == 700
    done = uploads.append(upload=upload, offset_bytes=700, stream=io.BytesIO(CONTENT[700:]), now=now)
    assert done.completed_at == now


def test_bytes_a_crash_left_beyond_the_promised_offset_are_cut_off(start, now):
    upload = start()
    uploads.part_path(upload.pk).write_bytes(b"left by a crash before the row was written")
    done = uploads.append(upload=upload, offset_bytes=0, stream=io.BytesIO(CONTENT), now=now)
    assert done.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_piece_that_does_not_continue_the_file_is_told_where_it_ends(start, now):
    upload = uploads.append(upload=start(), offset_bytes=0, stream=io.BytesIO(CONTENT[:500]), now=now)
    with pytest.raises(uploads.OffsetMismatchError) as refusal:
        uploads.append(upload=upload, offset_bytes=400, stream=io.BytesIO(CONTENT[400:]), now=now)
    assert refusal.value.expected == "offset 500"


def test_a_damaged_piece_is_not_kept(start, now):
    upload = start()
    with pytest.raises(uploads.ChecksumMismatchError):
        uploads.append(
            upload=upload, offset_bytes=0, stream=io.BytesIO(b"x" * 50), now=now, sha256=hashlib.sha256(b"y").digest()
        )
    upload.refresh_from_db()
    assert upload.offset_bytes == 0
    assert uploads.part_path(upload.pk).stat().st_size == 0


def test_a_file_that_is_not_the_announced_one_is_thrown_away(start, now):
    upload = start(expected_sha256="0" * 64)
    with pytest.raises(uploads.ChecksumMismatchError, match="thrown away"):
        uploads.append(upload=upload, offset_bytes=0, stream=io.BytesIO(CONTENT), now=now)
    assert not Upload.objects.exists()


def test_more_than_was_announced_is_refused(start, now):
    with pytest.raises(TooLargeError):
        uploads.append(
            upload=start(), offset_bytes=0, stream=io.BytesIO(CONTENT), length_bytes=len(CONTENT) + 1, now=now
        )


def test_of_two_writers_the_second_has_to_wait(start, now):
    upload = start()
    with uploads.locked_part(upload), pytest.raises(uploads.UploadLockedError):
        uploads.append(upload=upload, offset_bytes=0, stream=io.BytesIO(CONTENT), now=now)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"purpose": "holiday"}, InvalidError),
        ({"total_bytes": 0}, InvalidError),
        ({"total_bytes": 2**50}, TooLargeError),
        ({"expected_sha256": "abc"}, InvalidError),
    ],
)
def test_what_could_not_end_well_is_refused_before_the_first_byte(start, changes, kind):
    with pytest.raises(kind):
        start(**changes)
    assert not Upload.objects.exists()


def test_space_promised_to_others_counts_as_used(start, settings, monkeypatch):
    settings.UPLOAD_KEEP_FREE_BYTES = 0
    usage = type("Usage", (), {"free": 15_000})
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage)
    start()
    with pytest.raises(OutOfSpaceError) as refusal:
        start()
    assert (refusal.value.found, refusal.value.fault) == ("4760 bytes free", "platform")


def test_unfinished_uploads_expire_and_leave_nothing(start, now):
    upload = uploads.append(upload=start(), offset_bytes=0, stream=io.BytesIO(b"x"), length_bytes=1, now=now)
    path = uploads.part_path(upload.pk)
    assert uploads.expire_uploads(now=now + timedelta(hours=71)) == 0
    assert uploads.expire_uploads(now=now + timedelta(hours=73)) == 1
    assert not path.exists()
    assert not Upload.objects.exists()


def test_an_expired_upload_takes_no_more(start, now):
    with pytest.raises(ConflictError, match="expired"):
        uploads.append(upload=start(), offset_bytes=0, stream=io.BytesIO(b"x"), now=now + timedelta(days=4))


def test_a_file_name_never_becomes_a_path(start):
    upload = start(filename="../../etc/passwd")
    assert upload.filename == "passwd"
    assert Path(upload.key).name == str(upload.pk)


@pytest.fixture
def archive(start, now):
    """A complete upload whose file lies in storage."""

    def archive(**changes) -> Upload:
        upload = start(**changes)
        return uploads.append(upload=upload, offset_bytes=0, stream=io.BytesIO(CONTENT), now=now)

    return archive


@pytest.mark.parametrize(("status", "is_kept"), [("checking", True), ("accepted", False), ("rejected", False)])
def test_an_archive_is_kept_until_it_is_checked(archive, now, status, is_kept):
    upload = archive()
    factories.image(team=factories.team(), upload=upload, status=status)
    key = upload.key
    for _ in range(2):
        uploads.tidy_uploads(now=now)
    assert storage.has_file(key) is is_kept
    upload.refresh_from_db()
    assert bool(upload.key) is is_kept


def test_what_nobody_submits_goes_after_its_time(archive, now):
    upload = archive()
    uploads.tidy_uploads(now=now + timedelta(hours=71))
    assert storage.has_file(upload.key)
    uploads.tidy_uploads(now=now + timedelta(hours=73))
    assert not storage.has_file(upload.key)
    assert not Upload.objects.exists()


def test_predictions_that_were_submitted_stay(scene, archive, now):
    upload = archive(purpose="predictions", user=scene.pia)
    factories.submission(phase=scene.phase, team=scene.team, predictions=upload)
    uploads.tidy_uploads(now=now + timedelta(days=30))
    assert storage.has_file(upload.key)
