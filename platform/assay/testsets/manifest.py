"""`manifest.csv`: which file is what, one row per case. Pure: text in, frozen rows out, every error names its line.

```csv
case_id,site,input:t1,reference
A01,A,images/A01.nii.gz,labels/A01.nii.gz
```

`input:<name>` columns hold the input images, or other files an algorithm is given. An empty cell is a modality this case does not
have. Without such columns the test set serves phases that take predictions. `reference` is one label map, one 4-D mask with a
channel per structure, or a table (`.csv`, `.tsv`) with a row of the case, which all cases may share. `reference:<structure>` columns
hold one mask each. A path may be a folder with one DICOM series. Every other column is an attribute of the case (site, vendor,
age band, …) that results can be broken down by, and that the protocol's input tables tell.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from evaluator.spreadsheets import as_written

FILE_NAME = "manifest.csv"
INPUT_PREFIX = "input:"
REFERENCE = "reference"
REFERENCE_PREFIX = "reference:"
LOOKS_LIKE_OURS = re.compile(r"(input|reference)s?[ ._:;/-]+(.+)", re.IGNORECASE)
MOST_CASES = 20_000
LONGEST_CASE_ID = 120
NAME = re.compile(r"[a-z0-9-]{1,80}")
"""Of a test set."""
CASE_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, kw_only=True)
class ManifestCase:
    """One row: names → paths inside the folder, and attributes."""

    case_id: str
    inputs: Mapping[str, str]
    references: Mapping[str, str]
    attributes: Mapping[str, str]


def parse_manifest(text: str) -> tuple[ManifestCase, ...]:
    """Read a manifest. Raises `InvalidError` with the line."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        columns = [as_written(column.strip()) for column in rows.fieldnames or []]
        check_columns(columns)
        rows.fieldnames = columns
        cases = tuple(read_row(row, line=rows.line_num) for row in rows)
    except csv.Error as error:
        raise InvalidError(
            _("%(file_name)s is not CSV: %(error)s.") % {"file_name": FILE_NAME, "error": error},
            line=rows.reader.line_num,
        ) from error
    if not 0 < len(cases) <= MOST_CASES:
        raise InvalidError(
            _("%(file_name)s has no usable number of rows.") % {"file_name": FILE_NAME},
            found=_("%(cases)s cases") % {"cases": len(cases)},
            expected=_("1 to %(most_cases)s") % {"most_cases": MOST_CASES},
        )
    refuse_twins(cases)
    return cases


def check_columns(columns: Sequence[str]) -> None:
    """There must be a case and a reference, and no column twice. Other separators than commas are named."""
    separator = next((mark for mark in (";", "\t") if len(columns) == 1 and mark in columns[0]), None)
    if separator is not None:
        raise InvalidError(
            _("%(file_name)s separates its columns by something else than commas.") % {"file_name": FILE_NAME},
            found=_("semicolons") if separator == ";" else _("tabs"),
            expected=_("commas: save the table as “CSV (comma delimited)”, or replace every separator"),
            line=1,
        )
    if len(set(columns)) != len(columns) or "" in columns:
        raise InvalidError(
            _("%(file_name)s has a column twice, or one without a name.") % {"file_name": FILE_NAME},
            found=",".join(columns),
            line=1,
        )
    refuse_lookalikes(columns)
    kinds = {
        "case_id": "case_id" in columns,
        "reference or reference:<structure>": any(column.startswith(REFERENCE) for column in columns),
    }
    missing = [kind for kind, is_there in kinds.items() if not is_there]
    if missing:
        raise InvalidError(
            _("%(file_name)s lacks a column.") % {"file_name": FILE_NAME},
            found=",".join(columns),
            expected=" and ".join(missing),
            line=1,
        )
    if REFERENCE in columns and any(column.startswith(REFERENCE_PREFIX) for column in columns):
        raise InvalidError(
            _("%(file_name)s has both kinds of reference.") % {"file_name": FILE_NAME},
            expected=_("either `reference` or `reference:<structure>`"),
            line=1,
        )


