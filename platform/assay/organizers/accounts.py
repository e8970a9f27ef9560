"""The operators' page about accounts: who there is, who is staff, whose account is closed, a link for a new password."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts import operating
from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.accounts.numbers import whole_number
from assay.challenges.access import require_staff
from assay.pages.tables import PAGE

JUST_MADE = "password-link"
"""Where a new link waits to be shown once, after the redirect."""
KINDS = {"": Q(), "staff": Q(is_staff=True), "closed": Q(is_active=False)}
Act = Callable[[str, User, datetime], User]
ACTS: dict[str, Act] = {
    "promote": lambda name, by, now: operating.set_staff(username=name, is_staff=True, by=by, now=now),
    "demote": lambda name, by, now: operating.set_staff(username=name, is_staff=False, by=by, now=now),
    "close": lambda name, by, now: operating.set_open(username=name, is_open=False, by=by, now=now),
    "open": lambda name, by, now: operating.set_open(username=name, is_open=True, by=by, now=now),
}


def accounts(request: HttpRequest) -> HttpResponse:
    """The list, newest first, and what is done about one of them."""
    user = require_staff(person=request.user)
    if request.method == "POST":
        _act(request, user)
        return redirect(request.get_full_path())
    search, kind = request.GET.get("q", "").strip()[:80], request.GET.get("kind", "")
    rows = User.objects.filter(KINDS.get(kind, Q())).order_by("-pk")
    if search:
        rows = rows.filter(
            Q(username__icontains=search) | Q(email__icontains=search) | Q(display_name__icontains=search)
        )
    if (before := whole_number(request.GET.get("before", ""))) is not None:
        rows = rows.filter(pk__lt=before)
    listed = list(rows[: PAGE + 1])
    page: dict[str, Any] = {"people": listed[:PAGE], "older": listed[PAGE - 1].pk if len(listed) > PAGE else None}
    page |= {"q": search, "kind": kind, "new_link": request.session.pop(JUST_MADE, "")}
    return render(request, "organizers/accounts.html", page)


def _act(request: HttpRequest, user: User) -> None:
    name, act, now = request.POST.get("person", ""), request.POST.get("act", ""), timezone.now()
    if act == "link":
        request.session[JUST_MADE] = operating.password_link(username=name, by=user, now=now)
    elif act in ACTS:
        person = ACTS[act](name, user, now)
        messages.success(request, _("Done: %(person)s.") % {"person": person})
    else:
        raise InvalidError(_("There is no such act."), expected=", ".join((*ACTS, "link")))
