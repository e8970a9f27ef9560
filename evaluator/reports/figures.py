"""Figures of one ranking: how the scores lie, case by case and under the bootstrap. Each function returns a figure."""

import math
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluator.ranking.stability import rank_frequencies
from evaluator.ranking.ties import Floats, rank
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
    colour,
    legend,
    new_figure,
    rank_axis,
    row_height,
    short,
    stacked_figure,
)

_TIE_BREAK_SEED = 38
_CASES_SHOWN = 200


def dot_and_box(data: ReportData, metric: str) -> Figure:
    """Every case as a dot over a box (quartiles, whiskers to 1.5 times their distance), best algorithm on top."""
    values = data.values[metric]
    figure, axes = new_figure(height=row_height(len(values)))
    random = np.random.default_rng(0)
    for place, row in enumerate(values):
        finite = row[np.isfinite(row)]
        axes.scatter(
            finite,
            place + random.uniform(-0.28, 0.28, finite.size),
            s=7,
            color=DOT,
            alpha=max(0.25, min(0.7, 40 / max(finite.size, 1))),
            linewidths=0,
            rasterized=finite.size * len(values) > 500,
        )
        if finite.size:
            _draw_box(axes, finite, place, width=0.62)
    _name_rows(axes, data)
    axes.set_xlabel(metric_label(data, metric))
    return figure


def podium(data: ReportData, metric: str) -> Figure:
    """Who came first, second … in each case: dots joined by a line per case, and below how often each rank was won.

    Ties are broken by chance (fixed seed), so that every case has one algorithm at each place.
    """
    values, count = data.values[metric], len(data.algorithms)
    shuffled = _broken_ties(data.case_ranks[metric])
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
    palette = np.array([colour(index) for index in range(count)])
    axes.scatter(x, y, s=9, c=palette[order].ravel(), linewidths=0, zorder=3, rasterized=True)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel(metric_label(data, metric).replace(", ", "\n"))
    for place in range(count):
        wins = (shuffled == place + 1).sum(axis=1)
        bars.bar(step * place + np.arange(count), wins, width=0.9, color=[colour(a) for a in range(count)])
    named = range(0, count, 1 + (count - 1) // 25)
    bars.set_xticks([centres[place] for place in named], [str(place + 1) for place in named])
    bars.set_xlim(-1, step * (count - 1) + count)
    bars.set_xlabel("place in the case")
    bars.set_ylabel("cases")
    for panel in (axes, bars):
        panel.grid(axis="x", visible=False)
    legend(axes, data.algorithms)
    return figure


def _broken_ties(ranks: Floats) -> Floats:
    chance = np.random.default_rng(_TIE_BREAK_SEED).random(ranks.shape)
    return rank((ranks + chance * 0.5).T).T


def heatmap(data: ReportData, metric: str) -> Figure:
    """In how many cases each algorithm had each rank (ties share the better one)."""
    ranks, count = data.case_ranks[metric], len(data.analysis.algorithms)
    grid = np.stack([np.bincount(row[~np.isnan(row)].astype(int) - 1, minlength=count) for row in ranks])
    figure, axes = new_figure(height=row_height(len(grid), each=0.3))
    image = axes.imshow(np.ma.masked_equal(grid, 0), aspect="auto", cmap=SEQUENTIAL, vmin=0)
    _name_rows(axes, data, inverted=False)
    places = range(0, count, 1 + (count - 1) // 25)
    axes.set_xticks(places, [str(place + 1) for place in places])
    axes.set_xlabel("rank in the case")
    axes.grid(visible=False)
    if count <= 12:
        _numbers(axes, grid)
    figure.colorbar(image, ax=axes, label="cases", pad=0.02, fraction=0.04).outline.set_visible(False)
    return figure


def _numbers(axes: Axes, grid: npt.NDArray[np.intp]) -> None:
    middle = grid.max() / 2
    for (row, column), number in np.ndenumerate(grid):
        if number:
            axes.text(column, row, str(number), ha="center", va="center", color="white" if number < middle else "black")


def significance_map(data: ReportData, metric: str) -> Figure | None:
    """Filled where the row's algorithm is significantly better than the column's."""
    tests = data.top.metrics[metric].tests
    if tests is None:
        return None
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.2, each=0.34))
    for row, column in np.ndindex(count, count):
        if row != column:
            face = BLUE if tests.is_better[row, column] else "none"
            axes.add_patch(
                Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, facecolor=face, edgecolor=LINE, linewidth=0.8)
            )
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_yticks(range(count), [short(name) for name in data.algorithms])
    axes.set_xticks(range(count), [short(name, longest=16) for name in data.algorithms], rotation=50, ha="right")
    axes.set_ylabel("better …")
    axes.set_xlabel("… than")
    axes.grid(visible=False)
    return figure


