"""How figures look: colours everybody can tell apart, text that stays text, and pictures that follow light and dark pages.

Data colours are those of Okabe and Ito. Ink, lines and the main blue are drawn in fixed colours; in a page these become
the page's own (`var(--ink)`, …), in a file of their own they stay as they are on white.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK = "#1f2a37"
LINE = "#d3d9e0"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
)
GREY = "#8a94a0"
DOT = "#3d8fc9"  # dots are drawn as pixels and cannot follow the page: a blue that holds on white and on black
SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
SEQUENTIAL = "cividis"

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "assay",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "figure.dpi": 150,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this; the settings of the process stay as they were."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(*, width: float = 7.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """A transparent figure with one set of axes, sized in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def stacked_figure(*, height: float, ratios: tuple[int, int]) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two sets of axes, one above the other, on the same horizontal scale."""
    figure = Figure(figsize=(7.4, height), layout="constrained")
    figure.patch.set_alpha(0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
    above.patch.set_alpha(0)
    below.patch.set_alpha(0)
    return figure, (above, below)


def row_height(count: int, *, least: float = 2.4, each: float = 0.27) -> float:
    """Inches for a figure with one line per algorithm."""
    return max(least, 1.1 + each * count)


def rank_axis(axes: Axes, count: int) -> None:
    """Ranks upwards, the best on top and always named."""
    step = 1 + (count - 1) // 25
    axes.set_ylim(count + 0.7, 0.3)
    axes.set_yticks(range(1, count + 1, step))
    axes.set_ylabel("rank")


def short(name: str, *, longest: int = 26) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def colour(index: int) -> str:
    """Colours of the first algorithms; the others are grey and told apart by their labels."""
    return SERIES[index] if index < len(SERIES) else GREY


def legend(axes: Axes, algorithms: Sequence[str]) -> None:
    """Names of the algorithms that have a colour of their own, and how many share grey."""
    named = algorithms[: len(SERIES)]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour(index), label=short(name))
        for index, name in enumerate(named)
    ]
    if len(algorithms) > len(named):
        rest = f"{len(algorithms) - len(named)} more, in order"
        handles.append(Line2D([], [], marker="o", linestyle="", color=GREY, label=rest))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, handletextpad=0.1)


def inline_svg(figure: Figure, *, label: str) -> str:
    """The figure as part of a page: no header, the page's ink, a text for those who do not see it."""
    text = svg(figure)
    text = (
        text[text.index("<svg") :]
        .replace(INK, "var(--ink)")
        .replace(LINE, "var(--line)")
        .replace(BLUE.lower(), "var(--blue)")
    )
    head = f'<svg role="img" aria-label="{_escaped(label)}"'
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", text, count=1)
    return text.replace("<svg", head, 1)


def svg(figure: Figure) -> str:
    """The figure as an SVG document; the same figure gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as a PNG on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
