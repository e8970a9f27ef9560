"""The comparison page: differences as sentences and tables, and pictures of a few points (`plots.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from assay.leaderboards.comparing import Comparison, Difference, MetricComparison, Origin
from assay.leaderboards.selectors import LeaderboardRow
from assay.pages.templatetags.assay import middle
from assay.portal.plots import Level, Point, agreement_plot, scatter_plot, track

MOST_CASES = 30
LONGEST_NAME = 24
PLAIN = 1e-12


@dataclass(frozen=True, kw_only=True)
class Side:
    """One row: its letter, what it is, where it came from."""

    letter: str
    row: LeaderboardRow
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture of one pair of rows, case by case."""

    across: Side
    upwards: Side
    picture: SafeString
    limits: tuple[float, float] = (0.0, 0.0)
    """The limits of agreement, where the picture shows them."""


@dataclass(frozen=True, kw_only=True)
class DotRow:
    """One structure: a dot per side on one scale."""

    label: str
    values: tuple[float | None, ...]
    track: SafeString


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One pair in one metric, in words as well."""

    first: Side
    second: Side
    difference: Difference
    verdict: str


@dataclass(frozen=True, kw_only=True)
class CaseLine:
    """One case in one metric: a value per side, and the largest difference between two of them."""

    case: str
    values: tuple[float | None, ...]
    spread: float


@dataclass(frozen=True, kw_only=True)
class MetricView:
    """One metric's part of the page."""

    metric: MetricComparison
    best: float | None
    pairs: tuple[PairRow, ...]
    scatters: tuple[Plot, ...]
    agreements: tuple[Plot, ...]
    structures: tuple[DotRow, ...]
    cases: tuple[CaseLine, ...]
    case_count: int


@dataclass(frozen=True, kw_only=True)
class ComparisonPage:
    """What the template needs."""

    sides: tuple[Side, ...]
    metrics: tuple[MetricView, ...]
    differs_in: str


def comparison_page(comparison: Comparison) -> ComparisonPage:
    """The page of two or three rows."""
    sides = tuple(
        Side(letter=letter, row=row, origin=origin)
        for letter, row, origin in zip("ABC", comparison.rows, comparison.origins, strict=False)
    )
    return ComparisonPage(
        sides=sides,
        metrics=tuple(_metric_view(metric, sides) for metric in comparison.metrics),
        differs_in=_(" and ").join(comparison.differs_in),
    )


