"""The forms in which people keep scores, each turned into parts: columns of values with the names that belong to them.

    long               algorithm, case, metric, value [, label] [, reason] [, team] [, attributes of the case …]
    wide               algorithm, case [, label] [, reason] [, team], one column per metric [, attributes …]
    organ-columns      algorithm, case, one column per metric and structure (liver_dice, HD95 spleen)
    value-column       algorithm, case, value: one metric, named by --metric (challengeR's data matrix)
    algorithm-columns  case, one column per algorithm: one metric, named by --metric
    label-columns      case, one column per structure; the file's name says the metric (MONAI's dice_raw.csv, Touchstone's dsc.csv)
    aggregates         algorithm, one column per metric: no cases, so no intervals

Without a column for the algorithm a file is one algorithm's, named by the file or its folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.spellings import did_you_mean, find_metric
from evaluator.ranking.score_files.cells import is_number, is_summary
from evaluator.ranking.score_files.columns import Header, meaning, understand, wanted_metrics
from evaluator.ranking.score_files.sheets import ScoresError, Sheet

WHOLE = "all cases"
"""The one case of a table that has none."""

Names = Sequence[str] | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Values of one column, a row each, and the names that belong to them: one name per row, or one for all."""

    sheet: Sheet
    column: str
    values: Sequence[str]
    algorithms: Names
    cases: Names
    metrics: Names
    labels: Names = ""
    reasons: Names = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Form:
    """A sheet as it was understood. `columns`: column → meaning. `others`: columns that say something of the case."""

    name: str
    sheet: Sheet
    parts: tuple[Part, ...]
    algorithms: Names
    cases: Names
    teams: Sequence[str] | None = None
    others: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A sheet and how the caller wants it read. `own`: the algorithm whose file it is, where it may be one's."""

    sheet: Sheet
    header: Header
    config: RankingConfig
    metric: str | None
    own: str | None

    def column(self, key: str) -> Sequence[str]:
        return self.sheet.column(self.header.keys[key])

    @property
    def algorithms(self) -> Names:
        return self.column("algorithm") if "algorithm" in self.header.keys else (self.own or "")

    def names(self, key: str) -> Names:
        return self.column(key) if key in self.header.keys else ""


def read_form(
    sheet: Sheet, config: RankingConfig, *, as_form: str = "auto", metric: str | None = None, own: str | None = None
) -> Form:
    """Understand a sheet. Raises `ScoresError` where it is none of the forms, or could be two."""
    asked = _Asked(sheet=sheet, header=understand(sheet, config), config=config, metric=metric, own=own)
    name = _guess(asked) if as_form == "auto" else as_form
    return FORMS[name](asked)


def _guess(asked: _Asked) -> str:
    keys, header = asked.header.keys, asked.header
    is_named = "algorithm" in keys or asked.own is not None
    if is_named and "case" in keys:
        if "metric" in keys:
            return "long"
        if header.metrics:
            return "wide"
        if header.organs:
            return "organ-columns"
        if "value" in keys:
            return "value-column"
        if asked.own is not None and "algorithm" not in keys and _metric_of_file(asked):
            return "label-columns"
        return "wide"
    if "algorithm" in keys and "metric" not in keys and (header.metrics or header.organs):
        return "aggregates"
    if "case" in keys and "algorithm" not in keys and asked.metric is not None and not header.metrics:
        return "algorithm-columns"
    return "wide"


def _long(asked: _Asked) -> Form:
    _need(asked, "algorithm", "case", "metric", "value")
    part = Part(
        sheet=asked.sheet,
        column=asked.header.keys["value"],
        values=asked.column("value"),
        algorithms=asked.algorithms,
        cases=asked.column("case"),
        metrics=asked.column("metric"),
        labels=asked.names("label"),
        reasons=asked.names("reason"),
    )
    others = (*asked.header.others, *asked.header.metrics.values())
    return _form("long", asked, [part], others=others)


def _wide(asked: _Asked) -> Form:
    _need(asked, "algorithm", "case")
    names = wanted_metrics(asked.config) if asked.config.metrics else tuple(asked.header.metrics)
    absent = [name for name in names if name not in asked.header.metrics]
    if absent or not names:
        _no_metric(asked, absent)
    parts = [_of_metric(asked, name, column) for name, column in asked.header.metrics.items()]
    others = (*asked.header.others, *(organ.column for organ in asked.header.organs))
    return _form("wide", asked, parts, others=others)


