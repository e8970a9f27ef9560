"""Sending what waits. Any number of workers may do so at once, and any of them may die at any moment.

Theory of operation. A worker takes a few mails by moving `due_at` into the future in one statement that skips rows which others
hold. If it dies, they become due again. A mail server that does not answer ends the round: what was taken waits longer each time,
and the worker goes back to its other work. A mail may arrive twice (sent, then the worker died before it noted so). Both copies have one
`Message-ID`, by which mail programs know them.
"""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parseaddr
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPSenderRefused

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import QuerySet

from assay.notices.models import OutgoingMail

log = logging.getLogger(__name__)
MOST_AT_ONCE = 20
LONGEST_ROUND_SECONDS = 15.0
HELD = timedelta(minutes=5)
"""How long a worker has what it took: far longer than a round."""
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 720, 1440))
"""How long a mail waits after each failure. After the last one it is given up."""
FIRST_PERMANENT = 500
"""SMTP's answers from here on will be the same next time."""


def waiting_mails(*, now: datetime) -> QuerySet[OutgoingMail]:
    """What is due."""
    return OutgoingMail.objects.filter(sent_at=None, gave_up_at=None, due_at__lte=now)


def send_mails(*, now: datetime) -> int:
    """One round. Answers how many mails the server took."""
    taken = take_mails(now=now)
    if not taken:
        return 0
    began, sent = time.monotonic(), 0
    connection = get_connection()
    try:
        connection.open()
    except (OSError, SMTPException) as error:
        put_back(taken, error=error, now=now)
        return 0
    try:
        for position, mail in enumerate(taken):
            if time.monotonic() - began > LONGEST_ROUND_SECONDS:
                release(taken[position:], now=now)
                break
            sent += send_one(mail, connection=connection, now=now)
    finally:
        connection.close()
    return sent


def take_mails(*, now: datetime) -> list[OutgoingMail]:
    """Hold the next few, so that no other worker sends them."""
    with transaction.atomic():
        rows = list(waiting_mails(now=now).select_for_update(skip_locked=True).order_by("due_at", "pk")[:MOST_AT_ONCE])
        OutgoingMail.objects.filter(pk__in=[row.pk for row in rows]).update(due_at=now + HELD)
    return rows


def send_one(mail: OutgoingMail, *, connection: BaseEmailBackend, now: datetime) -> bool:
    """Hand one mail to the server, and note what came of it."""
    try:
        connection.send_messages([message_of(mail, connection=connection)])
    except (OSError, SMTPException, ValueError) as error:
        put_back([mail], error=error, now=now)
        return False
    OutgoingMail.objects.filter(pk=mail.pk).update(sent_at=now, text="", error="", attempts=mail.attempts + 1)
    return True


def message_of(mail: OutgoingMail, *, connection: BaseEmailBackend) -> EmailMessage:
    """The mail as it travels. The two `List-Unsubscribe` headers are RFC 8058's one-click way out."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    headers = {"Message-ID": f"<{mail.pk}@{domain}>", "Auto-Submitted": "auto-generated"}
    if mail.unsubscribe_url:
        headers["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return EmailMessage(subject=mail.subject, body=mail.text, to=[mail.address], headers=headers, connection=connection)


def put_back(mails: Sequence[OutgoingMail], *, error: Exception, now: datetime) -> None:
    """Note a failure of each: it waits longer than before, or is given up."""
    for mail in mails:
        is_over = is_permanent(error) or mail.attempts >= len(WAITS)
        rows = OutgoingMail.objects.filter(pk=mail.pk)
        said = f"{type(error).__name__}: {error}"[:300]
        if is_over:
            rows.update(gave_up_at=now, text="", error=said, attempts=mail.attempts + 1)
        else:
            rows.update(due_at=now + WAITS[mail.attempts], error=said, attempts=mail.attempts + 1)
        log.warning("mail.failed", extra={"mail": str(mail.pk), "error": said, "given_up": is_over})


def release(mails: Sequence[OutgoingMail], *, now: datetime) -> None:
    """Give back what there was no time for."""
    OutgoingMail.objects.filter(pk__in=[mail.pk for mail in mails]).update(due_at=now)


def is_permanent(error: Exception) -> bool:
    """Whether the server's answer will be the same next time: it knows no such address, or does not want such a mail."""
    match error:
        case SMTPRecipientsRefused():
            return all(code >= FIRST_PERMANENT for code, _ in error.recipients.values())
        case SMTPDataError() | SMTPSenderRefused():
            return error.smtp_code >= FIRST_PERMANENT
    return isinstance(error, ValueError)  # a header that cannot be written
