"""Figures of the sections in the field's own shape: maps of ranks, values and p, dumbbells, curves over interactions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from evaluator.arrays import Floats
from evaluator.reports.theme import (
    INK,
    LINE,
    SEQUENTIAL,
    VERMILION,
    colour_bar,
    columns_for,
    legend,
    new_figure,
    readable_on,
    row_height,
    short,
    stroke,
)

MOST_NUMBERS = 400
SMALLEST_P = 1e-4
LONGEST_LINE = 60
"""Letters below a figure. Longer ones stand aslant."""


def rank_map(ranks: Floats, algorithms: Sequence[str], columns: Sequence[str]) -> Figure:
    """Algorithm × structure: the rank in each."""
    figure, axes = new_figure(height=row_height(len(algorithms), least=2.6, each=0.22))
    count = max(2, int(ranks.max(initial=2)))
    image = axes.imshow(ranks, aspect="auto", cmap="cividis_r", interpolation="nearest", vmin=1, vmax=count)
    _name_axes(axes, algorithms, columns)
    if ranks.size <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(ranks):
            _number(axes, column, row, f"{value:g}", image=image, value=value)
    colour_bar(axes, image, "rank")
    return figure


def value_matrix(
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    larger_is_better: bool,
    label: str,
    framed: Sequence[Sequence[bool]],
) -> Figure:
    """Row × column with the value in each cell, the mean of each row beside it. Framed cells are at home."""
    with_means = np.column_stack([values, np.nanmean(values, axis=1)])
    figure, axes = new_figure(height=row_height(len(rows), least=2.8, each=0.3))
    colours = SEQUENTIAL if larger_is_better else f"{SEQUENTIAL}_r"
    image = axes.imshow(with_means, aspect="auto", cmap=colours, interpolation="nearest")
    for (row, column), value in np.ndenumerate(with_means):
        text = "–" if np.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"
        _number(axes, column, row, text, image=image, value=value)
    for row, column in np.argwhere(np.asarray(framed, dtype=bool)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
    axes.axvline(len(columns) - 0.5, color="white", linewidth=5)
    _name_axes(axes, rows, [*columns, "mean"])
    colour_bar(axes, image, label)
    return figure


def p_map(p: Floats, algorithms: Sequence[str], *, alpha: float) -> Figure:
    """Row against column: the darker the smaller p. Significant ones carry their number."""
    count = len(algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.2, each=0.3))
    shown = np.log10(np.clip(p, SMALLEST_P, 1.0))
    image = axes.imshow(
        np.ma.masked_invalid(shown), cmap="Blues_r", interpolation="nearest", vmin=np.log10(SMALLEST_P), vmax=0.0
    )
    if count <= 20:
        for (row, column), value in np.ndenumerate(p):
            if value <= alpha:
                text = f"{value:.1g}" if value >= SMALLEST_P else "<1e-4"
                text = text.lstrip("0") if value >= 0.001 else text
                _number(axes, column, row, text, image=image, value=float(shown[row, column]), size=7)
    for (row, column), value in np.ndenumerate(p):
        if value <= alpha:
            axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=INK, linewidth=0.8))
    _name_axes(axes, algorithms, short(algorithms, longest=16))
    axes.set_ylabel("better …")
    axes.set_xlabel("… than")
    colour_bar(axes, image, "adjusted p", ticks=[0, -1, -2, -3, -4], names=["1", "0.1", "0.01", "0.001", "≤ 1e-4"])
    return figure


def dumbbells(algorithms: Sequence[str], values: Mapping[str, Floats], *, label: str) -> Figure:
    """One line per algorithm from group to group: how far it falls from one to the other."""
    figure, axes = new_figure(height=row_height(len(algorithms), least=2.2, each=0.22))
    stacked = np.stack(list(values.values()))
    axes.hlines(range(len(algorithms)), np.nanmin(stacked, axis=0), np.nanmax(stacked, axis=0), color=LINE, linewidth=3)
    for number, (group, row) in enumerate(zip(short(list(values)), values.values(), strict=True)):
        look = stroke(number)
        axes.scatter(row, range(len(algorithms)), s=40, color=look.colour, marker=look.marker, label=group, zorder=3)
    axes.set_yticks(range(len(algorithms)), short(algorithms))
    axes.set_ylim(len(algorithms) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns_for(short(list(values))), fontsize="small")
    return figure


def round_curves(values: Floats, algorithms: Sequence[str], *, label: str) -> Figure:
    """Algorithm × round: one curve each."""
    figure, axes = new_figure(height=3.6)
    for index, row in enumerate(values):
        look = stroke(index)
        axes.plot(
            range(len(row)),
            row,
            marker=look.marker,
            linestyle=look.line,
            markersize=4,
            linewidth=1.6,
            color=look.colour,
        )
    axes.set_xticks(range(values.shape[1]))
    axes.set_xlabel("interactions")
    axes.set_ylabel(label)
    legend(axes, algorithms)
    return figure


def froc_curves(values: Floats, algorithms: Sequence[str], *, rates: Sequence[float]) -> Figure:
    """Algorithm × rate of false answers: one curve each, over rates that double."""
    figure, axes = new_figure(height=3.8)
    for index, row in enumerate(values):
        look = stroke(index)
        axes.plot(rates, row, marker=look.marker, linestyle=look.line, markersize=4, linewidth=1.6, color=look.colour)
    axes.set_xscale("log", base=2)
    axes.set_xticks(rates, [f"1/{1 / rate:.0f}" if rate < 1 else f"{rate:g}" for rate in rates])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("false answers per case")
    axes.set_ylabel("sensitivity")
    legend(axes, algorithms)
    return figure


def _name_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), short(rows))
    labels = list(columns) if any("\n" in name for name in columns) else list(short(columns, longest=20))
    axes.set_xticks(range(len(columns)), labels)
    if sum(len(label) for label in labels) > LONGEST_LINE:
        is_dense = len(labels) > 20
        axes.tick_params(axis="x", rotation=90 if is_dense else 55, labelsize=7 if is_dense else 9)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("center" if is_dense else "right")
    axes.grid(visible=False)


def _number(axes: Axes, x: int, y: int, text: str, *, image: AxesImage, value: float, size: int = 8) -> None:
    shade = INK if np.isnan(value) else readable_on(image, value)
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=shade, in_layout=False)
