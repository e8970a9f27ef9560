"""Mail addresses that people have shown to be theirs. django-allauth keeps them and sends the mails."""

from collections.abc import Collection

from allauth.account.models import EmailAddress
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from assay.accounts.errors import NotAllowedError
from assay.accounts.models import User


def must_verify() -> bool:
    """Whether people have to verify their address before they sign in."""
    return bool(settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory")


def can_verify() -> bool:
    """Whether this installation sends mail, so that an address can be shown to be somebody's."""
    return bool(settings.EMAIL_HOST) or must_verify()


def page_to_verify() -> str:
    """Where somebody has the link sent again."""
    return f"{settings.PUBLIC_URL}{reverse('account_email')}"


def is_verified(user: User) -> bool:
    """Whether this person has opened a link that we sent to the address they use."""
    return bool(EmailAddress.objects.filter(user=user, verified=True, email__iexact=user.email).exists())


def verified_among(people: Collection[User]) -> set[int]:
    """The keys of those who have opened a link that we sent to the address they use. One query."""
    used = {person.pk: person.email.lower() for person in people}
    verified = EmailAddress.objects.filter(user__in=used, verified=True).values_list("user_id", "email")
    return {person_id for person_id, address in verified if used[person_id] == address.lower()}


def is_taken(address: str) -> bool:
    """Whether somebody has this address, verified or not."""
    typed = address.strip()
    return User.objects.filter(email__iexact=typed).exists() or bool(
        EmailAddress.objects.filter(email__iexact=typed, verified=True).exists()
    )


def note_address(user: User) -> None:
    """Keep the address of somebody new, which is not verified yet."""
    EmailAddress.objects.create(user=user, email=user.email.lower(), primary=True)


def send_link(user: User, *, request: HttpRequest) -> None:
    """Send somebody new the link that verifies their address. Raises MailNotSentError."""
    EmailAddress.objects.get(user=user, primary=True).send_confirmation(request, signup=True)


def note_verified(user: User) -> None:
    """Take the address as verified without a mail: an operator vouches for it."""
    EmailAddress.objects.update_or_create(
        user=user, email=user.email.lower(), defaults={"verified": True, "primary": True}
    )


def check_verified(user: User) -> None:
    """Raises NotAllowedError when this person still has to verify their address."""
    if must_verify() and not is_verified(user):
        raise NotAllowedError(
            _("The mail address of this account is not verified yet."),
            code="address_not_verified",
            what_to_do=_("Sign in on the website once. It sends you a mail with a link."),
        )