def blob(data: ReportData) -> Figure:
    """How often the bootstrap gave each algorithm each rank: area by frequency, cross at the median, line over 95 %."""
    analysis, count = data.top, len(data.algorithms)
    shares = rank_frequencies(analysis.rank_samples) / len(analysis.rank_samples)
    figure, axes = new_figure(height=row_height(count, least=3.4, each=0.28))
    axes.plot([-0.5, count - 0.5], [0.5, count + 0.5], color=LINE, linewidth=1, zorder=1)
    algorithm, place = np.nonzero(shares)
    largest = min(420.0, 5200.0 / count)
    axes.scatter(
        algorithm, place + 1, s=shares[algorithm, place] * largest, color=BLUE, alpha=0.85, linewidths=0, zorder=3
    )
    low, high = analysis.rank_intervals.T
    axes.vlines(range(count), low, high, color=INK, linewidth=1.2, zorder=4)
    medians = np.median(analysis.rank_samples, axis=0)
    axes.scatter(range(count), medians, marker="x", s=28, color=ORANGE, linewidths=1.8, zorder=5)
    axes.set_xticks(range(count), [short(name, longest=16) for name in data.algorithms], rotation=50, ha="right")
    rank_axis(axes, max(count, math.ceil(high.max())))
    return figure


def tau_violin(data: ReportData) -> Figure:
    """Kendall's tau between the ranking and each of its bootstrap replicates: 1 means nothing moved."""
    defined = data.analysis.tau_samples[~np.isnan(data.analysis.tau_samples)]
    figure, axes = new_figure(height=1.7)
    if defined.size:
        draw_violin(axes, defined, 0)
    axes.set_yticks([])
    axes.set_xlim(min(-0.02, float(defined.min(initial=0))), 1.02)
    axes.set_xlabel("Kendall's tau-b with the ranking of all cases")
    return figure


def draw_violin(axes: Axes, values: Floats, place: float) -> None:
    """A horizontal violin with its quartiles; values that are all equal have no violin, only their line."""
    if np.unique(values).size > 1:
        parts = axes.violinplot(values, positions=[place], orientation="horizontal", widths=0.8, showextrema=False)
        for body in cast("list[PolyCollection]", parts["bodies"]):
            body.set(facecolor=BLUE, alpha=0.6, edgecolor=BLUE)
    _draw_box(axes, values, place, width=0.18)


def _draw_box(axes: Axes, values: Floats, place: float, *, width: float) -> None:
    outline = {"color": INK, "linewidth": 1}
    axes.boxplot(
        values,
        positions=[place],
        orientation="horizontal",
        widths=width,
        showfliers=False,
        manage_ticks=False,
        boxprops=outline,
        whiskerprops=outline,
        capprops=outline,
        medianprops={"color": VERMILION, "linewidth": 2},
    )


def method_lines(data: ReportData, metric: str) -> Figure:
    """What rank each algorithm would have under the usual methods: crossing lines mean the method decides."""
    ranks = data.top.metrics[metric].ranks_by_method
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.0, each=0.24))
    methods = list(ranks)
    for index, name in enumerate(data.algorithms):
        line = [ranks[method][index] for method in methods]
        axes.plot(range(len(methods)), line, color=colour(index), marker="o", markersize=4, linewidth=1.5, alpha=0.9)
        axes.annotate(
            short(name, longest=18), (len(methods) - 1, line[-1] + _nudge(ranks[methods[-1]], index)), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_xticks(range(len(methods)), methods)
    axes.set_xlim(-0.2, len(methods) - 0.2)
    rank_axis(axes, max(count, math.ceil(max(line.max() for line in ranks.values()))))
    return figure


def _nudge(last: Floats, index: int) -> float:
    """Tied lines end on one point; their names stand below each other instead."""
    return 0.62 * int((last[:index] == last[index]).sum())


def interval_forest(data: ReportData, metric: str) -> Figure:
    """Each algorithm's aggregate with its confidence interval."""
    interval = data.top.metrics[metric].interval
    count = len(data.algorithms)
    figure, axes = new_figure(height=row_height(count, least=2.0, each=0.24))
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
    axes.set_yticks(range(count), [short(name) for name in data.algorithms])
    if inverted:
        axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
