"""The second factor: codes of an app, or recovery codes. django-allauth keeps them. Wrong ones are counted, as passwords are."""

from datetime import datetime, timedelta

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import LimitReachedError, NotAllowedError, NotSignedInError
from assay.accounts.models import SignInCount, User
from assay.accounts.sign_in import Limit, add_one

CODE_LIMIT = Limit(failures=10, within=timedelta(minutes=15))
"""Of a million codes three are right at any moment, so a guess is right with a chance of 3 in 1 000 000."""


def has_one(user: User) -> bool:
    """Whether this person has set up an app."""
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists())


def is_missing(user: User) -> bool:
    """Whether this person must have a second factor and has none."""
    return bool(settings.OPERATORS_NEED_SECOND_FACTOR) and user.is_staff and not has_one(user)


def lacks_one(user: User, *, since: datetime) -> bool:
    """Whether this person must have a second factor, and had none at this time: what was given out then was given for a password."""
    if not settings.OPERATORS_NEED_SECOND_FACTOR or not user.is_staff:
        return False
    apps = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP, created_at__lte=since)
    return not apps.exists()


def check(user: User, *, code: str, now: datetime) -> None:
    """Look at the code of somebody whose password was right.

    Raises NotAllowedError when a second factor must be set up first, NotSignedInError when the code is missing or wrong,
    and LimitReachedError when too many were wrong.
    """
    if is_missing(user):
        raise NotAllowedError(
            _("Operators need a second factor."),
            code="second_factor_needed",
            what_to_do=_("Sign in on the website and set it up there."),
        )
    if not has_one(user):
        return
    if not code:
        raise NotSignedInError(
            _("This account has a second factor."), code="code_needed", what_to_do=_("Send its code as `code`.")
        )
    count_code(user, now=now)
    found = next((row for row in Authenticator.objects.filter(user=user) if row.wrap().validate_code(code)), None)
    if found is None:
        raise NotSignedInError(
            _("The code is wrong, or was used before."), code="wrong_code", what_to_do=_("Wait for the next.")
        )
    found.record_usage()
    forget_codes(user)


def count_code(user: User, *, now: datetime) -> None:
    """Count a code that is about to be looked at. Raises LimitReachedError."""
    attempts, until = add_one(counted(user), within=CODE_LIMIT.within, now=now)
    if attempts > CODE_LIMIT.failures:
        raise LimitReachedError(
            _("Too many codes were wrong."),
            found=_("more than %(failures)s") % {"failures": CODE_LIMIT.failures},
            expected=_("another attempt after %(until)s UTC") % {"until": f"{until:%H:%M}"},
            retry_at=until,
        )


def forget_codes(user: User) -> None:
    """A code was right: count from the beginning."""
    SignInCount.objects.filter(counted=counted(user)).delete()


def counted(user: User) -> str:
    """The row that counts this person's codes."""
    return f"code:{user.pk}"
