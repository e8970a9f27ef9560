"""Published rankings: read, taken in from elsewhere, given out in the columns the field uses."""

import io
import zipfile
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import EVERYBODY, person_of
from assay.api.v1 import schemas
from assay.challenges.access import get_challenge, get_organized_phase, get_phase, is_organizer
from assay.leaderboards.combining import CombinedBoard, combined_board, wanted_board
from assay.leaderboards.history import PastRanking, history_of, signed_snapshot
from assay.leaderboards.order import Wanted
from assay.leaderboards.published import PublishedTable, export_tables, layout_named
from assay.leaderboards.selectors import Board, leaderboard
from assay.workflow import flow

router = Router()
PAGE_LIMIT = 1000


@router.get("/{slug}/phases/{phase}/leaderboard", auth=EVERYBODY, response=schemas.LeaderboardOut)
def show(
    request: HttpRequest,
    slug: str,
    phase: str,
    limit: int = PAGE_LIMIT,
    offset: schemas.Offset = 0,
    division: str = "",
) -> Board:
    """A phase's ranking, best first, at most 1000 rows at once. Without entries, and saying why, where you may not see it.

    `division`: one of the phase's divisions alone, by the ranks in it.
    """
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    organizes = is_organizer(person=person, challenge=row.challenge)
    wanted = Wanted(
        offset=max(0, offset),
        limit=min(max(1, limit), PAGE_LIMIT),
        division=division if division in row.divisions else "",
    )
    return leaderboard(row, is_organizer=organizes, now=timezone.now(), wanted=wanted)


@router.get("/{slug}/combined", auth=EVERYBODY, response=list[schemas.CombinedName])
def list_combined(request: HttpRequest, slug: str) -> list[dict[str, Any]]:
    """The challenge's boards over several phases: their names, phases, and whether places are put together by mean or median."""
    return list(get_challenge(person=person_of(request), slug=slug).combined)


@router.get("/{slug}/combined/{name}", auth=EVERYBODY, response=schemas.CombinedOut)
def show_combined(request: HttpRequest, slug: str, name: str) -> CombinedBoard:
    """One board over several phases. Without rows, and saying why, while one of the phases does not show you its ranks."""
    person = person_of(request)
    challenge = get_challenge(person=person, slug=slug)
    return combined_board(
        wanted_board(challenge, name),
        phases=list(challenge.phases.select_related("protocol", "requires")),
        is_organizer=is_organizer(person=person, challenge=challenge),
        now=timezone.now(),
    )


@router.post("/{slug}/phases/{phase}/leaderboard/imports", response={201: schemas.ImportOut})
def take_in(request: HttpRequest, slug: str, phase: str, data: schemas.ImportIn) -> Status[dict[str, Any]]:
    """Take one algorithm's published per-case scores onto the leaderboard. The row says where it is from and wins no prize."""
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    layout = layout_named(data.layout)
    table = PublishedTable(
        phase=row,
        user=user,
        layout=layout,
        name=data.name.strip(),
        source_url=str(data.source_url),
        tables=data.files,
    )
    submission = flow.import_table(table, now=timezone.now())
    cases = submission.testset.cases.count()
    answer = {"submission_id": submission.pk, "number": submission.number, "cases": cases, "caution": layout.caution}
    return Status(201, answer)


@router.get("/{slug}/phases/{phase}/leaderboard/history", response=list[PastRanking])
def history(request: HttpRequest, slug: str, phase: str) -> list[PastRanking]:
    """How the ranking stood before: its newest signed snapshots."""
    row, _ = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return history_of(row)


@router.get("/{slug}/phases/{phase}/leaderboard/history/{snapshot}", response=schemas.SignedDocument)
def snapshot(request: HttpRequest, slug: str, phase: str, snapshot: int) -> dict[str, Any]:
    """One of them whole, with key and signature: `assay verify` checks it without us."""
    row, _ = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return signed_snapshot(phase=row, snapshot_id=snapshot)


@router.get(
    "/{slug}/phases/{phase}/leaderboard/export", auth=EVERYBODY, openapi_extra=schemas.file_of("application/zip")
)
def give_out(request: HttpRequest, slug: str, phase: str, layout: str) -> HttpResponse:
    """Every row's scores case by case in the columns of `layout`: a zip with one folder per row."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    organizes = is_organizer(person=person, challenge=row.challenge)
    files = export_tables(phase=row, layout=layout_named(layout), is_organizer=organizes, now=timezone.now())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            # without the time of the answer: the same board is the same file
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    answer = HttpResponse(buffer.getvalue(), content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{slug}-{phase}-{layout}.zip"'
    return answer
