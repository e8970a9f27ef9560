"""Parts of sheets as one table: names as codes, values as one array, and a way back from a value to its cell."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index
from evaluator.ranking.document.config import MetricSpec, RankingConfig
from evaluator.ranking.document.known import KNOWN_METRICS
from evaluator.ranking.document.spellings import find_metric
from evaluator.ranking.errors import TableError
from evaluator.ranking.schemes.missing import find_rule
from evaluator.ranking.score_files.cells import has_control, is_summary, numbers, plain_name
from evaluator.ranking.score_files.columns import specs_of
from evaluator.ranking.score_files.forms import WHOLE, Form, Names, Part
from evaluator.ranking.score_files.plain_columns import PlainColumn, numbered
from evaluator.ranking.score_files.sheets import ScoresError
from evaluator.ranking.table import ScoreTable
from evaluator.spreadsheets import as_written

_SLACK = 1e-9  # of a bound: a Dice of 1.0000000000000002 is one
INFINITE = "infinite"
"""The reason of a value that is not finite, where the configuration has a rule for it."""
AXES = ("algorithm", "case", "label", "metric")
_LEFT_OUT = -1


@dataclass
class Coder:
    """Names as numbers, each name once. `known`: what was written → number."""

    names: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number of a name."""
        if name not in self.numbers:
            self.numbers[name] = len(self.names)
            self.names.append(name)
        return self.numbers[name]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """All values with the codes of their names. `starts`: where each part begins, to find the cell of a value."""

    parts: tuple[Part, ...]
    coders: Mapping[str, Coder]
    codes: Mapping[str, Index]
    values: Floats
    reasons: npt.NDArray[np.intp]
    reason_names: tuple[str, ...]
    starts: Index
    rows: Index

    def names_at(self, index: int) -> tuple[str, ...]:
        """Algorithm, case, label and metric of a value."""
        return tuple(self.coders[axis].names[int(self.codes[axis][index])] for axis in AXES)

    def error(self, index: int, *, found: str, expected: str, column: str | None = None) -> ScoresError:
        """An error at the cell of a value."""
        part = self.parts[int(np.searchsorted(self.starts, index, side="right")) - 1]
        return part.sheet.error(int(self.rows[index]), column or part.column, found=found, expected=expected)

    def place(self, index: int) -> int:
        """The line of a value."""
        part = self.parts[int(np.searchsorted(self.starts, index, side="right")) - 1]
        return part.sheet.place(int(self.rows[index]))

    def table(self, attributes: Mapping[str, Mapping[str, str]]) -> ScoreTable:
        """The scores as a table."""
        return ScoreTable.from_codes(
            names=[self.coders[axis].names for axis in AXES],
            codes=[self.codes[axis] for axis in AXES],
            values=self.values,
            reasons=self.reasons,
            reason_names=self.reason_names,
            attributes=attributes,
        )


