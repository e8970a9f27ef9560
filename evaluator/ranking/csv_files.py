"""Score files in, rank files out.

A score file is a CSV with a header, long or wide:

    long    algorithm, case, metric, value [, label] [, reason] [, team] [, attributes of the case …]
    wide    algorithm, case [, label] [, reason] [, team], one column per metric [, attributes of the case …]

`team` says whose the algorithm is, where a ranking takes one of each team. The later an algorithm first appears, the later it was
entered.

Columns and metrics may be spelled as people write them (`Model`, `case_id`, `HD95 (mm)`): `document/spellings.py` lists how. The
file is UTF-8, its cells separated by commas, semicolons or tabs, whichever the header has most of. Between semicolons and tabs
a number may have a decimal comma. An empty cell, NA, N/A, NaN or a dash is a missing value. A blank line is nothing.
Whatever is wrong is reported with line, column, what was found and expected.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from evaluator.ranking.analysis import Analysis
from evaluator.ranking.document.config import MetricSpec, RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.parse import with_metrics
from evaluator.ranking.document.spellings import did_you_mean, find_keys, find_metric, is_missing, is_same_metric
from evaluator.ranking.errors import TableError
from evaluator.ranking.schemes.missing import find_rule
from evaluator.ranking.schemes.prepare import stored_names
from evaluator.ranking.table import ABSENT, Row, ScoreTable
from evaluator.results import ROUND_MARK
from evaluator.spreadsheets import harmless_row

_KEYS = ("algorithm", "case", "label", "metric", "value", "reason", "team")
_SEPARATORS = ",;\t"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_SLACK = 1e-9  # of a bound: a Dice of 1.0000000000000002 is one


class ScoresError(TableError):
    """A score file cannot be read. The message starts with file, line and column."""


@dataclass
class _Reader:
    """What has been seen so far, with the line it was seen on. `names` keeps one copy of each name, for a file has millions."""

    path: Path
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    specs: Mapping[str, MetricSpec]
    separator: str
    decimals: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    lines: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    attribute_lines: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def is_long(self) -> bool:
        return "metric" in self.columns

    def error(self, line: int, column: str, *, found: str, expected: str) -> ScoresError:
        return ScoresError(f"{self.path.name}, line {line}, column {column}: found {found}; expected {expected}")


@dataclass(frozen=True)
class ScoreFile:
    """What a score file says, and the configuration with its metrics filled in.

    `teams`: algorithm → team in the order of the file. Empty where it has no such column. `columns`: each column of the
    file → what it was understood as.
    """

    table: ScoreTable
    config: RankingConfig
    teams: Mapping[str, str]
    columns: Mapping[str, str]


def read_scores(path: Path, config: RankingConfig) -> ScoreFile:
    """Read and check a score file. Raises `RankingError`."""
    separator, records = _records(path)
    written = [name.strip() for name in next(records, (1, []))[1]]
    header = _header(path, written, config)
    reader = _Reader(
        path=path,
        columns=header,
        metrics=_metric_columns(path, header, config),
        specs={spec.id: spec for spec in config.metrics if spec.pooled is None} if config.metrics else KNOWN_METRICS,
        separator=separator,
    )
    for line, cells in records:
        if any(cell.strip() for cell in cells):
            _read_line(reader, cells, line=line)
    if not reader.rows:
        raise ScoresError(f"{path.name}: found no scores; expected one row per algorithm and case")
    table = ScoreTable.from_rows(reader.rows, attributes=reader.attributes)
    config = with_metrics(config, [name for name in table.metrics if name in KNOWN_METRICS])
    _check(reader, table, config)
    columns = {name: _understood(reader, column) for name, column in zip(written, header, strict=True)}
    return ScoreFile(table=table, config=config, teams=reader.teams, columns=columns)


def _understood(reader: _Reader, column: str) -> str:
    if column in _KEYS:
        return f"the {column}"
    if column not in reader.metrics:
        return f"attribute {column} of the case"
    spec = reader.specs.get(column)
    if spec is None:
        return f"statistic {column}"
    unit = f", in {spec.unit}" if spec.unit else ""
    return f"metric {column}, {'larger' if spec.larger_is_better else 'smaller'} is better{unit}"


def _records(path: Path) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """The separator, and each record with the line it starts on."""
    texts = _text_lines(path)
    first = next(texts, "")
    separator = max(_SEPARATORS, key=first.count)
    return separator, _split(path, chain([first], texts), separator)


def _split(path: Path, texts: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    cells = csv.reader(texts, delimiter=separator, strict=True)
    while True:
        line = cells.line_num + 1
        try:
            yield line, next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            raise ScoresError(
                f"{path.name}, line {line}: found what is no CSV ({error}); expected cells separated by {separator!r}, and a "
                "closing quote for every opening one"
            ) from error


def _text_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                yield raw.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ScoresError(
                    f"{path.name}, line {line}: found the byte 0x{raw[error.start]:02x}; expected UTF-8 (a spreadsheet writes it "
                    "as “CSV UTF-8”)"
                ) from error


def _header(path: Path, names: Sequence[str], config: RankingConfig) -> tuple[str, ...]:
    """What each column is, by the names that the code uses."""
    if "" in names:
        raise ScoresError(
            f"{path.name}, line 1, column {names.index('') + 1}: found no name; expected a name for every column (pandas writes "
            "its index without one: to_csv(index=False))"
        )
    wanted = _stored(config.metrics) if config.metrics else tuple(KNOWN_METRICS)
    try:
        keys = find_keys([name for name in names if name not in wanted])
        found = tuple(keys.get(name) or find_metric(name, wanted) or name for name in names)
    except TableError as error:
        raise ScoresError(f"{path.name}, line 1: {error}") from error
    for index, name in enumerate(found):
        twin = next((names[other] for other in range(index) if _is_twin(found[other], name, config)), None)
        if twin is not None and twin != names[index]:
            raise ScoresError(
                f"{path.name}, line 1: found columns {twin} and {names[index]}, which are both {name}; expected one of them"
            )
    return found


def _is_twin(one: str, other: str, config: RankingConfig) -> bool:
    """Whether two columns hold one thing. A configuration may tell dice from dsc."""
    return one == other or (not config.metrics and is_same_metric(one, other))


def _metric_columns(path: Path, header: tuple[str, ...], config: RankingConfig) -> tuple[str, ...]:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ScoresError(f"{path.name}, line 1, column {repeated[0]}: found it twice; expected each column once")
    is_long = "metric" in header
    for name in ("algorithm", "case", *(("metric", "value") if is_long else ())):
        if name not in header:
            raise ScoresError(
                f"{path.name}, line 1: found columns {', '.join(header) or 'none'}; expected a column {name} (long form: "
                "algorithm, case, metric, value; wide form: algorithm, case, one column per metric)"
            )
    if is_long:
        return ()
    names = _stored(config.metrics) if config.metrics else tuple(name for name in header if name in KNOWN_METRICS)
    absent = [name for name in names if name not in header]
    if absent or not names:
        others = [name for name in header if name not in (*_KEYS, *names)]
        wanted = ", ".join(absent) or (
            f"a metric we know ({', '.join(list(KNOWN_METRICS)[:8])} …), or a configuration that declares it (--config)"
        )
        guesses = (did_you_mean(name, absent or KNOWN_METRICS) for name in others)
        wanted += next((guess for guess in guesses if guess), "")
        raise ScoresError(f"{path.name}, line 1: found columns {', '.join(header)}; expected a column for {wanted}")
    return names


def _stored(metrics: Sequence[MetricSpec]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for spec in metrics for name in stored_names(spec)))


def _read_line(reader: _Reader, cells: Sequence[str], *, line: int) -> None:
    if len(cells) != len(reader.columns):
        raise ScoresError(
            f"{reader.path.name}, line {line}: found {len(cells)} cells; expected {len(reader.columns)}, one per column"
        )
    record = {name: cell.strip() for name, cell in zip(reader.columns, cells, strict=True)}
    for name in ("algorithm", "case", *(("metric",) if reader.is_long else ())):
        if not record[name]:
            raise reader.error(line, name, found="nothing", expected=f"the name of the {name}")
    algorithm, case, label, reason = (
        _name(reader, record.get(column, ""), line=line, column=column)
        for column in ("algorithm", "case", "label", "reason")
    )
    _read_team(reader, algorithm, record.get("team"), line=line)
    pairs = (
        [(_long_metric(reader, record["metric"], line=line), "value")]
        if reader.is_long
        else [(name, name) for name in reader.metrics]
    )
    for metric, column in pairs:
        key = (algorithm, case, label, _name(reader, metric, line=line, column="metric"))
        if key in reader.lines:
            where = " / ".join(part for part in key if part)
            raise reader.error(
                line, column, found=f"{where} again (first on line {reader.lines[key]})", expected="one row for it"
            )
        reader.lines[key] = line
        value = _value(reader, record[column], metric=metric, line=line, column=column)
        reader.rows.append((*key, value, reason or ("" if value is not None else "missing")))
    _read_attributes(reader, record, line=line)


def _name(reader: _Reader, text: str, *, line: int, column: str) -> str:
    """A name that can be shown on a terminal and in a page."""
    known = reader.names.get(text)
    if known is None:
        if _CONTROL.search(text):
            raise reader.error(
                line, column, found=repr(text), expected="a name without line breaks and control characters"
            )
        known = reader.names[text] = text
    return known


def _long_metric(reader: _Reader, text: str, *, line: int) -> str:
    """The name of a metric in the long form, in the spelling of the configuration or of the metrics we know."""
    known = reader.spellings.get(text)
    if known is None:
        try:
            known = find_metric(text, reader.specs) or text
        except TableError as error:
            raise ScoresError(f"{reader.path.name}, line {line}, column metric: {error}") from error
        reader.spellings[text] = known
    return known


def _read_team(reader: _Reader, algorithm: str, team: str | None, *, line: int) -> None:
    if team is None:
        return
    if not team:
        raise reader.error(line, "team", found="nothing", expected="the team of every algorithm, or no such column")
    if reader.teams.setdefault(algorithm, team) != team:
        known = reader.teams[algorithm]
        raise reader.error(line, "team", found=f"{team!r} for {algorithm}", expected=f"{known!r} as before")


def _value(reader: _Reader, text: str, *, metric: str, line: int, column: str) -> float | None:
    if is_missing(text):
        return None
    with_point = _with_point(reader, text, line=line, column=column)
    try:
        value = _number(with_point)
    except ValueError:
        point = " with a decimal point" if "," in text else ""
        raise reader.error(
            line, column, found=repr(text), expected=f"a number{point}, or nothing where it is missing"
        ) from None
    if math.isinf(value):
        raise reader.error(
            line, column, found=text, expected="a finite number, or nothing and a rule for missing values"
        )
    spec = reader.specs.get(metric)
    if spec is not None and not _is_within(value, spec.bounds):
        raise reader.error(
            line, column, found=text, expected=f"{_range(spec.bounds)}, or other bounds for {metric} in --config"
        )
    return value


def _with_point(reader: _Reader, text: str, *, line: int, column: str) -> str:
    """A number with a decimal point. A file has points or commas: 1,234 beside 0.5 may be a thousand."""
    has_comma = reader.separator != "," and _DECIMAL_COMMA.fullmatch(text) is not None
    if not has_comma and "." not in text:
        return text
    mark, other = (",", ".") if has_comma else (".", ",")
    reader.decimals.setdefault(mark, line)
    if other in reader.decimals:
        wanted = "point" if has_comma else "comma"
        raise reader.error(
            line, column, found=repr(text), expected=f"a decimal {wanted} as on line {reader.decimals[other]}"
        )
    return text.replace(",", ".") if has_comma else text


def _number(text: str) -> float:
    """Like `float`, but rejects underscores."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _is_within(value: float, bounds: tuple[float | None, float | None]) -> bool:
    low, high = bounds
    return (low is None or value >= low - _SLACK) and (high is None or value <= high + _SLACK)


