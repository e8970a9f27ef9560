"""What the phases cost: used, held, forecast, and by team."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Challenge
from assay.organizers.views import frame
from assay.pages.tables import FORMATS, table_file
from assay.submissions.budgets import Estimate, cost_of, estimates_of

TEAMS = 20
"""How many a phase lists on the page. A file has all."""


GUESSES = {"teams": "20", "each": "5", "minutes": "2", "price": "0"}
MOST = 1_000_000.0


def _estimates(guesses: Mapping[str, str], *, challenge: Challenge) -> list[Estimate]:
    """What each phase with a test set would take. Empty where a guess is no number. One query."""
    try:
        teams, each, minutes, price = (float(guesses[name].replace(",", ".")) for name in GUESSES)
    except ValueError:
        return []
    if not all(0 <= number <= MOST for number in (teams, each, minutes, price)):
        return []
    return estimates_of(challenge, teams=int(teams), each=int(each), minutes=minutes, price_per_hour=price)


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
    page.update(guesses={name: request.GET.get(name, usual)[:12] for name, usual in GUESSES.items()})
    page["estimates"] = _estimates(page["guesses"], challenge=challenge)
    return render(request, "organizers/costs.html", page)