class Assembler:
    """Collects the parts of all forms. One copy of each name: a file has millions of cells."""

    def __init__(self, config: RankingConfig) -> None:
        self.config = config
        self.specs: Mapping[str, MetricSpec] = specs_of(config)
        self.coders = {axis: Coder() for axis in (*AXES, "reason")}
        self.coders["reason"].number("")
        self.left_out: dict[str, list[str]] = {}
        self.spreads: dict[str, str] = {}
        """Column → a cell in which more than one number stands."""
        self._seen: dict[tuple[str, int], Index] = {}

    def names(self, axis: str, part: Part, names: Names, *, column: str) -> Index:
        """The codes of the names of a part, one per row. Summaries of rows are left out."""
        count = len(part.values)
        if isinstance(names, str):
            return np.full(count, self._code(axis, names, is_read=False), dtype=np.intp)
        known = self._seen.get((axis, id(names)))
        if known is None:
            texts, numbers_of_rows = names.distinct if isinstance(names, PlainColumn) else numbered(names)
            codes = np.array([self._read(axis, text, part, names, column) for text in texts], dtype=np.intp)
            known = codes[numbers_of_rows]
            self._seen[axis, id(names)] = known
        return known

    def _read(self, axis: str, text: str, part: Part, names: Sequence[str], column: str) -> int:
        def place() -> int:
            return list(names).index(text)

        name = plain_name(as_written(text.strip()))
        if not name and axis in ("algorithm", "case", "metric"):
            raise part.sheet.error(place(), column, found="nothing", expected=f"the name of the {axis}")
        if has_control(name):
            raise part.sheet.error(
                place(), column, found=repr(name), expected="a name without line breaks and control characters"
            )
        if axis == "metric":
            try:
                name = find_metric(name, self.specs) or find_metric(name, KNOWN_METRICS) or name
            except TableError as error:
                raise ScoresError(
                    f"{part.sheet.name}, line {part.sheet.place(place())}, column {column}: {error}"
                ) from error
        return self._code(axis, name)

    def _code(self, axis: str, name: str, *, is_read: bool = True) -> int:
        if is_read and axis in ("case", "label") and is_summary(name):
            left = self.left_out.setdefault(axis, [])
            left.extend([name] if name not in left else [])
            return _LEFT_OUT
        return self.coders[axis].number(name)

    def scores(self, forms: Sequence[Form]) -> Scores:
        """Everything that the forms hold. Raises `ScoresError`."""
        parts = tuple(part for form in forms for part in form.parts if len(part.values))
        codes: dict[str, list[Index]] = {axis: [] for axis in (*AXES, "reason")}
        values, rows = [], []
        for part in parts:
            columns = {
                "algorithm": part.algorithms,
                "case": part.cases,
                "label": part.labels,
                "metric": part.metrics,
                "reason": part.reasons,
            }
            for axis, names in columns.items():
                codes[axis].append(self.names(axis, part, names, column=axis))
            values.append(numbers(part.sheet, part.column, part.values, spreads=self.spreads))
            rows.append(np.arange(len(part.values)))
        if not parts:
            raise ScoresError(f"{forms[0].sheet.name}: found no scores; expected one row per algorithm and case")
        return self._kept(parts, {axis: np.concatenate(found) for axis, found in codes.items()}, values, rows)

    def _kept(
        self, parts: tuple[Part, ...], codes: dict[str, Index], values: Sequence[Floats], rows: Sequence[Index]
    ) -> Scores:
        """The scores without the rows that summarise others."""
        self._keep_lonely_summaries(codes, parts)
        is_kept = (codes["case"] != _LEFT_OUT) & (codes["label"] != _LEFT_OUT)
        if not is_kept.any():
            raise ScoresError(f"{parts[0].sheet.name}: found summaries only; expected one row per algorithm and case")
        are_all = bool(is_kept.all())
        ends = np.cumsum([len(part.values) for part in parts])
        starts = np.concatenate([[0], np.cumsum([int(n.sum()) for n in np.split(is_kept, ends[:-1])])[:-1]])
        chosen: slice | npt.NDArray[np.bool_] = slice(None) if are_all else is_kept
        reasons = codes["reason"][chosen]
        flat = np.concatenate(values)[chosen]
        missing = self.coders["reason"].number("missing")
        reasons = np.where(np.isnan(flat) & (reasons == 0), missing, reasons)
        found = Scores(
            parts=parts,
            coders=self.coders,
            codes={axis: codes[axis][chosen] for axis in AXES},
            values=flat,
            reasons=reasons,
            reason_names=tuple(self.coders["reason"].names),
            starts=starts.astype(np.intp),
            rows=np.concatenate(rows)[chosen],
        )
        return self._finite(found)

    def _keep_lonely_summaries(self, codes: dict[str, Index], parts: Sequence[Part]) -> None:
        """A table of means and nothing else is a table without cases; a structure `total` alone is a structure."""
        if (codes["case"] == _LEFT_OUT).all() and self.left_out.get("case"):
            means = [
                name for name in self.left_out["case"] if name.lower() in ("mean", "average", "avg", "overall", "all")
            ]
            if len(means) == 1:
                wanted = np.concatenate([_is(part.cases, means[0], len(part.values)) for part in parts])
                codes["case"][:] = np.where(wanted, self.coders["case"].number(WHOLE), _LEFT_OUT)
                self.left_out["case"].remove(means[0])
        if (codes["label"] == _LEFT_OUT).all():
            names = self.left_out.pop("label", [])
            if len(names) == 1:
                codes["label"][:] = self.coders["label"].number(names[0])

    def _finite(self, found: Scores) -> Scores:
        """Infinite values become missing ones where a rule says what they count as."""
        infinite = np.flatnonzero(np.isinf(found.values))
        if not infinite.size:
            return found
        for index in infinite:
            metric = found.names_at(int(index))[3]
            if find_rule(self.config.missing, reason=INFINITE, metric=metric) is None:
                raise found.error(
                    int(index),
                    found=f"{found.values[index]:g}",
                    expected="a finite number, or nothing and a rule for missing values, or a rule for infinity: "
                    + option_for(self.specs.get(metric), metric),
                )
        values, reasons = found.values.copy(), found.reasons.copy()
        values[infinite] = math.nan
        reasons[infinite] = self.coders["reason"].number(INFINITE)
        changed = {"values": values, "reasons": reasons, "reason_names": tuple(self.coders["reason"].names)}
        return Scores(**{**{name: getattr(found, name) for name in found.__dataclass_fields__}, **changed})


