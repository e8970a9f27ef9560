"""Announcements: written here, mailed to everybody who takes part, shown on the challenge's pages."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from assay.accounts.errors import AssayError
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_edited_challenge
from assay.challenges.announcements import announce, withdraw
from assay.challenges.telling import taking_part
from assay.organizers.views import frame
from assay.pages.errors import refuse


def news(request: HttpRequest, slug: str) -> HttpResponse:
    """What was announced, and a form for the next one."""
    challenge, user = get_edited_challenge(person=request.user, slug=slug)
    page = frame(challenge, tab="news")
    people = len(taking_part(challenge))
    if "withdraw" in request.POST:
        number = whole_number(request.POST["withdraw"]) or 0
        withdraw(challenge=challenge, announcement_id=number, by=user, now=timezone.now())
        messages.success(request, gettext("Taken off the pages. Mails that have gone stay where they are."))
        return redirect("organizers:news", slug)
    status = 200
    if request.method == "POST":
        try:
            form = {name: request.POST.get(name, "") for name in ("title", "text")}
            announce(challenge=challenge, by=user, now=timezone.now(), **form)
        except AssayError as error:
            status = refuse(request, error)
        else:
            said = ngettext("Announced to %(count)s participant.", "Announced to %(count)s participants.", people)
            messages.success(request, said % {"count": people})
            return redirect("organizers:news", slug)
    page.update(announcements=challenge.announcements.all()[:100], people=people)
    return render(request, "organizers/news.html", page, status=status)