def comparison_table(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Every case in every metric, for CSV and JSON."""
    header = ["metric", "case", *(f"#{row.number} {row.name}" for row in comparison.rows)]
    rows = [[m.column.name, case, *values] for m in comparison.metrics for case, values in m.cases.items()]
    return header, rows


def _metric_view(metric: MetricComparison, sides: Sequence[Side]) -> MetricView:
    known = [mean for mean in metric.means if mean is not None]
    lines = [_case_line(case, values) for case, values in metric.cases.items()]
    lines.sort(key=lambda line: -line.spread)
    return MetricView(
        metric=metric,
        best=(max(known) if metric.column.direction == "max" else min(known)) if known else None,
        pairs=tuple(_pair_row(difference, metric, sides) for difference in metric.differences),
        scatters=tuple(_scatter(difference, metric, sides) for difference in metric.differences if difference.cases),
        agreements=tuple(
            _agreement(difference, metric, sides) for difference in metric.differences if difference.limits
        ),
        structures=_dot_rows(metric, sides),
        cases=tuple(lines[:MOST_CASES]),
        case_count=len(lines),
    )


def _case_line(case: str, values: tuple[float | None, ...]) -> CaseLine:
    known = [value for value in values if value is not None]
    return CaseLine(case=case, values=values, spread=max(known) - min(known) if known else 0.0)


def _pair_row(difference: Difference, metric: MetricComparison, sides: Sequence[Side]) -> PairRow:
    first, second = sides[difference.first], sides[difference.second]
    if difference.mean is None:
        verdict = _("no case in common")
    elif difference.p is None or difference.p > 0.05:
        verdict = _("not separable")
    else:
        is_second = (difference.mean > 0) == (metric.column.direction == "max")
        verdict = _("%(letter)s is better") % {"letter": (second if is_second else first).letter}
    return PairRow(first=first, second=second, difference=difference, verdict=verdict)


def _pairs(difference: Difference, metric: MetricComparison) -> dict[str, tuple[float, float]]:
    """Case → both values, where both are there."""
    return {
        case: (float(a), float(b))
        for case, values in metric.cases.items()
        if (a := values[difference.first]) is not None and (b := values[difference.second]) is not None
    }


def _tone(a: float, b: float, metric: MetricComparison, *, across: Side, upwards: Side) -> str:
    """The colour of the better one."""
    sign = 1 if metric.column.direction == "max" else -1
    return "even" if abs(b - a) < PLAIN else (upwards if sign * (b - a) > 0 else across).letter.lower()


def _scatter(difference: Difference, metric: MetricComparison, sides: Sequence[Side]) -> Plot:
    pairs = _pairs(difference, metric)
    low, high = _range([value for pair in pairs.values() for value in pair])
    across, upwards = sides[difference.first], sides[difference.second]
    points = tuple(
        Point(
            x=_percent(a, low, high),
            y=100 - _percent(b, low, high),
            tone=_tone(a, b, metric, across=across, upwards=upwards),
            words=_("%(case)s: %(first)s and %(second)s") % {"case": case, "first": f"{a:.4g}", "second": f"{b:.4g}"},
        )
        for case, (a, b) in pairs.items()
    )
    picture = scatter_plot(
        words=_("%(upwards)s against %(across)s, case by case") % {"upwards": upwards.letter, "across": across.letter},
        points=points,
        ends=(low, high),
        axes=(_axis(across), _axis(upwards)),
    )
    return Plot(across=across, upwards=upwards, picture=picture)


def _axis(side: Side) -> str:
    return f"{side.letter} {middle(side.row.name, LONGEST_NAME)}"


def _agreement(difference: Difference, metric: MetricComparison, sides: Sequence[Side]) -> Plot:
    pairs = _pairs(difference, metric)
    limits = difference.limits or (0.0, 0.0)
    low, high = _range([(a + b) / 2 for a, b in pairs.values()])
    gaps = [0.0, *limits, *(b - a for a, b in pairs.values())]
    room = 0.04 * (max(gaps) - min(gaps)) or 0.5
    bottom, top = min(gaps) - room, max(gaps) + room
    across, upwards = sides[difference.first], sides[difference.second]
    points = tuple(
        Point(
            x=_percent((a + b) / 2, low, high),
            y=100 - _percent(b - a, bottom, top),
            tone=_tone(a, b, metric, across=across, upwards=upwards),
            words=_("%(case)s: %(difference)s around %(mean)s")
            % {"case": case, "difference": f"{b - a:+.4g}", "mean": f"{(a + b) / 2:.4g}"},
        )
        for case, (a, b) in pairs.items()
    )
    lines = {"even": (0.0,), "mean": (difference.mean or 0.0,), "limit": limits}
    levels = tuple(
        Level(y=100 - _percent(value, bottom, top), value=value, tone=tone)
        for tone, values in lines.items()
        for value in values
    )
    letters = {"upwards": upwards.letter, "across": across.letter}
    picture = agreement_plot(
        words=_("Bland–Altman plot of %(upwards)s minus %(across)s") % letters,
        points=points,
        levels=levels,
        ends=(low, high),
        axes=(_("mean of both"), f"{upwards.letter} − {across.letter}"),
    )
    return Plot(across=across, upwards=upwards, picture=picture, limits=limits)


def _dot_rows(metric: MetricComparison, sides: Sequence[Side]) -> tuple[DotRow, ...]:
    low, high = _range([value for values in metric.structures.values() for value in values if value is not None])
    rows = []
    for label, values in metric.structures.items():
        dots = tuple(
            Point(x=_percent(value, low, high), y=50.0, tone=side.letter.lower(), words=f"{side.letter}: {value:.4g}")
            for side, value in zip(sides, values, strict=True)
            if value is not None
        )
        rows.append(DotRow(label=label, values=values, track=track(dots)))
    return tuple(rows)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A scale that holds every value with a little room, but none beyond 0 and 1 for shares. Never of no width."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    is_share = 0 <= low <= high <= 1
    return (max(0.0, low - room), min(1.0, high + room)) if is_share else (low - room, high + room)


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)
