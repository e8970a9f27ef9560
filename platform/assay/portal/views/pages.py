"""The further pages of a challenge, and its pictures."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from assay.accounts.errors import NotFoundError
from assay.challenges.access import get_challenge
from assay.challenges.pictures import get_picture
from assay.portal.views.challenge import frame

PICTURE_POLICY = "default-src 'none'; sandbox"


@require_GET
def page(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One page that the organizers wrote."""
    challenge = get_challenge(person=request.user, slug=slug)
    found = next((entry for entry in challenge.pages if entry["slug"] == name), None)
    if found is None:
        raise NotFoundError(_("There is no such page."), found=name, what_to_do=_("Look at the challenge's overview."))
    shown = frame(request, challenge, tab=f"page-{name}", title=found["title"])
    shown["html"] = challenge.pages_html.get(name, "")
    return render(request, "portal/page.html", shown)


@require_GET
def picture(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A picture, always as the type in which we wrote it."""
    found = get_picture(person=request.user, slug=slug, name=name)
    tag = f'"{found.sha256}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponse(status=304)
    answer = HttpResponse(bytes(found.content), content_type=found.content_type)
    answer["ETag"], answer["Cache-Control"] = tag, "private, no-cache"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = PICTURE_POLICY
    return answer
