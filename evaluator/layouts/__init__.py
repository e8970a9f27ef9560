"""Published per-case tables: the columns of FLARE, KiTS and Touchstone, read into scores and written from them.

A layout is a document, not code: which column holds which metric of which label, in which file. Metrics are named as the registry
names them, labels as protocols do, so one layout serves every protocol that has them. A label the layout does not mention stands in
its column by its own name. Columns nobody asked for are passed over. A column the protocol ranks by must be there.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evaluator.errors import EvaluatorError
from evaluator.metrics.registry import Scope
from evaluator.protocol import MetricSpec, Protocol
from evaluator.ranking.document.parse import parse_ranking
from evaluator.results import CaseResult, ScoreRow
from evaluator.spreadsheets import as_written, harmless, harmless_row

__all__ = [
    "Column",
    "Layout",
    "LayoutError",
    "columns_of",
    "load_layout",
    "named_layouts",
    "read_tables",
    "write_tables",
]

FOLDER = Path(__file__).parent
NOTHING = frozenset({"", "nan", "na", "none"})


class LayoutError(EvaluatorError):
    """A table that does not have the columns or values of its layout. Says in which file, line and column."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a published table keeps what. `files`: file name → column (it may hold `{label}`) → metric name."""

    name: str
    title: str
    caution: str
    """What a reader of imported numbers should know. Empty when there is nothing."""
    case_column: str
    case_ending: str
    labels: Mapping[str, str]
    files: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of one file, as a protocol understands it."""

    header: str
    label: str
    spec: MetricSpec


def named_layouts() -> tuple[str, ...]:
    """The layouts there are."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@lru_cache(maxsize=16)
def load_layout(name: str) -> Layout:
    """A layout by name."""
    import yaml  # only tables from elsewhere need it

    if name not in named_layouts():
        raise LayoutError(f"layout: found {name!r}; expected one of {', '.join(named_layouts())}")
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    keys = ("title", "case_column", "case_ending", "labels", "files")
    return Layout(name=name, caution=document.get("caution", ""), **{key: document[key] for key in keys})


def columns_of(layout: Layout, protocol: Protocol) -> dict[str, tuple[Column, ...]]:
    """File → the columns of it that mean something under the protocol. Files without any are left out."""
    found = {name: tuple(_columns(layout, templates, protocol)) for name, templates in layout.files.items()}
    return {name: columns for name, columns in found.items() if columns}


def read_tables(layout: Layout, protocol: Protocol, tables: Mapping[str, str]) -> list[CaseResult]:
    """The scores in the files of one algorithm, by case in the order of the first file. Raises LayoutError."""
    placed = _placed(layout, protocol, tables)
    _check_complete(placed, protocol)
    cases: dict[str, list[ScoreRow]] = {}
    for number, (name, (columns, text)) in enumerate(placed.items()):
        rows = _read(layout, columns, text, name=name)
        if number and set(rows) != set(cases):
            odd = sorted(set(rows) ^ set(cases))[0]
            raise LayoutError(f"{name}: found other cases than in {next(iter(placed))} ({odd}); expected the same")
        for case_id, scores in rows.items():
            cases.setdefault(case_id, []).extend(scores)
    order = {spec.id: place for place, spec in enumerate(protocol.metrics)}
    labels = {label.name: place for place, label in enumerate(protocol.labels)}
    return [
        CaseResult(
            case_id=case_id,
            rows=tuple(sorted(rows, key=lambda row: (labels.get(row.label, len(labels)), order[row.metric]))),
        )
        for case_id, rows in cases.items()
    ]


def write_tables(layout: Layout, protocol: Protocol, results: Iterable[CaseResult]) -> dict[str, str]:
    """File → text, for one algorithm: every digit of every value, nothing where there is none."""
    cases = {result.case_id: {(row.label, row.metric): row.value for row in result.rows} for result in results}
    texts = {}
    for name, columns in columns_of(layout, protocol).items():
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(harmless_row([layout.case_column, *(column.header for column in columns)]))
        for case_id, values in cases.items():
            cells = [values.get((column.label, column.spec.id)) for column in columns]
            writer.writerow(
                [harmless(f"{case_id}{layout.case_ending}"), *("" if cell is None else repr(cell) for cell in cells)]
            )
        texts[name] = buffer.getvalue()
    return texts


