"""The page of results at hospitals, for everybody who may see the phase's results."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from assay.challenges.access import get_phase
from assay.evaluation_sites.boards import Weighting
from assay.evaluation_sites.selectors import site_board, why_board_is_hidden
from assay.pages.tables import FORMATS, table_file
from assay.portal.hospitals import columns_of, duels_of, rows_of, table_of
from assay.portal.views.challenge import frame


@require_GET
def hospitals(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """A column per hospital, the mean over hospitals, the worst one, and how far they differ. Choices live in the address."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(request, phase.challenge, tab="leaderboard", phase=phase)
    why_hidden = "" if page["can_manage"] else why_board_is_hidden(phase, now=timezone.now())
    page.update(is_visible=not why_hidden, why_hidden=why_hidden)
    if not page["is_visible"]:
        return render(request, "portal/hospitals.html", page)
    asked = request.GET.get("weighting", "")
    weighting = Weighting(asked) if asked in set(Weighting) else Weighting.SITES
    board = site_board(phase, metric=request.GET.get("metric", ""), weighting=weighting, sees_all=page["can_manage"])
    if (as_format := request.GET.get("format", "")) in FORMATS:
        header, rows = table_of(board)
        return table_file(name=f"{slug}-{phase_slug}-hospitals", header=header, rows=rows, as_format=as_format)
    by = request.GET.get("by", "")
    by = by if by in board.groups else ""
    columns = columns_of(board, by=by)
    page.update(
        board=board, by=by, columns=columns, rows=rows_of(board, columns=columns, by=by), duels=duels_of(board),
        compared=[column for column in board.columns if column.is_compared],
    )  # fmt: skip
    return render(request, "portal/hospitals.html", page)
