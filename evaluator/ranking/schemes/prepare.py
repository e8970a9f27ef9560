"""From a table and a configuration to what the scheme works on: values decided, levels resolved, the disqualified
gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index
from evaluator.ranking.document.config import MetricSpec, Pooled, RankingConfig
from evaluator.ranking.document.parse import with_metrics
from evaluator.ranking.document.rewards import STRUCTURE_ABSENT
from evaluator.ranking.errors import TableError
from evaluator.ranking.schemes.missing import fill, lookup_order
from evaluator.ranking.statistics.significance import PairMemory
from evaluator.ranking.table import ScoreTable, natural_key


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric, decided: algorithm × structure × case. A pooled metric also carries the two sums it is a ratio of."""

    spec: MetricSpec
    structures: tuple[str, ...]
    values: Floats
    numerator: Floats | None = None
    denominator: Floats | None = None

    def weights(self) -> tuple[float, ...]:
        """The weight of each structure."""
        own = self.spec.structures or {}
        return tuple(own.get(name, 1.0) for name in self.structures)


@dataclass(frozen=True, eq=False)
class Prepared:
    """`members[level]` gives each case's unit on that level. `case` is the identity."""

    config: RankingConfig
    algorithms: tuple[str, ...]
    cases: tuple[str, ...]
    metrics: Mapping[str, Metric]
    members: Mapping[str, Index]
    unit_names: Mapping[str, tuple[str, ...]]
    disqualified: Mapping[str, str]
    notes: tuple[str, ...]
    memory: PairMemory | None = None

    def unit_count(self, level: str) -> int:
        """How many units a level has."""
        return len(self.unit_names[level])

    def parents(self, level: str, upper: str | None) -> Index | None:
        """For each unit of a level, its unit on an upper level. `None` when everything falls together."""
        if upper is None:
            return None
        result = np.zeros(self.unit_count(level), dtype=np.intp)
        result[self.members[level]] = self.members[upper]
        return result


def prepare(table: ScoreTable, config: RankingConfig, *, memory: PairMemory | None = None) -> Prepared:
    """Decide every missing value, drop disqualified algorithms, resolve patients and sites. Raises `RankingError`.

    `memory` remembers pair tests from one ranking to the next.
    """
    config = with_metrics(config, list(table.metrics))
    decided = {spec.id: _metric(table, spec, config) for spec in config.metrics}
    disqualified = _disqualified(table, config, {name: entry[1] for name, entry in decided.items()})
    keep = np.array([name not in disqualified for name in table.algorithms], dtype=bool)
    metrics = {name: _only(entry[0], keep) for name, entry in decided.items()}
    raters = () if config.stability.raters is None else (config.stability.raters,)
    members, unit_names = _units(table, levels=config.levels, clusters=(config.cluster, *raters))
    return Prepared(
        config=config,
        algorithms=tuple(name for name in table.algorithms if name not in disqualified),
        cases=table.cases,
        metrics=metrics,
        members=members,
        unit_names=unit_names,
        disqualified=disqualified,
        notes=tuple(dict.fromkeys([*(note for entry in decided.values() for note in entry[2]), *_unknown(unit_names)])),
        memory=memory,
    )


def _metric(
    table: ScoreTable, spec: MetricSpec, config: RankingConfig
) -> tuple[Metric, npt.NDArray[np.bool_], list[str]]:
    if spec.pooled is not None:
        return _pooled(table, spec, spec.pooled, config)
    if spec.id not in table.metrics:
        raise TableError(
            f"{spec.id}: found no scores of this metric; expected {', '.join(table.metrics)} or another configuration"
        )
    filled = fill(table, spec.id, spec, config.missing)
    values = filled.values
    if spec.tolerance is not None:
        values = np.where(np.isnan(values), np.nan, np.maximum(values - spec.tolerance, 0))
    if spec.round_decimals is not None:
        values = np.round(values, spec.round_decimals)
    chosen, structures = _chosen(table.metrics[spec.id].structures, spec)
    spec, values = _scaled(spec, values)
    return (
        Metric(spec=spec, structures=structures, values=values[:, chosen]),
        filled.is_disqualified,
        list(filled.cautions),
    )


def _scaled(spec: MetricSpec, values: Floats) -> tuple[MetricSpec, Floats]:
    """Values as the share of the way from worst to best, and the metric that they are then. What ranks last stays last."""
    if spec.scale is None:
        return spec, values
    worst, best = spec.scale
    behind = np.isinf(values)
    share = np.clip((np.where(behind, worst, values) - worst) / (best - worst), 0, 1)
    unit = f"of {worst:g} to {best:g} {spec.unit}".rstrip()
    return replace(spec, larger_is_better=True, bounds=(0.0, 1.0), unit=unit), np.where(behind, -np.inf, share)


