"""Webhooks of a challenge's organizers."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from assay.challenges.access import get_organized_challenge
from assay.organizers.views import frame
from assay.pages.hooks import act, hooks_page


def hooks(request: HttpRequest, slug: str) -> HttpResponse:
    """Where the organizers are told of submissions and of people who ask to join."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    status = 200
    if request.method == "POST":
        status = act(request, user=user, challenge_slug=challenge.slug)
        if not status:
            return redirect("organizers:hooks", slug)
    page = frame(challenge, tab="news", **hooks_page(request, challenge_slug=challenge.slug))
    return render(request, "organizers/hooks.html", page, status=status)
