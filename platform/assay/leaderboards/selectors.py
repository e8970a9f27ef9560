"""The leaderboard as pages and the API show it: a constant number of queries, and no row read that is not shown."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from assay.challenges.models import Phase, ProtocolVersion
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import VERDICT_ONLY, is_closed_phase, release_of, released_aggregates
from assay.leaderboards.models import MOST_TRIES, Leaderboard, LeaderboardEntry
from assay.leaderboards.order import Sight, Wanted, matching, ordered
from assay.leaderboards.parts import part_for
from assay.leaderboards.standing import NOT_A_VIEW, TOLD, Means
from assay.leaderboards.words import NOT_UP_TO_DATE, sentence
from evaluator.disclosure import SMALLEST_GROUP

SHOWN = (
    *("division_rank", "told_division_rank", "submission__division", "submission__is_late", "submission__is_baseline"),
    *("phase_id", "rank", "told_rank", "score", "metrics", "statistics", "means", "failed_cases", "case_count"),
    *("seconds_per_case", "peak_memory_bytes", "submission__number", "submission__name", "submission__url"),
    *("submission__imported_from", "submission__created_at", "submission__team__name", "submission__team__slug"),
)
"""What rows are made of. Whole submissions and teams would be sixty columns a row."""


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
    failed_cases: int | None
    """None where the protocol keeps it to the organizers."""
    case_count: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None
    submission_id: UUID
    number: int
    url: str
    imported_from: str
    """Where a published table was copied from; such a row was not run here and wins no prize."""
    created_at: datetime
    division: str = ""
    is_late: bool = False
    """It came after closing: scored, never ranked."""
    is_baseline: bool = False
    """The organizers' own, to compare with: scored, never ranked."""


@dataclass(frozen=True, kw_only=True)
class Disqualified:
    """A submission that the organizers took out of the ranking, and why."""

    team: str
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """A phase's leaderboard for one viewer. Without entries, and saying why, when it may not be shown."""

    phase: Phase
    metrics: list[MetricColumn]
    entries: list[LeaderboardRow]
    count: int
    """How many rows there are, here and on other pages."""
    best: Mapping[str, float | None]
    """Each metric's best mean of all ranked rows, in the view that is shown."""
    views: tuple[str, ...]
    """What the means may be taken over: all cases together, or one value of a breakdown."""
    is_visible: bool
    why_hidden: str
    disqualified: tuple[Disqualified, ...] = ()
    note: str = ""
    """What the ranking lacks, and why."""
    replicates: int | None = None
    """Resamplings behind the intervals; None where there are none, or nobody knows."""
    ranks_view: bool = False
    """Whether the ranks are those in the view, and not over all cases."""
    opens_submissions: bool = False
    """Whether everybody may read the submissions behind its rows."""
    notices: tuple[str, ...] = ()
    """What this board is not about: private cases, submissions after a freeze."""


WHOLE = Wanted()


def leaderboard(phase: Phase, *, is_organizer: bool, now: datetime, wanted: Wanted = WHOLE) -> Board:
    """The phase's ranking, or a part of it. Four queries."""
    sees_all = is_organizer and not wanted.as_participant
    why_hidden = "" if sees_all else why_hidden_from_participants(phase, now=now)
    columns = metric_columns(phase.protocol)
    sight = Sight(
        is_closed=not sees_all and is_closed_phase(phase),
        is_anonymous=not sees_all and phase.is_anonymous,
        metrics={column.name for column in columns},
        is_division=bool(wanted.division),
    )
    if ":" in wanted.view and not sight.is_closed and not why_hidden:
        sight = replace(
            sight,
            ranked_view=_ranked_view(
                phase, part=part_for(phase, is_organizer=sees_all), wanted=wanted, sees_all=sees_all
            ),
        )
    part = part_for(phase, is_organizer=sees_all)
    entries = LeaderboardEntry.objects.none() if why_hidden else LeaderboardEntry.objects.filter(phase=phase, part=part)
    found = matching(entries, wanted=wanted, sight=sight)
    rows = [
        _row(entry, phase=phase, sight=sight, sees_all=sees_all) for entry in _part(found, wanted=wanted, sight=sight)
    ]
    row = None if why_hidden else Leaderboard.objects.filter(phase=phase).first()
    best: Means = {} if row is None else row.best if part == LeaderboardEntry.Part.WHOLE else row.best_shown
    return Board(
        phase=phase,
        metrics=columns,
        entries=rows,
        count=len(rows) if wanted.limit is None else found.count(),
        best=best.get(TOLD if sight.is_closed else wanted.view, {}),
        views=() if sight.is_closed else tuple(view for view in best if view != TOLD),
        is_visible=not why_hidden,
        why_hidden=why_hidden,
        disqualified=() if why_hidden else _disqualified(phase, sight=sight),
        note=_note(row, phase=phase),
        replicates=row.replicates if row and part == LeaderboardEntry.Part.WHOLE else None,
        ranks_view=bool(sight.ranked_view),
        opens_submissions=not phase.is_anonymous and phase.opens_after("submissions"),
        notices=() if why_hidden else notices_of(phase, part=part, now=now),
    )


