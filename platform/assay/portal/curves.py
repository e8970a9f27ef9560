"""The FROC curves of a detection challenge's board: what each row finds, by how many of its answers per case are false.

The points are those of the report. They lie in a row's metrics, so a board that withholds its rows, or shows them coarsely, has none.
"""

from dataclasses import dataclass

from django.utils.safestring import SafeString
from django.utils.translation import gettext

from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import Board, LeaderboardRow
from assay.portal.plots import Line, curve_key, curve_plot

TONES = ("a", "b", "c", "d", "e", "f")
"""As many rows are drawn. The table has all of them."""


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """One row of the board: its points, by rate, and the mean of them."""

    team: str
    name: str
    values: tuple[float | None, ...]
    mean: float | None
    tone: str
    """How it is drawn. Empty where it is in the table only."""
    key: SafeString | str = ""
    """A piece of its line."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric whose score is the mean of the points of a curve."""

    title: str
    rates: tuple[str, ...]
    rows: tuple[CurveRow, ...]
    picture: SafeString


def curves_of(board: Board, *, wanted: Wanted) -> tuple[Curve, ...]:
    """A curve for each metric that has one, of the rows that are shown. The points are of all cases, so views have none."""
    if ":" in wanted.view:
        return ()
    found = []
    for metric in board.metrics:
        rows = [row for row in board.entries if _points(row, metric.name)]
        rates = sorted({rate for row in rows for rate in _points(row, metric.name)}, key=float)
        if rates:
            found.append(_curve(rows, metric=metric.name, title=metric.title, rates=rates))
    return tuple(found)


def _points(row: LeaderboardRow, metric: str) -> dict[str, float | None]:
    return dict((row.metrics.get(metric) or {}).get("curve") or {})


def _curve(rows: list[LeaderboardRow], *, metric: str, title: str, rates: list[str]) -> Curve:
    made = tuple(
        CurveRow(
            team=row.team,
            name=row.name,
            values=tuple(_points(row, metric).get(rate) for rate in rates),
            mean=row.metrics[metric].get("mean"),
            tone=TONES[place] if place < len(TONES) else "",
            key=curve_key(TONES[place]) if place < len(TONES) else "",
        )
        for place, row in enumerate(rows)
    )
    named = tuple(_written(float(rate)) for rate in rates)
    picture = curve_plot(
        words=gettext("FROC curves: sensitivity by false answers per case"),
        lines=tuple(
            Line(words=f"{row.team}, {row.name}", values=row.values, tone=row.tone) for row in made if row.tone
        ),
        steps=named,
        axes=(gettext("false answers per case"), gettext("sensitivity")),
    )
    return Curve(title=title, rates=named, rows=made, picture=picture)


def _written(rate: float) -> str:
    """1/8 as people write it, where it is one."""
    share = 1 / rate if rate else 0.0
    return f"1/{share:.0f}" if 0 < rate < 1 and abs(share - round(share)) < 1e-9 else f"{rate:g}"