def _is(names: Names, wanted: str, count: int) -> npt.NDArray[np.bool_]:
    if isinstance(names, str):
        return np.full(count, names == wanted)
    return np.array([name.strip() == wanted for name in names])


def option_for(spec: MetricSpec | None, metric: str) -> str:
    """The option that would give a missing value of a metric its worst, as one types it."""
    worst = None if spec is None else spec.worse_bound
    return f"--missing {metric}={'rank_last' if worst is None else f'{worst:g}'}"


def check_values(scores: Scores, specs: Mapping[str, MetricSpec]) -> None:
    """Every value within the range of its metric. Raises `ScoresError`."""
    for metric, spec in specs.items():
        code = scores.coders["metric"].numbers.get(metric)
        low, high = spec.bounds
        if code is None or (low is None and high is None):
            continue
        is_out = np.zeros(len(scores.values), dtype=bool)
        with np.errstate(invalid="ignore"):
            if low is not None:
                is_out |= scores.values < low - _SLACK
            if high is not None:
                is_out |= scores.values > high + _SLACK
        wrong = np.flatnonzero(is_out & (scores.codes["metric"] == code))
        if wrong.size:
            raise scores.error(
                int(wrong[0]),
                found=f"{scores.values[wrong[0]]:g}",
                expected=f"{_range(spec.bounds)}, or other bounds for {metric} in --config",
            )


def check_once(scores: Scores) -> None:
    """No algorithm, case, label and metric twice. Raises `ScoresError`."""
    sizes = [len(scores.coders[axis].names) for axis in AXES]
    flat = np.ravel_multi_index([scores.codes[axis] for axis in AXES], sizes)
    order = np.argsort(flat, kind="stable")
    again = order[1:][flat[order][1:] == flat[order][:-1]]
    if again.size:
        index = int(again.min())
        first = int(np.flatnonzero(flat == flat[index])[0])
        where = " / ".join(part for part in scores.names_at(index) if part)
        other = scores.parts[int(np.searchsorted(scores.starts, first, side="right")) - 1].sheet
        raise scores.error(
            index,
            found=f"{where} again (first on {other.unit} {scores.place(first)}"
            + (f" of {other.name})" if len({part.sheet.name for part in scores.parts}) > 1 else ")"),
            expected="one row for it",
        )


def _range(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    if low is not None and high is not None:
        return f"a number from {low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def said_of(
    forms: Sequence[Form], *, axis: Callable[[Form], Names], columns: Callable[[Form], Mapping[str, Sequence[str]]]
) -> dict[str, dict[str, str]]:
    """Name → column → the one text that all its rows agree on. Raises `ScoresError` where they do not."""
    said: dict[str, dict[str, str]] = {}
    for form in forms:
        names = axis(form)
        for column, texts in columns(form).items():
            pairs = dict.fromkeys(
                zip(names, texts, strict=True) if not isinstance(names, str) else ((names, t) for t in texts)
            )
            for written, text in pairs:
                name, text = plain_name(as_written(written.strip())), text.strip()
                if not text or is_summary(name):
                    continue
                known = said.setdefault(name, {})
                if known.setdefault(column, text) != text:
                    raise Contradiction(form, column, written, text, known[column])
    return said


class Contradiction(Exception):
    """Two rows of one name say different things. The caller knows what to advise."""

    def __init__(self, form: Form, column: str, name: str, text: str, known: str) -> None:
        super().__init__(f"{column}: {text!r} beside {known!r}")
        self.form, self.column, self.name, self.text, self.known = form, column, name, text, known

    def rows(self, names: Names) -> tuple[int, int]:
        """The row that contradicts, and the first one that says it otherwise."""
        texts = self.form.sheet.column(self.column)
        own = [n == self.name for n in names] if not isinstance(names, str) else [True] * len(texts)
        wrong = next(i for i, text in enumerate(texts) if own[i] and text.strip() == self.text)
        first = next((i for i, text in enumerate(texts) if own[i] and text.strip() == self.known), wrong)
        return wrong, first
