"""What operators do with accounts: staff, closed accounts, a link for a new password. The last administrator stays one."""

from datetime import datetime

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.adapter import public_url
from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import User
from assay.accounts.sessions import end_all_sessions


def find_person(username: str) -> User:
    """Somebody with an account, open or closed. Their row is locked until the transaction ends."""
    found = User.objects.select_for_update().filter(username=username.strip()).first()
    if found is None:
        raise NotFoundError(
            _("Nobody here is called %(username)s.") % {"username": repr(username[:80])},
            what_to_do=_("Look at the spelling, or create them."),
        )
    return found


def set_staff(*, username: str, is_staff: bool, by: User | None, now: datetime) -> User:
    """Let somebody do everything on this server, or nothing special any more."""
    with transaction.atomic():
        person = find_person(username)
        if not is_staff:
            _refuse_the_last(person)
        if (person.is_staff, person.is_superuser) != (is_staff, is_staff):
            person.is_staff = person.is_superuser = is_staff
            person.save(update_fields=["is_staff", "is_superuser"])
            _record("user.promoted" if is_staff else "user.demoted", person, by=by, now=now)
    return person


def set_open(*, username: str, is_open: bool, by: User | None, now: datetime) -> User:
    """Close an account, which ends its sessions and its tokens' use at once, or open it again. Nothing of it is deleted."""
    with transaction.atomic():
        person = find_person(username)
        if not is_open:
            _refuse_the_last(person)
        if person.is_active != is_open:
            person.is_active = is_open
            person.save(update_fields=["is_active"])
            if not is_open:
                end_all_sessions(person)
            _record("user.opened" if is_open else "user.closed", person, by=by, now=now)
    return person


def password_link(*, username: str, by: User | None, now: datetime) -> str:
    """A link with which somebody sets a new password once. The operator who makes it hands it over by a way both trust."""
    with transaction.atomic():
        person = find_person(username)
        _record("user.password_link", person, by=by, now=now)
    key = default_token_generator.make_token(person)
    return public_url("account_reset_password_from_key", uidb36=user_pk_to_url_str(person), key=key)


def _refuse_the_last(person: User) -> None:
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=person.pk)
    if person.is_superuser and person.is_active and not others.exists():
        raise ConflictError(
            _("%(person)s is the last administrator.") % {"person": person},
            what_to_do=_("Promote somebody else first."),
        )


def _record(verb: str, person: User, *, by: User | None, now: datetime) -> None:
    record_event(actor=by, actor_label="" if by else "command line", verb=verb, subject=person, now=now)
