"""Findings as files: points and boxes in a cell of a table, in a row each, or in a JSON document.

One form is ours: a table with a row per case and a column per label, whose cell lists findings between semicolons.

    case,nodule
    c1,12.5 -30 101.25 0.93; 40 -12.5 88 0.2
    c2,

Each finding has the numbers of its place, then one more: the confidence of an answer (1 if there is none), the diameter of a reference
point. A place is `x y`, `x y z`, or the lower corner of a box and then the upper one, in mm. In a reference a finding that begins
with `!` is ignored: neither has it to be found nor is it false. An empty cell says that there is nothing.

Two more forms are read, and written again as ours. A table with a row per finding has the columns `case` (or `seriesuid`), the axes
`x`, `y`, `z` (or `coordX`, …) or, of boxes, `x_min` … `z_max`, then `probability` (or `confidence`, `score`), and `label` where there are
several. A case without a row has no findings. The JSON document is grand-challenge's: `Multiple points`, `Point`, `Multiple 2D bounding
boxes`, `2D bounding box`, or anything else with `points` or `boxes`. A box is the smallest one around its `corners`. Its `name` is the
label where there are several. Two dimensions of three are the first two.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes.header import refuse

MOST_FINDINGS = 500
"""Of one label in one case. A metric looks at `most_findings` of them."""
MOST_CORNERS = 64
IGNORED_MARK = "!"
CASE_COLUMNS = ("case", "seriesuid")
CONFIDENCE_COLUMNS = ("probability", "confidence", "score")
LABEL_COLUMN = "label"
_AXES = ("x", "y", "z")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Cells(StrEnum):
    """What one cell of a table holds."""

    TEXT = "text"
    POINTS_2D = "points_2d"
    POINTS_3D = "points_3d"
    BOXES_2D = "boxes_2d"
    BOXES_3D = "boxes_3d"

    @property
    def dimensions(self) -> int:
        """Two or three."""
        return 2 if self in (Cells.POINTS_2D, Cells.BOXES_2D) else 3

    @property
    def are_boxes(self) -> bool:
        """Whether a finding is a box."""
        return self in (Cells.BOXES_2D, Cells.BOXES_3D)

    @property
    def place_length(self) -> int:
        """How many numbers say where a finding is."""
        return self.dimensions * (2 if self.are_boxes else 1)

    @property
    def place_words(self) -> str:
        """Those numbers by name."""
        axes = _AXES[: self.dimensions]
        return " ".join(axes if not self.are_boxes else [f"{axis}_{end}" for end in ("min", "max") for axis in axes])


@dataclass(frozen=True)
class Finding:
    """Where it is: a point, or the lower and then the upper corner of a box, in mm."""

    place: tuple[float, ...]
    confidence: float = 1.0
    """Of an answer."""
    diameter: float = 0.0
    """Of a reference point."""
    is_ignored: bool = False
    """Of the reference: neither has it to be found nor is it false to say that it is there."""


Findings = tuple[Finding, ...]


def parse_answer(text: str, *, cells: Cells) -> Findings:
    """The findings of an answer's cell. InvalidVolume with `table_rows` when it is none."""
    return tuple(_answered(_numbers(part), cells=cells) for part in _parts(text))


def parse_reference(text: str, *, cells: Cells) -> Findings:
    """The findings of a reference's cell. InvalidVolume when it is none: who reads a reference says whose fault that is."""
    return tuple(_referred(part, cells=cells) for part in _parts(text))


def answer_text(findings: Sequence[Finding]) -> str:
    """An answer's cell our way: every number reads back as it was."""
    return "; ".join(" ".join(f"{number!r}" for number in (*each.place, each.confidence)) for each in findings)


def as_answer(text: str, *, cells: Cells) -> str:
    """A reference's cell as a perfect answer would have it."""
    return answer_text([each for each in parse_reference(text, cells=cells) if not each.is_ignored])


def rows_of_document(document: Any, *, cells: Cells, columns: Sequence[str]) -> dict[str, str]:
    """Column → cell, of one JSON document as grand-challenge writes it."""
    found: dict[str, list[Finding]] = {column: [] for column in columns}
    for item in _items(document, cells=cells):
        if not isinstance(item, dict):
            raise _no_document(f"{type(item).__name__} as a finding", expected="an object")
        label = _column(item.get("name"), columns=columns)
        found[label].append(_of_item(item, cells=cells))
    return {column: answer_text(_bounded(findings)) for column, findings in found.items()}


def is_row_per_finding(header: Sequence[str], *, columns: Sequence[str]) -> bool:
    """Whether a table has a row per finding and not one per case."""
    return not set(columns) <= set(header) and any(name in header for name in CASE_COLUMNS)


