"""The pictures of comparisons and curves. Co-ordinates are percent of the picture, y downwards, so that no picture knows its size."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from assay.pages import svg
from assay.pages.templatetags.assay import score, signed

ROOM = "-14 -4 122 118"
"""The frame from (0, 0) to (100, 100), with room for the numbers below and the words at the left."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mark, the colour of the better one (`a`, `b`, `c` or `even`), and what it says when it is pointed at."""

    x: float
    y: float
    tone: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line: where it is, what it is worth, how it is drawn (`even`, `mean` or `limit`)."""

    y: float
    value: float
    tone: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through one value per step, `None` where there is none. Its points say `words` and the value."""

    words: str
    values: tuple[float | None, ...]
    tone: str


def scatter_plot(
    *, words: str, points: Sequence[Point], ends: tuple[float, float], axes: tuple[str, str]
) -> SafeString:
    """A dot per case on two equal axes, with the line on which both are equal."""
    equal = svg.element("line", x1=0, y1=100, x2=100, y2=0, class_="even")
    return _framed(equal, *_dots(points), words=words, ends=ends, axes=axes)


def agreement_plot(
    *, words: str, points: Sequence[Point], levels: Sequence[Level], ends: tuple[float, float], axes: tuple[str, str]
) -> SafeString:
    """Bland and Altman: a dot per case, and a line per level with its value."""
    lines = [svg.element("line", x1=0, y1=level.y, x2=100, y2=level.y, class_=level.tone) for level in levels]
    values = [
        svg.element("text", signed(level.value), x=99, y=level.y, dy=-1.2, text_anchor="end")
        for level in levels
        if level.tone != "even"
    ]
    return _framed(*lines, *values, *_dots(points), words=words, ends=ends, axes=axes)


def curve_plot(*, words: str, lines: Sequence[Line], steps: Sequence[str], axes: tuple[str, str]) -> SafeString:
    """A line per row over steps that stand evenly, from 0 to 1 upwards. Each point says its value."""
    across = [100 * place / max(1, len(steps) - 1) for place in range(len(steps))]
    grid = [svg.element("line", x1=0, y1=y, x2=100, y2=y, class_="grid") for y in (20, 40, 60, 80)]
    marks = [svg.element("text", text, x=x, y=106, text_anchor="middle") for x, text in zip(across, steps, strict=True)]
    marks += [
        svg.element("text", f"{1 - y / 100:g}", x=-2, y=y + 1.5, text_anchor="end") for y in (0, 20, 40, 60, 80, 100)
    ]
    drawn: list[SafeString] = []
    for line in reversed(lines):  # the best on top
        places = [
            (x, 100 - 100 * value, value) for x, value in zip(across, line.values, strict=True) if value is not None
        ]
        path = " ".join(f"{x:g},{y:g}" for x, y, _ in places)
        drawn.append(svg.element("polyline", points=path, class_=f"curve {line.tone}"))
        drawn += [
            svg.named("circle", words=f"{line.words}: {score(value)}", cx=x, cy=y, r=1.2, class_=f"dot {line.tone}")
            for x, y, value in places
        ]
    return svg.picture(
        *grid,
        svg.element("rect", x=0, y=0, width=100, height=100, class_="frame"),
        *drawn,
        *marks,
        svg.element("text", axes[0], x=50, y=113, text_anchor="middle"),
        svg.element("text", axes[1], x=-11, y=50, text_anchor="middle", transform="rotate(-90 -11 50)"),
        words=words,
        viewBox="-16 -4 124 120",
    )


def curve_key(tone: str) -> SafeString:
    """A piece of a line, as a legend shows it beside a name."""
    return svg.decoration(
        svg.element("polyline", points="0,3 18,3", class_=f"curve {tone}"), viewBox="0 0 18 6", class_="key"
    )


def track(points: Sequence[Point]) -> SafeString:
    """One dot per row on one line, and a bar from the least to the largest. The values stand beside it as numbers."""
    places = [point.x for point in points]
    bar = svg.element(
        "line",
        x1=f"{min(places, default=0):g}%",
        x2=f"{max(places, default=0):g}%",
        y1="50%",
        y2="50%",
        class_="bar",
    )
    dots = [
        svg.named("circle", words=point.words, cx=f"{point.x:g}%", cy=f"{point.y:g}%", r=5, class_=point.tone)
        for point in points
    ]
    return svg.decoration(bar, *dots, class_="track")


def _dots(points: Sequence[Point]) -> list[SafeString]:
    return [
        svg.named("circle", words=point.words, cx=point.x, cy=point.y, r=1.5, class_=point.tone) for point in points
    ]


def _framed(*parts: SafeString, words: str, ends: tuple[float, float], axes: tuple[str, str]) -> SafeString:
    """The parts in a frame: the ends of the horizontal axis, and what both axes show."""
    (low, high), (across, upwards) = ends, axes
    return svg.picture(
        svg.element("rect", x=0, y=0, width=100, height=100, class_="frame"),
        *parts,
        svg.element("text", score(low), x=0, y=106),
        svg.element("text", score(high), x=100, y=106, text_anchor="end"),
        svg.element("text", across, x=50, y=112, text_anchor="middle"),
        svg.element("text", upwards, x=-4, y=50, text_anchor="middle", transform="rotate(-90 -4 50)"),
        words=words,
        viewBox=ROOM,
    )
