"""Bearer tokens: shown once, stored as a hash, expiring. The prefix says what kind of key a leaked one is."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts import second_factor
from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError, NotFoundError, NotSignedInError
from assay.accounts.models import ApiToken, User
from assay.accounts.names import clean_line
from assay.accounts.scopes import checked_scopes

USER_PREFIX = "assay_"
LONGEST_DAYS = 366
TOUCH_AFTER = timedelta(minutes=5)


def new_secret(*, prefix: str) -> str:
    """An unguessable token (256 bits) of one kind."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored of a token. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def issue_token(
    *, user: User, name: str, days: int, now: datetime, scopes: Collection[str] = ()
) -> tuple[ApiToken, str]:
    """A new token for `user`. The second value is the secret, which nobody can read again. No scopes: all that `user` may."""
    if not 1 <= days <= LONGEST_DAYS:
        raise InvalidError(
            _("A token lives between one day and one year."),
            found=_("%(days)s days") % {"days": days},
            expected=_("1 to %(longest_days)s days") % {"longest_days": LONGEST_DAYS},
            field="days",
        )
    secret = new_secret(prefix=USER_PREFIX)
    shown = clean_line(name, what=_("The token's name"), longest=80, field="name") or "unnamed"
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=shown,
            token_hash=hash_secret(secret),
            scopes=checked_scopes(scopes),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        record_event(
            actor=user, verb="token.issued", subject=token, now=now, name=token.name, days=days, scopes=token.scopes
        )
    return token, secret


def token_of(*, secret: str, now: datetime) -> ApiToken | None:
    """The token, with its user. None when it is unknown, expired, revoked, or its owner may not sign in.

    Raises NotSignedInError for an operator's token that is older than the second factor.
    """
    token = (
        ApiToken.objects.select_related("user")
        .filter(token_hash=hash_secret(secret), expires_at__gt=now, revoked_at=None, user__is_active=True)
        .first()
    )
    if token is None:
        return None
    if second_factor.lacks_one(token.user, since=token.created_at):
        raise NotSignedInError(
            _("This token was made without the second factor that operators need."),
            code="second_factor_needed",
            what_to_do=_("Set it up on the website, then make a new token: `assay login`."),
        )
    if token.last_used_at is None or token.last_used_at < now - TOUCH_AFTER:
        touch(token, now=now)
    return token


def touch(token: ApiToken, *, now: datetime) -> None:
    """Note that the token was used. A request that finds the row locked leaves it: another request is noting the same."""
    with transaction.atomic():
        free = ApiToken.objects.select_for_update(skip_locked=True).filter(pk=token.pk)
        ApiToken.objects.filter(pk__in=free.values("pk")).update(last_used_at=now)


def revoke_token(*, user: User, token_id: UUID, now: datetime) -> None:
    """Make one of your own tokens useless, for good."""
    token = ApiToken.objects.filter(pk=token_id, user=user).first()
    if token is None:
        raise NotFoundError(_("There is no such token."))
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
        record_event(actor=user, verb="token.revoked", subject=token, now=now, name=token.name)
