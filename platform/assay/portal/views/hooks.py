"""Webhooks of a team."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from assay.accounts.selectors import get_team
from assay.challenges.access import signed_in
from assay.challenges.teams import require_captain
from assay.pages.hooks import act, hooks_page


def hooks(request: HttpRequest, slug: str) -> HttpResponse:
    """Where the team is told of its submissions. Its captain decides."""
    user = signed_in(request.user)
    team = get_team(user=user, slug=slug)
    require_captain(team=team, user=user)
    status = 200
    if request.method == "POST":
        status = act(request, user=user, team=team)
        if not status:
            return redirect("portal:hooks", slug)
    page = {"team": team, **hooks_page(request, team=team)}
    return render(request, "portal/hooks.html", page, status=status)
