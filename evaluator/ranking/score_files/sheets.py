"""Files as sheets of text cells: CSV (also gzipped), spreadsheets, Parquet, JSON records. Nothing here knows what a column means."""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluator.ranking.errors import TableError
from evaluator.ranking.score_files.plain_columns import plain_columns
from evaluator.ranking.score_files.workbook import NoWorkbook, first_sheet

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".json", ".json.gz", ".xlsx", ".parquet")
"""What a file of scores may be called. The longer ending counts."""
_SEPARATORS = ",;\t"


class ScoresError(TableError):
    """A score file cannot be read. The message starts with file, line and column."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sheet:
    """Columns of text cells under a header. `unit` is what a row is called in a message (`line`, `record`).

    `text` is the CSV it was read from: the line of a row is looked up only where a message needs it.
    `has_counter`: a first column without a name, which counted the rows, is not among the columns.
    """

    name: str
    header: tuple[str, ...]
    columns: tuple[Sequence[str], ...]
    separator: str = ","
    unit: str = "line"
    first: int = 2
    text: str = field(default="", repr=False)
    has_counter: bool = False

    @property
    def row_count(self) -> int:
        """How many rows stand under the header."""
        return len(self.columns[0]) if self.columns else 0

    def column(self, name: str) -> Sequence[str]:
        """The cells under `name`."""
        return self.columns[self.header.index(name)]

    def place(self, row: int) -> int:
        """The line (or number of the record) that a row stands on."""
        if not self.text:
            return row + self.first
        records = (line for line, cells in numbered_records(self.name, self.text, self.separator) if _is_row(cells))
        next(records)  # the header
        return next(line for index, line in enumerate(records) if index == row)

    def error(self, row: int, column: str, *, found: str, expected: str) -> ScoresError:
        """An error at a cell."""
        return ScoresError(
            f"{self.name}, {self.unit} {self.place(row)}, column {column}: found {found}; expected {expected}"
        )


def read_sheet(path: Path) -> Sheet:
    """A CSV, spreadsheet, Parquet or JSON file of records. Raises `ScoresError`."""
    name = path.name.lower()
    if name.endswith(".xlsx"):
        return _spreadsheet(path)
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith((".json", ".json.gz")):
        return sheet_of_records(path.name, read_json(path))
    return _csv(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `ScoresError`."""
    text = _text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ScoresError(f"{path.name}: found what is no JSON ({error}); expected JSON") from error


def sheet_of_records(name: str, document: Any) -> Sheet:
    """A list of flat mappings as a sheet. Raises `ScoresError`."""
    records = document
    if not (isinstance(records, list) and records and all(isinstance(record, Mapping) for record in records)):
        raise ScoresError(
            f"{name}: found no scores that we know; expected a list of records ({{algorithm, case, …}}), an nnU-Net "
            "summary.json, or an export of grand-challenge or CodaBench"
        )
    header = tuple(dict.fromkeys(str(key) for record in records for key in record))
    columns = tuple([_cell(record.get(key)) for record in records] for key in header)
    return Sheet(name=name, header=header, columns=columns, unit="record", first=1)


