"""Answers as tables: a CSV of true values per case becomes a test set of the output kind `table`. Kaggle-style pairs of CSV files."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.datasets import case_id_of
from assay.client.importing.draft import AnswerTable, Draft, DraftCase, DraftPhase, Notes, named_protocol, slug_of
from assay.client.importing.options import Options
from assay.client.importing.sources import visible_files

LARGEST_TABLE_BYTES = 256 << 20
USAGE = "usage"
SOLUTIONS = ("solution.csv", "solutions.csv", "ground_truth.csv", "reference.csv", "test_labels.csv", "labels.csv")
SAMPLES = ("sample_submission.csv", "sampleSubmission.csv", "sample_solution.csv")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file with a key in its first column."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    @property
    def key(self) -> str:
        """The column that names the case."""
        return self.columns[0]


def read_table(path: Path) -> Table:
    """Read a CSV. Raises `ClientError` with the line for uneven rows, missing keys and keys given twice."""
    if path.stat().st_size > LARGEST_TABLE_BYTES:
        raise ClientError(f"{path.name} is too long", expected=f"at most {LARGEST_TABLE_BYTES} bytes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = tuple(cell.strip() for cell in next(reader, []))
            rows = [
                _row(line, columns, path=path, number=reader.line_num) for line in reader if any(map(str.strip, line))
            ]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ClientError(f"{path.name} is not CSV", found=str(problem)) from problem
    if len(columns) < 2 or "" in columns or len(set(columns)) != len(columns) or not rows:
        raise ClientError(
            f"{path.name} is no table of answers",
            found=f"the columns {', '.join(columns)[:100]} and {len(rows)} rows",
            expected="a column that names the case, one or more columns of values, one row per case",
        )
    keys = [row[columns[0]] for row in rows]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ClientError(f"{path.name}: two rows have one key", found=twice, expected=f"each {columns[0]} once")
    return Table(path=path, columns=columns, rows=tuple(rows))


def _row(line: Sequence[str], columns: Sequence[str], *, path: Path, number: int) -> dict[str, str]:
    if len(line) != len(columns):
        raise ClientError(f"{path.name}, line {number}: not as many fields as the first line",
                          found=str(len(line)), expected=str(len(columns)))  # fmt: skip
    return dict(zip(columns, (cell.strip() for cell in line), strict=True))


def recognises(source: Path) -> bool:
    """Whether there is a table of true values, by the names that competitions give it."""
    return any((source / name).is_file() for name in SOLUTIONS)


def read_kaggle(source: Path, *, options: Options) -> Draft:
    """A folder with `solution.csv` and, beside it, `sample_submission.csv`."""
    notes = Notes()
    solution = next((source / name for name in SOLUTIONS if (source / name).is_file()), None)
    if solution is None:
        names = ", ".join(path.name for path in visible_files(source)) or "nothing"
        raise ClientError(f"{source.name} has no table of true values", found=names, expected=" or ".join(SOLUTIONS))
    table = read_table(solution)
    targets = _targets(table, source, notes)
    slug = options.slug or slug_of(source.resolve().name)
    title = options.title or source.resolve().name
    protocol = (
        named_protocol(options.protocol)
        if options.protocol
        else table_protocol(table, targets, name=slug, title=title, notes=notes)
    )
    cases = table_cases(table, targets, notes=notes)
    notes.taken(solution.name, f"{len(cases)} cases, true values of {', '.join(targets)}")
    phases, testsets = _split(cases, usage=usage_column(table), notes=notes)
    return Draft(
        format="Kaggle-style tables",
        slug=slug,
        title=title,
        protocol=protocol,
        phases=phases,
        notes=tuple(notes.lines),
        testsets=testsets,
    )


def _targets(table: Table, source: Path, notes: Notes) -> list[str]:
    """The columns that are answered: those of the sample submission, else all but the key and `Usage`."""
    sample = next((source / name for name in SAMPLES if (source / name).is_file()), None)
    if sample is None:
        return [column for column in table.columns[1:] if column.lower() != USAGE]
    asked = read_table(sample)
    strangers = [column for column in asked.columns if column not in table.columns]
    if strangers or asked.key != table.key:
        raise ClientError(
            f"{sample.name} and {table.path.name} do not fit together",
            found=f"columns {', '.join(asked.columns)}",
            expected=f"columns of {table.path.name}: {', '.join(table.columns)}",
        )
    lacking = {row[table.key] for row in table.rows} - {row[asked.key] for row in asked.rows}
    if lacking:
        raise ClientError(
            f"{sample.name} lacks {len(lacking)} cases of {table.path.name}", found=", ".join(sorted(lacking)[:5])
        )
    notes.taken(sample.name, f"the answer has the columns {', '.join(asked.columns[1:])}")
    return list(asked.columns[1:])


def usage_column(table: Table) -> str:
    """The column that says on which board a row counts. Empty where there is none."""
    return next((column for column in table.columns if column.lower() == USAGE), "")


def table_cases(table: Table, targets: Sequence[str], *, notes: Notes) -> tuple[DraftCase, ...]:
    """One case per row. All share the table as their reference."""
    rows = tuple((row[table.key], *(row[target] for target in targets)) for row in table.rows)
    answers = AnswerTable(columns=tuple(targets), rows=rows)
    if table.key != "case":
        notes.changed(
            table.path.name, f"the column {table.key} is called `case`, here and in the answers of participants"
        )
    usage = usage_column(table)
    seen: set[str] = set()
    cases = []
    for row in table.rows:
        key = row[table.key]
        if case_id_of(key, seen=seen) != key:
            raise ClientError(
                f"{table.path.name}: a key cannot name a case", found=key, expected="letters, digits, '.', '_' and '-'"
            )
        attributes = {USAGE: row[usage]} if usage else {}
        cases.append(DraftCase(case_id=key, references={"": answers}, attributes=attributes))
    return tuple(cases)


def _split(
    cases: tuple[DraftCase, ...], *, usage: str, notes: Notes
) -> tuple[tuple[DraftPhase, ...], dict[str, tuple[DraftCase, ...]]]:
    """Kaggle's column `Usage` says which rows count for the public board and which at the end."""
    groups: dict[str, list[DraftCase]] = {}
    for case in cases:
        groups.setdefault(case.attributes.get(USAGE, "").lower(), []).append(case)
    if not usage or set(groups) - {"ignored"} != {"public", "private"}:
        phase = DraftPhase(
            slug="final", title="Final", kind="predictions", testset="hidden", submission_limit=3, is_embargoed=True
        )
        return (phase,), {"hidden": cases}
    if groups.get("ignored"):
        notes.changed(usage, f"{len(groups['ignored'])} ignored rows are in no test set")
    notes.changed(usage, "public rows are scored in the phase `public`, private rows in the phase `final`")
    phases = (
        DraftPhase(slug="public", title="Public board", kind="predictions", testset="public", submission_limit=5),
        DraftPhase(
            slug="final",
            title="Final",
            kind="predictions",
            testset="hidden",
            submission_limit_total=2,
            is_embargoed=True,
        ),
    )
    return phases, {"public": tuple(groups["public"]), "hidden": tuple(groups["private"])}


