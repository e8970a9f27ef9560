"""Resumable uploads: bytes arrive in pieces, over days if need be, and are never kept in memory.

Theory of operation
-------------------
An upload is one row and one growing file in `UPLOAD_ROOT`. `offset_bytes` is written after `fsync`, so it never promises more
than is on disk. What a crash left beyond it is cut off before the next piece is written. A lock on the file lets one writer in
at a time: the second is told to wait, because its predecessor may be a connection that died and has not noticed yet. The last
byte completes the upload: the whole file is hashed, compared with what the client said, and given to storage. Only then does the
offset reach the total, so who asks for it never takes an unchecked file for a complete one.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, BinaryIO
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, TooLargeError
from assay.accounts.models import User
from assay.accounts.names import refused
from assay.submissions.models import AlgorithmImage, Upload
from assay.submissions.space import refuse_over_quota, refuse_without_space
from assay.testsets import storage

PIECE_BYTES = 1 << 20
LONGEST_NAME = 255
UNFINISHED_PER_USER = 20
FOR_IMAGES = (Upload.Purpose.IMAGE, Upload.Purpose.CODE)
"""What becomes an image of ours, and is not needed afterwards."""
EMPTY_LIFETIME = timedelta(hours=1)
"""How long an upload waits for its first byte."""


class ChecksumMismatchError(InvalidError):
    """A piece arrived damaged. It was not kept."""

    code = "checksum_mismatch"


class UploadLockedError(ConflictError):
    """Somebody else is writing to this upload at the moment."""

    code = "upload_locked"


class OffsetMismatchError(ConflictError):
    """The piece does not continue where the file ends."""

    code = "offset_mismatch"


def require_complete(upload: Upload, *, purpose: Upload.Purpose) -> None:
    """The upload is for this, and all of it has arrived. Raises InvalidError or ConflictError."""
    if upload.purpose != purpose:
        raise InvalidError(_("This upload is for something else."), found=str(upload.purpose), expected=str(purpose))
    if upload.completed_at is None:
        raise ConflictError(
            _("The upload is not complete."), code="upload_incomplete", what_to_do=_("Continue it first.")
        )


def start_upload(
    *, user: User, filename: str, purpose: str, total_bytes: int, expected_sha256: str = "", now: datetime
) -> Upload:
    """Open an upload, and refuse before the first byte what could not end well."""
    if purpose not in Upload.Purpose.values:
        raise InvalidError(_("The purpose is not known."), found=purpose, expected=" or ".join(Upload.Purpose.values))
    if expected_sha256 and not is_sha256(expected_sha256):
        raise InvalidError(_("The sha256 is not one."), found=expected_sha256[:80], expected=_("64 hexadecimal digits"))
    if total_bytes < 1:
        raise InvalidError(
            _("The file is empty."),
            found=_("%(total_bytes)s bytes") % {"total_bytes": total_bytes},
            expected=_("at least one byte"),
            field="archive",
        )
    if total_bytes > settings.UPLOAD_MAX_BYTES:
        raise TooLargeError(
            _("The file is larger than this installation takes."),
            found=_("%(total_bytes)s bytes") % {"total_bytes": total_bytes},
            expected=_("at most %(upload_max_bytes)s bytes") % {"upload_max_bytes": settings.UPLOAD_MAX_BYTES},
        )
    upload_id = uuid4()
    with transaction.atomic():
        refuse_over_quota(user=user, total_bytes=total_bytes, now=now)
        if Upload.objects.filter(user=user, completed_at=None, expires_at__gt=now).count() >= UNFINISHED_PER_USER:
            raise ConflictError(
                _("You have %(unfinished_per_user)s unfinished uploads.")
                % {"unfinished_per_user": UNFINISHED_PER_USER},
                what_to_do=_("Finish or delete some of them first."),
            )
        refuse_without_space(wanted_bytes=total_bytes, now=now)
        upload = Upload.objects.create(
            id=upload_id,
            user=user,
            purpose=purpose,
            filename=shown_filename(filename),
            total_bytes=total_bytes,
            expected_sha256=expected_sha256.lower(),
            key=f"uploads/{upload_id}",
            created_at=now,
            expires_at=now + EMPTY_LIFETIME,
        )
        path = part_path(upload_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        record_event(actor=user, verb="upload.started", subject=upload, now=now, purpose=purpose, bytes=total_bytes)
    return upload


def shown_filename(filename: str) -> str:
    """The last part of a path, with a sign in place of what would change how the text beside it is read."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return (
        "".join("\N{REPLACEMENT CHARACTER}" if refused(character) else character for character in name)[:LONGEST_NAME]
        or "unnamed"
    )


