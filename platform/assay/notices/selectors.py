"""Questions about notices."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.accounts.models import User
from assay.notices.models import Notice, OutgoingMail
from assay.notices.words import WITHOUT_TIME, in_words


@dataclass(frozen=True, kw_only=True)
class NoticeRow:
    """One notice as its reader sees it. `at`: None where only the page it leads to may say when."""

    pk: int
    kind: str
    subject: str
    text: str
    path: str
    at: datetime | None
    is_read: bool


def row_of(notice: Notice) -> NoticeRow:
    """A notice in the language that is active."""
    told = in_words(notice.event, notice.facts)
    return NoticeRow(
        pk=notice.pk,
        kind=notice.kind,
        subject=told.subject,
        text=told.text,
        path=notice.path,
        at=None if notice.event in WITHOUT_TIME else notice.at,
        is_read=notice.read_at is not None,
    )


def notices_of(person: User, *, length: int, before: int | None = None) -> tuple[list[NoticeRow], int | None]:
    """The newest notices of one person, and the key to go on from where there are more. One query."""
    rows = Notice.objects.filter(person=person, is_shown=True).order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    listed = list(rows[: length + 1])
    return [row_of(row) for row in listed[:length]], listed[length - 1].pk if len(listed) > length else None


def get_notice(*, person: User, notice_id: int) -> Notice:
    """One of somebody's own notices."""
    notice = Notice.objects.filter(person=person, pk=notice_id).first()
    if notice is None:
        raise NotFoundError(_("There is no such notice."))
    return notice


def unread_count(person: User) -> int:
    """How many notices somebody has not read. One query on an index."""
    return Notice.objects.filter(person=person, read_at=None, is_shown=True).count()


@dataclass(frozen=True, kw_only=True)
class MailQueue:
    """What operators want to know of outgoing mail."""

    waiting: int
    oldest: datetime | None
    given_up: int
    last_error: str


def mail_queue() -> MailQueue:
    """How outgoing mail stands. Three queries."""
    waiting = OutgoingMail.objects.filter(sent_at=None, gave_up_at=None)
    first = waiting.order_by("written_at").values_list("written_at", flat=True).first()
    failed = OutgoingMail.objects.exclude(error="").order_by("-written_at").values_list("error", flat=True).first()
    return MailQueue(
        waiting=waiting.count(),
        oldest=first,
        given_up=OutgoingMail.objects.exclude(gave_up_at=None).count(),
        last_error=failed or "",
    )