def refuse_lookalikes(columns: Sequence[str]) -> None:
    """A column that is nearly one of ours would be kept as an attribute, and a modality would be missing in every case."""
    for column in columns:
        if column in ("case_id", REFERENCE) or column.startswith((INPUT_PREFIX, REFERENCE_PREFIX)):
            continue
        begins = LOOKS_LIKE_OURS.fullmatch(column)
        alike = get_close_matches(column.lower(), ("case_id", REFERENCE), n=1, cutoff=0.8)
        meant = [f"{begins[1].lower()}:{begins[2]}"] if begins else alike
        if meant:
            raise InvalidError(
                _("%(file_name)s has a column that looks like another.") % {"file_name": FILE_NAME},
                found=column,
                expected=meant[0],
                what_to_do=_("Rename it. An attribute of the cases needs a name that looks like none of our columns."),
                line=1,
            )


def read_row(row: Mapping[str | None, Any], *, line: int) -> ManifestCase:
    """One case."""
    if None in row or None in row.values():
        raise InvalidError(
            _("%(file_name)s: this row has not as many fields as the first line.") % {"file_name": FILE_NAME}, line=line
        )
    cells = {str(name): as_written(str(value).strip()) for name, value in row.items()}
    case_id = cells.pop("case_id")
    if not case_id or len(case_id) > LONGEST_CASE_ID or not set(case_id) <= CASE_ID_LETTERS or case_id.startswith("."):
        raise InvalidError(
            _("%(file_name)s: a case needs an id.") % {"file_name": FILE_NAME},
            found=repr(case_id[:LONGEST_CASE_ID]),
            expected=_("letters, digits, '.', '_', '-', at most %(longest_case_id)s, not starting with '.'")
            % {"longest_case_id": LONGEST_CASE_ID},
            line=line,
        )
    files = {name: safe_path(path, line=line) for name, path in cells.items() if is_file_column(name) and path}
    inputs = {name.removeprefix(INPUT_PREFIX): path for name, path in files.items() if name.startswith(INPUT_PREFIX)}
    references = {
        name.removeprefix(REFERENCE_PREFIX): path for name, path in files.items() if name.startswith(REFERENCE)
    }
    has_inputs = any(name.startswith(INPUT_PREFIX) for name in cells)
    if not references or (has_inputs and not inputs):
        raise InvalidError(
            _("%(file_name)s: case %(case_id)s needs an input and a reference.")
            % {"file_name": FILE_NAME, "case_id": case_id},
            found=_("an empty cell"),
            line=line,
        )
    attributes = {name: value for name, value in cells.items() if not is_file_column(name)}
    return ManifestCase(case_id=case_id, inputs=inputs, references=references, attributes=attributes)


def is_file_column(name: str) -> bool:
    """Whether a column holds paths."""
    return name == REFERENCE or name.startswith((INPUT_PREFIX, REFERENCE_PREFIX))


def safe_path(path: str, *, line: int) -> str:
    """A path inside the folder."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\x00" in path or "\\" in path:
        raise InvalidError(
            _("%(file_name)s: a path must stay inside the folder.") % {"file_name": FILE_NAME},
            found=path,
            expected="images/A01.nii.gz",
            line=line,
        )
    return str(PurePosixPath(path))


def refuse_twins(cases: Sequence[ManifestCase]) -> None:
    """Two cases with one id would overwrite each other's result."""
    seen: set[str] = set()
    for number, case in enumerate(cases):
        if case.case_id.lower() in seen:
            raise InvalidError(
                _("%(file_name)s has a case twice.") % {"file_name": FILE_NAME}, found=case.case_id, line=number + 2
            )
        seen.add(case.case_id.lower())


def manifest_sha256(cases: Sequence[Mapping[str, Any]]) -> str:
    """The hash that names a test set's content: of the canonical JSON of its cases (ids, names, hashes, sizes, attributes)."""
    text = json.dumps(list(cases), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
