"""Accounts, tokens and teams."""

from typing import Any, NamedTuple, cast
from uuid import UUID

from allauth.account.internal.flows.login import perform_login, perform_password_login
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.internal.flows.signup import prevent_enumeration
from allauth.account.models import Login
from allauth.core import ratelimit
from django.contrib import messages
from django.contrib.auth import logout
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from assay.accounts.addresses import is_taken, must_verify
from assay.accounts.audit import record_event
from assay.accounts.errors import AssayError
from assay.accounts.identities import connections_of
from assay.accounts.models import Team, User
from assay.accounts.profile import Profile, change_profile
from assay.accounts.providers import providers
from assay.accounts.scopes import SCOPES
from assay.accounts.selectors import get_team, team_led, teams_of, tokens_of
from assay.accounts.services import accept_invite, create_team, create_user, invite_to_team, usable_invite
from assay.accounts.sessions import end_session, sessions_of
from assay.accounts.tokens import issue_token, revoke_token
from assay.challenges.access import get_challenge, signed_in
from assay.challenges.teams import hand_over, is_solo, leave_team, remove_member, rename_team
from assay.notices.services import mail_team_invite
from assay.pages.errors import refuse, refuse_form, too_many
from assay.portal.forms import DeletionForm, ProfileForm, SignInForm, SignUpForm, TeamForm, TokenForm
from assay.workflow.operations.leaving import delete_account, export_account
from assay.workflow.operations.merging import ask_to_merge, decide_merge, mergeable, open_merges

WHAT_STAYS = gettext_lazy(
    "Your name, your addresses, your tokens and your notices are deleted. What you submitted stays with its scores, without your name. "
    "Agreements that you signed stay with the organizers."
)
TOKEN_JUST_ISSUED = "token-just-issued"  # noqa: S105  # the name of a place
"""Where a new token waits to be shown once."""


def wanted_page(request: HttpRequest) -> str:
    """Where to go afterwards, if that is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if is_ours else reverse("portal:home")


@transaction.non_atomic_requests  # an account that was made stays, even where the mail about it fails
@sensitive_post_parameters("password")
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account and be signed in, or be sent a mail first where addresses are verified."""
    if not may_sign_up(request):
        return too_many(request)
    form = SignUpForm(request.POST or None, initial={"next": request.GET.get("next", "")})
    if request.method == "POST" and form.is_valid():
        data = {key: value for key, value in form.cleaned_data.items() if key != "next"}
        if must_verify() and is_taken(data["email"]):  # the answer is the same. Only the owner's mail says so
            return say_it_by_mail(request, email=data["email"])
        try:
            user = create_user(**data, now=timezone.now())
        except AssayError as error:
            refuse(request, error)
        else:
            return cast(
                "HttpResponse", perform_login(request, Login(user=user, redirect_url=wanted_page(request), signup=True))
            )
    page = {"form": form, "heading": _("Sign up"), "button": _("Sign up"), **_other_ways(request)}
    return render(request, "portal/form_page.html", page, status=refuse_form(request, form))


def may_sign_up(request: HttpRequest) -> bool:
    """Whether so few accounts were asked for from this address that another may be made. Only forms that are sent are counted."""
    return bool(ratelimit.consume(request, action="signup"))


def say_it_by_mail(request: HttpRequest, *, email: str) -> HttpResponse:
    """The answer to somebody who signs up with an address that is taken: the same as ever. Its owner gets a mail, a few in an hour."""
    if not ratelimit.consume(request, action="reset_password", key=email.strip().lower()):
        return redirect("account_email_verification_sent")
    return cast("HttpResponse", prevent_enumeration(request, email=email))


@transaction.non_atomic_requests  # failures are counted even where the answer is an error
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with user name and password."""
    form = SignInForm(request, request.POST or None, initial={"next": request.GET.get("next", "")})
    if request.method == "POST" and form.is_valid():
        user = form.get_user()
        login = Login(user=user, redirect_url=wanted_page(request))
        return cast("HttpResponse", perform_password_login(request, {"username": user.get_username()}, login))
    foot = format_html('<a href="{}">{}</a>', reverse("account_reset_password"), _("Forgot your password?"))
    page = {"form": form, "heading": _("Sign in"), "button": _("Sign in"), "foot": foot, **_other_ways(request)}
    return render(request, "portal/form_page.html", page, status=refuse_form(request, form))


def _other_ways(request: HttpRequest) -> dict[str, Any]:
    """What a page shows that signs people in by other organizations."""
    return {"providers": providers(), "next": wanted_page(request)}


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Forget who this is."""
    logout(request)
    return redirect("portal:home")


