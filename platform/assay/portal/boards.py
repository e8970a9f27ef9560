"""The leaderboard as a page shows it: columns that sort by their address, rows with cells, the best value of each column bold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse

from assay.leaderboards.selectors import Board, LeaderboardRow, MetricColumn

FIXED_AFTER = (
    ("failed_cases", "Failed cases", ""),
    ("seconds_per_case", "Time per case", ""),
    ("peak_memory_bytes", "Peak memory", ""),
    ("created_at", "Submitted", ""),
)
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Column:
    """One heading; its address sorts by it, and back."""

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
    failed_cases: int
    case_count: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None
    created_at: datetime
    imported_from: str = ""
    is_separable: bool | None = None
    """Whether a paired test separates this row from the next."""
    unranked_because: str = ""


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
    caption: str = ""
    embargo_words: str = ""


def board_page(
    board: Board, *, own_teams: set[str], search: str, sort: str, view: str, page: int = 1, length: int | None = PAGE
) -> BoardPage:
    """One page of a board: `sort` is a column name, with a leading minus for descending; `view` is `pooled` or `site:A`.

    Only what is shown is made into rows; `length` None shows all.
    """
    if not board.is_visible:
        return BoardPage(embargo_words=f"The ranking is not shown: {board.why_hidden}.")
    wanted = search.casefold()
    found = [row for row in board.entries if wanted in row.team.casefold() or wanted in row.name.casefold()]
    ranked = sorted_rows([row for row in found if row.rank is not None], metrics=board.metrics, sort=sort, view=view)
    unranked = [row for row in found if row.rank is None]
    best = {metric.name: _best(board, metric, view=view) for metric in board.metrics}

    def shown(rows: Sequence[LeaderboardRow]) -> tuple[BoardRow, ...]:
        return tuple(_board_row(row, metrics=board.metrics, best=best, view=view, own_teams=own_teams) for row in rows)

    pages = 1 if length is None else max(1, -(-len(ranked) // length))
    page = min(max(1, page), pages)
    start, end = (0, None) if length is None else ((page - 1) * length, page * length)
    return BoardPage(
        columns=tuple(_columns(board.metrics, sort=sort, search=search, view=view)),
        entries=shown(ranked[start:end]),
        unranked=shown(unranked[:length]) if page == pages else (),
        count=len(ranked),
        page=page,
        pages=pages,
        views=_views(board.entries[:PAGE]),
        caption="Mean ± standard deviation over the hidden cases; failed cases count with the protocol's stated values. "
        "A small range beside a rank is its 95 % interval over 1000 resamplings of the cases; ≈ next marks a row that is not "
        "significantly better than the one below.",
    )


def board_table(page: BoardPage, metrics: Sequence[MetricColumn]) -> tuple[list[str], list[list[Any]]]:
    """The same board as a flat table, for CSV and JSON."""
    header = ["rank", "team", "algorithm"]
    for metric in metrics:
        header += [f"{metric.name}_mean", f"{metric.name}_sd"]
    header += ["failed_cases", "case_count", "seconds_per_case", "peak_memory_bytes", "submitted_at", "imported_from"]
    rows = []
    for entry in (*page.entries, *page.unranked):
        values = [value for cell in entry.cells for value in (cell.mean, cell.sd)]
        rows.append(
            [
                *(entry.rank, entry.team, entry.name, *values, entry.failed_cases, entry.case_count),
                *(entry.seconds_per_case, entry.peak_memory_bytes, entry.created_at.isoformat()),
                entry.imported_from,
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


def _best(board: Board, metric: MetricColumn, *, view: str) -> float | None:
    """The best mean of all ranked rows."""
    means = (values_of(row, metric.name, view=view).get("mean") for row in board.entries if row.rank is not None)
    known = [mean for mean in means if mean is not None]
    return (max(known) if metric.direction == "max" else min(known)) if known else None


def _board_row(
    row: LeaderboardRow,
    *,
    metrics: Sequence[MetricColumn],
    best: Mapping[str, float | None],
    view: str,
    own_teams: set[str],
) -> BoardRow:
    cells = []
    for metric in metrics:
        values = values_of(row, metric.name, view=view)
        mean = values.get("mean")
        is_best = mean is not None and mean == best[metric.name] and row.rank is not None
        cells.append(Cell(mean=mean, sd=values.get("sd"), is_best=is_best))
    interval = row.statistics.get("rank_interval")
    return BoardRow(
        number=row.number,
        rank=row.rank,
        interval=(int(interval[0]), int(interval[1])) if interval else None,
        team=row.team,
        name=row.name,
        url=reverse("portal:submission", args=[row.submission_id]) if row.team_slug in own_teams else row.url,
        is_own=row.team_slug in own_teams,
        cells=tuple(cells),
        failed_cases=row.failed_cases,
        case_count=row.case_count,
        seconds_per_case=row.seconds_per_case,
        peak_memory_bytes=row.peak_memory_bytes,
        created_at=row.created_at,
        imported_from=row.imported_from,
        is_separable=row.statistics.get("separable_from_next"),
        unranked_because=str(row.statistics.get("unranked_because", "")) or "no scored case",
    )


def sorted_rows(
    rows: Sequence[LeaderboardRow], *, metrics: Sequence[MetricColumn], sort: str, view: str
) -> list[LeaderboardRow]:
    """By a column, or by rank where there is no such column; rows without a value come last either way."""
    name, is_descending = sort.lstrip("-"), sort.startswith("-")
    is_metric = name in {metric.name for metric in metrics}
    field = name if name in {"team", "name", *(column[0] for column in FIXED_AFTER)} else "rank"

    def value(row: LeaderboardRow) -> Any:
        found = values_of(row, name, view=view).get("mean") if is_metric else getattr(row, field)
        return found.casefold() if isinstance(found, str) else found

    by_rank = sorted(rows, key=lambda row: (row.rank or 0, row.team.casefold()))
    keyed = [(value(row), row) for row in by_rank]
    known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=is_descending)
    return [row for _, row in known] + [row for found, row in keyed if found is None]


def _columns(metrics: Sequence[MetricColumn], *, sort: str, search: str, view: str) -> list[Column]:
    def column(name: str, title: str, *, best_first: str = "", **more: Any) -> Column:
        is_current = sort.lstrip("-") == name or (not sort and name == "rank")
        is_descending = sort.startswith("-")
        following = name if is_current and is_descending else f"-{name}" if is_current else f"{best_first}{name}"
        aria = ("descending" if is_descending else "ascending") if is_current else ""
        return Column(title=title, url=f"?sort={following}&q={search}&view={view}", aria_sort=aria, **more)

    columns = [column("rank", "Rank"), column("team", "Team"), column("name", "Algorithm", folds=True)]
    for position, metric in enumerate(metrics):
        columns.append(
            column(
                metric.name,
                metric.title,
                best_first="-" if metric.direction == "max" else "",
                unit=metric.unit,
                direction=metric.direction,
                is_number=True,
                folds=position > 0,
            )
        )
    for name, title, unit in FIXED_AFTER:
        columns.append(column(name, title, unit=unit, is_number=name != "created_at", folds=True))
    return columns


def _views(rows: Sequence[LeaderboardRow]) -> tuple[tuple[str, str], ...]:
    """Pooled, and every value of every breakdown that one of these rows has: a hundred rows on the same cases have them all."""
    found = {}
    for row in rows:
        for values in row.metrics.values():
            for key, parts in values.items():
                if key.startswith("per_") and key not in ("per_label", "per_case") and isinstance(parts, Mapping):
                    attribute = key.removeprefix("per_")
                    found.update({f"{attribute}:{value}": f"{attribute} {value}" for value in parts})
    return (("pooled", "all cases together"), *sorted(found.items())) if found else ()
