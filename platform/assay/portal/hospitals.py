"""The page of results at hospitals as it is shown: cells with what they say in words, and the same as a table file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assay.evaluation_sites.boards import Duel, SiteCell, SiteRow
from assay.evaluation_sites.selectors import SiteBoard, SiteColumn
from assay.verdict_words import verdict_words


@dataclass(frozen=True, kw_only=True)
class ShownColumn:
    """One column: a hospital, or one group at a hospital."""

    title: str
    site: SiteColumn
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownCell:
    """One cell: the mean, what stands below it, which cases failed, and the words of a mark."""

    mean: float | None = None
    below: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    mark: str = ""
    because: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One submission."""

    row: SiteRow
    cells: tuple[ShownCell, ...]
    worst_site: str
    heterogeneity_percent: int | None


@dataclass(frozen=True, kw_only=True)
class ShownDuels:
    """One line of the matrix of wins."""

    row: SiteRow
    duels: tuple[Duel | None, ...]


def columns_of(board: SiteBoard, *, by: str) -> list[ShownColumn]:
    """A column per hospital, or per hospital and group of the attribute `by`."""
    if not by:
        return [ShownColumn(title=site.title, site=site) for site in board.columns]
    shown = []
    for site in board.columns:
        cells = [row.cells[site.name] for row in board.rows if site.name in row.cells]
        names = sorted({name for cell in cells for name in cell.groups.get(by, {})})
        shown += [ShownColumn(title=f"{site.title}: {name}", site=site, group=name) for name in names]
    return shown


def rows_of(board: SiteBoard, *, columns: Sequence[ShownColumn], by: str) -> list[ShownRow]:
    """The rows with a cell per column."""
    titles = {column.name: column.title for column in board.columns}
    return [
        ShownRow(
            row=row,
            cells=tuple(_shown(row.cells.get(column.site.name), group=column.group, by=by) for column in columns),
            worst_site=titles.get(row.worst_site, ""),
            heterogeneity_percent=None if row.heterogeneity is None else round(100 * row.heterogeneity),
        )
        for row in board.rows
    ]


def _shown(cell: SiteCell | None, *, group: str, by: str) -> ShownCell:
    if cell is None:
        return ShownCell()
    if cell.is_recalled:
        return ShownCell(mark=_("recalled"), because=cell.because)
    if group:
        numbers = cell.groups.get(by, {}).get(group)
        return (
            ShownCell() if numbers is None else ShownCell(mean=numbers.get("mean"), below=(_count(numbers.get("n")),))
        )
    parts = [_count(cell.n)]
    if cell.interval is not None:
        parts.append("{:.3f} – {:.3f}".format(*cell.interval))
    return ShownCell(mean=cell.mean, below=tuple(filter(None, parts)), failures=_failures(cell))


def _count(count: int | None) -> str:
    return "" if count is None else _("n = %(count)s") % {"count": count}


def _failures(cell: SiteCell) -> tuple[str, ...]:
    """How many cases failed, and of what, one text each. Few ones have no number: so small a number does not leave a hospital."""
    words = []
    for verdict, count in cell.failures.items():
        number = (
            _("1 to 4 cases")
            if count is None
            else ngettext("%(count)s case", "%(count)s cases", count) % {"count": count}
        )
        words.append(f"{verdict_words(verdict)}: {number}")
    return tuple(words)


def duels_of(board: SiteBoard) -> list[ShownDuels]:
    """The matrix of wins. Empty for fewer than two rows."""
    if len(board.matrix) < 2:
        return []
    return [ShownDuels(row=row, duels=tuple(line)) for row, line in zip(board.rows, board.matrix, strict=False)]


def table_of(board: SiteBoard) -> tuple[list[str], list[list[Any]]]:
    """The board as a table file: a column of means and one of counts per hospital."""
    header = ["rank", "team", "algorithm", f"mean {board.metric}", "worst", "worst hospital", "I2"]
    header += [f"{column.name} {what}" for column in board.columns for what in ("mean", "n")]
    rows = []
    for row in board.rows:
        line: list[Any] = [row.rank, row.team, row.name, row.mean, row.worst, row.worst_site, row.heterogeneity]
        for column in board.columns:
            cell = row.cells.get(column.name)
            line += [cell.mean, cell.n] if cell is not None else [None, None]
        rows.append(line)
    return header, rows
