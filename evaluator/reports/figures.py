"""Figures of one ranking: how the scores lie, case by case and under the bootstrap. Each function returns a figure."""

import math
from collections.abc import Sequence
from typing import cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath
from matplotlib.ticker import MaxNLocator

from evaluator.arrays import Floats, Index
from evaluator.ranking.stability import rank_frequencies, rank_intervals
from evaluator.ranking.statistics.effects import cliffs_delta, critical_difference
from evaluator.ranking.statistics.significance import PairTests
from evaluator.ranking.statistics.ties import rank
from evaluator.reports.data import ReportData
from evaluator.reports.theme import (
    BLUE,
    DOT,
    GREY,
    INK,
    LINE,
    ORANGE,
    SEQUENTIAL,
    VERMILION,
    colour_bar,
    label_below,
    legend,
    name_columns,
    name_rows,
    new_figure,
    rank_axis,
    readable_on,
    row_height,
    short,
    spread,
    stacked_figure,
    stroke,
)

_TIE_BREAK_SEED = 38
MOST_ON_PODIUM = 8
_CASES_SHOWN = 200
_MOST_VECTOR_DOTS = 500
_SMALLEST_LETTERS = 5.0
"""Points. Smaller ones nobody reads on paper."""
_WIDEST_CELL = 3.1
"""Ems of `<.001`, the widest words in a cell."""
"""Algorithms up to which a cell of the significance map has room for numbers."""


def dot_and_box(data: ReportData, metric: str) -> Figure:
    """Every case as a dot over a box (quartiles, whiskers to 1.5 times their distance), best algorithm on top."""
    values = data.values[metric]
    figure, axes = new_figure(height=row_height(len(values)))
    there = np.isfinite(values)
    chance = np.random.default_rng(0).uniform(-0.28, 0.28, values.shape)
    most = max(int(there.sum(axis=1).max(initial=1)), 1)
    axes.scatter(
        values[there],
        (np.arange(len(values))[:, None] + chance)[there],
        s=7,
        color=DOT,
        alpha=max(0.25, min(0.7, 40 / most)),
        linewidths=0,
        rasterized=int(there.sum()) > _MOST_VECTOR_DOTS,
    )
    draw_boxes(axes, [row[at] for row, at in zip(values, there, strict=True)], width=0.62)
    _name_rows(axes, data)
    axes.set_xlabel(", ".join(filter(None, (metric_label(data, metric), spread(axes, values)))))
    return figure


