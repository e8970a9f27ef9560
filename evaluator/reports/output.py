"""Figures as text and bytes: laid out once, as SVG for a page and a file, as PNG and as PDF. The same figure gives the same bytes.

A report holds dozens of figures. What takes most of matplotlib's time is therefore done more cheaply: one measurement of the labels lays a
usual figure out, and pictures inside SVG are written once, with a palette.
"""

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from PIL import Image

from evaluator.reports.theme import BLUE, INK, LINE

_PAD = 3.5
"""Points around a figure and between its panels."""
_START = (0.25, 0.2, 0.7, 0.7)
"""Left, bottom, width and height of axes whose labels are not measured yet, in shares of the figure."""
_COMPRESSION = 3
"""Of PNG files. The usual 6 takes twice as long for files a tenth smaller."""
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r' width="[^"]*pt" height="[^"]*pt"')


def settle(figure: Figure) -> None:
    """Lay the figure out, once. Every later drawing takes it as it is, for laying out costs more than drawing."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    is_a_column = not figure.legends and all(_row(axes) is not None for axes in figure.axes)
    if is_a_column:
        _fit(figure, figure.axes)
    else:
        engine.execute(figure)
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)


def _row(axes: Axes) -> int | None:
    """In which row of a figure of one column the axes stand. None in other figures."""
    spec = axes.get_subplotspec()
    return spec.rowspan.start if spec is not None and spec.get_gridspec().ncols == 1 else None


def _fit(figure: Figure, panels: Sequence[Axes]) -> None:
    """Panels one above the other, as large as their labels leave them. A legend hangs on the axes, so it is measured twice."""
    dpi, figure.dpi = figure.dpi, 72  # as the SVG is drawn: the sizes of letters are measured once for both
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's
    width, height = figure.bbox.width, figure.bbox.height
    first = panels[0].get_subplotspec()
    ratios = np.ones(1) if first is None else np.asarray(first.get_gridspec().get_height_ratios(), dtype=np.float64)
    shares = ratios / ratios.sum()
    bottoms = 1 - np.cumsum(shares)
    for axes, share, bottom in zip(panels, shares, bottoms, strict=True):
        left, low, wide, high = _START
        axes.set_position((left, low + bottom * high, wide, share * high))
    for _ in range(2 if any(axes.get_legend() for axes in panels) else 1):
        margins = np.array([_margins(axes, renderer) for axes in panels]) + _PAD
        left, right = margins[:, 0].max(), margins[:, 1].max()
        free = max(height - margins[:, 2:].sum(), 0.2 * height)
        top = height
        for axes, share, (_, _, below, above) in zip(panels, shares, margins, strict=True):
            top -= above + share * free
            box = (left, top, max(width - left - right, 0.2 * width), share * free)
            axes.set_position(tuple(np.divide(box, (width, height, width, height)).tolist()))
            top -= below
    figure.dpi = dpi


def _margins(axes: Axes, renderer: Any) -> tuple[float, float, float, float]:
    """How far labels stick out of the axes: left, right, below and above, in pixels."""
    hanging = [each for each in (*axes.texts, *axes.child_axes, axes.get_legend()) if each and each.get_in_layout()]
    outer = axes.get_tightbbox(renderer, for_layout_only=True, bbox_extra_artists=hanging)
    inner = axes.bbox
    if outer is None:
        return 0.0, 0.0, 0.0, 0.0
    return (
        max(0.0, inner.x0 - outer.x0),
        max(0.0, outer.x1 - inner.x1),
        max(0.0, inner.y0 - outer.y0),
        max(0.0, outer.y1 - inner.y1),
    )


class _PaletteSVG(RendererSVG):
    """Writes pictures as PNG with a palette, once. They have no clip: a picture ends where its axes end."""

    def draw_image(self, gc: Any, x: float, y: float, im: npt.ArrayLike, transform: Any = None) -> None:
        picture = np.asarray(im, dtype=np.uint8)
        if transform is not None or not picture.size:
            super().draw_image(gc, x, y, im, transform)  # type: ignore[no-untyped-call]  # matplotlib's
            return
        high, wide = (72.0 * length / self.image_dpi for length in picture.shape[:2])
        content = base64.b64encode(with_palette(picture[::-1])).decode("ascii")
        self.writer.element(  # type: ignore[no-untyped-call]  # matplotlib's
            "image",
            x=f"{x:.2f}",
            y=f"{self.height - y - high:.2f}",
            width=f"{wide:.2f}",
            height=f"{high:.2f}",
            attrib={"xlink:href": f"data:image/png;base64,{content}"},
        )


def with_palette(picture: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of RGBA pixels in at most 256 colours. Pictures of dots and maps have few, so nobody sees the difference."""
    flat = np.ascontiguousarray(picture).view("<u4").ravel()
    seen = np.flatnonzero(flat >> 24)
    pixels = flat[seen].astype(np.int64)
    for dropped in range(4, 8):
        bits = 8 - dropped
        keys = np.zeros(len(pixels), dtype=np.int64)
        for channel in range(4):
            keys = keys << bits | (pixels >> (8 * channel + dropped)) & ((1 << bits) - 1)
        last = np.full(1 << 4 * bits, -1, dtype=np.int64)
        last[keys] = np.arange(len(keys))
        used = np.flatnonzero(last >= 0)
        if len(used) < 256:
            break
    places = np.zeros(len(last), dtype=np.uint8)
    places[used] = np.arange(1, len(used) + 1)
    indices = np.zeros(len(flat), dtype=np.uint8)
    indices[seen] = places[keys]
    palette = np.append(0, pixels[last[used]]).astype("<u4").view(np.uint8).reshape(-1, 4)
    image = Image.frombytes("P", (picture.shape[1], picture.shape[0]), indices.tobytes())
    image.putpalette(palette[:, :3].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=palette[:, 3].tobytes())
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an SVG document."""
    buffer = io.StringIO()
    width, height = figure.get_size_inches()
    dpi = figure.dpi
    is_visible = figure.patch.get_visible()
    figure.patch.set_visible(False)
    try:
        figure.dpi = 72
        metadata = {"Date": None, "Creator": None}
        vector = _PaletteSVG(width * 72, height * 72, buffer, image_dpi=dpi, metadata=metadata)  # type: ignore[no-untyped-call]  # matplotlib's
        renderer = MixedModeRenderer(figure, width, height, dpi, vector)  # type: ignore[no-untyped-call]  # matplotlib's
        figure.draw(renderer)  # type: ignore[arg-type] # it stands for either renderer
        renderer.finalize()
    finally:
        figure.dpi = dpi
        figure.patch.set_visible(is_visible)
    return buffer.getvalue()


def inline_svg(text: str, *, label: str) -> str:
    """An SVG document as part of a page: no header, the page's ink, a text for those who do not see it."""
    text = (
        text[text.index("<svg") :]
        .replace(INK, "var(--ink)")
        .replace(LINE, "var(--line)")
        .replace(BLUE.lower(), "var(--blue)")
    )
    head = f'<svg role="img" aria-label="{_escaped(label)}"'
    text = _SIZE.sub("", _METADATA.sub("", text), count=1)
    return text.replace("<svg", head, 1)


def png(figure: Figure) -> bytes:
    """The figure as a PNG on white."""
    buffer = io.BytesIO()
    alpha = figure.patch.get_alpha()
    figure.patch.set_alpha(1)
    try:
        figure.savefig(
            buffer,
            format="png",
            dpi=200,
            facecolor="white",
            metadata={"Software": None},
            pil_kwargs={"compress_level": _COMPRESSION},
        )
    finally:
        figure.patch.set_alpha(alpha)
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF, its letters as letters."""
    buffer = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return buffer.getvalue()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
