"""Tables as files: the strict, bounded reader for what a container or a stranger wrote, and our own way of writing one.

A table is comma- or tab-separated text in UTF-8 (the file's name says which) with a header, a column `case` and one row per
case. An untrusted table is read in the same limited process as volumes (`table_child`), which writes it again: only the columns
the protocol names, only the cases that were asked for, each under the name we know it by, in our order. Nothing is evaluated
or guessed: cells stay text until the scorer asks one of them for a number.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from evaluator.documents import DocumentError, read_json
from evaluator.errors import Reason
from evaluator.volumes.canonical import CanonicalFile, describe
from evaluator.volumes.conversion import ChildLimits, convert_in_child
from evaluator.volumes.findings import (
    Cells,
    answer_text,
    is_row_per_finding,
    parse_answer,
    rows_of_document,
    rows_of_list,
)
from evaluator.volumes.header import refuse
from evaluator.volumes.strict import ReaderLimits, open_untrusted

CASE_COLUMN = "case"
MAX_TABLE_BYTES = 64 << 20
MAX_DOCUMENT_BYTES = 4 << 20
DOCUMENT_SUFFIX = ".json"
MAX_COLUMNS = 512
MAX_CELL_CHARACTERS = 100_000
"""A text, or `MOST_FINDINGS` boxes in three dimensions with every digit of a double."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHILD_LIMITS = ChildLimits(
    wall_seconds=600, cpu_seconds=60, memory_bytes=2 << 30, output_bytes=MAX_TABLE_BYTES, file_bytes=MAX_TABLE_BYTES
)


@dataclass(frozen=True, kw_only=True)
class TableForm:
    """What a table has to look like: its columns besides `case`, and what separates them."""

    columns: tuple[str, ...]
    delimiter: str = ","
    cells: str = Cells.TEXT
    """What a cell holds. Findings may also come in a row each, or in a JSON document of the only case."""
    is_document: bool = False


@dataclass(frozen=True)
class TableRow:
    """One line of a table by column."""

    cells: Mapping[str, str]


def delimiter_of(file_name: str) -> str:
    """A tab for `.tsv`, else a comma."""
    return "\t" if PurePosixPath(file_name).suffix.lower() == ".tsv" else ","


def parse_table(content: bytes, *, delimiter: str) -> dict[str, TableRow]:
    """The rows of a table by case. InvalidVolume with `table_invalid`, `table_columns` or `table_rows` when it is none."""
    lines = _lines(content, delimiter=delimiter)
    header = [cell.strip() for cell in lines[0]] if lines else []
    if CASE_COLUMN not in header or len(set(header)) != len(header) or len(header) > MAX_COLUMNS:
        raise refuse(
            Reason.TABLE_COLUMNS,
            found=f"columns {', '.join(header[:20]) or 'without a name'}"[:200],
            expected=f"a first line of at most {MAX_COLUMNS} different columns, `{CASE_COLUMN}` among them",
        )
    rows: dict[str, TableRow] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = dict(zip(header, line, strict=False))
        cells[CASE_COLUMN] = cells.get(CASE_COLUMN, "").strip()
        if len(line) != len(header) or cells[CASE_COLUMN] in rows or max(map(len, line)) > MAX_CELL_CHARACTERS:
            expected = f"as many cells as columns, each case once, at most {MAX_CELL_CHARACTERS} characters in a cell"
            raise refuse(Reason.TABLE_ROWS, found=_odd_line(number, line, header, rows), expected=expected)
        rows[cells[CASE_COLUMN]] = TableRow(cells)
    return rows


def _lines(content: bytes, *, delimiter: str) -> list[list[str]]:
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        expected = f"text in UTF-8, separated by {'tabs' if delimiter == chr(9) else 'commas'}"
        raise refuse(Reason.TABLE_INVALID, found=problem, expected=expected) from None


