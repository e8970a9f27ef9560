"""Who may fill how much of the disk: what uploads were promised, what is kept for a person, and what is left for others.

An upload is promised as much again as has arrived, and `FIRST_PROMISE_BYTES` at the start. So announcing ten gigabytes takes nothing
from others, and a client that sends them finds the space growing with what it sends. The space is looked at again with each piece: one
that does not fit is refused, what had arrived stays, and the upload goes on later.
"""

import shutil
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import BigIntegerField, F, Sum, Value
from django.db.models.functions import Greatest, Least
from django.utils.translation import gettext as _

from assay.accounts.errors import ConflictError, OutOfSpaceError
from assay.accounts.models import User
from assay.accounts.quotas import TELL_OPERATORS, storage_quota_bytes
from assay.submissions.models import AlgorithmImage, Upload

FIRST_PROMISE_BYTES = 64 * 2**20
BYTES = BigIntegerField()
PROMISE = Least(
    F("total_bytes") - F("offset_bytes"),
    Greatest(F("offset_bytes"), Value(FIRST_PROMISE_BYTES, output_field=BYTES), output_field=BYTES),
    output_field=BYTES,
)


def promised_bytes(*, now: datetime, but: UUID | None = None) -> int:
    """What unfinished uploads may still take from the disk, without one of them."""
    others = Upload.objects.filter(completed_at=None, expires_at__gt=now)
    others = others if but is None else others.exclude(pk=but)
    return others.aggregate(bytes=Sum(PROMISE))["bytes"] or 0


def free_bytes(*, now: datetime, but: UUID | None = None) -> int:
    """What is left once everybody else has sent what they were promised; may be negative."""
    root = Path(settings.UPLOAD_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    free: int = shutil.disk_usage(root).free - settings.UPLOAD_KEEP_FREE_BYTES
    return free - promised_bytes(now=now, but=but)


def refuse_without_space(*, wanted_bytes: int, now: datetime, upload_id: UUID | None = None) -> None:
    """Refuse before the first byte what the disk could not take. Raises OutOfSpaceError."""
    free = free_bytes(now=now, but=upload_id)
    if wanted_bytes > free:
        raise OutOfSpaceError(
            _("There is not enough space for this file at the moment."),
            found=_("%(max)s bytes free") % {"max": max(0, free)},
            expected=_("%(wanted_bytes)s bytes") % {"wanted_bytes": wanted_bytes},
            what_to_do=_(
                "Nothing is wrong with your file, and what has arrived is kept. Try again later; the operators can see this."
            ),
        )


def used_bytes(*, user: User, now: datetime) -> int:
    """What counts against a person's quota: files kept for them, and the whole of every file they have announced."""
    uploads = Upload.objects.filter(user=user).exclude(key="")
    unfinished = uploads.filter(completed_at=None, expires_at__gt=now)
    images = AlgorithmImage.objects.filter(submissions__submitted_by=user).exclude(rewritten_key="").distinct()
    return sum(
        found.aggregate(bytes=Sum(column))["bytes"] or 0
        for found, column in (
            (uploads.filter(completed_at__isnull=False), "total_bytes"),
            (unfinished, "total_bytes"),
            (AlgorithmImage.objects.filter(pk__in=images.values("pk")), "rewritten_bytes"),
        )
    )


def refuse_over_quota(*, user: User, total_bytes: int, now: datetime) -> None:
    """Refuse a file that would take a person over their quota. Raises ConflictError.

    The person's row is locked until the caller's transaction ends, so two uploads that start at once are counted one after the other.
    """
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    used, quota = used_bytes(user=user, now=now), storage_quota_bytes(user)
    if quota is not None and used + total_bytes > quota:
        raise ConflictError(
            _("This file would take you over your share of the disk."),
            code="quota_reached",
            found=_("%(used)s bytes kept or announced, %(total_bytes)s more asked for")
            % {"used": used, "total_bytes": total_bytes},
            expected=_("at most %(quota)s bytes") % {"quota": quota},
            what_to_do=_("Delete unfinished uploads you do not need. %(tell_operators)s")
            % {"tell_operators": TELL_OPERATORS},
        )