def _columns(layout: Layout, templates: Mapping[str, str], protocol: Protocol) -> Iterable[Column]:
    for template, metric in templates.items():
        specs = [spec for spec in protocol.metrics if spec.metric.name == metric]
        if "{label}" not in template:
            yield from (Column(header=template, label="", spec=spec) for spec in specs[:1])
            continue
        for label in protocol.labels:
            header = template.replace("{label}", layout.labels.get(label.name, label.name))
            fitting = [spec for spec in specs if not spec.labels or label.name in spec.labels]
            yield from (Column(header=header, label=label.name, spec=spec) for spec in fitting[:1])


def _placed(layout: Layout, protocol: Protocol, tables: Mapping[str, str]) -> dict[str, tuple[tuple[Column, ...], str]]:
    """Every given file with the columns of the layout's file it is: by its name, else the only one its header fits."""
    known = columns_of(layout, protocol)
    placed: dict[str, tuple[tuple[Column, ...], str]] = {}
    for name, text in tables.items():
        header = set(next(csv.reader(io.StringIO(text.removeprefix("\ufeff"))), []))
        fitting = [file for file, columns in known.items() if any(column.header in header for column in columns)]
        file = name if name in known else fitting[0] if len(fitting) == 1 else ""
        if not file or file in placed:
            wanted = " or ".join(known) or "a file with a metric of the protocol"
            raise LayoutError(f"{name}: found columns {', '.join(sorted(header)) or 'none'}; expected {wanted}")
        placed[file] = (known[file], text)
    return placed


def _check_complete(placed: Mapping[str, tuple[Sequence[Column], str]], protocol: Protocol) -> None:
    """Whether everything the protocol ranks by has a column somewhere."""
    there = {(column.label, column.spec.id) for columns, _ in placed.values() for column in columns}
    ranked = {metric.id for metric in parse_ranking(protocol.ranking).metrics}
    for spec in protocol.metrics:
        if spec.id not in ranked:
            continue
        is_of_labels = spec.metric.scope is Scope.LABEL
        labels = [label.name for label in protocol.labels if not spec.labels or label.name in spec.labels]
        missing = [label for label in (labels if is_of_labels else [""]) if (label, spec.id) not in there]
        if missing:
            what = f"{spec.id} of {missing[0]}" if missing[0] else spec.id
            raise LayoutError(f"found no column for {what}, which the protocol ranks by; expected a file that has it")


def _read(layout: Layout, columns: Sequence[Column], text: str, *, name: str) -> dict[str, list[ScoreRow]]:
    lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    header = [as_written(cell.strip()) for cell in lines[0]] if lines else []
    wanted = [layout.case_column, *(column.header for column in columns)]
    missing = [column for column in wanted if column not in header]
    if missing or len(set(header)) != len(header):
        raise LayoutError(
            f"{name}, line 1: found columns {', '.join(header)}; expected also {', '.join(missing)}, each once"
        )
    at = {column: header.index(column) for column in wanted}
    cases: dict[str, list[ScoreRow]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise LayoutError(f"{name}, line {number}: found {len(line)} cells; expected {len(header)}")
        case_id = as_written(line[at[layout.case_column]].strip()).removesuffix(layout.case_ending or "\0")
        if not case_id or case_id in cases:
            raise LayoutError(f"{name}, line {number}: found the case {case_id!r}; expected a name, each once")
        cases[case_id] = [
            ScoreRow(
                label=column.label,
                metric=column.spec.id,
                value=_value(line[at[column.header]], column, where=f"{name}, line {number}, column {column.header}"),
            )
            for column in columns
        ]
    if not cases:
        raise LayoutError(f"{name}: found no case; expected one row per case")
    return cases


def _value(text: str, column: Column, *, where: str) -> float | None:
    if text.strip().lower() in NOTHING:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    low, high = column.spec.metric.lower, column.spec.metric.upper
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        bounds = (
            f"from {low:g}" + (f" to {high:g}" if high is not None else "") if low is not None else "that is finite"
        )
        raise LayoutError(f"{where}: found {text!r}; expected a number {bounds}, or nothing where it is undefined")
    return value