def podium(data: ReportData, metric: str) -> Figure:
    """Who came first, second … in each case: dots joined by a line per case, and below how often each rank was won.

    Ties are broken by chance (fixed seed), so that every case has one algorithm at each place.
    """
    values, count = data.values[metric][:MOST_ON_PODIUM], min(MOST_ON_PODIUM, len(data.algorithms))
    shuffled = _broken_ties(rank(data.case_ranks[metric][:count].T).T)
    figure, (axes, bars) = stacked_figure(height=5.0, ratios=(3, 1))
    step = count * 1.15
    centres = [step * place + (count - 1) / 2 for place in range(count)]
    random = np.random.default_rng(0)
    cases = np.flatnonzero(np.isfinite(values).all(axis=0))
    shown = cases if len(cases) <= _CASES_SHOWN else np.sort(random.choice(cases, _CASES_SHOWN, replace=False))
    # All cases in one collection: drawing them one by one takes most of a report's time.
    order = np.argsort(shuffled[:, shown], axis=0)
    x = step * np.arange(count)[:, None] + order
    y = np.take_along_axis(values[:, shown], order, axis=0)
    paths = np.stack([x.T, y.T], axis=-1)
    axes.add_collection(LineCollection(list(paths), colors=GREY, alpha=0.25, linewidths=0.6, rasterized=True))
    looks = [stroke(index) for index in range(count)]
    for index, look in enumerate(looks):
        at = order == index
        axes.scatter(
            x[at], y[at], s=11, color=look.colour, marker=look.marker, linewidths=0, zorder=1.1, rasterized=True
        )
    label = (*metric_label(data, metric).split(", "), spread(axes, values, is_upright=True))
    axes.set_ylabel("\n".join(filter(None, label)))
    wins = np.stack([(shuffled == place + 1).sum(axis=1) for place in range(count)])
    for index, look in enumerate(looks):
        corners = [(step * place + index, 0.45, float(number)) for place, number in enumerate(wins[:, index])]
        bars.add_collection(
            PolyCollection(
                [[(x - half, 0), (x + half, 0), (x + half, top), (x - half, top)] for x, half, top in corners],
                facecolors=look.colour,
                edgecolors="white",
                linewidths=0,
                hatch=look.hatch or None,
            )
        )
    bars.set_ylim(0, 1.05 * max(1, int(wins.max(initial=1))))
    bars.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    named = range(0, count, 1 + (count - 1) // 25)
    name_columns(bars, [str(place + 1) for place in named], places=[centres[place] for place in named])
    bars.set_xlim(-1, step * (count - 1) + count)
    label_below(bars, "place in the case")
    bars.set_ylabel("cases")
    for panel in (axes, bars):
        panel.grid(axis="x", visible=False)
    legend(axes, data.algorithms[:count])
    return figure


def _broken_ties(ranks: Floats) -> Floats:
    chance = np.random.default_rng(_TIE_BREAK_SEED).random(ranks.shape)
    return rank((ranks + chance * 0.5).T).T


def heatmap(data: ReportData, metric: str) -> Figure:
    """In how many cases each algorithm had each rank (ties share the better one)."""
    ranks, count = data.case_ranks[metric], len(data.analysis.algorithms)
    grid = np.stack([np.bincount(row[~np.isnan(row)].astype(int) - 1, minlength=count) for row in ranks])
    figure, axes = new_figure(height=row_height(len(grid), each=0.22))
    image = axes.imshow(np.ma.masked_equal(grid, 0), aspect="auto", cmap=SEQUENTIAL, interpolation="nearest", vmin=0)
    _name_rows(axes, data, inverted=False)
    places = range(0, count, 1 + (count - 1) // 25)
    name_columns(axes, [str(place + 1) for place in places], places=places)
    label_below(axes, "rank in the case")
    axes.grid(visible=False)
    if count <= 12:
        for (row, column), number in np.ndenumerate(grid):
            if number:
                shade = readable_on(image, float(number))
                axes.text(column, row, str(number), ha="center", va="center", color=shade, in_layout=False)
    colour_bar(axes, image, "cases")
    return figure


def significance_map(data: ReportData, metric: str) -> Figure | None:
    """Filled where the row's algorithm is significantly better than the column's; adjusted p, and Cliff's delta, where few."""
    tests = data.top.metrics[metric].tests
    if tests is None:
        return None
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.2, each=0.25), is_square=True)
    # One path for all filled cells and one for the empty ones: four hundred rectangles of their own are half a report.
    others = ~np.eye(count, dtype=bool)
    for at, face in ((tests.is_better & others, BLUE), (~tests.is_better & others, "none")):
        axes.add_artist(PathPatch(_cells(np.argwhere(at)), facecolor=face, edgecolor=LINE, linewidth=0.8))
    size = _fitting(figure, count)
    are_written = size >= _SMALLEST_LETTERS
    if are_written:
        _write_cells(axes, data, metric, tests, size=size)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    name_rows(axes, short(data.algorithms))
    name_columns(axes, short(data.algorithms, longest=16), is_aslant=True)
    legend_of_cells = "\nadjusted p, Cliff's δ" if are_written else ""
    axes.set_title(f"row better than column{legend_of_cells}", fontsize="medium", fontweight="normal")
    axes.grid(visible=False)
    return figure


def _write_cells(axes: Axes, data: ReportData, metric: str, tests: PairTests, *, size: float) -> None:
    """The adjusted p of each pair, and the effect."""
    larger = data.prepared.metrics[metric].spec.larger_is_better
    delta = cliffs_delta(data.values[metric], larger_is_better=larger)
    for row, column in zip(*np.nonzero(~np.eye(len(delta), dtype=bool)), strict=True):
        p = tests.adjusted[row, column]
        effect = f"{delta[row, column]:+.2f}".replace("0.", ".", 1)
        words = f"{'<.001' if p < 0.001 else '1' if p > 0.9995 else f'{p:.3f}'.lstrip('0')}\n{effect}"
        shade = "white" if tests.is_better[row, column] else INK
        axes.text(column, row, words, ha="center", va="center", fontsize=size, color=shade, in_layout=False)


def _fitting(figure: Figure, count: int) -> float:
    """The size at which `<.001` stands within a cell: the square of cells takes about six tenths of the shorter side."""
    cell = 0.62 * 72 * float(min(figure.get_size_inches())) / count
    return min(float(mpl.rcParams["font.size"]), 0.88 * cell / _WIDEST_CELL)


