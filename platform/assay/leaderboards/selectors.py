"""The leaderboard as pages and the API show it: a constant number of queries, whatever its length.

Theory of operation. Everybody who asks for a slice in the order of the ranks gets it straight from the database. A page may be
searched and sorted by any column, so it needs every row: those are kept in the process, without what a page does not show, for as
long as the board's version stands (`Leaderboard.answered`: entries never change without it).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from assay.challenges.models import Phase, ProtocolVersion
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import (
    LADDER,
    VERDICT_ONLY,
    is_closed_phase,
    ladder_values,
    release_of,
    released_aggregates,
)
from assay.leaderboards.kept_rows import KeptRows
from assay.leaderboards.models import Leaderboard, LeaderboardEntry


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """One metric's heading."""

    name: str
    title: str
    unit: str
    direction: str


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One submission on the leaderboard."""

    rank: float | int | None
    team: str
    team_slug: str
    name: str
    score: float | None
    metrics: Mapping[str, Any]
    statistics: Mapping[str, Any]
    failed_cases: int
    case_count: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None
    submission_id: UUID
    number: int
    url: str
    imported_from: str
    """Where a published table was copied from; such a row was not run here and wins no prize."""
    created_at: datetime


KEPT: KeptRows[LeaderboardRow] = KeptRows(most_rows=20_000)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A phase's leaderboard for one viewer; without entries, and saying why, when it may not be shown."""

    phase: Phase
    metrics: list[MetricColumn]
    entries: list[LeaderboardRow]
    count: int
    """How many rows the whole board has."""
    is_visible: bool
    why_hidden: str


def leaderboard(phase: Phase, *, is_organizer: bool, now: datetime, offset: int = 0, limit: int | None = None) -> Board:
    """The phase's ranking, best first: all of it, or `limit` rows from `offset` on. Two queries."""
    why_hidden = "" if is_organizer else why_hidden_from_participants(phase, now=now)
    rows, count = ([], 0) if why_hidden else _slice(phase, is_organizer=is_organizer, offset=offset, limit=limit)
    return _board(phase, rows=rows, count=count, why_hidden=why_hidden)


def whole_leaderboard(phase: Phase, *, is_organizer: bool, now: datetime) -> Board:
    """Every row, for a page to search and sort: without single labels and cases. One query while the version stands."""
    why_hidden = "" if is_organizer else why_hidden_from_participants(phase, now=now)
    rows = [] if why_hidden else _kept_rows(phase, is_organizer=is_organizer)
    return _board(phase, rows=rows, count=len(rows), why_hidden=why_hidden)


def _board(phase: Phase, *, rows: list[LeaderboardRow], count: int, why_hidden: str) -> Board:
    return Board(
        phase=phase,
        metrics=metric_columns(phase.protocol),
        entries=rows,
        count=count,
        is_visible=not why_hidden,
        why_hidden=why_hidden,
    )


def _slice(phase: Phase, *, is_organizer: bool, offset: int, limit: int | None) -> tuple[list[LeaderboardRow], int]:
    """Rows of a ladder follow what was told, so all of them are needed to find the first ones."""
    needs_all = limit is None or (is_closed_phase(phase) and not is_organizer and release_of(phase.protocol) == LADDER)
    end = None if limit is None else offset + limit
    if needs_all:
        rows = _rows(phase, entries=_entries(phase), is_organizer=is_organizer)
        return rows[offset:end], len(rows)
    rows = _rows(phase, entries=_entries(phase)[offset:end], is_organizer=is_organizer)
    return rows, LeaderboardEntry.objects.filter(phase=phase).count()


def _kept_rows(phase: Phase, *, is_organizer: bool) -> list[LeaderboardRow]:
    version = Leaderboard.objects.filter(phase=phase, answered__gt=0).values_list("answered", "rebuilt_at").first()
    viewer = (is_organizer, phase.is_anonymous, is_closed_phase(phase), phase.protocol_id)
    return KEPT.get(
        phase_id=phase.pk,
        version=None if version is None else (version, viewer),
        viewer=is_organizer,
        make=lambda: [shown_on_pages(row) for row in _rows(phase, entries=_entries(phase), is_organizer=is_organizer)],
    )


