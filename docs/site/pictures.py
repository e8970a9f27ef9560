"""Pictures of metrics as SVG: two masks on a grid, a curve, a row of answers. Colours of Okabe and Ito, readable by everybody.

The numbers in a picture are computed by the evaluator when the page is built.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
REFERENCE, PREDICTION = "#0072b2", "#e69f00"
CELL, GAP, TEXT = 18, 28, 20


def boxes(
    shape: tuple[int, int], *filled: tuple[int, int, int, int], emptied: Sequence[tuple[int, int, int, int]] = ()
) -> Mask:
    """A mask of boxes, each `(first row, row after the last, first column, column after the last)`. Then others are cut out."""
    mask = np.zeros(shape, np.uint8)
    for top, bottom, left, right in filled:
        mask[top:bottom, left:right] = 1
    for top, bottom, left, right in emptied:
        mask[top:bottom, left:right] = 0
    return mask


def panels(scenes: Sequence[tuple[str, Mask, Mask, str]], *, label: str) -> str:
    """Scenes side by side: title, reference (filled), prediction (outlined), and the value below."""
    height, width = scenes[0][1].shape
    step = width * CELL + GAP
    total_width, total_height = len(scenes) * step - GAP + 2, height * CELL + 2 * TEXT + 8
    parts = [_panel(scene, x=number * step + 1, y=TEXT) for number, scene in enumerate(scenes)]
    return _svg(total_width, total_height, "".join(parts), label=label)


def _panel(scene: tuple[str, Mask, Mask, str], *, x: int, y: int) -> str:
    title, reference, prediction, value = scene
    height, width = reference.shape
    parts = [_text(x, y - 6, title)]
    parts += [_cell(x, y, row, column, REFERENCE) for row, column in np.argwhere(reference)]
    parts.append(
        f'<path d="{_outline(prediction, x, y)}" fill="none" stroke="{PREDICTION}" stroke-width="3" stroke-linejoin="round"/>'
    )
    parts.append(
        f'<rect x="{x}" y="{y}" width="{width * CELL}" height="{height * CELL}" fill="none" stroke="currentColor" opacity=".3"/>'
    )
    parts.append(_text(x, y + height * CELL + 16, value, weight=600))
    return "".join(parts)


def _cell(x: int, y: int, row: int, column: int, colour: str) -> str:
    place = f'x="{x + column * CELL}" y="{y + row * CELL}" width="{CELL}" height="{CELL}"'
    return f'<rect {place} fill="{colour}" fill-opacity=".55"/>'


def _outline(mask: Mask, x: int, y: int) -> str:
    """The border between inside and outside as short lines."""
    padded = np.pad(mask, 1)
    lines = []
    for row, column in np.argwhere(mask):
        left, top = x + column * CELL, y + row * CELL
        right, bottom = left + CELL, top + CELL
        edges = {
            (0, 1): f"M{left} {top}H{right}", (2, 1): f"M{left} {bottom}H{right}",
            (1, 0): f"M{left} {top}V{bottom}", (1, 2): f"M{right} {top}V{bottom}",
        }  # fmt: skip
        lines += [line for (down, over), line in edges.items() if not padded[row + down, column + over]]
    return "".join(lines)


def curve(values: Sequence[float], *, floor: float, label: str, marks: Sequence[tuple[float, str]], axis: str) -> str:
    """A curve over time, the area above `floor` filled, and horizontal lines with their names."""
    width, height, left, top = 420, 150, 46, 12
    highest = max(values) * 1.1
    xs = [left + width * number / (len(values) - 1) for number in range(len(values))]

    def at(value: float) -> float:
        return top + height * (1 - value / highest)

    points = " ".join(f"{x:.1f},{at(value):.1f}" for x, value in zip(xs, values, strict=True))
    capped = " ".join(f"{x:.1f},{at(max(value, floor)):.1f}" for x, value in zip(xs, values, strict=True))
    parts = [
        f'<polygon points="{left},{at(floor):.1f} {capped} {left + width},{at(floor):.1f}" fill="{REFERENCE}" fill-opacity=".35"/>',
        f'<polyline points="{points}" fill="none" stroke="{REFERENCE}" stroke-width="2.5"/>',
        f'<path d="M{left} {top}V{top + height}H{left + width}" fill="none" stroke="currentColor" opacity=".5"/>',
        _text(left, top + height + 18, axis),
    ]
    for value, name in marks:
        parts.append(
            f'<path d="M{left} {at(value):.1f}H{left + width}" stroke="{PREDICTION}" stroke-width="2" stroke-dasharray="6 4"/>'
        )
        parts.append(_text(left + width + 6, at(value) + 4, name))
    return _svg(left + width + 150, top + height + 26, "".join(parts), label=label)


def rows(header: Sequence[str], lines: Sequence[Sequence[str]], *, label: str) -> str:
    """A small table. A cell that begins with ✓ or ✗ is coloured."""
    wide, high = 130, 26
    parts = [_text(number * wide + 4, 18, name, weight=600) for number, name in enumerate(header)]
    for down, line in enumerate(lines, start=1):
        parts.append(f'<path d="M0 {down * high}H{wide * len(header)}" stroke="currentColor" opacity=".25"/>')
        for number, cell in enumerate(line):
            colour = {"✓": "#009e73", "✗": "#d55e00"}.get(cell[:1], "currentColor")
            parts.append(_text(number * wide + 4, down * high + 18, cell, colour=colour))
    return _svg(wide * len(header), high * (len(lines) + 1), "".join(parts), label=label)


def _text(x: float, y: float, words: str, *, weight: int = 400, colour: str = "currentColor") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" font-weight="{weight}" fill="{colour}" '
        f'font-family="system-ui, sans-serif">{escape(words)}</text>'
    )


def _svg(width: float, height: float, inside: str, *, label: str) -> str:
    return (
        f'<div class="picture"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(label)}">{inside}</svg></div>'
    )
