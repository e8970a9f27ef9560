"""Results as files: the long table of scores (CSV) and the whole evaluation (JSON). Written whole or not at all."""

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from evaluator.results import CaseResult
from evaluator.spreadsheets import as_written, harmless_row

COLUMNS = ("case", "label", "metric", "value", "reason", "detail")


def write_scores(path: Path, results: Iterable[CaseResult]) -> None:
    """One line per case, label and metric. An undefined value is an empty cell. `detail` says what was wrong with a prediction."""
    with _whole(path) as target:
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for result in results:
            for row in result.rows:
                value = "" if row.value is None else repr(row.value)
                cells = (result.case_id, row.label, row.metric, value, row.reason, result.detail)
                writer.writerow(harmless_row(cells))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The evaluation as JSON. Refuses what JSON has no word for."""
    with _whole(path) as target:
        json.dump(document, target, indent=2, ensure_ascii=False, allow_nan=False)
        target.write("\n")


def read_scores(path: Path) -> list[tuple[str, str, str, float | None, str]]:
    """The rows of `write_scores`."""
    with path.open(newline="", encoding="utf-8") as source:
        return [
            (
                as_written(row["case"]),
                as_written(row["label"]),
                row["metric"],
                _number(row["value"]),
                as_written(row["reason"]),
            )
            for row in csv.DictReader(source)
        ]


def _number(text: str) -> float | None:
    value = float(text) if text else None
    return None if value is None or math.isnan(value) else value


class _whole:  # noqa: N801 - reads as a verb where it is used
    """A text file that appears under its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")

    def __enter__(self) -> TextIO:
        self._target: TextIO = self._part.open("w", newline="", encoding="utf-8")
        return self._target

    def __exit__(self, kind: object, *_: object) -> None:
        self._target.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
