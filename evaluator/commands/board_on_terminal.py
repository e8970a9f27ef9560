"""A ranking as lines for people who look at a terminal: aligned, no wider than it is, with whatever they must know."""

import textwrap
from collections.abc import Mapping, Sequence

from evaluator.ranking.analysis import Analysis
from evaluator.ranking.rank_files import ranks_rows, span
from evaluator.ranking.short_names import display_width, shorten

_SHORTEST_NAME = 24
_GAP = 2


def board_lines(analysis: Analysis, *, width: int | None = None, has_cases: bool = True) -> str:
    """The board. On a narrow terminal long names lose their middle, then metrics are left out from the right, and named.

    Without cases (`has_cases`) nothing is known of how sure a rank is, so no interval is shown.
    """
    rows = list(ranks_rows(analysis))
    shown = list(analysis.metrics)
    columns = _columns(analysis, rows, shown)
    if not has_cases:
        columns = {name: cells for name, cells in columns.items() if name not in ("interval", "set")}
    while width is not None and len(shown) > 1 and _total(columns) - _excess(columns["algorithm"]) > width:
        columns.pop(shown.pop())
    if width is not None and _total(columns) > width:
        room = max(_SHORTEST_NAME, _widest(columns["algorithm"]) - (_total(columns) - width))
        columns["algorithm"] = ["algorithm", *shorten(columns["algorithm"][1:], longest=room)]
    widths = [_widest(cells) for cells in columns.values()]
    lines = [
        (" " * _GAP)
        .join(cell + " " * (wide - display_width(cell)) for cell, wide in zip(line, widths, strict=True))
        .rstrip()
        for line in zip(*columns.values(), strict=True)
    ]
    return "\n".join([*lines, *_notes(analysis, hidden=list(analysis.metrics)[len(shown) :], width=width)])


def preset_lines(titles: Mapping[str, str], *, width: int | None = None) -> str:
    """One line per preset, folded under its title where the terminal is narrow."""
    start = max(map(len, titles)) + _GAP
    return "\n".join(_folded(f"{name:<{start}}{title}", width, indent=start) for name, title in titles.items())


def _columns(analysis: Analysis, rows: Sequence[Mapping[str, object]], metrics: Sequence[str]) -> dict[str, list[str]]:
    columns = {
        "rank": ["rank", *("–" if row["rank"] is None else f"{row['rank']:g}" for row in rows)],
        "interval": [f"{analysis.confidence * 100:g} %", *(_interval(row) for row in rows)],
        "algorithm": ["algorithm", *(str(row["algorithm"]) for row in rows)],
    }
    if analysis.sets is not None:
        columns["set"] = ["rank set", *(_set(row) for row in rows)]
    for name in ("score", *metrics):
        columns[name] = [name, *("" if row[name] is None else f"{row[name]:.4f}" for row in rows)]
    return columns


def _interval(row: Mapping[str, object]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return span(low, high) if isinstance(low, float) and isinstance(high, float) else ""


def _set(row: Mapping[str, object]) -> str:
    low, high = row["rank_set_low"], row["rank_set_high"]
    return span(low, high) if isinstance(low, float) and isinstance(high, float) else ""


def _notes(analysis: Analysis, *, hidden: Sequence[str], width: int | None) -> list[str]:
    unranked = [f"unranked {entry.algorithm}: {entry.note}" for entry in analysis.ranking.entries if entry.note]
    narrow = [f"not shown, for the terminal is {width} wide: {', '.join(hidden)} (-o writes all)"] if hidden else []
    texts = (*narrow, *analysis.ranking.notes, *analysis.warnings, *unranked)
    return [_folded(f"note: {text}", width, indent=len("note: ")) for text in texts]


def _folded(text: str, width: int | None, *, indent: int) -> str:
    if width is None or width <= 2 * indent:
        return text
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False)


def _widest(cells: Sequence[str]) -> int:
    return max(map(display_width, cells))


def _total(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(_widest(cells) + _GAP for cells in columns.values()) - _GAP


def _excess(names: Sequence[str]) -> int:
    """How much narrower the names could be."""
    return max(0, _widest(names) - _SHORTEST_NAME)
