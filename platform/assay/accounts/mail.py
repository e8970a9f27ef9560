"""Mails of an installation without a mail server: written into a folder, and read again for the page that shows them."""

import email
import email.policy
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage as ParsedMessage
from pathlib import Path

from django.core.mail import EmailMessage
from django.core.mail.backends.filebased import EmailBackend

SEPARATOR = b"\n" + b"-" * 79 + b"\n"
"""What Django's backend writes after each mail."""


class FolderBackend(EmailBackend):
    """Django's own, in a folder that only we may enter: a link to a new password is as good as the password."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to Django as they came
        Path(self.file_path).chmod(0o700)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        return super().send_messages(email_messages) or 0


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One mail as a person reads it."""

    subject: str
    to: str
    sent: str
    text: str


def read_mails(folder: Path, *, most: int) -> list[Mail]:
    """The newest mails in `folder`, at most so many, the newest first."""
    files = sorted(folder.glob("*.log"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    mails: list[Mail] = []
    for path in files[:most]:
        parts = [part for part in path.read_bytes().split(SEPARATOR) if part.strip()]
        mails.extend(parse_mail(part) for part in reversed(parts))
    return mails[:most]


def parse_mail(content: bytes) -> Mail:
    """What a mail's bytes say."""
    parsed = email.message_from_bytes(content.lstrip(b"\n"), policy=email.policy.default)
    body = parsed.get_body(("plain",)) if isinstance(parsed, ParsedMessage) else None
    return Mail(
        subject=str(parsed["Subject"] or ""),
        to=str(parsed["To"] or ""),
        sent=str(parsed["Date"] or ""),
        text=str(body.get_content()) if body is not None else "",
    )
