"""How django-allauth behaves here: where a request comes from, which address links lead to, what is written into history."""

import logging
import time
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import MailNotSentError
from assay.accounts.models import User
from assay.accounts.sign_in import address_of

log = logging.getLogger(__name__)
CONFIRMED_FOR = timedelta(minutes=5)
"""How long a sign-in by a provider lets somebody without a password change their account."""


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth carries no types
    """Passwords, addresses and mails of people."""

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request)

    def get_reset_password_from_key_url(self, key: str) -> str:
        person, _, secret = key.partition("-")
        return public_url("account_reset_password_from_key", uidb36=person, key=secret)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:  # noqa: ARG002  allauth's signature
        return public_url("account_confirm_email", key=emailconfirmation.key)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:  # noqa: ARG002  allauth's signature
        return reverse("portal:account")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send one mail. Raises MailNotSentError when the mail server does not take it."""
        site = {"name": "Assay", "domain": settings.PUBLIC_URL}
        try:
            super().send_mail(template_prefix, email, {**context, "current_site": site})
        except (OSError, SMTPException) as error:
            log.exception("mail.failed", extra={"kind": template_prefix})
            raise MailNotSentError(
                gettext("The mail could not be sent."),
                what_to_do=gettext("Try again later. If it fails again, tell the operators."),
            ) from error

    def set_password(self, user: User, password: str) -> None:
        super().set_password(user, password)
        record_event(actor=user, verb="user.password_changed", subject=user, now=timezone.now())

    def is_reauthentication_required(self, *, app: str) -> bool:
        """A person with neither password nor second factor shows who they are by signing in with their provider once more."""
        required = bool(super().is_reauthentication_required(app=app))
        user = self.request.user
        if not required or get_reauthentication_flows(user):
            return required
        records = get_authentication_records(self.request, user)
        lately = [row["at"] for row in records if row["method"] == "socialaccount"]
        return not lately or time.time() - lately[-1] > CONFIRMED_FOR.total_seconds()

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if not methods and user.is_authenticated and user.identities.exists():
            methods = [{"id": "provider", "url": reverse("portal:provider-confirm")}]
        return methods

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        is_confirmed = bool(super().confirm_email(request, email_address))
        if is_confirmed:
            record_event(
                actor=email_address.user,
                verb="user.address_verified",
                subject=email_address.user,
                now=timezone.now(),
            )
        return is_confirmed


def public_url(name: str, **parts: str) -> str:
    """An address for a mail: below the public one, whatever name the request asked for."""
    return settings.PUBLIC_URL.rstrip("/") + reverse(name, kwargs=parts)
