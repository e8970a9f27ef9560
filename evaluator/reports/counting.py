"""What the sections count: groups and branches of cases, rounds, tie groups, and means that know what is missing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.parse_scheme import walk
from evaluator.ranking.engine import aggregation_node, statistical_ties
from evaluator.ranking.schemes.prepare import Metric, Prepared
from evaluator.ranking.schemes.tree import evaluate, metric_names, rank_scores
from evaluator.ranking.statistics.ties import rank
from evaluator.ranking.table import ScoreTable, natural_key
from evaluator.results import ROUND_MARK


def groups_by(table: ScoreTable, attribute: str) -> dict[str, list[str]]:
    """The cases of each value of a case attribute, in natural order. Cases that do not say it are in none."""
    found: dict[str, list[str]] = {}
    for case in table.cases:
        value = table.attributes.get(case, {}).get(attribute, "")
        if value:
            found.setdefault(value, []).append(case)
    return {value: found[value] for value in sorted(found, key=natural_key)}


def tree(table: ScoreTable, path: Sequence[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Every branch as (depth, name, cases), the whole first and each branch before its own branches."""
    yield 0, "all", list(table.cases)

    def below(cases: list[str], depth: int) -> Iterator[tuple[int, str, list[str]]]:
        if depth > len(path):
            return
        parts: dict[str, list[str]] = {}
        for case in cases:
            parts.setdefault(table.attributes.get(case, {}).get(path[depth - 1], "") or "not said", []).append(case)
        for name in sorted(parts, key=natural_key):
            yield depth, name, parts[name]
            yield from below(parts[name], depth + 1)

    yield from below(list(table.cases), 1)


def rounds_of(table: ScoreTable) -> dict[str, list[str]]:
    """Metric → its names round by round, the last one being the metric itself."""
    found: dict[str, list[str]] = {}
    for name in sorted(table.metrics, key=natural_key):
        base, mark, _ = name.partition(ROUND_MARK)
        if mark and base in table.metrics:
            found.setdefault(base, []).append(name)
    return {base: [*names, base] for base, names in found.items()}


def tie_groups(prepared: Prepared, order: Sequence[int]) -> list[str]:
    """A, B, C …: a new letter where somebody is significantly worse than the first of the group."""
    scores = evaluate(prepared.config.scheme, prepared)
    shared = statistical_ties(rank_scores(scores, prepared)[0], prepared)[list(order)]
    letters = {value: number for number, value in enumerate(sorted(set(shared.tolist())))}
    return [_letter(letters[value]) for value in shared.tolist()]


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"{_letter(number // 26 - 1)}{_letter(number % 26)}"


def rank_by(prepared: Prepared, metric: str) -> Floats:
    """The ranks one metric alone gives, by the part of the scheme that uses it."""
    leaves = [node for node in walk(prepared.config.scheme) if not node.children]
    leaf = next((node for node in leaves if metric in metric_names(node, prepared)), leaves[0])
    ranks: Floats = rank_scores(evaluate(replace(leaf, metrics=(metric,)), prepared), prepared)[0]
    return ranks


def aligned_like(table: ScoreTable, name: str, *, like: str) -> Floats:
    """The values of a metric at the structures of another."""
    scores = table.metrics[name]
    result = np.full(table.metrics[like].values.shape, np.nan)
    for place, structure in enumerate(table.metrics[like].structures):
        if structure in scores.structures:
            result[:, place] = scores.values[:, scores.structures.index(structure)]
    return result


def case_values(metric: Metric) -> Floats:
    """Algorithm × case: the mean over structures."""
    return mean_over(metric.values, axis=1)


def mean_over(values: Floats, *, axis: int) -> Floats:
    """Means of what is there. NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def ranks_within(values: Floats, *, larger_is_better: bool) -> Floats:
    """Algorithm × structure: rank within each structure. Algorithms without a value come last."""
    keys = np.where(np.isnan(values), np.inf, -values if larger_is_better else values)
    ranks: Floats = rank(keys.T).T
    return ranks


def aggregates_of(prepared: Prepared, metric: str, names: Sequence[str]) -> Floats:
    """One metric taken as the scheme aggregates it, for these algorithms. NaN for those that are out."""
    values = evaluate(aggregation_node(prepared, metric), prepared).values[0]
    known = {name: values[at] for at, name in enumerate(prepared.algorithms)}
    return np.array([known.get(name, np.nan) for name in names])