def _rows(phase: Phase, *, entries: Iterable[LeaderboardEntry], is_organizer: bool) -> list[LeaderboardRow]:
    rows = [_row(entry, is_anonymous=phase.is_anonymous and not is_organizer) for entry in entries]
    return closed_rows(rows, phase=phase) if rows and not is_organizer and is_closed_phase(phase) else rows


def shown_on_pages(row: LeaderboardRow) -> LeaderboardRow:
    """Without what the page of a leaderboard does not show: of a long protocol most of the numbers are those of single labels."""
    metrics = {
        metric: {key: part for key, part in values.items() if key not in ("per_label", "per_case")}
        for metric, values in row.metrics.items()
        if isinstance(values, Mapping)
    }
    return replace(row, metrics=metrics)


def closed_rows(rows: Sequence[LeaderboardRow], *, phase: Phase) -> list[LeaderboardRow]:
    """The board of a phase on hidden cases: means as coarse as the protocol says; no cost, no counts.

    Ranks are the real ones, except on a ladder: there they follow what was told, or they would tell the rest.
    """
    told = ladder_values(phase, version=phase.protocol)
    closed = [
        replace(
            row,
            score=None,
            metrics=released_aggregates(row.metrics, version=phase.protocol, ladder_value=told.get(row.submission_id)),
            statistics={},
            failed_cases=0,
            seconds_per_case=None,
            peak_memory_bytes=None,
        )
        for row in rows
    ]
    if release_of(phase.protocol) != LADDER:
        return closed
    is_max = rules_of(phase.protocol).metrics[0].metric.direction == "max"
    ranked = [value for row in rows if row.rank is not None and (value := told.get(row.submission_id)) is not None]
    return sorted(
        (
            replace(row, rank=_rank_among(told.get(row.submission_id), ranked, is_max=is_max)) if row.rank else row
            for row in closed
        ),
        key=lambda row: (row.rank is None, row.rank or 0, row.number),
    )


def _rank_among(value: float | None, values: Sequence[float], *, is_max: bool) -> int | None:
    """1 + how many are better; equals share the rank."""
    return None if value is None else 1 + sum(other > value if is_max else other < value for other in values)


def why_hidden_from_participants(phase: Phase, *, now: datetime) -> str:
    """Why participants do not see the ranking now; empty when they do."""
    if release_of(phase.protocol) == VERDICT_ONLY:
        return "scores of this phase are not shown; submissions get a verdict only"
    if phase.shows_results(now):
        return ""
    if phase.embargo_until is not None and now < phase.embargo_until:
        return f"under embargo until {phase.embargo_until:%d %b %Y %H:%M} UTC"
    return "the organizers keep the results of this phase to themselves for now"


def metric_columns(version: ProtocolVersion) -> list[MetricColumn]:
    """The protocol's metrics, in its order."""
    return [
        MetricColumn(name=m.id, title=m.metric.title, unit=m.metric.unit, direction=m.metric.direction)
        for m in rules_of(version).metrics
    ]


def _entries(phase: Phase) -> QuerySet[LeaderboardEntry]:
    return (
        LeaderboardEntry.objects.filter(phase=phase)
        .select_related("submission__team")
        .order_by("rank", "submission__number")
    )


def _row(entry: LeaderboardEntry, *, is_anonymous: bool) -> LeaderboardRow:
    submission, team = entry.submission, entry.submission.team
    rank = int(entry.rank) if entry.rank is not None and entry.rank.is_integer() else entry.rank
    return LeaderboardRow(
        rank=rank,
        team=f"Team {submission.number}" if is_anonymous else team.name,
        team_slug="" if is_anonymous else team.slug,
        name=submission.name,
        score=entry.score,
        metrics=entry.metrics,
        statistics=entry.statistics,
        failed_cases=entry.failed_cases,
        case_count=entry.case_count,
        seconds_per_case=entry.seconds_per_case,
        peak_memory_bytes=entry.peak_memory_bytes,
        submission_id=entry.submission_id,
        number=submission.number,
        url="" if is_anonymous else submission.url,
        imported_from=submission.imported_from,
        created_at=submission.created_at,
    )
