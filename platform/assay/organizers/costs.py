"""What the phases cost: used, held, forecast, and by team."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from assay.challenges.access import get_organized_challenge
from assay.organizers.views import frame
from assay.pages.tables import FORMATS, table_file
from assay.submissions.budgets import cost_of

TEAMS = 20
"""How many a phase lists on the page. A file has all."""


@require_GET
def costs(request: HttpRequest, slug: str) -> HttpResponse:
    """One section per phase. As CSV with `?format=csv`."""
    challenge, _user = get_organized_challenge(person=request.user, slug=slug)
    phases = challenge.phases.select_related("protocol", "challenge")
    found = [cost_of(phase, now=timezone.now()) for phase in phases]
    if (as_format := request.GET.get("format", "")) in FORMATS:
        header = ("phase", "team", "submissions", "hours_used", "hours_held", "gpu_hours", "gib")
        rows = [
            (
                *(cost.phase.slug, row.team.name, row.submissions, row.hours.used, row.hours.held),
                *(row.hours.used * cost.gpus, row.gib.used),
            )
            for cost in found
            for row in cost.teams
        ]
        return table_file(name=f"{slug}-costs", header=header, rows=rows, as_format=as_format)
    page = frame(challenge, tab="costs", costs=[(cost, cost.teams[:TEAMS]) for cost in found])
    return render(request, "organizers/costs.html", page)