def rows_in_form(content: bytes, *, form: TableForm, names: Iterable[str]) -> dict[str, TableRow]:
    """The rows of a table, whichever of its forms the content has. `names`: what its cases may be called.

    InvalidVolume says what is wrong. Every cell of findings is read, so that what is stored can be scored.
    """
    cells = Cells(form.cells)
    if cells is Cells.TEXT:
        rows = parse_table(content, delimiter=form.delimiter)
        require_columns(rows, form.columns)
        return rows
    if form.is_document:
        found = rows_of_document(_document(content), cells=cells, columns=form.columns)
        return {name: TableRow(found) for name in names}
    lines = _lines(content, delimiter=form.delimiter)
    header = [cell.strip() for cell in lines[0]] if lines else []
    if len(header) <= MAX_COLUMNS and is_row_per_finding(header, columns=form.columns):
        by_case = rows_of_list(header, lines[1:], cells=cells, columns=form.columns)
        nothing = dict.fromkeys(form.columns, "")
        return {name: TableRow(by_case.get(name, nothing)) for name in names}
    rows = parse_table(content, delimiter=form.delimiter)
    require_columns(rows, form.columns)
    return {
        name: TableRow({column: answer_text(parse_answer(row.cells[column], cells=cells)) for column in form.columns})
        for name, row in rows.items()
    }


def _document(content: bytes) -> Any:
    if len(content) > MAX_DOCUMENT_BYTES:
        raise refuse(Reason.TOO_LARGE, found=f"more than {MAX_DOCUMENT_BYTES} bytes", expected="a smaller document")
    try:
        return read_json(content)
    except DocumentError as problem:
        raise refuse(Reason.DOCUMENT_INVALID, found=problem.found, expected=problem.expected) from problem


def _odd_line(number: int, line: Sequence[str], header: Sequence[str], rows: Mapping[str, TableRow]) -> str:
    if len(line) != len(header):
        return f"{len(line)} cells in line {number} under {len(header)} columns"
    case = line[header.index(CASE_COLUMN)].strip()
    return f"the case {case[:80]!r} again in line {number}" if case in rows else f"a cell too long in line {number}"


def require_columns(rows: Mapping[str, TableRow], columns: Sequence[str]) -> None:
    """Every named column is there. Raises InvalidVolume that names those that are not."""
    present = next(iter(rows.values()), TableRow({})).cells
    missing = [column for column in columns if column not in present]
    if rows and missing:
        raise refuse(
            Reason.TABLE_COLUMNS,
            found=f"columns {', '.join(present)}"[:200],
            expected=f"also {', '.join(missing)}"[:400],
        )


def read_table(path: Path) -> dict[str, TableRow]:
    """The rows of a table whose name says how it is separated."""
    with open_untrusted(path, limits=ReaderLimits(file_bytes=MAX_TABLE_BYTES)) as source:
        return parse_table(source.read(), delimiter=delimiter_of(path.name))


def read_answers(path: Path, *, form: TableForm, names: Iterable[str]) -> dict[str, TableRow]:
    """The rows of a table of ours to score in the form that the protocol says, whatever its name ends in."""
    with open_untrusted(path, limits=ReaderLimits(file_bytes=MAX_TABLE_BYTES)) as source:
        return rows_in_form(source.read(), form=replace(form, delimiter=delimiter_of(path.name)), names=names)


def table_text(*, columns: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    """A table our way: its columns, then its rows."""
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return target.getvalue()


def chosen_rows(rows: Mapping[str, TableRow], *, columns: Sequence[str], names: Mapping[str, str]) -> str:
    """The rows of the named cases as our own table. A column the table lacks stays empty."""
    present = ((case_id, rows[name]) for name, case_id in names.items() if name in rows)
    lines = [[case_id, *(row.cells.get(column, "") for column in columns)] for case_id, row in present]
    return table_text(columns=[CASE_COLUMN, *columns], rows=lines)


def canonicalise_json(*, source: Path, destination: Path) -> CanonicalFile:
    """Write the untrusted JSON document `source` again in one form (sorted keys, no spaces), or raise InvalidVolume."""
    with source.open("rb") as file:
        value = _document(file.read(MAX_DOCUMENT_BYTES + 1))
    destination.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")), encoding="utf-8")
    return describe(destination)


def canonicalise_table(
    *, source: Path, destination: Path, form: TableForm, names: Mapping[str, str], limits: ChildLimits = CHILD_LIMITS
) -> CanonicalFile:
    """Write the untrusted table `source` as our own `.csv` of the cases in `names`, or raise InvalidVolume.

    `names` maps what a case is called in the table to what we call it. A case without a row is left out.
    """
    request: dict[str, Any] = {"names": dict(names), **asdict(form), **asdict(limits)}
    convert_in_child(
        "evaluator.volumes.table_child", request=request, source=source, destination=destination, limits=limits
    )
    return describe(destination)
