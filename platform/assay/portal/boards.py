"""The leaderboard as a page shows it: columns that sort by their address, rows with cells, the best value of each column bold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import Board, Disqualified, LeaderboardRow, MetricColumn
from assay.leaderboards.standing import POOLED
from evaluator.disclosure import SMALLEST_GROUP

FIXED_AFTER = (
    ("failed_cases", _("Failed cases"), ""),
    ("seconds_per_case", _("Time per case"), ""),
    ("peak_memory_bytes", _("Peak memory"), ""),
    ("created_at", _("Submitted"), ""),
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One heading. Its address sorts by it, and back."""

    title: str
    url: str
    unit: str = ""
    direction: str = ""
    aria_sort: str = ""
    is_number: bool = False
    folds: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric of one row."""

    mean: float | None
    sd: float | None
    is_best: bool
    n: int | None = None
    """How many cases the mean is of, in a view of a part of them."""
    is_withheld: bool = False
    """Of too few cases to be shown."""


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """One submission."""

    number: int
    rank: float | None
    interval: tuple[int, int] | None
    team: str
    name: str
    url: str
    is_own: bool
    cells: tuple[Cell, ...]
    failed_cases: int | None
    case_count: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None
    created_at: datetime
    imported_from: str = ""
    is_separable: bool | None = None
    """Whether a paired test separates this row from the next."""
    unranked_because: str = ""
    division: str = ""
    is_baseline: bool = False
    score: float | None = None
    """What it was ranked by."""


@dataclass(frozen=True, kw_only=True)
class BoardPage:
    """What the template needs."""

    columns: tuple[Column, ...] = ()
    entries: tuple[BoardRow, ...] = ()
    unranked: tuple[BoardRow, ...] = ()
    count: int = 0
    """Rows that match, on this page and others."""
    page: int = 1
    pages: int = 1
    views: tuple[tuple[str, str], ...] = ()
    disqualified: tuple[Disqualified, ...] = ()
    has_score: bool = False
    withholds: bool = False
    """Whether a mean of too few cases is not shown."""
    caption: str = ""
    embargo_words: str = ""
    note: str = ""
    """What the ranking lacks, and why."""
    notices: tuple[str, ...] = ()
    """What this board is not about."""


def _withholds(rows: Sequence[BoardRow]) -> bool:
    return any(cell.is_withheld for row in rows for cell in row.cells)


def board_page(
    board: Board, *, wanted: Wanted, own_teams: set[str], page: int = 1, sees_all: bool = False
) -> BoardPage:
    """One page of a board, which holds the wanted rows."""
    if not board.is_visible:
        return BoardPage(embargo_words=gettext("The ranking is not shown: %(why)s.") % {"why": board.why_hidden})
    rows = [
        _board_row(row, board=board, wanted=wanted, own_teams=own_teams, sees_all=sees_all) for row in board.entries
    ]
    return BoardPage(
        columns=tuple(_columns(board, wanted=wanted)),
        has_score=_has_score(board, wanted),
        entries=tuple(row for row in rows if row.rank is not None),
        unranked=tuple(row for row in rows if row.rank is None),
        count=board.count,
        page=page,
        pages=1 if wanted.limit is None else max(1, -(-board.count // wanted.limit)),
        views=_views(board.views),
        disqualified=board.disqualified,
        withholds=_withholds(rows),
        caption=_caption(wanted.view, replicates=board.replicates),
        note=board.note,
        notices=board.notices,
    )


def _caption(view: str, *, replicates: int | None) -> str:
    if ":" in view:
        return gettext(
            "Mean ± standard deviation over the cases of this view, n of them. What is of fewer than %(count)d cases is "
            "withheld, its rank too; organizers see it."
        ) % {"count": SMALLEST_GROUP}
    sentences = [
        gettext(
            "Mean ± standard deviation over the hidden cases. Failed cases count with the protocol's stated values."
        )
    ]
    if replicates:
        words = gettext("A small range beside a rank is its interval over %(count)d resamplings of the cases.")
        sentences.append(words % {"count": replicates})
    sentences.append(gettext("≈ next marks a row that is not significantly better than the one below."))
    return " ".join(sentences)


def board_table(page: BoardPage, metrics: Sequence[MetricColumn]) -> tuple[list[str], list[list[Any]]]:
    """The same board as a flat table, for CSV and JSON."""
    header = ["rank", "team", "algorithm"]
    for metric in metrics:
        header += [f"{metric.name}_mean", f"{metric.name}_sd"]
    header += ["failed_cases", "case_count", "seconds_per_case", "peak_memory_bytes", "submitted_at", "imported_from"]
    has_divisions = any(entry.division for entry in (*page.entries, *page.unranked))
    header += ["division"] if has_divisions else []
    rows = []
    for entry in (*page.entries, *page.unranked):
        values = [value for cell in entry.cells for value in (cell.mean, cell.sd)]
        rows.append(
            [
                *(entry.rank, entry.team, entry.name, *values, entry.failed_cases, entry.case_count),
                *(entry.seconds_per_case, entry.peak_memory_bytes, entry.created_at.isoformat()),
                entry.imported_from,
                *((entry.division,) if has_divisions else ()),
            ]
        )
    return header, rows


def values_of(row: LeaderboardRow, metric: str, *, view: str) -> Mapping[str, Any]:
    """`{mean, sd, n}` of a metric in one view: pooled, or one value of a breakdown (`site:A`)."""
    found: Mapping[str, Any] = row.metrics.get(metric) or {}
    if ":" in view:
        attribute, _, value = view.partition(":")
        found = (found.get(f"per_{attribute}") or {}).get(value) or {}
    return found


def _board_row(row: LeaderboardRow, *, board: Board, wanted: Wanted, own_teams: set[str], sees_all: bool) -> BoardRow:
    view, is_division = wanted.view, bool(wanted.division)
    is_part = ":" in view
    cells = []
    for metric in board.metrics:
        values = values_of(row, metric.name, view=view)
        count = values.get("n") if is_part else None
        if is_part and not sees_all and (count is None or count < SMALLEST_GROUP):
            cells.append(Cell(mean=None, sd=None, is_best=False, is_withheld=True))
            continue
        mean = values.get("mean")
        is_best = mean is not None and mean == board.best.get(metric.name) and row.rank is not None
        cells.append(Cell(mean=mean, sd=values.get("sd"), is_best=is_best, n=count))
    interval = None if is_part or is_division else row.statistics.get("rank_interval")
    if is_part and board.ranks_view:
        interval = (row.statistics.get("views") or {}).get(view, {}).get("interval")
    return BoardRow(
        number=row.number,
        rank=row.rank,
        interval=(int(interval[0]), int(interval[1])) if interval else None,
        team=row.team,
        name=row.name,
        url=reverse("portal:submission", args=[row.submission_id])
        if row.team_slug in own_teams or board.opens_submissions
        else row.url,
        is_own=row.team_slug in own_teams,
        cells=tuple(cells),
        failed_cases=None if is_part else row.failed_cases,
        case_count=row.case_count,
        seconds_per_case=row.seconds_per_case,
        peak_memory_bytes=row.peak_memory_bytes,
        created_at=row.created_at,
        imported_from=row.imported_from,
        is_separable=None if is_part or is_division else row.statistics.get("separable_from_next"),
        unranked_because=_why_unranked(row),
        division=row.division,
        is_baseline=row.is_baseline,
        score=row.score,
    )


def _rank_words(wanted: Wanted, *, board: Board) -> str:
    if ":" in wanted.view and board.ranks_view:
        return gettext("Rank in %(view)s") % {"view": wanted.view.replace(":", " ", 1)}
    if ":" in wanted.view:
        return gettext("Rank over all cases")
    return gettext("Rank in %(division)s") % {"division": wanted.division} if wanted.division else gettext("Rank")


def _why_unranked(row: LeaderboardRow) -> str:
    if row.is_baseline:
        return gettext("the organizers' baseline: scored, not ranked")
    if row.is_late:
        return gettext("handed in after closing: scored, not ranked")
    return gettext("no scored case")


def _has_score(board: Board, wanted: Wanted) -> bool:
    """Whether the score that the rows were ranked by is shown: it is of all cases, and of all rows together."""
    return not wanted.division and ":" not in wanted.view and any(row.score is not None for row in board.entries)


def _columns(board: Board, *, wanted: Wanted) -> list[Column]:
    metrics = board.metrics

    def column(name: str, title: str, *, best_first: str = "", **more: Any) -> Column:
        is_current = wanted.sort.lstrip("-") == name or (not wanted.sort and name == "rank")
        is_descending = wanted.sort.startswith("-")
        following = name if is_current and is_descending else f"-{name}" if is_current else f"{best_first}{name}"
        aria = ("descending" if is_descending else "ascending") if is_current else ""
        asked = {"sort": following, "q": wanted.search, "view": wanted.view}
        address = urlencode(asked | ({"division": wanted.division} if wanted.division else {}))
        return Column(title=title, url=f"?{address}", aria_sort=aria, **more)

    columns = [
        column("rank", _rank_words(wanted, board=board)),
        column("team", gettext("Team")),
        column("name", gettext("Algorithm"), folds=True),
    ]
    if _has_score(board, wanted):
        columns.append(column("score", gettext("Ranking score"), is_number=True))
    columns += [
        column(
            metric.name,
            metric.title,
            best_first="-" if metric.direction == "max" else "",
            unit=metric.unit,
            direction=metric.direction,
            is_number=True,
        )
        for metric in metrics
    ]
    for name, title, unit in FIXED_AFTER:
        columns.append(column(name, str(title), unit=unit, is_number=name != "created_at"))
    return columns


def _views(views: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pooled, and every value of every breakdown. Nothing where there is nothing to choose."""
    breakdowns = sorted(view for view in views if view != POOLED)
    named = tuple((view, view.replace(":", " ", 1)) for view in breakdowns)
    return ((POOLED, gettext("all cases together")), *named) if named else ()
