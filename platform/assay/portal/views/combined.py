"""A combined board: the ranks of several phases put together."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from assay.challenges.access import get_challenge
from assay.leaderboards.combining import combined_board, wanted_board
from assay.pages.tables import FORMATS, table_file
from assay.portal.views.challenge import frame


@require_GET
def combined(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """The board, as this viewer may see it. As CSV or JSON with `?format=csv`."""
    challenge = get_challenge(person=request.user, slug=slug)
    wanted = wanted_board(challenge, name)
    page = frame(request, challenge, tab=f"combined-{name}")
    board = combined_board(
        wanted,
        phases=page["phases"],
        is_organizer=page["can_manage"] and "participant" not in request.GET,
        now=timezone.now(),
    )
    if (as_format := request.GET.get("format", "")) in FORMATS:
        header = ("rank", "team", *(phase.slug for phase in board.phases), board.by)
        rows = [(row.rank, row.team, *row.places, row.value) for row in board.rows]
        return table_file(name=f"{slug}-{name}", header=header, rows=rows, as_format=as_format)
    return render(request, "portal/combined.html", page | {"board": board})
