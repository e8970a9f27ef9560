"""The leaderboard as pages and the API show it: two queries, whatever its length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

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
from assay.leaderboards.models import LeaderboardEntry


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


@dataclass(frozen=True, kw_only=True)
class Board:
    """A phase's leaderboard for one viewer; without entries, and saying why, when it may not be shown."""

    phase: Phase
    metrics: list[MetricColumn]
    entries: list[LeaderboardRow]
    is_visible: bool
    why_hidden: str


def leaderboard(phase: Phase, *, is_organizer: bool, now: datetime) -> Board:
    """The phase's ranking, best first."""
    why_hidden = "" if is_organizer else why_hidden_from_participants(phase, now=now)
    entries = (
        []
        if why_hidden
        else [_row(entry, is_anonymous=phase.is_anonymous and not is_organizer) for entry in _entries(phase)]
    )
    if entries and not is_organizer and is_closed_phase(phase):
        entries = closed_rows(entries, phase=phase)
    return Board(
        phase=phase,
        metrics=metric_columns(phase.protocol),
        entries=entries,
        is_visible=not why_hidden,
        why_hidden=why_hidden,
    )


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


def _entries(phase: Phase) -> list[LeaderboardEntry]:
    return list(
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
