"""What organizers tell everybody who takes part: shown on the challenge's pages, in its Atom feed, and sent as notices."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError, LimitReachedError, NotFoundError
from assay.accounts.models import User
from assay.accounts.names import clean_line
from assay.challenges.models import Announcement, Challenge
from assay.challenges.telling import tell_announcement
from assay.challenges.texts import render_markdown

LONGEST_TEXT = 8000
MOST_PER_DAY = 5
"""Each is a mail to everybody who takes part."""


def written(*, title: str, text: str, missing: str) -> tuple[str, str, str]:
    """Title, text and HTML of what organizers tell people, as they are kept. Raises InvalidError, with `missing` where one is."""
    shown, words = clean_line(title, what=_("The title"), longest=160, field="title"), text.strip()
    if not shown or not words:
        raise InvalidError(missing, field="title" if words else "text")
    if len(words) > LONGEST_TEXT:
        raise InvalidError(
            _("The text is too long."),
            found=str(len(words)),
            expected=_("at most %(most)s") % {"most": LONGEST_TEXT},
            field="text",
        )
    return shown, words, render_markdown(words)


def refuse_more_than(most: int, *, sent: QuerySet[Any], why: str, now: datetime) -> None:
    """Raise LimitReachedError, with `why` and when it is possible again, where so many were sent in a day. The caller holds the lock."""
    today = sent.filter(at__gt=now - timedelta(days=1))
    if today.count() >= most:
        raise LimitReachedError(
            why % {"most": most},
            retry_at=today.order_by("at").values_list("at", flat=True)[0] + timedelta(days=1),
        )


def announce(*, challenge: Challenge, title: str, text: str, by: User, now: datetime) -> Announcement:
    """Tell everybody who takes part. The challenge's row is locked while we count, so two at once are counted both."""
    shown, words, html = written(title=title, text=text, missing=_("An announcement needs a title and a text."))
    with transaction.atomic():
        Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
        why = _("A challenge announces %(most)s things a day, because each is a mail to everybody.")
        refuse_more_than(MOST_PER_DAY, sent=challenge.announcements.all(), why=why, now=now)
        announcement = Announcement.objects.create(
            challenge=challenge, title=shown, text=words, text_html=html, by=by, at=now
        )
        record_event(
            actor=by,
            verb="challenge.announced",
            subject=announcement,
            challenge_slug=challenge.slug,
            now=now,
            title=shown,
        )
        tell_announcement(announcement=announcement, now=now)
    return announcement


def withdraw(*, challenge: Challenge, announcement_id: int, by: User, now: datetime) -> None:
    """Take an announcement off the pages. Mails that have gone cannot be called back."""
    with transaction.atomic():
        found = challenge.announcements.filter(pk=announcement_id).first()
        if found is None:
            raise NotFoundError(_("There is no such announcement."))
        record_event(
            actor=by,
            verb="challenge.announcement_withdrawn",
            subject=found,
            challenge_slug=challenge.slug,
            now=now,
            title=found.title,
        )
        found.delete()