def _cells(at: Index) -> MplPath:
    """Squares around (row, column) as one path."""
    corners = np.array([(-0.44, -0.44), (0.44, -0.44), (0.44, 0.44), (-0.44, 0.44), (-0.44, -0.44)])
    points = (at[:, None, ::-1] + corners).reshape(-1, 2)
    codes = [MplPath.MOVETO, *[MplPath.LINETO] * 3, MplPath.CLOSEPOLY] * len(at)
    return MplPath(points, codes or None)


def critical_difference_diagram(data: ReportData, metric: str) -> Figure | None:
    """Mean ranks over cases on a line; those joined by a bar differ by less than the critical difference (Nemenyi)."""
    ranks = data.case_ranks[metric]
    complete = ranks[:, ~np.isnan(ranks).any(axis=0)]
    count, cases = len(data.analysis.algorithms), complete.shape[1]
    if len(ranks) < 3 or cases < 2:
        return None
    means = complete.mean(axis=1)
    limit = critical_difference(count, cases, alpha=data.analysis.ranking.config.significance.alpha)
    order = np.argsort(means, kind="stable")
    figure, axes = new_figure(height=row_height(len(order), least=1.8, each=0.16))
    names = short(data.algorithms, longest=20)
    for place, index in enumerate(order):
        axes.plot([means[index]] * 2, [0, -1 - place], color=LINE, linewidth=0.8, zorder=1)
        axes.plot(means[index], 0, marker="o", markersize=4, color=BLUE, zorder=3)
        axes.text(
            means[index], -1.1 - place, f"{names[index]} {means[index]:.2f}", ha="center", va="top", fontsize="small"
        )
    level = 0.5
    reached = -1
    for start in range(len(order)):
        end = max(other for other in range(start, len(order)) if means[order[other]] - means[order[start]] <= limit)
        if end > start and end > reached:
            axes.plot(
                [means[order[start]], means[order[end]]], [level] * 2, color=INK, linewidth=2.5, solid_capstyle="butt"
            )
            level, reached = level + 0.45, end
    axes.set_ylim(-2 - len(order), level + 0.3)
    room = 0.12 * max(means.max() - means.min(), limit)
    axes.set_xlim(means.min() - room, means.max() + room)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"mean rank over {cases} cases, critical difference {limit:.2f}")
    axes.grid(visible=False)
    return figure


def blob(data: ReportData) -> Figure:
    """How often the bootstrap gave each algorithm each rank: area by frequency, cross at the median, line over the interval.

    The rank in all cases stands before the name.
    """
    count, ranks = len(data.algorithms), data.analysis.ranking.ranks()
    figure, axes = new_figure(height=row_height(count, least=3.0, each=0.22))
    axes.plot([-0.5, count - 0.5], [0.5, count + 0.5], color=LINE, linewidth=1, zorder=1)
    highest = draw_blobs(axes, data.top.rank_samples, confidence=data.top.confidence, count=count)
    names = [
        f"{ranks[name]:g}. {text}"
        for name, text in zip(data.algorithms, short(data.algorithms, longest=16), strict=True)
    ]
    name_columns(axes, names, is_aslant=True)
    rank_axis(axes, max(count, highest))
    return figure


def draw_blobs(axes: Axes, samples: Floats, *, confidence: float, count: int) -> int:
    """A column of blobs for each column of bootstrap ranks. Returns the lowest place that must be on the axis."""
    shares = rank_frequencies(samples) / len(samples)
    column, place = np.nonzero(shares)
    sizes = shares[column, place] * min(420.0, 5200.0 / count)
    axes.scatter(column, place + 1, s=sizes, color=BLUE, alpha=0.85, linewidths=0, zorder=3)
    low, high = rank_intervals(samples, confidence=confidence).T
    axes.vlines(range(len(low)), low, high, color=INK, linewidth=1.2, zorder=4)
    medians = np.median(samples, axis=0)
    axes.scatter(range(len(low)), medians, marker="x", s=28, color=ORANGE, linewidths=1.8, zorder=5)
    return math.ceil(float(high.max()))


def tau_violin(data: ReportData) -> Figure:
    """Kendall's tau between the ranking and each of its bootstrap replicates: 1 means nothing moved."""
    defined = data.analysis.tau_samples[~np.isnan(data.analysis.tau_samples)]
    figure, axes = new_figure(height=1.7)
    if defined.size:
        draw_violins(axes, [defined])
    axes.set_yticks([])
    low = float(defined.min(initial=1.0))
    room = max(0.02, 0.05 * (1 - low))
    axes.set_xlim(max(-1.02, low - room), 1 + room)
    axes.set_xlabel("Kendall's tau-b with the ranking of all cases")
    return figure


