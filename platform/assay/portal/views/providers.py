"""Sign-in by another organization: to it, back from it, somebody new, and what an account is connected with."""

from typing import Any, cast

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.internal.flows.reauthentication import STATE_SESSION_KEY, raise_if_reauthentication_required
from allauth.account.models import Login
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from assay.accounts.adapter import public_url
from assay.accounts.addresses import is_taken, must_verify
from assay.accounts.audit import record_event
from assay.accounts.errors import AssayError, NotAllowedError
from assay.accounts.identities import (
    connect,
    disconnect,
    is_vouched_for,
    kept,
    kept_claims,
    owner_of,
    sign_up_by,
)
from assay.accounts.models import User
from assay.accounts.providers import Claims, Provider, begin, finish, get_provider, providers
from assay.accounts.sign_in import address_of
from assay.challenges.access import signed_in
from assay.pages.errors import refuse, refuse_form, too_many
from assay.portal.forms import NewcomerForm
from assay.portal.views.people import may_sign_up, say_it_by_mail, wanted_page

NEWCOMER = "newcomer"
"""Where a session keeps what a provider said about somebody who has no account yet."""


@require_POST
@transaction.non_atomic_requests
def begin_sign_in(request: HttpRequest, provider: str) -> HttpResponse:
    """Go to a provider to sign in."""
    memory = {"purpose": "sign_in", "next": wanted_page(request)}
    return _go(request, get_provider(provider), memory)


@require_POST
@transaction.non_atomic_requests
def begin_connection(request: HttpRequest, provider: str) -> HttpResponse:
    """Go to a provider to connect it with the account that is signed in."""
    user = signed_in(request.user)
    raise_if_reauthentication_required(request, app="assay.accounts")
    memory = {"purpose": "connect", "user": user.pk, "next": reverse("portal:account")}
    return _go(request, get_provider(provider), memory)


def _go(request: HttpRequest, provider: Provider, memory: dict[str, Any]) -> HttpResponse:
    """A page that goes on by itself: a form's answer may not redirect to another organization (`form-action`)."""
    return_to = public_url("portal:provider-return", provider=provider.slug)
    address = begin(request, provider, return_to=return_to, memory=memory, now=timezone.now())
    return render(request, "portal/provider_go.html", {"address": address, "provider": provider})


@transaction.non_atomic_requests
def come_back(request: HttpRequest, provider: str) -> HttpResponse:
    """Somebody comes back from a provider."""
    asked, now = get_provider(provider), timezone.now()
    claims, memory = finish(request, asked, now=now)
    if memory["purpose"] == "connect":
        return _connect(request, asked, claims, memory)
    owner = owner_of(claims)
    if owner is None:
        request.session[NEWCOMER] = kept(claims, now=now) | {"next": memory["next"]}
        return redirect("portal:provider-newcomer", asked.slug)
    return _let_in(request, owner, provider=asked, claims=claims, next_page=memory["next"])


def _connect(request: HttpRequest, provider: Provider, claims: Claims, memory: dict[str, Any]) -> HttpResponse:
    user = signed_in(request.user)
    if user.pk != memory["user"]:
        raise NotAllowedError(_("Somebody else is signed in now."), what_to_do=_("Begin again on the account's page."))
    connect(user=user, provider=provider, claims=claims, now=timezone.now())
    get_adapter().send_notification_mail("account/email/identity_connected", user, {"provider": provider.title})
    messages.success(request, _("You can sign in with %(provider)s from now on.") % {"provider": provider.title})
    return redirect(memory["next"])


def _let_in(
    request: HttpRequest, user: User, *, provider: Provider, claims: Claims, next_page: str, is_new: bool = False
) -> HttpResponse:
    """Sign somebody in: a second factor and a verified address are asked for as after a password."""
    if request.user.is_authenticated and request.user != user:
        get_adapter().logout(request)
    record_authentication(request, user, method="socialaccount", provider=provider.slug, uid=claims.subject)
    verb = "sign_in.succeeded"
    record_event(
        actor=user, verb=verb, subject=user, now=timezone.now(), address=address_of(request), provider=provider.slug
    )
    return cast("HttpResponse", perform_login(request, Login(user=user, redirect_url=next_page, signup=is_new)))


@transaction.non_atomic_requests  # an account that was made stays, even where the mail about it fails
def newcomer(request: HttpRequest, provider: str) -> HttpResponse:
    """Somebody whom a provider vouches for and who has no account chooses a name."""
    asked, now = get_provider(provider), timezone.now()
    held = dict(request.session.get(NEWCOMER) or {})
    next_page = held.pop("next", "")
    claims = kept_claims(held, now=now)
    if claims is None or claims.issuer != asked.issuer:
        return redirect("portal:sign-in")
    if not may_sign_up(request):
        return too_many(request)
    form = NewcomerForm(request.POST or None, initial={"display_name": claims.name, "email": claims.email})
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        if is_taken(typed["email"]):
            if is_vouched_for(claims, email=typed["email"]):  # the address is theirs: they may know
                form.add_error("email", _connect_instead(asked))
            elif must_verify():
                request.session.pop(NEWCOMER, None)
                return say_it_by_mail(request, email=typed["email"])
        if not form.errors:
            try:
                user = sign_up_by(asked, claims, **typed, now=now)
            except AssayError as error:
                refuse(request, error)
            else:
                request.session.pop(NEWCOMER, None)
                return _let_in(request, user, provider=asked, claims=claims, next_page=next_page, is_new=True)
    page = {
        "form": form,
        "heading": _("New here"),
        "lead": _("%(provider)s knows you, and you have no account here yet. Choose how you are called.")
        % {"provider": asked.title},
        "button": _("Sign up"),
        "foot": _connect_instead(asked),
    }
    return render(request, "portal/form_page.html", page, status=refuse_form(request, form))


def _connect_instead(provider: Provider) -> str:
    words = _("You have an account already? Sign in with its password, and connect %(provider)s on the account's page.")
    return words % {"provider": provider.title}


@require_POST
def end_connection(request: HttpRequest, provider: str) -> HttpResponse:
    """Stop signing in by a provider."""
    user, asked = signed_in(request.user), get_provider(provider)
    raise_if_reauthentication_required(request, app="assay.accounts")
    disconnect(user=user, provider=asked, now=timezone.now())
    messages.success(request, _("%(provider)s no longer signs you in.") % {"provider": asked.title})
    return redirect("portal:account")


def confirm(request: HttpRequest) -> HttpResponse:
    """A person without a password shows who they are by signing in once more."""
    user = signed_in(request.user)
    issuers = set(user.identities.values_list("issuer", flat=True))
    page = {
        "providers": [provider for provider in providers() if provider.issuer in issuers],
        "next": reverse("portal:account") if request.session.get(STATE_SESSION_KEY) else wanted_page(request),
    }  # a form that waits there cannot be sent again by a link
    return render(request, "portal/provider_confirm.html", page)
