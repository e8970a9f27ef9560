"""What somebody was told, and what they want to hear of."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.accounts.models import User
from assay.api.auth import user_of
from assay.api.v1 import schemas
from assay.challenges.access import organized_by
from assay.notices.choices import FOR_ORGANIZERS, Wish, choose, wishes_of
from assay.notices.selectors import NoticeRow, get_notice, notices_of, unread_count
from assay.notices.services import mark_read

router = Router()
PAGE = 50


@router.get("", response=schemas.NoticesOut)
def list_notices(request: HttpRequest, before: schemas.RowKey | None = None) -> dict[str, Any]:
    """The newest first. `older` is what `before` takes for those that came earlier; null where there are none."""
    user = user_of(request)
    rows, older = notices_of(user, length=PAGE, before=before)
    return {"notices": [document(row) for row in rows], "older": older, "unread": unread_count(user)}


@router.post("/read", response={204: None})
def read_all(request: HttpRequest) -> Status[None]:
    """Everything counts as read."""
    mark_read(person=user_of(request), now=timezone.now())
    return Status(204, None)


@router.post("/{notice_id}/read", response={204: None})
def read_one(request: HttpRequest, notice_id: schemas.RowKey) -> Status[None]:
    """One of them counts as read."""
    user = user_of(request)
    notice = get_notice(person=user, notice_id=notice_id)
    mark_read(person=user, now=timezone.now(), notice_id=notice.pk)
    return Status(204, None)


@router.get("/choices", response=list[schemas.WishOut])
def list_choices(request: HttpRequest) -> list[Wish]:
    """Each kind of notice: whether the website shows it, and when a mail tells of it."""
    return offered_to(user_of(request))


@router.put("/choices", response=list[schemas.WishOut])
def change_choices(request: HttpRequest, body: list[schemas.WishIn]) -> list[Wish]:
    """Keep choices. Kinds that are not named stay as they are."""
    user = user_of(request)
    offered = {wish.kind for wish in offered_to(user)}
    wishes = [Wish(**asked.dict()) for asked in body if asked.kind in offered]
    choose(person=user, wishes=wishes)
    return offered_to(user)


def offered_to(user: User) -> list[Wish]:
    """Kinds that only organizers and operators get are shown to them alone."""
    organizes = user.is_staff or organized_by(user).exists()
    return [wish for wish in wishes_of(user) if organizes or wish.kind not in FOR_ORGANIZERS]


def document(row: NoticeRow) -> dict[str, Any]:
    """One notice. `at` is null where only the page that it leads to may say when."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "subject": row.subject,
        "text": row.text,
        "path": row.path,
        "at": row.at,
        "is_read": row.is_read,
    }
