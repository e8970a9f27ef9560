"""The scores to rank: for each metric one dense array over algorithm × structure × case, and why a value is not there.

Names are sorted on the way in (numbers inside them by value), so the order of rows, algorithms or cases cannot change
any result, nor the draws of a seeded bootstrap. A (structure, case) that no algorithm has a row for does not exist
for that metric. One that some algorithm has a row for is expected from every algorithm, and is `absent` where the row
is not there.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index
from evaluator.ranking.errors import TableError

Row = tuple[str, str, str, str, float | None, str]

PRESENT = ""
ABSENT = "absent"
UNDEFINED = "undefined"
ABSENT_CODE = 1
_SEPARATOR = "\x1f"


@lru_cache(maxsize=1 << 16)
def natural_key(name: str) -> tuple[tuple[int, float, str], ...]:
    """Sort key under which `case 9` comes before `case 10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in parts if part)


@dataclass(frozen=True, eq=False)
class MetricScores:
    """One metric. Arrays are algorithm × structure × case. A missing value is NaN.

    `reasons` holds codes: why a value is missing, or which convention put a value there (0: it was measured).
    """

    structures: tuple[str, ...]
    values: Floats
    reasons: npt.NDArray[np.int16]
    is_expected: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """All scores of a ranking. `reason_names[code]` spells a reason."""

    algorithms: tuple[str, ...]
    cases: tuple[str, ...]
    metrics: Mapping[str, MetricScores]
    reason_names: tuple[str, ...]
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Row],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        allow_empty: bool = False,
    ) -> "ScoreTable":
        """Build from (algorithm, case, label, metric, value or None, reason) in any order.

        Raises `TableError` for no rows at all, a duplicate, or a value that is neither None nor finite.
        """
        columns = list(zip(*rows, strict=True))
        if not columns:
            if allow_empty:
                return cls(algorithms=(), cases=(), metrics={}, reason_names=(PRESENT, ABSENT))
            raise TableError("found no scores; expected one row per algorithm, case, structure and metric")
        names = [sorted(set(column), key=natural_key) for column in columns[:4]]
        values = np.array([math.nan if value is None else value for value in columns[4]], dtype=np.float64)
        _refuse_infinite(values, columns)
        reason_names, reasons = _reasons(columns[5], is_missing=np.isnan(values))
        return cls.from_codes(
            names=names,
            codes=[_codes(column, known) for column, known in zip(columns[:4], names, strict=True)],
            values=values,
            reasons=reasons,
            reason_names=reason_names,
            attributes=attributes,
        )

    @classmethod
    def from_codes(
        cls,
        *,
        names: Sequence[Sequence[str]],
        codes: Sequence[Index],
        values: Floats,
        reasons: npt.NDArray[np.integer],
        reason_names: Sequence[str],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "ScoreTable":
        """Build from codes: `names` and `codes` of algorithm, case, label and metric, a code per value.

        `reasons` are codes into `reason_names`. NaN is a missing value. Names nothing is coded with are left out.
        Raises `TableError` for a duplicate.
        """
        sorted_names, sorted_codes = zip(*map(_in_order, names, codes), strict=True)
        algorithms, cases, labels, metric_names = sorted_names
        used = {reason_names[code] for code in np.flatnonzero(np.bincount(reasons)).tolist()}
        known = [PRESENT, ABSENT, UNDEFINED, *sorted(used - {PRESENT, ABSENT, UNDEFINED})]
        place = np.array([known.index(name) if name in used else 0 for name in reason_names], dtype=np.int16)
        why = place[reasons]
        why = np.where(np.isnan(values) & (why == 0), known.index(UNDEFINED), why).astype(np.int16)
        metrics = {}
        for index, name in enumerate(metric_names):
            rows_of_metric = slice(None) if len(metric_names) == 1 else np.flatnonzero(sorted_codes[3] == index)
            metrics[name] = _dense(
                [sorted_codes[axis][rows_of_metric] for axis in (0, 2, 1)],
                names=(algorithms, labels, cases),
                values=values[rows_of_metric],
                reasons=why[rows_of_metric],
                metric=name,
            )
        return cls(
            algorithms=tuple(algorithms),
            cases=tuple(cases),
            metrics=metrics,
            reason_names=tuple(known),
            attributes=_attributes(cases, attributes or {}),
        )

    @classmethod
    def from_arrays(
        cls,
        *,
        algorithms: Sequence[str],
        cases: Sequence[str],
        metrics: Mapping[str, npt.ArrayLike],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "ScoreTable":
        """Build from one algorithm × case array per metric, without structures. NaN is a missing value."""
        order = [_natural_order(algorithms), _natural_order(cases)]
        scores = {}
        for name in sorted(metrics, key=natural_key):
            array = np.asarray(metrics[name], dtype=np.float64)
            if array.shape != (len(algorithms), len(cases)) or np.isinf(array).any():
                raise TableError(
                    f"{name}: found shape {array.shape}; expected {len(algorithms)} × {len(cases)} finite values"
                )
            values = np.ascontiguousarray(array[np.ix_(*order)])[:, None, :]
            scores[name] = MetricScores(
                structures=("",),
                values=values,
                reasons=np.where(np.isnan(values), 2, 0).astype(np.int16),
                is_expected=np.ones(values.shape[1:], dtype=bool),
            )
        sorted_cases = [cases[i] for i in order[1]]
        return cls(
            algorithms=tuple(algorithms[i] for i in order[0]),
            cases=tuple(sorted_cases),
            metrics=scores,
            reason_names=(PRESENT, ABSENT, UNDEFINED),
            attributes=_attributes(sorted_cases, attributes or {}),
        )

    @property
    def case_count(self) -> int:
        """How many cases any algorithm has a row for."""
        return len(self.cases)

    def holes(self, metric: str, code: int | None = None) -> npt.NDArray[np.bool_]:
        """Where an expected value is missing, for one reason or any."""
        scores = self.metrics[metric]
        is_missing = np.isnan(scores.values) & scores.is_expected
        return is_missing if code is None else is_missing & (scores.reasons == code)

    def only_algorithms(self, keep: Iterable[str]) -> "ScoreTable":
        """The table of some algorithms. What is expected stays what the whole table expected."""
        wanted = set(keep)
        index = np.array([i for i, name in enumerate(self.algorithms) if name in wanted], dtype=np.intp)
        metrics = {
            name: MetricScores(
                structures=scores.structures,
                values=scores.values[index],
                reasons=scores.reasons[index],
                is_expected=scores.is_expected,
            )
            for name, scores in self.metrics.items()
        }
        return self._replace(algorithms=tuple(self.algorithms[i] for i in index), metrics=metrics)

    def trimmed(self) -> "ScoreTable":
        """The table as its own algorithms' rows alone would give it: nothing is expected that none of them has a row for."""
        metrics = {
            name: replace(scores, is_expected=(scores.reasons != ABSENT_CODE).any(axis=0))
            for name, scores in self.metrics.items()
        }
        there = {
            self.cases[index] for scores in metrics.values() for index in np.flatnonzero(scores.is_expected.any(axis=0))
        }
        return self._replace(metrics=metrics).only_cases(there)

    def joined(self, other: "ScoreTable") -> "ScoreTable":
        """The algorithms of both, which must differ. What only one of them has rows for is absent in the other."""
        algorithms = sorted((*self.algorithms, *other.algorithms), key=natural_key)
        if len(set(algorithms)) < len(algorithms):
            raise TableError("found the same algorithm in both tables; expected different ones")
        cases = sorted({*self.cases, *other.cases}, key=natural_key)
        reason_names = tuple(dict.fromkeys((*self.reason_names, *other.reason_names)))
        parts = [
            _Part(
                table=part,
                algorithms=_codes(part.algorithms, algorithms),
                cases=_codes(part.cases, cases),
                reasons=_codes(part.reason_names, reason_names),
            )
            for part in (self, other)
        ]
        names = sorted({*self.metrics, *other.metrics}, key=natural_key)
        return ScoreTable(
            algorithms=tuple(algorithms),
            cases=tuple(cases),
            metrics={name: _merged(name, parts, shape=(len(algorithms), len(cases))) for name in names},
            reason_names=reason_names,
            attributes={**other.attributes, **self.attributes},
        )

    def only_cases(self, keep: Iterable[str]) -> "ScoreTable":
        """The table of some cases. Metrics and structures without any of them disappear."""
        wanted = set(keep)
        index = np.array([i for i, name in enumerate(self.cases) if name in wanted], dtype=np.intp)
        metrics = {}
        for name, scores in self.metrics.items():
            kept = np.flatnonzero(scores.is_expected[:, index].any(axis=1))
            if kept.size:
                at = np.ix_(np.arange(len(self.algorithms)), kept, index)
                metrics[name] = MetricScores(
                    structures=tuple(scores.structures[i] for i in kept),
                    values=scores.values[at],
                    reasons=scores.reasons[at],
                    is_expected=scores.is_expected[np.ix_(kept, index)],
                )
        cases = tuple(self.cases[i] for i in index)
        attributes = {case: self.attributes[case] for case in cases if case in self.attributes}
        return self._replace(cases=cases, metrics=metrics, attributes=attributes)

    def sha256(self) -> str:
        """Hash of every name, value, reason and attribute: what a published ranking was computed from."""
        digest = hashlib.sha256()
        for names in (self.algorithms, self.cases, self.reason_names):
            digest.update(_SEPARATOR.join(names).encode() + b"\n")
        for name, scores in self.metrics.items():
            digest.update(_SEPARATOR.join((name, *scores.structures)).encode() + b"\n")
            digest.update(scores.values.tobytes() + scores.reasons.tobytes() + scores.is_expected.tobytes())
        digest.update(repr(sorted((case, sorted(pairs.items())) for case, pairs in self.attributes.items())).encode())
        return digest.hexdigest()

    def _replace(self, **changes: Any) -> "ScoreTable":
        return ScoreTable(**{**{name: getattr(self, name) for name in self.__dataclass_fields__}, **changes})


def _natural_order(names: Sequence[str]) -> Index:
    order = sorted(range(len(names)), key=lambda index: natural_key(names[index]))
    return np.array(order, dtype=np.intp)


def _in_order(names: Sequence[str], codes: Index) -> tuple[list[str], Index]:
    """Names that are used, in their natural order, and the codes for that order."""
    used = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    order = sorted(used.tolist(), key=lambda code: natural_key(names[code]))
    place = np.zeros(len(names), dtype=np.intp)
    place[order] = np.arange(len(order))
    return [names[code] for code in order], place[codes]


def _codes(column: Sequence[str], names: Sequence[str]) -> Index:
    index = {name: code for code, name in enumerate(names)}
    return np.fromiter(map(index.__getitem__, column), dtype=np.intp, count=len(column))


def _refuse_infinite(values: Floats, columns: Sequence[Sequence[Any]]) -> None:
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        where = " / ".join(str(column[infinite[0]]) for column in columns[:4])
        raise TableError(
            f"{where}: found {values[infinite[0]]}; expected a finite number, or no value and the reason why "
            f"(missing values "
            "have rules, infinite ones have none)"
        )


def _reasons(
    column: Sequence[str], *, is_missing: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], npt.NDArray[np.int16]]:
    """Reasons as codes. A reason beside a value says which convention put the value there."""
    names = [PRESENT, ABSENT, UNDEFINED, *sorted({text for text in column if text} - {ABSENT, UNDEFINED})]
    codes = _codes(column, names)
    return tuple(names), np.where(is_missing & (codes == 0), names.index(UNDEFINED), codes).astype(np.int16)


def _dense(
    codes: Sequence[Index],
    *,
    names: Sequence[Sequence[str]],
    values: Floats,
    reasons: npt.NDArray[np.int16],
    metric: str,
) -> MetricScores:
    algorithm, structure, case = codes
    used = np.flatnonzero(np.bincount(structure, minlength=len(names[1])))
    place = np.zeros(len(names[1]), dtype=np.intp)
    place[used] = np.arange(len(used))
    structure = place[structure]
    shape = (len(names[0]), len(used), len(names[2]))
    flat = np.ravel_multi_index((algorithm, structure, case), shape)
    counts = np.bincount(flat)
    if counts.max() > 1:
        a, s, c = np.unravel_index(counts.argmax(), shape)
        label = names[1][int(used[s])]
        raise TableError(
            f"found {counts.max()} rows for {names[0][int(a)]} / {names[2][int(c)]}{f' / {label}' if label else ''} / "
            f"{metric}; expected "
            "one row per algorithm, case, structure and metric"
        )
    dense = np.full(shape, math.nan)
    why = np.ones(shape, dtype=np.int16)
    dense.flat[flat] = values
    why.flat[flat] = reasons
    is_expected = np.zeros(shape[1:], dtype=bool)
    is_expected[structure, case] = True
    return MetricScores(
        structures=tuple(names[1][i] for i in used.tolist()), values=dense, reasons=why, is_expected=is_expected
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """A table, and where its names stand in the table it becomes a part of."""

    table: ScoreTable
    algorithms: Index
    cases: Index
    reasons: Index


def _merged(metric: str, parts: Sequence[_Part], *, shape: tuple[int, int]) -> MetricScores:
    parts = [part for part in parts if metric in part.table.metrics]
    structures = sorted({name for part in parts for name in part.table.metrics[metric].structures}, key=natural_key)
    values = np.full((shape[0], len(structures), shape[1]), math.nan)
    reasons = np.ones(values.shape, dtype=np.int16)
    is_expected = np.zeros(values.shape[1:], dtype=bool)
    for part in parts:
        scores = part.table.metrics[metric]
        at = _codes(scores.structures, structures)
        values[np.ix_(part.algorithms, at, part.cases)] = scores.values
        reasons[np.ix_(part.algorithms, at, part.cases)] = part.reasons[scores.reasons]
        is_expected[np.ix_(at, part.cases)] |= scores.is_expected
    return MetricScores(structures=tuple(structures), values=values, reasons=reasons, is_expected=is_expected)


def _attributes(cases: Sequence[str], attributes: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, str]]:
    return {case: {str(k): str(v) for k, v in attributes[case].items()} for case in cases if case in attributes}
