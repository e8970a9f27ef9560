"""Who is asking. `request.auth` is a `User`, or `AnonymousUser` where an operation welcomes everybody.

Two ways in: a bearer token (command line, scripts) and the browser's session (pages that call the API), which needs the CSRF
token for everything but reading. A token that is sent and not good is refused: it never becomes "nobody".
"""

from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja.security import HttpBearer, SessionAuth
from ninja.security.base import AuthBase

from assay.accounts.errors import NotSignedInError
from assay.accounts.models import User
from assay.accounts.scopes import OPERATE, check_scope
from assay.accounts.tokens import USER_PREFIX, token_of
from assay.challenges.access import Person

READING = frozenset({"GET", "HEAD", "OPTIONS"})


class UserToken(HttpBearer):
    """`Authorization: Bearer assay_…`."""

    def authenticate(self, request: HttpRequest, token: str) -> User:
        found = token_of(secret=token, now=timezone.now()) if token.startswith(USER_PREFIX) else None
        if found is None:
            raise NotSignedInError(
                _("This token is not good: unknown, expired or revoked."),
                what_to_do=_("Make a new one: `assay login`."),
            )
        check_scope(found.scopes, method=request.method or "", path=request.path.removeprefix("/api/v1/"))
        user = found.user
        if found.scopes and OPERATE not in found.scopes:
            user.is_staff = user.is_superuser = False  # in this request alone: the row is never saved from here
        return user


class Nobody(AuthBase):
    """Lets somebody unknown in, for what everybody may see."""

    openapi_type = "none"

    def __call__(self, request: HttpRequest) -> AnonymousUser:  # noqa: ARG002  ninja's signature
        return AnonymousUser()


SIGNED_IN = [UserToken(), SessionAuth()]
EVERYBODY = [*SIGNED_IN, Nobody()]


def person_of(request: HttpRequest) -> Person:
    """The person who asks, if we know them."""
    return cast("Person", getattr(request, "auth", AnonymousUser()))


def user_of(request: HttpRequest) -> User:
    """The person who asks, where an operation takes only people we know."""
    return cast("User", request.auth)  # type: ignore[attr-defined]  # ninja sets it