def is_sha256(text: str) -> bool:
    """Whether this is 64 hexadecimal digits."""
    return len(text) == 64 and set(text.lower()) <= set("0123456789abcdef")


def append(
    *,
    upload: Upload,
    offset_bytes: int,
    stream: IO[bytes],
    now: datetime,
    length_bytes: int | None = None,
    sha256: bytes | None = None,
) -> Upload:
    """Add a piece at `offset_bytes`. A connection that breaks leaves what had arrived, unless a checksum came with the piece.

    `length_bytes`: what the request announced. Nothing beyond it is read.
    """
    refuse_over(upload=upload, offset_bytes=offset_bytes, length_bytes=length_bytes, now=now)
    with locked_part(upload) as file:
        upload.refresh_from_db()
        if upload.completed_at is not None or offset_bytes != upload.offset_bytes:
            raise OffsetMismatchError(
                "The piece does not continue where the upload ends.",
                found=f"offset {offset_bytes}",
                expected=f"offset {upload.offset_bytes}",
                what_to_do="Ask for the offset (HEAD) and send from there.",
            )
        room = upload.total_bytes - offset_bytes
        wanted = room if length_bytes is None else min(room, length_bytes)
        refuse_without_space(wanted_bytes=wanted, now=now, upload_id=upload.pk)
        file.truncate(offset_bytes)
        file.seek(offset_bytes)
        digest = hashlib.sha256()
        arrived = copy(stream=stream, file=file, wanted_bytes=wanted, digest=digest)
        if sha256 is not None and digest.digest() != sha256:
            file.truncate(offset_bytes)
            raise ChecksumMismatchError(
                _("The piece arrived damaged and was not kept."), what_to_do=_("Send it again.")
            )
        file.flush()
        os.fsync(file.fileno())
        if offset_bytes + arrived == upload.total_bytes:
            complete(upload=upload, now=now)
        else:
            upload.offset_bytes = offset_bytes + arrived
            upload.expires_at = lifetime_end(upload)
            values = {"offset_bytes": upload.offset_bytes, "expires_at": upload.expires_at}
            Upload.objects.filter(pk=upload.pk, offset_bytes=offset_bytes).update(**values)
    return upload


def refuse_over(*, upload: Upload, offset_bytes: int, length_bytes: int | None, now: datetime) -> None:
    """Refuse a piece for an upload that is over, or that would be longer than announced."""
    if upload.expires_at <= now and upload.completed_at is None:
        raise ConflictError(_("This upload has expired."), code="upload_expired", what_to_do=_("Start a new one."))
    if length_bytes is not None and offset_bytes + length_bytes > upload.total_bytes:
        raise TooLargeError(
            _("The piece is longer than what the upload still lacks."),
            found=_("%(offset_bytes)s bytes") % {"offset_bytes": offset_bytes + length_bytes},
            expected=_("%(total_bytes)s bytes") % {"total_bytes": upload.total_bytes},
        )


def copy(*, stream: IO[bytes], file: BinaryIO, wanted_bytes: int, digest: "hashlib._Hash") -> int:
    """Copy up to `wanted_bytes`. A connection that breaks ends it early."""
    arrived = 0
    with contextlib.suppress(OSError):
        while arrived < wanted_bytes and (piece := stream.read(min(PIECE_BYTES, wanted_bytes - arrived))):
            file.write(piece)
            digest.update(piece)
            arrived += len(piece)
    return arrived