def _pooled(
    table: ScoreTable, spec: MetricSpec, pooled: Pooled, config: RankingConfig
) -> tuple[Metric, npt.NDArray[np.bool_], list[str]]:
    names = stored_names(spec)
    missing = [name for name in names if name not in table.metrics]
    if missing:
        raise TableError(
            f"{spec.id}: found no scores of {', '.join(missing)}; expected the statistics the pooled metric is made of"
        )
    filled = {name: fill(table, name, spec, config.missing) for name in names}
    structures = table.metrics[names[0]].structures
    if any(table.metrics[name].structures != structures for name in names):
        raise TableError(f"{spec.id}: found different structures for {', '.join(names)}; expected the same for all")
    sides = [
        np.sum([factor * filled[name].values for name, factor in side.items()], axis=0)
        for side in (pooled.numerator, pooled.denominator)
    ]
    chosen, structures = _chosen(structures, spec)
    numerator, denominator = (side[:, chosen] for side in sides)
    metric = Metric(
        spec=spec,
        structures=structures,
        values=ratio(numerator, denominator),
        numerator=numerator,
        denominator=denominator,
    )
    is_disqualified = np.any([entry.is_disqualified for entry in filled.values()], axis=0)
    return metric, is_disqualified, [note for name in names for note in filled[name].cautions]


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Numerator by denominator. NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _chosen(structures: tuple[str, ...], spec: MetricSpec) -> tuple[list[int], tuple[str, ...]]:
    if spec.structures is None:
        return list(range(len(structures))), structures
    unknown = [name for name in spec.structures if name not in structures]
    if unknown:
        raise TableError(
            f"{spec.id}: found no scores of {', '.join(unknown)}; expected structures among "
            f"{', '.join(structures) or 'none'}"
        )
    chosen = [index for index, name in enumerate(structures) if spec.structures.get(name, 0) > 0]
    return chosen, tuple(structures[index] for index in chosen)


def _disqualified(
    table: ScoreTable, config: RankingConfig, masks: Mapping[str, npt.NDArray[np.bool_]]
) -> Mapping[str, str]:
    reasons: dict[str, str] = {}
    for metric, mask in masks.items():
        for index in np.flatnonzero(mask):
            reasons.setdefault(
                table.algorithms[index],
                f"a value of {metric} is missing or stopped the scoring, and the rules disqualify for that",
            )
    if config.submissions.require_complete:
        for name in (part for spec in config.metrics for part in stored_names(spec)):
            for index in np.flatnonzero(is_incomplete(table, name)):
                reasons.setdefault(
                    table.algorithms[index], f"{name} is not complete, and only complete submissions rank"
                )
    return reasons


def stored_names(spec: MetricSpec) -> tuple[str, ...]:
    """The names under which the table stores what a metric is made of."""
    return (spec.id,) if spec.pooled is None else tuple(sorted({*spec.pooled.numerator, *spec.pooled.denominator}))


def is_incomplete(table: ScoreTable, name: str) -> npt.NDArray[np.bool_]:
    """Which algorithms miss a value of a metric they could have had (a structure the reference lacks is nobody's
    fault).
    """
    scores = table.metrics[name]
    excused = [code for code, reason in enumerate(table.reason_names) if lookup_order(reason)[0] in STRUCTURE_ABSENT]
    holes = table.holes(name) & ~np.isin(scores.reasons, excused)
    return np.asarray(holes.any(axis=(1, 2)))


def _only(metric: Metric, keep: npt.NDArray[np.bool_]) -> Metric:
    if keep.all():
        return metric
    return Metric(
        spec=metric.spec,
        structures=metric.structures,
        values=metric.values[keep],
        numerator=None if metric.numerator is None else metric.numerator[keep],
        denominator=None if metric.denominator is None else metric.denominator[keep],
    )


def _units(
    table: ScoreTable, *, levels: Sequence[str], clusters: Sequence[str]
) -> tuple[dict[str, Index], dict[str, tuple[str, ...]]]:
    members: dict[str, Index] = {}
    names: dict[str, tuple[str, ...]] = {}
    for level in dict.fromkeys((*levels, *clusters)):
        if level != "structure":
            labels = list(table.cases) if level == "case" else _labels(table, level, is_cluster=level in clusters)
            names[level] = tuple(sorted(set(labels), key=natural_key))
            index = {name: position for position, name in enumerate(names[level])}
            members[level] = np.array([index[label] for label in labels], dtype=np.intp)
    ladder = [level for level in levels if level != "structure"]
    for lower, upper in pairwise(ladder):
        _check_nested(members, names, lower=lower, upper=upper)
    return members, names


def _unknown(unit_names: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [f"no case says its {level}: all count as one" for level, names in unit_names.items() if names == ("",)]


def _labels(table: ScoreTable, level: str, *, is_cluster: bool) -> list[str]:
    """Each case's unit on a level. A level that no case knows is one unit (a challenge of one task need not say so).

    What the bootstrap draws must be known: a cluster that no case knows is an error, as is a level that some cases lack.
    """
    labels = [table.attributes.get(case, {}).get(level, "") for case in table.cases]
    if any(labels) or is_cluster:
        for case, label in zip(table.cases, labels, strict=True):
            if not label:
                raise TableError(
                    f"{case}: found no attribute {level}; expected one for every case, because the ranking has that level"
                )
    return labels


def _check_nested(
    members: Mapping[str, Index], names: Mapping[str, tuple[str, ...]], *, lower: str, upper: str
) -> None:
    first = np.full(len(names[lower]), -1, dtype=np.intp)
    for unit, parent in zip(members[lower], members[upper], strict=True):
        if first[unit] not in (-1, parent):
            found = f"{names[upper][first[unit]]} and {names[upper][parent]}"
            raise TableError(
                f"{lower} {names[lower][unit]}: found it in {upper} {found}; expected it in one {upper} only"
            )
        first[unit] = parent