def numbered_records(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each CSV record with the line it starts on. Raises `ScoresError`."""
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = cells.line_num + 1
        try:
            yield line, next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            raise ScoresError(
                f"{name}, line {line}: found what is no CSV ({error}); expected cells separated by {separator!r}, and a "
                "closing quote for every opening one"
            ) from error


def _csv(path: Path) -> Sheet:
    text = _text(path)
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    plain = plain_columns(text.encode(), separator)
    if plain is not None:
        return Sheet(name=path.name, header=plain[0], columns=plain[1], separator=separator, text=text)
    cells: list[str] = []  # one flat list: Python would look for cycles among as many lists as there are rows
    header: tuple[str, ...] = ()
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            if not _is_row(row):
                continue
            if not header:
                header = tuple(name.strip() for name in row)
            elif len(row) != len(header):
                raise _other_width(path.name, text, separator, width=len(header))
            else:
                cells += row
    except csv.Error:
        for _ in numbered_records(path.name, text, separator):  # raises, with the line
            pass
        raise
    columns = tuple(cells[place :: len(header)] for place in range(len(header)))
    has_counter = _is_counter(header, columns)
    if has_counter:
        header, columns = header[1:], columns[1:]
    if "" in header:
        raise ScoresError(
            f"{path.name}, line 1, column {header.index('') + 1}: found no name; expected a name for every column (pandas "
            "writes its index without one: to_csv(index=False))"
        )
    return Sheet(
        name=path.name, header=header, columns=columns, separator=separator, text=text, has_counter=has_counter
    )


def _is_counter(header: tuple[str, ...], columns: tuple[list[str], ...]) -> bool:
    """Whether the first column has no name and counts rows from 0 or 1, as pandas and R write it. It may begin again."""
    if not header or header[0] or not columns[0] or columns[0][0].strip() not in ("0", "1"):
        return False
    first = expected = int(columns[0][0])
    for cell in columns[0]:
        expected = first if cell.strip() == str(first) else expected
        if cell.strip() != str(expected):
            return False
        expected += 1
    return True


def _other_width(name: str, text: str, separator: str, *, width: int) -> ScoresError:
    line, row = next(
        (line, row) for line, row in numbered_records(name, text, separator) if _is_row(row) and len(row) != width
    )
    return ScoresError(f"{name}, line {line}: found {len(row)} cells; expected {width}, one per column")


def _is_row(cells: Sequence[str]) -> bool:
    return bool(cells) and bool(cells[0].strip() or any(cell.strip() for cell in cells))


def _text(path: Path) -> str:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
    except (gzip.BadGzipFile, EOFError) as error:
        raise ScoresError(
            f"{path.name}: found no whole gzip file ({error}); expected one, or another ending"
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ScoresError(
            f"{path.name}, line {line}: found the byte 0x{raw[error.start]:02x}; expected UTF-8 (a spreadsheet writes it "
            "as “CSV UTF-8”)"
        ) from error


def _spreadsheet(path: Path) -> Sheet:
    """The first sheet of an Excel file."""
    try:
        rows = first_sheet(path)
    except NoWorkbook as error:
        raise ScoresError(f"{path.name}: found no Excel sheet in it ({error}); expected an .xlsx file") from error
    width = max(map(len, rows), default=0)
    return _sheet_of_rows(path.name, [[*row, *[""] * (width - len(row))] for row in rows])


def _parquet(path: Path) -> Sheet:
    """A Parquet file. pyarrow is no requirement of Assay: those who have such files install it (`pip install pyarrow`)."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ScoresError(f"{path.name}: found no pyarrow to read it with; expected it: pip install pyarrow") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except ValueError as error:  # pyarrow's errors of content
        raise ScoresError(f"{path.name}: found no Parquet table in it ({error}); expected one") from error
    columns = tuple([_cell(value) for value in column.to_pylist()] for column in table.columns)
    return Sheet(name=path.name, header=tuple(table.column_names), columns=columns, unit="row", first=1)


def _sheet_of_rows(name: str, rows: Sequence[Sequence[str]]) -> Sheet:
    kept = [row for row in rows if _is_row(row)]
    header = tuple(cell.strip() for cell in kept[0]) if kept else ()
    while header and not header[-1] and not any(row[len(header) - 1] for row in kept):
        header = header[:-1]
    columns = tuple([row[place] for row in kept[1:]] for place in range(len(header)))
    has_counter = _is_counter(header, columns)
    if has_counter:
        header, columns = header[1:], columns[1:]
    if "" in header:
        raise ScoresError(
            f"{name}, row 1, column {header.index('') + 1}: found no name; expected a name for every column"
        )
    return Sheet(name=name, header=header, columns=columns, unit="row", has_counter=has_counter)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