@contextlib.contextmanager
def locked_part(upload: Upload) -> Iterator[BinaryIO]:
    """The upload's growing file, ours alone."""
    try:
        file = part_path(upload.pk).open("r+b")
    except FileNotFoundError:
        raise ConflictError(_("This upload is over."), code="upload_over", what_to_do=_("Start a new one.")) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadLockedError(
                _("Another connection is writing to this upload."), what_to_do=_("Try again in a few seconds.")
            ) from None
        yield file


def complete(*, upload: Upload, now: datetime) -> None:
    """Hash the whole file and give it to storage. One that is not what the client announced is thrown away."""
    path = part_path(upload.pk)
    found = storage.hash_file(path)
    if upload.expected_sha256 and found != upload.expected_sha256:
        path.unlink()
        upload.delete()
        raise ChecksumMismatchError(
            _("The file that arrived is not the file you announced; it was thrown away."),
            code="sha256_mismatch",
            found=_("sha256 %(found)s") % {"found": found},
            expected=_("sha256 %(expected_sha256)s") % {"expected_sha256": upload.expected_sha256},
            what_to_do=_("Upload it again."),
        )
    storage.keep_file(source=path, key=upload.key, move=True, sha256=found)
    with transaction.atomic():
        values = {"completed_at": now, "sha256": found, "offset_bytes": upload.total_bytes}
        values["expires_at"] = full_lifetime_end(upload)
        Upload.objects.filter(pk=upload.pk, completed_at=None).update(**values)
        record_event(actor=upload.user, verb="upload.completed", subject=upload, now=now, sha256=found)
    for name, value in values.items():
        setattr(upload, name, value)


def lifetime_end(upload: Upload) -> datetime:
    """When an unfinished upload is thrown away: soon while it is empty, so that announcing files keeps no space from others."""
    return full_lifetime_end(upload) if upload.offset_bytes else upload.expires_at


def full_lifetime_end(upload: Upload) -> datetime:
    """When what has begun to arrive is thrown away, unless it was submitted."""
    return upload.created_at + timedelta(hours=settings.UPLOAD_LIFETIME_HOURS)


def cancel_upload(*, upload: Upload, user: User, now: datetime) -> None:
    """Throw an upload away. One that was submitted already belongs to its submission."""
    if upload.completed_at is not None:
        raise ConflictError(_("This upload is complete."), what_to_do=_("Cancel the submission it belongs to instead."))
    with transaction.atomic():
        record_event(actor=user, verb="upload.cancelled", subject=upload, now=now)
        part_path(upload.pk).unlink(missing_ok=True)
        upload.delete()


def tidy_uploads(*, now: datetime) -> None:
    """Give back the space of what nobody needs any more. Called by the reaper. Harmless when two do at once."""
    expire_uploads(now=now)
    forget_checked_archives()
    forget_unused(now=now)


def forget_checked_archives() -> int:
    """Delete archives whose images are checked: what runs is the rewritten one. Answers how many."""
    checked = (
        Upload.objects.filter(Q(purpose__in=FOR_IMAGES, images__isnull=False) | Q(model_images__isnull=False))
        .exclude(key="")
        .exclude(images__status=AlgorithmImage.Status.CHECKING)
        .exclude(model_images__status=AlgorithmImage.Status.CHECKING)
        .distinct()
    )
    for upload in checked:
        Upload.objects.filter(pk=upload.pk).update(key="")
        storage.delete_file(upload.key)
    return len(checked)


def forget_unused(*, now: datetime) -> int:
    """Throw away complete uploads that nobody has submitted within their time. Answers how many."""
    over = Upload.objects.filter(completed_at__isnull=False, expires_at__lte=now)
    unused = list(over.filter(images=None, model_images=None, submissions=None))
    for upload in unused:
        upload.delete()
        storage.delete_file(upload.key)
    return len(unused)


def expire_uploads(*, now: datetime) -> int:
    """Throw away unfinished uploads whose time is over. Answers how many."""
    expired = list(Upload.objects.filter(completed_at=None, expires_at__lte=now))
    for upload in expired:
        cancel_upload(upload=upload, user=upload.user, now=now)
    return len(expired)


def part_path(upload_id: UUID) -> Path:
    """The growing file of an upload."""
    return Path(settings.UPLOAD_ROOT) / str(upload_id)
