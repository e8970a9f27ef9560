"""Who somebody is to another organization that signs people in, and to which account of ours that leads.

An account is found by issuer and subject alone, never by a mail address: a person who gets hold of an address at a provider would get the
account with it. Somebody with an account connects it on the account's page, signed in. Somebody new chooses a name.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from assay.accounts.addresses import note_verified
from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import Identity, User
from assay.accounts.profile import ORCID
from assay.accounts.providers import Claims, Provider, providers
from assay.accounts.services import create_user

WAITS = timedelta(minutes=15)
"""How long somebody new may take to choose a name."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One provider on somebody's page, and who they are there."""

    provider: Provider
    subject: str
    since: datetime | None
    may_end: bool


def owner_of(claims: Claims) -> User | None:
    """Whose account this person signs in to."""
    row = Identity.objects.filter(issuer=claims.issuer, subject=claims.subject).select_related("user").first()
    return row.user if row else None


def connections_of(user: User) -> list[Connection]:
    """Each provider, connected or not. The only way in may not be ended."""
    rows = {row.issuer: row for row in user.identities.all()}
    has_another_way = user.has_usable_password() or len(rows) > 1
    return [
        Connection(
            provider=provider,
            subject=rows[provider.issuer].subject if provider.issuer in rows else "",
            since=rows[provider.issuer].connected_at if provider.issuer in rows else None,
            may_end=provider.issuer in rows and has_another_way,
        )
        for provider in providers()
    ]


def connect(*, user: User, provider: Provider, claims: Claims, now: datetime) -> Identity:
    """Let somebody sign in to their account by a provider. Raises ConflictError when either has another partner."""
    try:
        with transaction.atomic():
            row = Identity.objects.create(user=user, issuer=claims.issuer, subject=claims.subject, connected_at=now)
            if provider.slug == "orcid" and ORCID.fullmatch(claims.subject):
                user.orcid = claims.subject
                user.save(update_fields=["orcid"])
            record_event(actor=user, verb="user.identity_connected", subject=user, now=now, provider=provider.slug)
    except IntegrityError as error:
        raise ConflictError(
            _("This account, or your identity at %(provider)s, is connected already.") % {"provider": provider.title},
            code="already_connected",
            what_to_do=_("Look at the account's page. End the other connection first."),
        ) from error
    return row


def disconnect(*, user: User, provider: Provider, now: datetime) -> None:
    """End a connection. Raises ConflictError for the only way in, NotFoundError where there is none."""
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once must not end both
        found = next(row for row in connections_of(user) if row.provider == provider)
        if not found.subject:
            raise NotFoundError(_("There is no such connection."))
        if not found.may_end:
            raise ConflictError(
                _("This is the only way into your account."),
                code="only_way_in",
                what_to_do=_("Set a password first: the page for a forgotten password sends you a link."),
            )
        user.identities.filter(issuer=provider.issuer).delete()
        record_event(actor=user, verb="user.identity_ended", subject=user, now=now, provider=provider.slug)


def sign_up_by(
    provider: Provider, claims: Claims, *, username: str, email: str, display_name: str, now: datetime
) -> User:
    """An account for somebody new. Their address is verified if the provider has verified that very one.

    Raises InvalidError and ConflictError as `create_user` does.
    """
    with transaction.atomic():
        user = create_user(username=username, email=email, password=None, display_name=display_name, now=now)
        connect(user=user, provider=provider, claims=claims, now=now)
        if is_vouched_for(claims, email=email):
            note_verified(user)
    return user


def is_vouched_for(claims: Claims, *, email: str) -> bool:
    """Whether the provider has verified this address."""
    return claims.is_email_verified and bool(claims.email) and claims.email.lower() == email.strip().lower()


def kept(claims: Claims, *, now: datetime) -> dict[str, Any]:
    """Claims for a session, while somebody new chooses a name."""
    return asdict(claims) | {"until": (now + WAITS).isoformat()}


def kept_claims(values: dict[str, Any] | None, *, now: datetime) -> Claims | None:
    """Claims that a session has kept, unless it took too long."""
    if not values or datetime.fromisoformat(values["until"]) < now:
        return None
    return Claims(**{name: value for name, value in values.items() if name != "until"})
