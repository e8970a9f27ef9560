"""Where somebody is signed in. django-allauth notes each sign-in. We list them and end them."""

from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import NotFoundError
from assay.accounts.models import User

LONGEST_PROGRAM = 120


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """One browser that is signed in."""

    pk: int
    address: str
    program: str
    since: datetime
    is_this: bool


def sessions_of(user: User, *, current_key: str | None) -> list[SessionRow]:
    """The newest first. Those that have ended are forgotten."""
    rows = sorted(UserSession.objects.purge_and_list(user), key=lambda row: row.created_at, reverse=True)
    return [
        SessionRow(
            pk=row.pk,
            address=row.ip,
            program=row.user_agent[:LONGEST_PROGRAM],
            since=row.created_at,
            is_this=row.session_key == current_key,
        )
        for row in rows
    ]


def end_session(*, user: User, session_id: int, now: datetime) -> None:
    """Sign out one browser."""
    row = UserSession.objects.filter(user=user, pk=session_id).first()
    if row is None:
        raise NotFoundError(_("There is no such session."))
    row.end()
    record_event(actor=user, verb="user.session_ended", subject=user, now=now)


def end_all_sessions(user: User) -> None:
    """Sign out everywhere."""
    for row in UserSession.objects.filter(user=user):
        row.end()