def notices_of(phase: Phase, *, part: LeaderboardEntry.Part, now: datetime) -> tuple[str, ...]:
    """What a viewer of this board has to know of it, in sentences."""
    if phase.finalized_at is not None:
        return (_("Final since %(moment)s UTC.") % {"moment": date_format(phase.finalized_at, "d M Y H:i")},)
    if phase.review_ends_at is not None:
        moment = date_format(phase.review_ends_at, "d M Y H:i")
        words = (
            _("Provisional: teams may object until %(moment)s UTC.")
            if phase.is_in_review(now)
            else _("Provisional: the review ended at %(moment)s UTC, and an objection has no answer yet.")
        )
        return (words % {"moment": moment},)
    if not phase.has_shown_part:
        return ()
    if part == LeaderboardEntry.Part.WHOLE:
        return (_("Participants see another board until the results are released."),)
    said = []
    if phase.public_percent is not None:
        said.append(
            _("This board is about %(percent)d %% of the cases. The others decide when the results are released.")
            % {"percent": phase.public_percent}
        )
    if phase.freezes_at is not None:
        moment = date_format(phase.freezes_at, "d M Y H:i")
        words = (
            _("Frozen since %(moment)s UTC: later submissions appear when the results are released.")
            if now >= phase.freezes_at
            else _("This board is frozen from %(moment)s UTC on, until the results are released.")
        )
        said.append(words % {"moment": moment})
    return tuple(said)


def _note(row: Leaderboard | None, *, phase: Phase) -> str:
    if row is None:
        return ""
    is_set_aside = row.tries >= MOST_TRIES and row.tried_protocol_id == phase.protocol_id
    return sentence(NOT_UP_TO_DATE if is_set_aside else row.lack)


def _disqualified(phase: Phase, *, sight: Sight) -> tuple[Disqualified, ...]:
    out = phase.submissions.filter(is_disqualified=True, status="done").select_related("team").order_by("number")
    return tuple(
        Disqualified(
            team=f"Team {row.number}" if sight.is_anonymous else row.team.name,
            name=row.name,
            reason=row.disqualified_reason,
        )
        for row in out
    )


def _part(found: QuerySet[LeaderboardEntry], *, wanted: Wanted, sight: Sight) -> QuerySet[LeaderboardEntry]:
    """The entries of one page, in one query, or a rebuild might fall between two.

    Their keys are sorted alone: whole rows of a long board take ten times as long.
    """
    end = None if wanted.limit is None else wanted.offset + wanted.limit
    keys = ordered(found, wanted=wanted, sight=sight).values("pk")[wanted.offset : end]
    shown = LeaderboardEntry.objects.filter(pk__in=keys).select_related("submission__team").only(*SHOWN)
    return ordered(shown, wanted=wanted, sight=sight)