def _range(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    if low is not None and high is not None:
        return f"a number from {low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def _read_attributes(reader: _Reader, record: Mapping[str, str], *, line: int) -> None:
    """Columns that are neither keys nor metrics say something of the case, and the same on each of its rows."""
    case = record["case"]
    own = {name: text for name, text in record.items() if name not in _KEYS and name not in reader.metrics and text}
    known = reader.attributes.setdefault(case, {})
    for name, text in own.items():
        first = reader.attribute_lines.setdefault((case, name), line)
        if known.setdefault(name, text) != text and name not in KNOWN_METRICS:
            raise reader.error(
                line,
                name,
                found=f"{text!r} for case {case}",
                expected=f"{known[name]!r} as on line {first}, for {name} is no metric we know but an attribute of the case "
                "(--config may declare it a metric)",
            )


def _check(reader: _Reader, table: ScoreTable, config: RankingConfig) -> None:
    wanted = _stored(config.metrics)
    for key, line in reader.lines.items():
        if key[3] not in wanted and key[3].partition(ROUND_MARK)[0] not in (*KNOWN_METRICS, *wanted):
            expected = ", ".join(wanted) or "a metric we know, or a configuration that declares it"
            expected += did_you_mean(key[3], wanted or KNOWN_METRICS)
            raise reader.error(line, "metric", found=f"unknown metric {key[3]!r}", expected=expected)
    absent = [name for name in wanted if name not in table.metrics]
    if absent or not wanted:
        raise ScoresError(
            f"{reader.path.name}: found scores of {', '.join(table.metrics)}; expected also {', '.join(absent) or 'a known metric'}"
        )
    if len(table.algorithms) < 2:
        raise ScoresError(
            f"{reader.path.name}: found one algorithm, {table.algorithms[0]}; expected at least two to rank"
        )
    for name in wanted:
        _check_missing(reader, table, config, name)


def _check_missing(reader: _Reader, table: ScoreTable, config: RankingConfig, name: str) -> None:
    """Every missing value needs a rule. An absent row too, or the algorithms ran on different cases."""
    scores = table.metrics[name]
    for code in sorted({int(code) for code in scores.reasons[table.holes(name)]}):
        reason = table.reason_names[code]
        if find_rule(config.missing, reason=reason, metric=name) is not None:
            continue
        a, s, c = (int(axis[0]) for axis in table.holes(name, code).nonzero())
        key = (table.algorithms[a], table.cases[c], scores.structures[s], name)
        where = " / ".join(part for part in key if part)
        if reason == ABSENT:
            raise ScoresError(
                f"{reader.path.name}: found no row for {where}, unequal case sets; expected the same cases for every "
                f"algorithm, or a rule under missing (absent, failed_case or any) for {name} in --config"
            )
        raise reader.error(
            reader.lines[key],
            "value" if reader.is_long else name,
            found=f"no value for {where}",
            expected=f"a number, or a rule under missing ({reason} or any) for {name} in --config",
        )


def ranks_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """The rows of `ranks.csv`: rank, score, and for each metric its aggregate and interval. Unranked algorithms last."""
    for entry in analysis.ranking.entries:
        row: dict[str, Any] = {"algorithm": entry.algorithm, "rank": entry.rank, "score": entry.score}
        is_ranked = entry.rank is not None
        index = analysis.algorithms.index(entry.algorithm) if is_ranked else -1
        row["rank_low"], row["rank_high"] = analysis.rank_intervals[index] if is_ranked else (None, None)
        for name, part in analysis.metrics.items():
            row[name] = entry.aggregates.get(name)
            row[f"{name}_low"] = _finite(part.interval.low[index]) if is_ranked else None
            row[f"{name}_high"] = _finite(part.interval.high[index]) if is_ranked else None
        yield row


def span(low: float, high: float) -> str:
    """An interval of ranks as people read it: `2–5`, or `1` when it is one rank."""
    return f"{low:.3g}" if low == high else f"{low:.3g}–{high:.3g}"


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a CSV. Numbers with all their digits, nothing where there is none, and no cell a formula."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = list(rows[0])
        writer.writerow(harmless_row(columns))
        writer.writerows(harmless_row(row[column] for column in columns) for row in rows)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
