"""The page of webhooks, which teams and organizers share: what is there, a form, the log, and its buttons."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts.errors import AssayError
from assay.accounts.identifiers import identifier
from assay.accounts.models import Team, User
from assay.notices.models import Delivery
from assay.notices.webhooks import SHOWN, get_hook, hooks_of, make_hook, remove_hook, replay
from assay.pages.errors import refuse

JUST_MADE = "hook-secret"
"""Where a new secret waits to be shown once, after the redirect."""


def act(request: HttpRequest, *, user: User, team: Team | None = None, challenge_slug: str = "") -> int:
    """Do what a form of the page asks for. The status of the page that refuses, or 0 where all went well."""
    now = timezone.now()
    try:
        if "url" in request.POST:
            _hook, request.session[JUST_MADE] = make_hook(
                url=request.POST["url"], by=user, now=now, team=team, challenge_slug=challenge_slug
            )
            return 0
        hook_id = identifier(request.POST.get("hook", ""))
        hook = get_hook(hook_id=hook_id, team=team, challenge_slug=challenge_slug)
        if "replay" in request.POST:
            replay(hook=hook, delivery_id=identifier(request.POST["replay"]), by=user, now=now)
            messages.success(request, _("It is sent again within a minute."))
        else:
            remove_hook(hook=hook, by=user, now=now)
            messages.success(request, _("The webhook is removed."))
    except AssayError as error:
        return refuse(request, error)
    return 0


def hooks_page(request: HttpRequest, *, team: Team | None = None, challenge_slug: str = "") -> dict[str, Any]:
    """What the template needs. Two queries."""
    hooks = list(hooks_of(team=team, challenge_slug=challenge_slug))
    rows = Delivery.objects.filter(hook__in=hooks).select_related("hook").order_by("-at", "pk")[:SHOWN]
    return {
        "hooks": hooks,
        "deliveries": rows,
        "new_secret": request.session.pop(JUST_MADE, ""),
    }