def _ranked_view(phase: Phase, *, part: LeaderboardEntry.Part, wanted: Wanted, sees_all: bool) -> str:
    """The view, where the rebuild ranked it and its cases are enough for this viewer. One query."""
    ranked = LeaderboardEntry.objects.filter(phase=phase, part=part, rank__isnull=False)
    found = ranked.values_list("statistics", flat=True).first() or {}
    known = (found.get("views") or {}).get(wanted.view)
    return wanted.view if known and (sees_all or known["n"] >= SMALLEST_GROUP) else ""


def without_small_groups(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A row's summary without the groups of so few cases that they would tell of single ones."""
    return {
        name: {
            key: {group: part for group, part in of_key.items() if (part.get("n") or 0) >= SMALLEST_GROUP}
            if key.startswith("per_") and key not in NOT_A_VIEW and isinstance(of_key, Mapping)
            else of_key
            for key, of_key in values.items()
        }
        if isinstance(values, Mapping)
        else values
        for name, values in metrics.items()
    }


def _statistics(statistics: Mapping[str, Any]) -> dict[str, Any]:
    views = {view: found for view, found in (statistics.get("views") or {}).items() if found["n"] >= SMALLEST_GROUP}
    return {**statistics, **({"views": views} if "views" in statistics else {})}


def _row(entry: LeaderboardEntry, *, phase: Phase, sight: Sight, sees_all: bool) -> LeaderboardRow:
    submission, team = entry.submission, entry.submission.team
    rank = getattr(entry, sight.rank)
    if sight.ranked_view:
        found = (entry.statistics.get("views") or {}).get(sight.ranked_view, {}).get("rank")
        rank = None if found is None else float(found)
    row = LeaderboardRow(
        rank=int(rank) if rank is not None and rank.is_integer() else rank,
        team=f"Team {submission.number}" if sight.is_anonymous else team.name,
        team_slug="" if sight.is_anonymous else team.slug,
        name=submission.name,
        score=entry.score,
        metrics=entry.metrics if sees_all else without_small_groups(entry.metrics),
        statistics=entry.statistics if sees_all else _statistics(entry.statistics),
        failed_cases=entry.failed_cases,
        case_count=entry.case_count,
        seconds_per_case=entry.seconds_per_case,
        peak_memory_bytes=entry.peak_memory_bytes,
        submission_id=entry.submission_id,
        number=submission.number,
        url="" if sight.is_anonymous else submission.url,
        imported_from=submission.imported_from,
        created_at=submission.created_at,
        division=submission.division,
        is_late=submission.is_late,
        is_baseline=submission.is_baseline,
    )
    return closed_row(row, version=phase.protocol, told=entry.means.get(TOLD, {})) if sight.is_closed else row


def closed_row(row: LeaderboardRow, *, version: ProtocolVersion, told: Mapping[str, float | None]) -> LeaderboardRow:
    """A row on hidden cases: means as coarse as the protocol says. No cost, no counts."""
    first = rules_of(version).metrics[0].id
    return replace(
        row,
        score=None,
        metrics=released_aggregates(row.metrics, version=version, ladder_value=told.get(first)),
        statistics={},
        failed_cases=None,
        seconds_per_case=None,
        peak_memory_bytes=None,
    )


def why_hidden_from_participants(phase: Phase, *, now: datetime) -> str:
    """Why participants do not see the ranking now. Empty when they do."""
    opened = phase.opens_after("boards") or phase.opens_after("cases")
    if release_of(phase.protocol) == VERDICT_ONLY and not opened:
        return _("scores of this phase are not shown; submissions get a verdict only")
    if phase.shows_results(now):
        return ""
    if phase.embargo_until is not None and now < phase.embargo_until:
        until = date_format(phase.embargo_until, "d M Y H:i")
        return _("under embargo until %(moment)s UTC") % {"moment": until}
    return _("the organizers keep the results of this phase to themselves for now")


def metric_columns(version: ProtocolVersion) -> list[MetricColumn]:
    """The protocol's metrics, in its order."""
    return [
        MetricColumn(name=m.id, title=m.metric.title, unit=m.metric.unit, direction=m.metric.direction)
        for m in rules_of(version).metrics
    ]