def account(request: HttpRequest) -> HttpResponse:
    """Your facts, API tokens, and where you are signed in."""
    user = signed_in(request.user)
    form = TokenForm(request.POST or None, initial={"days": 90, "scopes": ["read", "submit"]})
    if request.method == "POST" and form.is_valid():
        try:
            _token, secret = issue_token(user=user, **form.cleaned_data, now=timezone.now())
        except AssayError as error:
            refuse(request, error)
        else:
            request.session[TOKEN_JUST_ISSUED] = secret  # shown once, after the redirect: a reload issues no second one
            return redirect("portal:account")
    page = {
        "tokens": tokens_of(user=user),
        "new_token": request.session.pop(TOKEN_JUST_ISSUED, ""),
        "form": form,
        "scopes": SCOPES,
        "sessions": sessions_of(user, current_key=request.session.session_key),
        "connections": connections_of(user),
    }
    return render(request, "portal/account.html", page, status=refuse_form(request, form))


def profile(request: HttpRequest) -> HttpResponse:
    """What others see of you, and the language of mails to you."""
    user = signed_in(request.user)
    names = ("display_name", "institution", "country", "orcid", "language")
    form = ProfileForm(request.POST or None, initial={name: getattr(user, name) for name in names})
    if request.method == "POST" and form.is_valid():
        try:
            change_profile(user=user, profile=Profile(**form.cleaned_data), now=timezone.now())
        except AssayError as error:
            refuse(request, error)
        else:
            messages.success(request, _("Kept."))
            return redirect("portal:account")
    page = {"form": form, "heading": _("Your profile"), "button": _("Keep")}
    return render(request, "portal/form_page.html", page, status=refuse_form(request, form))


@require_POST
def sign_out_elsewhere(request: HttpRequest, session_id: int) -> HttpResponse:
    """End one of your sessions."""
    end_session(user=signed_in(request.user), session_id=session_id, now=timezone.now())
    messages.success(request, _("That browser is signed out."))
    return redirect("portal:account")


@require_POST
def export(request: HttpRequest) -> HttpResponse:
    """Everything we keep about you, as one JSON file."""
    user = signed_in(request.user)
    record_event(actor=user, verb="user.exported", subject=user, now=timezone.now())
    answer = JsonResponse(export_account(user), json_dumps_params={"indent": 1, "ensure_ascii": False})
    answer["Content-Disposition"] = f'attachment; filename="assay-{user.pk}.json"'
    return answer


@sensitive_post_parameters("password")
def delete(request: HttpRequest) -> HttpResponse:
    """End your account, for good."""
    user = signed_in(request.user)
    has_password = user.has_usable_password()
    if not has_password:
        raise_if_reauthentication_required(request, app="assay.accounts")
    form = DeletionForm(request.POST or None, asks_for_password=has_password)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        is_right = not has_password or user.check_password(typed["password"])
        if typed["username"] != user.username or not is_right:
            form.add_error(None, _("The user name or the password is not yours."))
        else:
            try:
                delete_account(user=user, now=timezone.now())
            except AssayError as error:
                refuse(request, error)
            else:
                logout(request)
                messages.success(request, _("Your account is deleted."))
                return redirect("portal:home")
    page = {"form": form, "heading": _("Delete your account"), "button": _("Delete it for good"), "lead": WHAT_STAYS}
    return render(request, "portal/form_page.html", page, status=refuse_form(request, form))


@require_POST
def revoke(request: HttpRequest, token_id: UUID) -> HttpResponse:
    """End a token."""
    revoke_token(user=signed_in(request.user), token_id=token_id, now=timezone.now())
    messages.success(request, _("The token no longer works."))
    return redirect("portal:account")


class TeamRow(NamedTuple):
    """One of somebody's teams, and whether they lead it."""

    team: Team
    is_captain: bool
    is_solo: bool


def teams(request: HttpRequest) -> HttpResponse:
    """Your teams, and a form for a new one."""
    user = signed_in(request.user)
    form = TeamForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if team_led(user=user, name=form.cleaned_data["name"]):  # a second click
            return redirect("portal:teams")
        try:
            team = create_team(user=user, **form.cleaned_data, now=timezone.now())
        except AssayError as error:
            return _teams_page(request, user, form=form, error=error)
        messages.success(request, _("Team %(name)s is yours.") % {"name": team.name})
        return redirect("portal:teams")
    return _teams_page(request, user, form=form)


