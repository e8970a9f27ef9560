"""Sending what waits. Any number of workers may do so at once, and any of them may die at any moment.

Theory of operation. `outbox.py` says who holds which mail, and when it is tried again. A mail server that does not answer ends the round:
what was taken waits longer each time, and the worker goes back to its other work. A mail may arrive twice (sent, then the worker died
before it noted so). Both copies have one `Message-ID`, by which mail programs know them.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from email.utils import parseaddr
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPSenderRefused

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import QuerySet

from assay.notices.models import OutgoingMail
from assay.notices.outbox import WAITS, one_round, take

log = logging.getLogger(__name__)
MOST_AT_ONCE = 20
FIRST_PERMANENT = 500
"""SMTP's answers from here on will be the same next time."""


def waiting_mails(*, now: datetime) -> QuerySet[OutgoingMail]:
    """What is due."""
    return OutgoingMail.objects.filter(sent_at=None, gave_up_at=None, due_at__lte=now)


def send_mails(*, now: datetime) -> int:
    """One round. Answers how many mails the server took."""
    taken = take(waiting_mails(now=now), most=MOST_AT_ONCE, now=now)
    if not taken:
        return 0
    connection = get_connection()
    try:
        connection.open()
    except (OSError, SMTPException) as error:
        put_back(taken, error=error, now=now)
        return 0
    try:
        return sum(send_one(mail, connection=connection, now=now) for mail in one_round(taken, now=now))
    finally:
        connection.close()


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


def is_permanent(error: Exception) -> bool:
    """Whether the server's answer will be the same next time: it knows no such address, or does not want such a mail."""
    match error:
        case SMTPRecipientsRefused():
            return all(code >= FIRST_PERMANENT for code, _ in error.recipients.values())
        case SMTPDataError() | SMTPSenderRefused():
            return error.smtp_code >= FIRST_PERMANENT
    return isinstance(error, ValueError)  # a header that cannot be written
