"""The first sheet of an Excel file (.xlsx) as rows of texts: a zip of XML, read with limits and without another package.

A cell is what Excel shows of a value without its format: a shared or inline text, a number, TRUE or FALSE. A formula counts with the
value it had when the file was saved. Dates are the numbers Excel keeps.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.parsers.expat import ExpatError, ParserCreate

MOST_BYTES = 512 * 2**20
"""Of one part, unpacked. A sheet of a million scores has about a hundred megabytes."""
MOST_COLUMNS = 16_384  # as many as Excel allows
_PORTION = 2**20
_PLACE = re.compile(r"([A-Z]{1,3})\d+")


class NoWorkbook(ValueError):
    """The file is no Excel file, or one beyond the limits. The message says what was found."""


def first_sheet(path: Path) -> list[list[str]]:
    """Its rows, each as long as its last cell. Raises `NoWorkbook`."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = list(_texts(archive)) if "xl/sharedStrings.xml" in archive.namelist() else []
            return list(_rows(archive, _sheet_name(archive), texts))
    except (zipfile.BadZipFile, KeyError, ExpatError, NotImplementedError, RuntimeError, OSError) as error:
        raise NoWorkbook(str(error)) from error


class _Events:
    """Elements of one part as they end: name, attributes and text. Names without their namespace."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, dict[str, str], str]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > 64:
            raise NoWorkbook("elements within elements, more than 64 deep")
        self._open.append((name.rpartition("}")[2], attributes, []))

    def text(self, text: str) -> None:
        if self._open:
            self._open[-1][2].append(text)

    def end(self, _: str) -> None:
        name, attributes, texts = self._open.pop()
        self.ended.append((name, attributes, "".join(texts)))

    def refuse(self, *_: object) -> None:
        raise NoWorkbook("a document type, which no spreadsheet program writes")


def _elements(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[str, dict[str, str], str]]:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise NoWorkbook(f"{name} with more than {MOST_BYTES} bytes")
    events = _Events()
    parser = ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = events.start, events.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = events.text, events.refuse
    read = 0
    with archive.open(name) as part:
        while portion := part.read(_PORTION):
            read += len(portion)
            if read > MOST_BYTES:
                raise NoWorkbook(f"{name} with more than {MOST_BYTES} bytes")
            parser.Parse(portion)
            yield from events.ended
            events.ended.clear()
    parser.Parse(b"", True)
    yield from events.ended


def _sheet_name(archive: zipfile.ZipFile) -> str:
    """Which part holds the first sheet."""
    ids = [
        next((text for key, text in attributes.items() if key == "id" or key.endswith("}id")), "")
        for name, attributes, _ in _elements(archive, "xl/workbook.xml")
        if name == "sheet"
    ]
    targets = {
        attributes.get("Id", ""): attributes.get("Target", "")
        for name, attributes, _ in _elements(archive, "xl/_rels/workbook.xml.rels")
        if name == "Relationship"
    }
    if not ids or not targets.get(ids[0]):
        raise NoWorkbook("no sheet in it")
    target = targets[ids[0]]
    return target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl") / target)


def _texts(archive: zipfile.ZipFile) -> Iterator[str]:
    """Shared texts in order. A text may be in pieces of several fonts; how it is pronounced is no part of it."""
    pieces: list[str] = []
    for name, _, text in _elements(archive, "xl/sharedStrings.xml"):
        if name == "t":
            pieces.append(text)
        elif name == "rPh":
            pieces.pop()
        elif name == "si":
            yield "".join(pieces)
            pieces.clear()


def _rows(archive: zipfile.ZipFile, sheet: str, shared: list[str]) -> Iterator[list[str]]:
    row: list[str] = []
    value = ""
    for name, attributes, text in _elements(archive, sheet):
        if name in ("v", "t"):
            value = value + text if name == "t" else text
        elif name == "c":
            place = _column(attributes.get("r", ""), len(row))
            row.extend([""] * (place - len(row)))
            row.append(_shown(value, attributes.get("t", "n"), shared))
            value = ""
        elif name == "row":
            yield row
            row = []


def _column(reference: str, following: int) -> int:
    """The column of `B7` is 1. A cell without a reference follows the one before it."""
    found = _PLACE.fullmatch(reference)
    if found is None:
        return following
    number = 0
    for letter in found[1]:
        number = 26 * number + ord(letter) - ord("A") + 1
    if number > MOST_COLUMNS or number - 1 < following:
        raise NoWorkbook(f"a cell {reference} where it cannot be")
    return number - 1


def _shown(value: str, kind: str, shared: list[str]) -> str:
    if kind == "s":
        index = int(value) if value.isdecimal() else -1
        if not 0 <= index < len(shared):
            raise NoWorkbook(f"a text numbered {value!r} of {len(shared)}")
        return shared[index]
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(value, value)
    return value