def draw_violins(axes: Axes, rows: Sequence[Floats]) -> None:
    """Horizontal violins with their quartiles. Values that are all equal have no violin, only their line."""
    varied = [place for place, values in enumerate(rows) if np.unique(values).size > 1]
    if varied:
        parts = axes.violinplot(
            [rows[place] for place in varied], positions=varied, orientation="horizontal", widths=0.8, showextrema=False
        )
        for body in cast("list[PolyCollection]", parts["bodies"]):
            body.set(facecolor=BLUE, alpha=0.6, edgecolor=BLUE)
    draw_boxes(axes, rows, width=0.18)


def draw_boxes(axes: Axes, rows: Sequence[Floats], *, width: float) -> None:
    """A horizontal box for each row of finite values: quartiles, median, whiskers to the last value within 1.5 of their distances.

    All boxes are three artists. Matplotlib's own makes seven for each.
    """
    boxes: list[list[tuple[float, float]]] = []
    lines: list[list[tuple[float, float]]] = []
    medians: list[list[tuple[float, float]]] = []
    for place, values in enumerate(rows):
        if not values.size:
            continue
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        reach = 1.5 * (high - low)
        least, most = (
            float(values[values >= low - reach].min(initial=low)),
            float(values[values <= high + reach].max(initial=high)),
        )
        top, bottom = place - width / 2, place + width / 2
        boxes.append([(low, top), (high, top), (high, bottom), (low, bottom)])
        medians.append([(median, top), (median, bottom)])
        for start, end in ((low, least), (high, most)):
            lines += [[(start, place), (end, place)], [(end, place - width / 4), (end, place + width / 4)]]
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=1, zorder=2))
    axes.add_collection(PolyCollection(boxes, facecolors="none", edgecolors=INK, linewidths=1, zorder=2))
    axes.add_collection(LineCollection(medians, colors=VERMILION, linewidths=2, zorder=2.1))
    axes.autoscale_view()


def method_lines(data: ReportData, metric: str) -> Figure | None:
    """What rank each algorithm would have under the usual methods: crossing lines mean the method decides."""
    ranks = data.top.metrics[metric].ranks_by_method
    if not ranks:
        return None
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.0, each=0.2))
    methods = list(ranks)
    for index, name in enumerate(short(data.algorithms, longest=18)):
        line, look = [ranks[method][index] for method in methods], stroke(index)
        axes.plot(
            range(len(methods)), line, color=look.colour, linestyle=look.line, marker=look.marker, markersize=4,
            linewidth=1.5, alpha=0.9,
        )  # fmt: skip
        axes.annotate(
            name, (len(methods) - 1, line[-1] + _nudge(ranks[methods[-1]], index)), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
    axes.set_xticks(range(len(methods)), [method.replace("rank then ", "rank then\n") for method in methods])
    axes.set_xlim(-0.2, len(methods) - 0.2)
    rank_axis(axes, max(count, math.ceil(max(line.max() for line in ranks.values()))))
    return figure


def _nudge(last: Floats, index: int) -> float:
    """Tied lines end on one point. Their names stand below each other instead."""
    return 0.62 * int((last[:index] == last[index]).sum())


def interval_forest(data: ReportData, metric: str) -> Figure:
    """Each algorithm's aggregate with its confidence interval."""
    interval = data.top.metrics[metric].interval
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=2.0, each=0.2))
    axes.hlines(range(count), interval.low, interval.high, color=BLUE, linewidth=2.4)
    axes.scatter(interval.estimate, range(count), color=INK, s=22, zorder=3)
    _name_rows(axes, data)
    axes.set_xlabel(f"{metric_label(data, metric)}, {data.top.confidence:.0%} interval ({interval.method})")
    return figure


def metric_label(data: ReportData, metric: str) -> str:
    """The metric's name with its unit and direction."""
    spec = next(spec for spec in data.analysis.ranking.config.metrics if spec.id == metric)
    unit = f" ({spec.unit})" if spec.unit else ""
    return f"{metric}{unit}, {'larger' if spec.larger_is_better else 'smaller'} is better"


def _name_rows(axes: Axes, data: ReportData, *, inverted: bool = True) -> None:
    count = len(data.algorithms)
    name_rows(axes, short(data.algorithms))
    if inverted:
        axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