def rows_of_list(
    header: Sequence[str], lines: Sequence[Sequence[str]], *, cells: Cells, columns: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Case → column → cell, of a table with a row per finding. Cases without findings are not in it."""
    place = _place_columns(header, cells=cells)
    confidence = next((header.index(name) for name in CONFIDENCE_COLUMNS if name in header), None)
    case_at = next(header.index(name) for name in CASE_COLUMNS if name in header)
    label_at = header.index(LABEL_COLUMN) if LABEL_COLUMN in header else None
    found: dict[str, dict[str, list[Finding]]] = {}
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise _no_finding(f"{len(line)} cells in line {number}", expected=f"{len(header)}, one per column")
        chosen = [line[at] for at in place] + ([] if confidence is None else [line[confidence]])
        finding = _answered([_number(text.strip(), where=f" in line {number}") for text in chosen], cells=cells)
        label = _column(None if label_at is None else line[label_at].strip(), columns=columns)
        case = found.setdefault(line[case_at].strip(), {column: [] for column in columns})
        case[label].append(finding)
    return {
        case: {column: answer_text(_bounded(findings)) for column, findings in by_column.items()}
        for case, by_column in found.items()
    }


def _place_columns(header: Sequence[str], *, cells: Cells) -> list[int]:
    names = cells.place_words.split()
    published = [f"coord{name.upper()}" for name in names]
    for wanted in (names, published):
        if all(name in header for name in wanted):
            return [header.index(name) for name in wanted]
    raise refuse(
        Reason.TABLE_COLUMNS,
        found=f"columns {', '.join(header)}"[:200],
        expected=f"also {', '.join(names)}, a row per finding; or a column per label, a row per case",
    )


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(";")]
    kept = [part for part in parts if part]
    if len(kept) > MOST_FINDINGS:
        raise _no_finding(f"{len(kept)} findings in a cell", expected=f"at most {MOST_FINDINGS}, the surest ones")
    return kept


def _bounded(findings: list[Finding]) -> list[Finding]:
    if len(findings) > MOST_FINDINGS:
        expected = f"at most {MOST_FINDINGS} of a label in a case, the surest ones"
        raise _no_finding(f"{len(findings)} findings", expected=expected)
    return findings


def _numbers(part: str) -> list[float]:
    return [_number(word) for word in part.split()]


def _number(text: str, *, where: str = "") -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise _no_finding(f"{text[:40]!r}{where}", expected="a plain decimal number")
    return value


def _answered(numbers: Sequence[float], *, cells: Cells) -> Finding:
    length = cells.place_length
    if len(numbers) not in (length, length + 1):
        raise _no_finding(f"{len(numbers)} numbers", expected=f"{cells.place_words} and the confidence")
    confidence = numbers[length] if len(numbers) > length else 1.0
    return Finding(_ordered(numbers[:length], cells=cells), confidence=confidence)


def _referred(part: str, *, cells: Cells) -> Finding:
    numbers = _numbers(part.removeprefix(IGNORED_MARK))
    length = cells.place_length
    most = length if cells.are_boxes else length + 1
    if not length <= len(numbers) <= most:
        more = "" if cells.are_boxes else " and, where a metric needs it, the diameter"
        raise _no_finding(f"{len(numbers)} numbers", expected=f"{cells.place_words}{more}")
    return Finding(
        _ordered(numbers[:length], cells=cells),
        diameter=numbers[length] if len(numbers) > length else 0.0,
        is_ignored=part.startswith(IGNORED_MARK),
    )


def _ordered(place: Sequence[float], *, cells: Cells) -> tuple[float, ...]:
    axes = cells.dimensions
    if cells.are_boxes and any(low > high for low, high in zip(place[:axes], place[axes:], strict=True)):
        shown = " ".join(f"{number:g}" for number in place)
        raise _no_finding(f"the box {shown}", expected=f"{cells.place_words}, no lower corner above the upper one")
    return tuple(place)


def _items(document: Any, *, cells: Cells) -> Iterator[Any]:
    """The findings of a document, one or many."""
    many, one = ("boxes", "corners") if cells.are_boxes else ("points", "point")
    if isinstance(document, dict) and isinstance(document.get(many), list):
        yield from document[many]
    elif isinstance(document, dict) and one in document:
        yield document
    else:
        found = f"keys {', '.join(map(str, document))}"[:200] if isinstance(document, dict) else type(document).__name__
        raise _no_document(found, expected=f"an object with {many!r}, a list, or with {one!r}")


def _of_item(item: Mapping[str, Any], *, cells: Cells) -> Finding:
    key = "corners" if cells.are_boxes else "point"
    corners = item.get(key) if cells.are_boxes else [item.get(key)]
    if not isinstance(corners, list) or not 1 <= len(corners) <= MOST_CORNERS:
        raise _no_document(f"a finding without {key!r}", expected=f"at most {MOST_CORNERS} of them, in mm")
    places = [_coordinates(corner, cells=cells) for corner in corners]
    confidence = item.get("probability")
    confidence = 1.0 if confidence is None else _plain(confidence, what="a probability")
    if not cells.are_boxes:
        return Finding(places[0], confidence=confidence)
    axes = list(zip(*places, strict=True))
    return Finding((*(min(axis) for axis in axes), *(max(axis) for axis in axes)), confidence=confidence)


def _coordinates(place: Any, *, cells: Cells) -> tuple[float, ...]:
    if not isinstance(place, list) or not cells.dimensions <= len(place) <= len(_AXES):
        found = f"{len(place)} numbers as a place" if isinstance(place, list) else f"{type(place).__name__} as a place"
        raise _no_document(found, expected=f"{cells.dimensions} numbers in mm")
    return tuple(_plain(number, what="a coordinate") for number in place[: cells.dimensions])


def _plain(value: Any, *, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise _no_document(f"{str(value)[:40]!r} as {what}", expected="a number")
    return float(value)


def _column(name: Any, *, columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return columns[0]
    if name not in columns:
        raise _no_finding(f"a finding of {str(name)[:80]!r}", expected=f"one of {', '.join(columns)}"[:400])
    return str(name)


def _no_finding(found: str, *, expected: str) -> InvalidVolume:
    return refuse(Reason.TABLE_ROWS, found=found, expected=expected)


def _no_document(found: str, *, expected: str) -> InvalidVolume:
    return refuse(Reason.DOCUMENT_INVALID, found=found, expected=expected)