def _organ_columns(asked: _Asked) -> Form:
    _need(asked, "algorithm", "case")
    found = {organ.metric for organ in asked.header.organs}
    absent = [name for name in wanted_metrics(asked.config) if name not in found] if asked.config.metrics else []
    if absent or not found:
        _no_metric(asked, absent)
    parts = [
        Part(
            sheet=asked.sheet,
            column=organ.column,
            values=asked.sheet.column(organ.column),
            algorithms=asked.algorithms,
            cases=asked.column("case"),
            metrics=organ.metric,
            labels=organ.label,
            reasons=asked.names("reason"),
        )
        for organ in asked.header.organs
    ]
    return _form("organ-columns", asked, parts)


def _value_column(asked: _Asked) -> Form:
    _need(asked, "algorithm", "case", "value")
    part = Part(
        sheet=asked.sheet,
        column=asked.header.keys["value"],
        values=asked.column("value"),
        algorithms=asked.algorithms,
        cases=asked.column("case"),
        metrics=_said_metric(asked, "the column value holds one metric"),
        labels=asked.names("label"),
        reasons=asked.names("reason"),
    )
    return _form("value-column", asked, [part])


def _algorithm_columns(asked: _Asked) -> Form:
    _need(asked, "case")
    metric = _said_metric(asked, "the columns are algorithms")
    sheet = asked.sheet
    free = [name for name in sheet.header if name not in asked.header.keys.values()]
    columns = [name for name in free if all(map(is_number, sheet.column(name))) and not is_summary(name)]
    if len(columns) < 2:
        raise ScoresError(
            f"{sheet.name}, line 1: found {len(columns)} columns of numbers; expected a column for each algorithm"
        )
    parts = [
        Part(
            sheet=sheet,
            column=name,
            values=sheet.column(name),
            algorithms=name,
            cases=asked.column("case"),
            metrics=metric,
            labels=asked.names("label"),
        )
        for name in columns
    ]
    understood = {name: f"{metric} of the algorithm {name}" for name in columns}
    others = tuple(name for name in free if name not in columns)
    return _form("algorithm-columns", asked, parts, others=others, understood=understood)


def _label_columns(asked: _Asked) -> Form:
    _need(asked, "algorithm", "case")
    metric = asked.metric or _metric_of_file(asked)
    if metric is None:
        raise ScoresError(
            f"{asked.sheet.name}: found no metric in the name of the file; expected one, such as dice_raw.csv, or --metric"
        )
    sheet = asked.sheet
    free = [name for name in sheet.header if name not in asked.header.keys.values()]
    columns = [name for name in free if all(map(is_number, sheet.column(name))) and not is_summary(name)]
    parts = [
        Part(
            sheet=sheet,
            column=name,
            values=sheet.column(name),
            algorithms=asked.algorithms,
            cases=asked.column("case"),
            metrics=metric,
            labels=name,
        )
        for name in columns
    ]
    if not parts:
        raise ScoresError(f"{sheet.name}, line 1: found no column of numbers; expected one for each structure")
    understood = {name: f"{metric} of {name}" for name in columns}
    others = tuple(name for name in free if name not in columns and not is_summary(name))
    return _form("label-columns", asked, parts, others=others, understood=understood)


def _aggregates(asked: _Asked) -> Form:
    _need(asked, "algorithm")
    header = asked.header
    names = list(asked.algorithms)
    if len(set(names)) < len(names):
        again = next(name for name in names if names.count(name) > 1)
        raise ScoresError(
            f"{asked.sheet.name}, line 1: found columns {', '.join(asked.sheet.header)}, and {again} on several lines; expected "
            "a column case (wide form: algorithm, case, one column per metric), or one line for each algorithm"
        )
    parts = [_of_metric(asked, name, column) for name, column in header.metrics.items()]
    parts += [
        Part(
            sheet=asked.sheet,
            column=organ.column,
            values=asked.sheet.column(organ.column),
            algorithms=asked.algorithms,
            cases=WHOLE,
            metrics=organ.metric,
            labels=organ.label,
        )
        for organ in header.organs
    ]
    note = f"{asked.sheet.name} has no cases: its numbers are ranked as they are, without intervals and tests"
    if header.others:
        note += f"; columns not read: {', '.join(header.others)}"
    return _form("aggregates", asked, parts, others=(), notes=(note,))


