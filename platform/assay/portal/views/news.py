"""What the organizers announced."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from assay.challenges.access import get_challenge
from assay.portal.views.challenge import frame

MOST = 100


@require_GET
def news(request: HttpRequest, slug: str) -> HttpResponse:
    """The newest announcements first."""
    challenge = get_challenge(person=request.user, slug=slug)
    page = frame(request, challenge, tab="news")
    page["announcements"] = challenge.announcements.all()[:MOST]
    return render(request, "portal/news.html", page)
