"""Is the test set big enough? Before a phase from a pilot, after it from its scores."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import AssayError, InvalidError
from assay.challenges.access import get_organized_phase
from assay.challenges.models import Phase
from assay.leaderboards.size import MOST_PILOT_BYTES, Answer, plan_of_phase, plan_of_pilot
from assay.organizers.views import frame
from assay.pages.errors import refuse


def size(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The plan of the phase, and a form for a pilot's table. Nothing of a pilot is kept."""
    phase, _user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(phase.challenge, tab="overview", phase=phase, now=timezone.now())
    status = 200
    if request.method == "POST":
        try:
            page.update(pilot=_of_pilot(request, phase=phase), difference=request.POST.get("difference", ""))
        except AssayError as error:
            status = refuse(request, error)
    page["answer"] = plan_of_phase(phase)
    return render(request, "organizers/size.html", page, status=status)


def _of_pilot(request: HttpRequest, *, phase: Phase) -> Answer:
    file = request.FILES.get("pilot")
    if file is None:
        raise InvalidError(gettext("No table was chosen."), what_to_do=gettext("Choose a file."), field="pilot")
    return plan_of_pilot(
        phase,
        name=file.name or "",
        content=file.read(MOST_PILOT_BYTES + 1),
        difference=request.POST.get("difference", ""),
    )
