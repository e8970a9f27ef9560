"""How figures look: colours everybody can tell apart, text that stays text, and pictures that follow light and dark pages.

Data colours are those of Okabe and Ito. Ink, lines and the main blue are drawn in fixed colours. In a page these become
the page's own (`var(--ink)`, …), in a file of their own they stay as they are on white.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from evaluator.ranking.short_names import display_width, shorten

INK = "#1f2a37"
LINE = "#d3d9e0"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
)
GREY = "#8a94a0"
DOT = "#3d8fc9"  # dots are drawn as pixels and cannot follow the page: a blue that holds on white and on black
SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
SEQUENTIAL = "cividis"
PANELS_IN_A_ROW = 3
_LEGEND_LETTERS = 96  # across a figure, the handles counted as six
_SHADES = 128
_MEASURED = 4
PAGE_WIDTH = 6.0  # inches of a figure in the page: letters of 9 points are as large as the page's own
_NARROW = 4.5  # inches: a column of a journal, not its page
_GAP = 4.0  # points between axes and names
_FAR = 4.0  # times what nine of ten values stay under

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
    "text.parse_math": False,  # teams may have dollars in their names
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.bottom": False,
    "ytick.left": False,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "figure.dpi": 120,
}


_SIZE: ContextVar[tuple[float, float]] = ContextVar("size", default=(PAGE_WIDTH, 1.0))
"""Width of a figure in inches, and what its height is multiplied by."""


@contextmanager
def style(*, width: float = PAGE_WIDTH, font: str = "DejaVu Sans", points: float = 9.0) -> Iterator[None]:
    """Draw inside this, at a width in inches and in a font. The settings of the process stay as they were.

    Letters the drawing font lacks (Chinese, Japanese …) are written as text all the same, and the reader's browser has them.
    """
    asked: dict[Any, Any] = {
        "font.sans-serif": [font, "DejaVu Sans"],
        "font.size": points,
        "axes.titlesize": points * 10 / 9,
    }
    token = _SIZE.set((width, max(points / 9, 0.6)))
    level = logging.getLogger("matplotlib.font_manager").level
    logging.getLogger("matplotlib.font_manager").setLevel(
        logging.ERROR
    )  # of a font that is not here the command speaks
    try:
        with mpl.rc_context({**_STYLE, **asked}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
            yield
    finally:
        logging.getLogger("matplotlib.font_manager").setLevel(level)
        _SIZE.reset(token)


def new_figure(*, height: float = 3.6, is_square: bool = False) -> tuple[Figure, Axes]:
    """A transparent figure with one set of axes. The height is in inches for a figure of the page's size.

    `is_square`: what is drawn is as high as wide, so in a narrow column the figure becomes nearly as high as wide.
    """
    width, scale = _SIZE.get()
    least = 0.95 * width if is_square and width < _NARROW else 0.0
    figure = Figure(figsize=(width, max(height * scale, least)), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def stacked_figure(*, height: float, ratios: tuple[int, int]) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two sets of axes, one above the other, on the same horizontal scale."""
    width, scale = _SIZE.get()
    figure = Figure(figsize=(width, height * scale), layout="constrained")
    figure.patch.set_alpha(0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
    above.patch.set_alpha(0)
    below.patch.set_alpha(0)
    return figure, (above, below)


def small_multiples(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Panels of the same kind, three in a row, each `height` inches high."""
    rows = -(-count // PANELS_IN_A_ROW)
    width, scale = _SIZE.get()
    figure = Figure(figsize=(width, (0.5 + height * rows) * scale), layout="constrained")
    figure.patch.set_alpha(0)
    panels = [figure.add_subplot(rows, PANELS_IN_A_ROW, place + 1) for place in range(count)]
    for axes in panels:
        axes.patch.set_alpha(0)
    return figure, panels


def row_height(count: int, *, least: float = 2.4, each: float = 0.22) -> float:
    """Inches for a figure with one line per algorithm."""
    return max(least, 0.9 + each * count)


def rank_axis(axes: Axes, count: int) -> None:
    """Ranks upwards, the best on top and always named."""
    step = 1 + (count - 1) // 25
    axes.set_ylim(count + 0.7, 0.3)
    places = range(1, count + 1, step)
    name_rows(axes, [str(place) for place in places], places=places)
    across = axes.get_yaxis_transform(which="grid")
    axes.hlines(places, 0, 1, color=LINE, linewidth=0.6, zorder=0.5, transform=across)
    axes.set_ylabel("rank", labelpad=_GAP + 2 + 0.64 * len(str(count)) * _points())


def name_rows(axes: Axes, names: Sequence[str], *, places: Sequence[int] | None = None) -> None:
    """Names left of the axes, as plain texts: twenty ticks of matplotlib are eighty lines and forty texts."""
    _no_ticks(axes.yaxis)
    at = axes.get_yaxis_transform(which="grid") + _shift(axes, -_GAP, 0)
    longest = _longest(names)
    for index, (place, name) in enumerate(zip(range(len(names)) if places is None else places, names, strict=True)):
        axes.text(0, place, name, transform=at, ha="right", va="center", in_layout=index in longest)


def name_columns(
    axes: Axes, names: Sequence[str], *, places: Sequence[float] | None = None, is_aslant: bool = False
) -> None:
    """Names below the axes."""
    _no_ticks(axes.xaxis)
    at = axes.get_xaxis_transform(which="grid") + _shift(axes, 0, -_GAP)
    measured = {*_longest(names), 0, 1, len(names) - 1}
    turn, side = (50, "right") if is_aslant else (0, "center")
    for index, (place, name) in enumerate(zip(range(len(names)) if places is None else places, names, strict=True)):
        axes.text(place, 0, name, transform=at, ha=side, va="top", rotation=turn, in_layout=index in measured)


def _longest(names: Sequence[str]) -> set[int]:
    """The few names that decide how much room all need: measuring a name costs as much as drawing it."""
    return set(sorted(range(len(names)), key=lambda index: display_width(names[index]))[-_MEASURED:])


def label_below(axes: Axes, text: str) -> None:
    """The label of an axis whose names stand in one line."""
    axes.set_xlabel(text, labelpad=_GAP + 2 + 1.2 * _points())


def _no_ticks(axis: Axis) -> None:
    axis.set_major_locator(NullLocator())
    axis.set_minor_locator(NullLocator())


def _shift(axes: Axes, right: float, up: float) -> ScaledTranslation:
    """A shift in points."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101  # axes of this module belong to one
    return ScaledTranslation(right / 72, up / 72, figure.dpi_scale_trans)


def _points() -> float:
    return float(mpl.rcParams["font.size"])


def short(names: Sequence[str], *, longest: int = 26) -> tuple[str, ...]:
    """Names that fit beside an axis, each told from the others."""
    return shorten(names, longest=longest)


@dataclass(frozen=True)
class Stroke:
    """How one algorithm is drawn: in black and white its line, marker and hatch still tell it from the others."""

    colour: str
    line: Literal["-", "--", ":"] = "-"
    marker: str = "o"
    hatch: str = ""


_ROUNDS: tuple[tuple[Literal["-", "--", ":"], str, str], ...] = (
    ("-", "o", ""),
    ("--", "s", "////"),
    (":", "^", "...."),
)
MOST_NAMED = len(SERIES) * len(_ROUNDS)


def stroke(index: int) -> Stroke:
    """Six colours in three kinds of line. The algorithms after those are grey and told apart by their labels."""
    if index >= MOST_NAMED:
        return Stroke(GREY)
    return Stroke(SERIES[index % len(SERIES)], *_ROUNDS[index // len(SERIES)])


def legend(axes: Axes, algorithms: Sequence[str]) -> None:
    """Names of the algorithms that have a stroke of their own, and how many share grey."""
    entries = [(stroke(index), name) for index, name in enumerate(short(algorithms)[:MOST_NAMED])]
    if len(algorithms) > MOST_NAMED:
        entries.append((stroke(MOST_NAMED), f"{len(algorithms) - MOST_NAMED} more, in order"))
    handles = [
        Line2D([], [], marker=look.marker, linestyle=look.line, color=look.colour, label=name) for look, name in entries
    ]
    columns = columns_for([name for _, name in entries])
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        fontsize="small",
        handletextpad=0.3,
    )


def columns_for(names: Sequence[str]) -> int:
    """In how many columns names stand in a legend without leaving the figure."""
    return max(1, min(4, _LEGEND_LETTERS // (max(map(len, names)) + 6)))


def colour_bar(
    axes: Axes,
    image: AxesImage,
    label: str,
    *,
    ticks: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """What the colours of a map mean: a narrow scale that hangs right of the axes."""
    low, high = (0.0 if end is None else float(end) for end in image.get_clim())
    high = high if high > low else low + 1
    bar = axes.inset_axes((1.02, 0.0, 0.03, 1.0))
    bar.imshow(
        np.linspace(low, high, _SHADES)[:, None], cmap=image.get_cmap(), extent=(0, 1, low, high), origin="lower",
        aspect="auto", interpolation="nearest",
    )  # fmt: skip
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.yaxis.set_label_position("right")
    if ticks is None:
        bar.yaxis.set_major_locator(MaxNLocator(integer=bool(high - low >= 2), nbins=6))
    else:
        bar.set_yticks(ticks, names)
    bar.set_ylabel(label)
    bar.grid(visible=False)
    bar.spines[:].set_visible(False)


def readable_on(image: AxesImage, value: float) -> str:
    """Black or white, whichever stands out more from what the image shows for a value: never less than 4.5 to 1."""
    rgb = np.asarray(image.to_rgba(np.array([value])))[0, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def spread(axes: Axes, values: npt.NDArray[np.float64], *, is_upright: bool = False) -> str:
    """Make room where penalties lie far beyond everything measured: linear up to a round number, logarithmic after it.

    Returns what the label must add. Nothing when the values fit on one scale.
    """
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() < 0:
        return ""
    typical, top = float(np.quantile(finite, 0.9)), float(finite.max())
    if typical <= 0 or top < _FAR * typical:
        return ""
    steps = [factor * 10.0**power for power in range(-6, 12) for factor in (1, 2, 5)]
    knee = next(step for step in steps if step >= typical)
    axis: Axis = axes.yaxis if is_upright else axes.xaxis
    set_scale = axes.set_yscale if is_upright else axes.set_xscale
    set_scale("symlog", linthresh=knee, linscale=2.0)
    ticks = [0, knee / 2, knee, *(step for step in steps if 1.5 * knee < step <= 1.3 * top)]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
    return f"logarithmic beyond {knee:g}"
