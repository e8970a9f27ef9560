"""Home, my submissions, help, colours."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from assay.challenges.access import signed_in
from assay.pages.context import THEMES
from assay.pages.submissions import with_progress
from assay.pages.tables import PAGE, before_row, page_number
from assay.portal.cards import challenge_cards
from assay.portal.verdict_help import VERDICT_HELP
from assay.submissions.lifecycle import FINAL
from assay.submissions.selectors import newest_of, submission_list

STATUSES = ("open", "upcoming", "closed")


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Every challenge this person may know of."""
    search, status = request.GET.get("q", ""), request.GET.get("status", "")
    only_mine = bool(request.GET.get("mine"))
    found = challenge_cards(
        person=request.user,
        search=search,
        status=status,
        only_mine=only_mine,
        page=page_number(request),
        now=timezone.now(),
    )
    mine = []
    if request.user.is_authenticated:
        mine = list(submission_list(person=request.user, is_mine=True).exclude(status__in=FINAL)[:8])
    page = {"found": found, "q": search, "status": status, "statuses": STATUSES, "only_mine": only_mine, "mine": mine}
    return render(request, "portal/home.html", page)


@require_GET
def my_submissions(request: HttpRequest) -> HttpResponse:
    """Everything your teams handed in."""
    mine = submission_list(person=signed_in(request.user), is_mine=True)
    listed, older = newest_of(mine, length=PAGE, before=before_row(request))
    return render(request, "portal/my_submissions.html", {"submissions": with_progress(listed), "older": older})


@require_GET
def help_page(request: HttpRequest) -> HttpResponse:
    """Verdicts and limits."""
    return render(request, "portal/help.html", {"verdicts": VERDICT_HELP})


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen colours in a cookie, so that the first paint is right."""
    back = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts=None):
        back = "/"
    response = HttpResponseRedirect(back)
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie("theme", chosen, max_age=365 * 86400, samesite="Lax")
    else:
        response.delete_cookie("theme")
    return response