def table_protocol(table: Table, targets: Sequence[str], *, name: str, title: str, notes: Notes) -> dict[str, Any]:
    """Rules for the columns: AUC where every true value is 0 or 1, accuracy where they are classes, else the relative error."""
    values = {target: [row[target] for row in table.rows] for target in targets}
    if all(set(cells) <= {"0", "1"} for cells in values.values()):
        metric = "macro_auc"
    elif all(_is_whole(cell) for cells in values.values() for cell in cells):
        metric = "accuracy"
    elif all(_is_number(cell) for cells in values.values() for cell in cells):
        metric = "mape"
    else:
        raise ClientError(
            f"{table.path.name} holds answers that are no numbers",
            found=next(cell for cells in values.values() for cell in cells if not _is_number(cell))[:60],
            expected="0 and 1, whole classes, or numbers",
            what_to_do="give --protocol NAME with rules for such answers",
        )
    notes.changed(
        "rules", f"scored by {metric}, which fits the true values; change `metrics` and `ranking` in challenge.yaml"
    )
    return {
        "protocol": 1,
        "name": name,
        "title": title[:200],
        "labels": {target[:80]: number for number, target in enumerate(targets, start=1)},
        "outputs": [{"name": "answers", "kind": "table", "file": "submission.csv", "columns": list(targets)}],
        "metrics": [{"name": metric}],
        "resources": {"run_mode": "cohort"},
        "ranking": {"metrics": [metric], "scheme": {"type": "value"}},
    }


def _is_whole(cell: str) -> bool:
    return cell.removeprefix("-").isascii() and cell.removeprefix("-").isdigit()


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
