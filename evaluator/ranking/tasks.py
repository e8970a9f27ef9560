"""Several rankings side by side: the tasks of a challenge, or every metric and structure of one task, and how they agree.

The distance between two rankings is the symmetric difference of their "is at least as good" relations: 2 for each pair of
algorithms in opposite order, 1 for each pair that only one of them ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.engine import aggregation_node, rank_tasks
from evaluator.ranking.schemes.consensus import Consensus
from evaluator.ranking.schemes.prepare import Prepared, prepare
from evaluator.ranking.schemes.tree import evaluate, rank_scores
from evaluator.ranking.table import ScoreTable

MOST_TARGETS = 60


@dataclass(frozen=True, eq=False, kw_only=True)
class Agreement:
    """`ranks` is algorithm × task. `merged` is the consensus when the configuration asks for one."""

    algorithms: tuple[str, ...]
    tasks: tuple[str, ...]
    ranks: Floats
    distances: Floats
    merged: Consensus | None = None

    def top(self, count: int) -> "Agreement":
        """Only the first few algorithms, without the consensus."""
        return replace(self, algorithms=self.algorithms[:count], ranks=self.ranks[:count], merged=None)

    def sorted_by(self, algorithms: Sequence[str]) -> "Agreement":
        """The same with the algorithms in another order. Those not named come last."""
        place = {name: index for index, name in enumerate(algorithms)}
        order = sorted(range(len(self.algorithms)), key=lambda index: place.get(self.algorithms[index], len(place)))
        merged = self.merged
        if merged is not None:
            merged = replace(merged, scores=merged.scores[order], ranks=merged.ranks[order])
        return replace(
            self, algorithms=tuple(self.algorithms[index] for index in order), ranks=self.ranks[order], merged=merged
        )


@dataclass(frozen=True)
class Merge:
    """Two clusters joined at a height. Numbers below the task count are tasks, then clusters in order of joining."""

    first: int
    second: int
    height: float


def compare_tasks(table: ScoreTable, config: RankingConfig) -> Agreement:
    """The rankings of the tasks, with their consensus. Raises `RankingError`."""
    if config.multi_task is None:
        return compare_targets(prepare(table, config))
    found = rank_tasks(table, config)
    return Agreement(
        algorithms=found.algorithms,
        tasks=tuple(found.parts),
        ranks=found.ranks,
        distances=ranking_distances(found.ranks),
        merged=found.merged,
    )


def compare_targets(prepared: Prepared) -> Agreement:
    """The ranking each metric gives for each structure (or over all of them, when they are too many to show)."""
    columns: dict[str, Floats] = {}
    pairs = [(name, label) for name, metric in prepared.metrics.items() for label in metric.structures]
    if len(pairs) > MOST_TARGETS:
        pairs = [(name, "") for name in prepared.metrics]
    for name, label in pairs:
        node = aggregation_node(prepared, name)
        if label:
            node = replace(node, structures=(label,))
        columns[f"{name} {label}".strip()] = rank_scores(evaluate(node, prepared), prepared)[0]
    ranks = np.stack(list(columns.values()), axis=1)
    return Agreement(
        algorithms=prepared.algorithms, tasks=tuple(columns), ranks=ranks, distances=ranking_distances(ranks)
    )


def ranking_distances(ranks: Floats) -> Floats:
    """Task × task symmetric differences."""
    first, second = np.triu_indices(len(ranks), 1)
    signs = np.sign(ranks[first] - ranks[second])
    return np.asarray(np.abs(signs[:, :, None] - signs[:, None, :]).sum(axis=0))


def link(distances: Floats, *, complete: bool = False) -> tuple[Merge, ...]:
    """Agglomerative clustering with average or complete linkage. Equal heights join in the order of the tasks."""
    clusters: dict[int, list[int]] = {index: [index] for index in range(len(distances))}
    merges: list[Merge] = []
    while len(clusters) > 1:
        names = sorted(clusters)
        height, first, second = min(
            (_gap(distances, clusters[a], clusters[b], complete=complete), a, b)
            for place, a in enumerate(names)
            for b in names[place + 1 :]
        )
        clusters[len(distances) + len(merges)] = clusters.pop(first) + clusters.pop(second)
        merges.append(Merge(first, second, height))
    return tuple(merges)


def _gap(distances: Floats, first: list[int], second: list[int], *, complete: bool) -> float:
    between = distances[np.ix_(first, second)]
    return float(between.max() if complete else between.mean())
