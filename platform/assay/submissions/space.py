"""Who may fill how much of the disk: what uploads were promised, what is kept for a person, and what is left for others.

An upload is promised as much again as has arrived, and `FIRST_PROMISE_BYTES` at the start. So announcing ten gigabytes takes nothing
from others, and a client that sends them finds the space growing with what it sends. The space is looked at again with each piece: one
that does not fit is refused, what had arrived stays, and the upload goes on later.
"""

import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import BigIntegerField, F, QuerySet, Sum, Value
from django.db.models.functions import Greatest, Least
from django.utils.translation import gettext as _

from assay.accounts.errors import ConflictError, OutOfSpaceError
from assay.accounts.models import User
from assay.accounts.quotas import GIB, storage_quota_bytes, whom_to_ask
from assay.challenges.models import Challenge
from assay.submissions.limits import moment
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
    """What is left once everybody else has sent what they were promised. May be negative."""
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
    """What counts against a person's quota: files kept for them, the whole of every file they have announced, and the test sets and
    metric images, base images and wheels of the challenges they made. Six queries.
    """
    return _bytes_by_person(now=now, of=user).get(user.pk, 0)


def bytes_by_person(*, now: datetime) -> dict[int, int]:
    """The same of everybody, by their keys. People without files are left out. Six queries."""
    return _bytes_by_person(now=now, of=None)


def _bytes_by_person(*, now: datetime, of: User | None) -> dict[int, int]:
    uploads, made = Upload.objects.exclude(key=""), Challenge.objects.order_by()
    sums: tuple[tuple[QuerySet[Any], str, str], ...] = (
        (uploads.filter(completed_at__isnull=False), "user", "total_bytes"),
        (uploads.filter(completed_at=None, expires_at__gt=now), "user", "total_bytes"),
        (made, "created_by", "testsets__stored_bytes"),
        (made, "created_by", "code_parts__stored_bytes"),
        (made, "created_by", "metric_images__rewritten_bytes"),  # rows of `evaluations`, which is above this room
    )
    found: Counter[int] = Counter()
    for rows, person, column in sums:
        mine = rows if of is None else rows.filter(**{person: of})
        found.update({key: total or 0 for key, total in mine.values_list(person).annotate(total=Sum(column))})
    images = AlgorithmImage.objects.exclude(rewritten_key="").exclude(submissions=None)
    images = images if of is None else images.filter(submissions__submitted_by=of)
    once = images.values_list("submissions__submitted_by", "pk", "rewritten_bytes").distinct()
    for key, _image, size in once.order_by():
        found[key] += size
    return {key: size for key, size in found.items() if size}


def refuse_over_quota(*, user: User, total_bytes: int, now: datetime) -> None:
    """Refuse a file that would take a person over their quota. Raises ConflictError.

    The person's row is locked until the caller's transaction ends, so two uploads that start at once are counted one after the other.
    """
    owner = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    used, quota = used_bytes(user=owner, now=now), storage_quota_bytes(owner)
    if quota is not None and used + total_bytes > quota:
        advice = f"{space_frees(user=owner, now=now)} {whom_to_ask()}"
        raise ConflictError(
            _(
                "This would take %(owner)s over their share of the disk: %(used)s are kept or announced, "
                "%(quota)s are allowed, and this adds %(more)s."
            )
            % {"owner": owner, "used": in_gib(used), "quota": in_gib(quota), "more": in_gib(total_bytes)},
            code="quota_reached",
            found=_("%(used)s bytes kept or announced, %(total_bytes)s more asked for")
            % {"used": used, "total_bytes": total_bytes},
            expected=_("at most %(quota)s bytes") % {"quota": quota},
            what_to_do=advice,
        )


def space_frees(*, user: User, now: datetime) -> str:
    """When some of a person's space comes back by itself, and what they can do."""
    ends = Upload.objects.filter(user=user, expires_at__gt=now, images=None, submissions=None).exclude(key="")
    soonest = ends.order_by("expires_at").values_list("expires_at", flat=True).first()
    if soonest is None:
        return _("Nothing of it comes back by itself.")
    words = _("An upload that was not submitted is thrown away at %(moment)s; you can delete unfinished ones before.")
    return words % {"moment": moment(soonest)}


def in_gib(size: float) -> str:
    """`0.25 GiB`."""
    return f"{size / GIB:,.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:,.2f} MiB"
