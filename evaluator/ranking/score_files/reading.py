"""Score files in: which files, which form, one table, and every doubt said or refused.

Columns and metrics may be spelled as people write them (`Model`, `case_id`, `HD95 (mm)`): `document/spellings.py` lists how. `forms.py`
lists the forms. Text is UTF-8, cells are separated by commas, semicolons or tabs, whichever the header has most of. Between
semicolons and tabs a number may have a decimal comma. An empty cell, NA, N/A, NaN or a dash is a missing value. A blank line is
nothing, and a row or column that summarises others (mean, std, overall) is never a score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.options import with_raters
from evaluator.ranking.document.parse import with_metrics
from evaluator.ranking.document.spellings import RATERS, did_you_mean
from evaluator.ranking.schemes.missing import find_rule
from evaluator.ranking.schemes.prepare import stored_names
from evaluator.ranking.score_files.assembly import (
    AXES,
    Assembler,
    Contradiction,
    Scores,
    check_once,
    check_values,
    option_for,
    said_of,
)
from evaluator.ranking.score_files.cells import plain_name
from evaluator.ranking.score_files.columns import is_any_metric
from evaluator.ranking.score_files.exports import sheet_of_json
from evaluator.ranking.score_files.forms import WHOLE, Form, read_form
from evaluator.ranking.score_files.names import lacking, refuse_near_cases, refuse_twins
from evaluator.ranking.score_files.sheets import ScoresError, Sheet, read_json, read_sheet
from evaluator.ranking.score_files.sources import Source, find_sources
from evaluator.ranking.table import ABSENT, ScoreTable
from evaluator.results import ROUND_MARK

TASK = "task"
"""The column that tells tasks apart, where no configuration says another."""


@dataclass(frozen=True)
class ScoreFile:
    """What score files say, and the configuration with its metrics filled in.

    `teams`: algorithm → team in the order of the file. Empty where it has no such column. `columns`: each column of the
    files → what it was understood as. `notes`: what was assumed or left out. `has_cases` is false for a table of aggregates.
    """

    table: ScoreTable
    config: RankingConfig
    teams: Mapping[str, str]
    columns: Mapping[str, str]
    form: str
    notes: tuple[str, ...] = ()
    has_cases: bool = True


def read_scores(
    paths: Path | Sequence[Path], config: RankingConfig, *, as_form: str = "auto", metric: str | None = None
) -> ScoreFile:
    """Read and check score files: one table, a file for each algorithm, or folders of them. Raises `RankingError`.

    `metric`: whose values they are, in forms that do not say. `as_form`: a name of `FORMS`, where a guess could be wrong.
    """
    sources = find_sources([paths] if isinstance(paths, Path) else list(paths))
    sheets = [(source, _sheet(source.path)) for source in sources]
    return read_sheets(sheets, config, as_form=as_form, metric=metric)


def read_sheets(
    sheets: Sequence[tuple[Source, Sheet]], config: RankingConfig, *, as_form: str = "auto", metric: str | None = None
) -> ScoreFile:
    """`read_scores` for a caller that has the sheets already."""
    name = sheets[0][1].name if len(sheets) == 1 else "the files"
    forms, notes = _forms(sheets, config, as_form=as_form, metric=metric)
    forms = _split_tasks(forms, config)
    forms, scans = _split_raters(forms)
    if scans:
        config = with_raters(config)
    assembler = Assembler(config)
    scores = assembler.scores(forms)
    check_once(scores)
    check_values(scores, assembler.specs)
    for axis in ("algorithm", "label"):
        refuse_twins(scores.coders[axis].names, what="structure" if axis == "label" else axis, where=name)
    attributes, unread = _attributes(forms)
    table = scores.table(_of_scans(attributes, scans))
    config = with_metrics(config, [metric for metric in table.metrics if metric in KNOWN_METRICS])
    teams = _teams(forms)
    refuse_near_cases(table, where=name)
    _check(name, scores, table, config)
    notes += [note for form in forms for note in form.notes]
    notes += [
        f"rows that summarise others are not {axis}s: {', '.join(left)}"
        for axis, left in assembler.left_out.items()
        if left
    ]
    notes += [
        f"{column}: the first number of each cell is ranked, as in {text!r}, and what stands behind it is not used"
        for column, text in assembler.spreads.items()
    ]
    notes += _pooled_tasks(table, config)
    if unread:
        notes.append(f"metrics that this ranking does not use were not read: {', '.join(unread)}")
    has_cases = table.cases != (WHOLE,)
    if not has_cases and all(form.name != "aggregates" for form in forms):
        notes.append(
            f"{name}: there are no cases, only means: they are ranked as they are, without intervals and tests"
        )
    return ScoreFile(
        table=table,
        config=config,
        teams=teams,
        columns={
            column: "a metric that this ranking does not use, not read" if column in unread else meaning
            for form in forms
            for column, meaning in form.columns.items()
        },
        form=", ".join(dict.fromkeys(form.name for form in forms)),
        notes=tuple(dict.fromkeys(notes)),
        has_cases=has_cases,
    )


def _sheet(path: Path) -> Sheet:
    if path.name.lower().endswith((".json", ".json.gz")):
        return sheet_of_json(path.name, read_json(path))
    return read_sheet(path)


def _forms(
    sheets: Sequence[tuple[Source, Sheet]], config: RankingConfig, *, as_form: str, metric: str | None
) -> tuple[list[Form], list[str]]:
    forms, notes = [], []
    for source, sheet in sheets:
        try:
            forms.append(read_form(sheet, config, as_form=as_form, metric=metric, own=source.own))
        except ScoresError:
            has_others = sum(other.own == source.own for other, _ in sheets) > 1
            if not (source.may_be_passed_over and has_others):
                raise
            notes.append(f"{source.own}/{sheet.name} was not read: it has no scores of cases")
    if not forms:
        raise ScoresError(
            f"{sheets[0][1].name}: found no scores of cases in any file; expected one table for each algorithm"
        )
    return forms, notes


def _split_tasks(forms: list[Form], config: RankingConfig) -> list[Form]:
    """challengeR numbers the cases of every task from 1: a case that stands under several tasks is one case in each."""
    by = config.multi_task.by if config.multi_task else TASK
    split = []
    for form in forms:
        if by not in form.others or isinstance(form.cases, str) or form.name != "value-column":
            split.append(form)
            continue
        tasks = form.sheet.column(by)
        pairs = set(zip(form.cases, tasks, strict=True))
        if len(pairs) == len({case for case, _ in pairs}):
            split.append(form)
            continue
        cases = [f"{task} / {case}" for case, task in zip(form.cases, tasks, strict=True)]
        parts = tuple(replace(part, cases=cases) for part in form.parts)
        note = f"cases are told apart by {by}: the same names stand under several"
        split.append(replace(form, cases=cases, parts=parts, notes=(*form.notes, note)))
    return split


def _pooled_tasks(table: ScoreTable, config: RankingConfig) -> list[str]:
    """A column `task` says that a mean over all cases may mean nothing. Rules that name the column know of it."""
    known = (*config.levels, config.cluster, *(subgroup.attribute for subgroup in config.subgroups))
    tasks = sorted({text for said in table.attributes.values() if (text := said.get(TASK, ""))})
    if config.multi_task is not None or TASK in known or len(tasks) < 2:
        return []
    some = ", ".join(tasks[:5]) + (" …" if tasks[5:] else "")
    told = f"cases of {len(tasks)} tasks are ranked together ({some})"
    return [f"{told}: in --config multi_task: {{by: {TASK}}} ranks each task on its own"]


def _split_raters(forms: list[Form]) -> tuple[list[Form], Mapping[str, tuple[str, str]]]:
    """A scan that stands under several raters is a case in each reading. Also: case → scan and rater; empty without such readings."""
    split: list[Form] = []
    scans: dict[str, tuple[str, str]] = {}
    for form in forms:
        column = next((name for name in form.others if name.strip().lower() in RATERS), None)
        if column is None or isinstance(form.cases, str):
            split.append(form)
            continue
        raters = [plain_name(rater) for rater in form.sheet.column(column)]
        readings = dict.fromkeys(zip(form.cases, raters, strict=True))
        if len(readings) == len({case for case, _ in readings}):
            split.append(form)
            continue
        empty = next((row for row, rater in enumerate(raters) if not rater), None)
        if empty is not None:
            raise form.sheet.error(empty, column, found="nothing", expected="the rater of every row, or no such column")
        names = {(case, rater): f"{plain_name(case)} / {rater}" for case, rater in readings}
        scans |= {name: (plain_name(case), rater) for (case, rater), name in names.items()}
        cases = [names[case, rater] for case, rater in zip(form.cases, raters, strict=True)]
        note = (
            f"{len(set(raters))} raters ({column}): every reading is a case; readings of a scan are averaged, "
            "scans count as independent, and the bootstrap draws scans and raters"
        )
        own = replace(form, cases=cases, parts=tuple(replace(part, cases=cases) for part in form.parts))
        split.append(replace(own, others=tuple(n for n in form.others if n != column), notes=(*form.notes, note)))
    return split, scans


def _of_scans(
    attributes: Mapping[str, Mapping[str, str]], scans: Mapping[str, tuple[str, str]]
) -> Mapping[str, Mapping[str, str]]:
    """The attributes of cases, with the scan and the rater of every reading."""
    if not scans:
        return attributes
    return {case: {**attributes.get(case, {}), "scan": scan, "rater": rater} for case, (scan, rater) in scans.items()}


def _attributes(forms: Sequence[Form]) -> tuple[Mapping[str, Mapping[str, str]], list[str]]:
    """Columns that are neither keys nor metrics say something of the case, and the same on each of its rows.

    Also the columns that do not: metrics which the configuration does not rank. Any other such column is an error.
    """

    def columns(form: Form) -> Mapping[str, Sequence[str]]:
        return {name: form.sheet.column(name) for name in form.others}

    loose = [replace(form, others=tuple(n for n in form.others if n in KNOWN_METRICS)) for form in forms]
    strict = [replace(form, others=tuple(n for n in form.others if n not in KNOWN_METRICS)) for form in forms]
    unread: list[str] = []
    try:
        while True:
            try:
                found = said_of([form for form in strict if form.cases], axis=lambda form: form.cases, columns=columns)
                break
            except Contradiction as error:
                if not is_any_metric(error.column):
                    raise
                unread.append(error.column)
                strict = [replace(form, others=tuple(n for n in form.others if n != error.column)) for form in strict]
    except Contradiction as error:
        row, first = error.rows(error.form.cases)
        sheet = error.form.sheet
        raise sheet.error(
            row,
            error.column,
            found=f"{error.text!r} for case {error.name.strip()}",
            expected=f"{error.known!r} as on {sheet.unit} {sheet.place(first)}, for {error.column} is no metric we know but an "
            "attribute of the case (--config may declare it a metric)",
        ) from None
    for form in loose:
        for column, texts in columns(form).items():
            for case, text in zip(form.cases, texts, strict=True):
                if text.strip():
                    found.setdefault(plain_name(case), {}).setdefault(column, text.strip())
    return found, unread


def _teams(forms: Sequence[Form]) -> dict[str, str]:
    for form in forms:
        empty = next((row for row, team in enumerate(form.teams or ()) if not team.strip()), None)
        if empty is not None:
            raise form.sheet.error(
                empty, "team", found="nothing", expected="the team of every algorithm, or no such column"
            )
    try:
        said = said_of(
            forms,
            axis=lambda form: form.algorithms,
            columns=lambda form: {} if form.teams is None else {"team": form.teams},
        )
    except Contradiction as error:
        column = next(name for name in error.form.sheet.header if name.lower().startswith("team"))
        texts = error.form.sheet.column(column)
        row = next(
            i
            for i, (a, t) in enumerate(zip(error.form.algorithms, texts, strict=True))
            if (a, t.strip()) == (error.name, error.text)
        )
        raise error.form.sheet.error(
            row, "team", found=f"{error.text!r} for {error.name.strip()}", expected=f"{error.known!r} as before"
        ) from None
    return {name: columns["team"] for name, columns in said.items()}


def _check(name: str, scores: Scores, table: ScoreTable, config: RankingConfig) -> None:
    wanted = tuple(dict.fromkeys(stored for spec in config.metrics for stored in stored_names(spec)))
    for metric in table.metrics:
        if metric not in wanted and metric.partition(ROUND_MARK)[0] not in (*KNOWN_METRICS, *wanted):
            expected = ", ".join(wanted) or "a metric we know, or a configuration that declares it"
            expected += did_you_mean(metric, wanted or KNOWN_METRICS)
            code = scores.coders["metric"].numbers[metric]
            index = int((scores.codes["metric"] == code).nonzero()[0][0])
            raise scores.error(index, column="metric", found=f"unknown metric {metric!r}", expected=expected)
    absent = [metric for metric in wanted if metric not in table.metrics]
    if absent or not wanted:
        raise ScoresError(
            f"{name}: found scores of {', '.join(table.metrics)}; expected also {', '.join(absent) or 'a known metric'}"
        )
    if len(table.algorithms) < 2:
        raise ScoresError(f"{name}: found one algorithm, {table.algorithms[0]}; expected at least two to rank")
    for metric in wanted:
        _check_missing(name, scores, table, config, metric)


def _check_missing(name: str, scores: Scores, table: ScoreTable, config: RankingConfig, metric: str) -> None:
    """Every missing value needs a rule. An absent row too, or the algorithms ran on different cases."""
    found = table.metrics[metric]
    option = option_for(next((spec for spec in config.metrics if spec.id == metric), KNOWN_METRICS.get(metric)), metric)
    for code in sorted({int(code) for code in found.reasons[table.holes(metric)]}):
        reason = table.reason_names[code]
        if find_rule(config.missing, reason=reason, metric=metric) is not None:
            continue
        a, s, c = (int(axis[0]) for axis in table.holes(metric, code).nonzero())
        key = (table.algorithms[a], table.cases[c], found.structures[s], metric)
        where = " / ".join(part for part in key if part)
        if reason == ABSENT:
            lacks = lacking(table)
            raise ScoresError(
                f"{name}: found no row for {where}, unequal case sets{f' ({lacks})' if lacks else ''}; expected the same cases "
                f"for every algorithm, or a rule for {metric}: {option}, or under missing (absent, failed_case or any) in --config"
            )
        raise scores.error(
            _index_of(scores, key),
            found=f"no value for {where}",
            expected=f"a number, or a rule under missing ({reason} or any) for {metric} in --config, or {option}",
        )


def _index_of(scores: Scores, key: tuple[str, ...]) -> int:
    is_it = [scores.codes[axis] == scores.coders[axis].numbers[text] for axis, text in zip(AXES, key, strict=True)]
    return int(np.flatnonzero(np.logical_and.reduce(is_it))[0])
