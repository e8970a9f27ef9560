"""Published rankings."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from assay.api.auth import EVERYBODY, person_of
from assay.api.v1 import schemas
from assay.challenges.access import get_phase, is_organizer
from assay.leaderboards.selectors import MetricColumn, Row, leaderboard

router = Router()
COLUMN = ("name", "title", "unit", "direction")
ENTRY = (
    *("rank", "team", "team_slug", "name", "score", "metrics", "statistics", "failed_cases", "case_count"),
    *("seconds_per_case", "peak_memory_bytes", "submission_id", "number", "created_at"),
)


@router.get("/{slug}/phases/{phase}/leaderboard", auth=EVERYBODY, response=schemas.LeaderboardOut)
def show(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """A phase's ranking, best first; without entries, and saying why, where you may not see it."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    board = leaderboard(row, is_organizer=is_organizer(person=person, challenge=row.challenge), now=timezone.now())
    return {
        "phase": row.slug,
        "metrics": [fields_of(column, COLUMN) for column in board.metrics],
        "entries": [fields_of(entry, ENTRY) for entry in board.entries],
        "is_visible": board.is_visible,
        "why_hidden": board.why_hidden,
    }


def fields_of(record: MetricColumn | Row, names: tuple[str, ...]) -> dict[str, Any]:
    """Some of a record's fields by name."""
    return {name: getattr(record, name) for name in names}