def _of_metric(asked: _Asked, name: str, column: str) -> Part:
    return Part(
        sheet=asked.sheet,
        column=column,
        values=asked.sheet.column(column),
        algorithms=asked.algorithms,
        cases=asked.column("case") if "case" in asked.header.keys else WHOLE,
        metrics=name,
        labels=asked.names("label"),
        reasons=asked.names("reason"),
    )


FORMS: Mapping[str, Callable[[_Asked], Form]] = {
    "long": _long,
    "wide": _wide,
    "organ-columns": _organ_columns,
    "value-column": _value_column,
    "algorithm-columns": _algorithm_columns,
    "label-columns": _label_columns,
    "aggregates": _aggregates,
}


def _form(
    name: str,
    asked: _Asked,
    parts: Sequence[Part],
    *,
    others: tuple[str, ...] | None = None,
    understood: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> Form:
    header, understood = asked.header, understood or {}
    summaries = header.summaries
    told: tuple[str, ...] = (
        (f"{asked.sheet.name}: columns that summarise others are not scores: {', '.join(summaries)}",)
        if summaries
        else ()
    )
    if asked.sheet.has_counter:
        told += (f"{asked.sheet.name}: the first column has no name and counts rows: it was not read",)
    return Form(
        name=name,
        sheet=asked.sheet,
        parts=tuple(parts),
        algorithms=asked.algorithms,
        cases=asked.names("case"),
        teams=asked.column("team") if "team" in header.keys else None,
        others=header.others if others is None else others,
        columns={c: understood.get(c) or meaning(c, header, asked.config) for c in asked.sheet.header},
        notes=(*notes, *told),
    )


def _need(asked: _Asked, *keys: str) -> None:
    """The columns a form cannot do without."""
    for key in keys:
        if key in asked.header.keys or (key == "algorithm" and asked.own is not None):
            continue
        found = ", ".join(asked.header.keys.get(name, name) for name in asked.sheet.header) or "none"
        more = ""
        if key == "algorithm" and "case" in asked.header.keys:
            more = (
                "; where each column is an algorithm, say whose values they are: --metric dice; where a file is one "
                "algorithm's, give the files of all or their folder"
            )
        if asked.sheet.has_counter:
            more += "; the first column has no name and counts rows, so it was not read: give it a name where it is the case"
        raise ScoresError(
            f"{asked.sheet.name}, line 1: found columns {found}; expected a column {key} (long form: "
            f"algorithm, case, metric, value; wide form: algorithm, case, one column per metric){more}"
        )


def _no_metric(asked: _Asked, absent: Sequence[str]) -> NoReturn:
    header = asked.header
    wanted = ", ".join(absent) or (
        f"a metric we know ({', '.join(list(KNOWN_METRICS)[:8])} …), or a configuration that declares it (--config)"
    )
    guesses = (did_you_mean(name, absent or KNOWN_METRICS) for name in header.others)
    wanted += next((guess for guess in guesses if guess), "")
    raise ScoresError(
        f"{asked.sheet.name}, line 1: found columns {', '.join(asked.sheet.header)}; expected a column for {wanted}"
    )


def _said_metric(asked: _Asked, why: str) -> str:
    wanted = wanted_metrics(asked.config)
    if asked.metric is None:
        only = asked.config.metrics[0].id if len(asked.config.metrics) == 1 else None
        if only is not None:
            return only
        raise ScoresError(f"{asked.sheet.name}: {why}, and nothing says which; expected its name: --metric dice")
    metric = find_metric(asked.metric, wanted)
    if metric is None:
        raise ScoresError(
            f"--metric: found {asked.metric!r}; expected one of {', '.join(wanted[:8])} …, or one that --config declares"
            f"{did_you_mean(asked.metric, wanted)}"
        )
    return metric


def _metric_of_file(asked: _Asked) -> str | None:
    """`dice_raw.csv`, `val_mean_dice_raw.csv` and `dsc.csv` say which metric they hold."""
    stem = asked.sheet.name.lower().partition(".")[0].removesuffix("_raw")
    words = stem.split("_")
    wanted = wanted_metrics(asked.config)
    tries = ["_".join(words[start:]) for start in range(len(words))]
    return next((found for text in tries if (found := find_metric(text, wanted))), None)