def _teams_page(
    request: HttpRequest, user: User, *, form: TeamForm | None = None, error: AssayError | None = None
) -> HttpResponse:
    """The page, with what was wrong with a form of it."""
    mine = teams_of(user=user).prefetch_related("memberships__user")
    listed = [
        TeamRow(
            team=team,
            is_captain=any(m.user_id == user.pk and m.is_captain for m in team.memberships.all()),
            is_solo=is_solo(team),
        )
        for team in mine
    ]
    page = {
        "teams": listed,
        "form": form,
        "merges": [
            (row, any(row.into_id == asked.team.pk and asked.is_captain for asked in listed))
            for row in open_merges(user)
        ],
        "mergeable": mergeable(user, now=timezone.now()),
    }
    status = refuse(request, error) if error else refuse_form(request, form)
    answer = render(request, "portal/teams.html", page, status=status)
    if error is not None:
        transaction.set_rollback(True)  # after the page's own questions: nothing is asked in a transaction that is over
    return answer


@require_POST
def change_team(request: HttpRequest, slug: str) -> HttpResponse:
    """Leave, remove somebody, hand over, rename, ask another team to merge."""
    user = signed_in(request.user)
    team = get_team(user=user, slug=slug)
    try:
        messages.success(request, _changed(request, user=user, team=team))
    except AssayError as error:
        return _teams_page(request, user, error=error)
    return redirect("portal:teams")


def _changed(request: HttpRequest, *, user: User, team: Team) -> str:
    """Do what the form asks for. What is said about it."""
    person, now, before = request.POST.get("person", ""), timezone.now(), team.name
    match request.POST.get("action"):
        case "leave":
            leave_team(team=team, user=user, now=now)
            return _("You have left %(team)s.") % {"team": before}
        case "remove":
            remove_member(team=team, username=person, by=user, now=now)
            return _("They are no longer in the team.")
        case "hand_over":
            hand_over(team=team, username=person, by=user, now=now)
            return _("The team has another captain.")
        case "rename":
            rename_team(team=team, name=request.POST.get("name", ""), by=user, now=now)
            return _("The team has another name.")
        case "merge":
            challenge = get_challenge(person=user, slug=request.POST.get("challenge", ""))
            into = request.POST.get("into", "").strip()
            ask_to_merge(challenge=challenge, team=team, into_slug=into, by=user, now=now)
            return _("The captain of the other team is asked.")
    return _("Nothing was asked for, and nothing was changed.")


@require_POST
def merge(request: HttpRequest, merge_id: int) -> HttpResponse:
    """Agree to a merge, refuse it, or take one's own question back."""
    accepts = request.POST.get("answer") == "yes"
    decided = decide_merge(merge_id=merge_id, accepts=accepts, by=signed_in(request.user), now=timezone.now())
    said = _("%(team)s is part of %(into)s now.") if accepts else _("The teams stay apart.")
    messages.success(request, said % {"team": decided.team.name, "into": decided.into.name} if accepts else said)
    return redirect("portal:teams")


@require_POST
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a link that lets one person in."""
    user = signed_in(request.user)
    team = get_team(user=user, slug=slug)
    try:
        row, secret = invite_to_team(user=user, team=team, email=request.POST.get("email", ""), now=timezone.now())
    except AssayError as error:
        return _teams_page(request, user, error=error)
    mail_team_invite(address=row.email, team=team, secret=secret, by=user, now=timezone.now())
    link = request.build_absolute_uri(reverse("portal:accept-invite", args=[secret]))
    words = _("A mail goes to %(address)s. You may also send them this link; it works once: %(link)s")
    messages.success(request, words % {"address": row.email, "link": link})
    return redirect("portal:teams")


def accept(request: HttpRequest, secret: str) -> HttpResponse:
    """Join the team a link stands for. A GET changes nothing: mail scanners follow links."""
    user = signed_in(request.user)
    if request.method == "POST":
        team = accept_invite(user=user, secret=secret, now=timezone.now())
        messages.success(request, _("You are now in %(team)s.") % {"team": team.name})
        return redirect("portal:teams")
    asked = usable_invite(secret=secret, user=user, now=timezone.now())
    words = _("%(person)s invites you to the team %(team)s.")
    lead = words % {"person": asked.created_by, "team": asked.team.name}
    page = {"heading": _("Join a team"), "lead": lead, "button": _("Join it")}
    return render(request, "portal/form_page.html", page)
