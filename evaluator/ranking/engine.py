"""`rank_algorithms`: a table and a configuration in, a ranking out. The platform's boards and `assay rank` both end
here.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import CHALLENGER, Node, RankingConfig, SchemeType, Subgroup, TieMethod
from evaluator.ranking.document.parse_scheme import walk
from evaluator.ranking.errors import ConfigError
from evaluator.ranking.groups import split
from evaluator.ranking.schemes.climb import climb_to_cluster, climb_to_top, kept_level, start
from evaluator.ranking.schemes.consensus import Consensus, consensus
from evaluator.ranking.schemes.missing import missing_counts
from evaluator.ranking.schemes.prepare import Prepared, prepare
from evaluator.ranking.schemes.tree import NodeScores, break_ties, case_ranks, evaluate, metric_names, rank_scores
from evaluator.ranking.statistics.significance import compare_pairs
from evaluator.ranking.statistics.ties import rank
from evaluator.ranking.table import ScoreTable, natural_key

_SET = re.compile(r"frozenset\(\{([^}]*)\}\)")


@dataclass(frozen=True, kw_only=True)
class RankEntry:
    """One algorithm's place. `rank` is `None` when it is unranked, and `note` says why.

    `score` is what the root of the scheme computed (`None` when nothing could be). `aggregates` holds each metric
    taken on its own, aggregated as the scheme aggregates. `missing` counts missing values: metric → reason → how
    many.
    """

    algorithm: str
    rank: int | float | None
    score: float | None
    aggregates: Mapping[str, float | None]
    missing: Mapping[str, Mapping[str, int]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Entries best first. `notes` are cautions for the reader. `input_sha256` hashes table and configuration."""

    entries: tuple[RankEntry, ...]
    config: RankingConfig
    notes: tuple[str, ...]
    input_sha256: str
    larger_is_better: bool

    def ranks(self) -> Mapping[str, int | float | None]:
        """Algorithm → rank."""
        return {entry.algorithm: entry.rank for entry in self.entries}


def rank_algorithms(table: ScoreTable, config: RankingConfig) -> Ranking:
    """Rank every algorithm of the table. Raises `RankingError` when table and configuration do not fit."""
    return rank_prepared(table, config, prepare(table, config))


def rank_prepared(table: ScoreTable, config: RankingConfig, prepared: Prepared) -> Ranking:
    """`rank_algorithms` for a caller that has prepared the table already. Several tasks are ranked apart and merged."""
    if config.multi_task is not None and table.algorithms:
        return _rank_over_tasks(table, config, rank_tasks(table, config))
    scores, ranks = final_ranks(prepared)
    aggregates = metric_aggregates(prepared)
    missing = missing_counts(table)
    entries = [
        RankEntry(
            algorithm=name,
            rank=_plain_rank(ranks[index]),
            score=_finite(scores.values[0, index]),
            aggregates={metric: _finite(values[index]) for metric, values in aggregates.items()},
            missing=missing.get(name, {}),
        )
        for index, name in enumerate(prepared.algorithms)
    ]
    entries += [
        RankEntry(algorithm=name, rank=None, score=None, aggregates={}, missing=missing.get(name, {}), note=why)
        for name, why in prepared.disqualified.items()
    ]
    entries.sort(key=lambda entry: (math.inf if entry.rank is None else entry.rank, natural_key(entry.algorithm)))
    return Ranking(
        entries=tuple(entries),
        config=prepared.config,
        notes=(*prepared.notes, *_cautions(prepared)),
        input_sha256=_fingerprint(table, config),
        larger_is_better=scores.larger_is_better,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class TaskRanks:
    """Each task ranked on its own (`ranks`: algorithm × task), and the consensus. `left_out`: who has no rank in some task."""

    algorithms: tuple[str, ...]
    parts: Mapping[str, Prepared]
    weights: Floats
    ranks: Floats
    merged: Consensus
    left_out: Mapping[str, str]


def _fingerprint(table: ScoreTable, config: RankingConfig) -> str:
    """The hash of table and configuration. Python orders a set anew in every process, so the members of sets are sorted."""
    rules = _SET.sub(lambda found: f"frozenset({{{', '.join(sorted(found[1].split(', ')))}}})", repr(config))
    return hashlib.sha256(f"{table.sha256()}{rules}".encode()).hexdigest()


def rank_tasks(table: ScoreTable, config: RankingConfig) -> TaskRanks:
    """The rankings of the tasks and their consensus. Raises `RankingError`."""
    rules = config.multi_task
    if rules is None:
        raise ConfigError("ranking.multi_task: found nothing; expected it to tell tasks apart")
    groups = split(table, Subgroup(attribute=rules.by))
    if not groups:
        raise ConfigError(
            f"ranking.multi_task.by: found no case with a {rules.by}; expected a column {rules.by} that names the task of every "
            "case, or the name of the column that does"
        )
    unknown = sorted(set(rules.weights) - set(groups))
    if unknown:
        raise ConfigError(
            f"ranking.multi_task.weights: found {', '.join(unknown)}; expected tasks that cases name under {rules.by}: "
            f"{', '.join(groups)}"
        )
    # An algorithm that is disqualified in one task is out of the consensus.
    parts = {name: prepare(table.only_cases(cases), config) for name, cases in groups.items()}
    left_out = {name: f"{task}: {why}" for task, part in parts.items() for name, why in part.disqualified.items()}
    algorithms = tuple(name for name in table.algorithms if all(name in part.algorithms for part in parts.values()))
    parts = {name: prepare(table.only_algorithms(algorithms).only_cases(groups[name]), config) for name in parts}
    ranks = np.stack([final_ranks(part)[1] for part in parts.values()], axis=1)
    weights = np.array([rules.weights.get(name, 1.0) for name in parts])
    merged = consensus(ranks, weights=weights, method=rules.consensus)
    return TaskRanks(algorithms=algorithms, parts=parts, weights=weights, ranks=ranks, merged=merged, left_out=left_out)


def _rank_over_tasks(table: ScoreTable, config: RankingConfig, tasks: TaskRanks) -> Ranking:
    """The consensus as the ranking. An aggregate is the weighted mean of the tasks' own, never of pooled cases."""
    own = [metric_aggregates(part) for part in tasks.parts.values()]
    missing = missing_counts(table)
    entries = [
        RankEntry(
            algorithm=name,
            rank=_plain_rank(tasks.merged.ranks[index]),
            score=_finite(tasks.merged.scores[index]),
            aggregates={
                metric: _finite(float(np.average([part[metric][index] for part in own], weights=tasks.weights)))
                for metric in own[0]
            },
            missing=missing.get(name, {}),
        )
        for index, name in enumerate(tasks.algorithms)
    ]
    entries += [
        RankEntry(algorithm=name, rank=None, score=None, aggregates={}, missing=missing.get(name, {}), note=why)
        for name, why in tasks.left_out.items()
    ]
    entries.sort(key=lambda entry: (math.inf if entry.rank is None else entry.rank, natural_key(entry.algorithm)))
    first = next(iter(tasks.parts.values()))
    how = config.multi_task.consensus.value.replace("_", " ") if config.multi_task else ""
    notes = [f"{how} consensus of {len(tasks.parts)} tasks, each ranked on its own: {', '.join(tasks.parts)}"]
    notes += [] if tasks.merged.is_exact else ["the consensus is the best found, not proven optimal"]
    notes += [f"{name}: {note}" for name, part in tasks.parts.items() for note in part.notes]
    return Ranking(
        entries=tuple(entries),
        config=first.config,
        notes=(*notes, *_cautions(first)),
        input_sha256=_fingerprint(table, config),
        larger_is_better=False,
    )


def final_ranks(prepared: Prepared) -> tuple[NodeScores, Floats]:
    """Scores and ranks of the whole data, tie breakers and statistical ties applied."""
    config = prepared.config
    if not prepared.algorithms:
        return NodeScores(values=np.empty((1, 0)), larger_is_better=False), np.empty(0)
    scores = break_ties(evaluate(config.scheme, prepared), config.ties.breakers, prepared)
    ranks = rank_scores(scores, prepared)[0]
    if config.significance.ties_unless_significant:
        ranks = statistical_ties(ranks, prepared)
    return scores, ranks


def statistical_ties(ranks: Floats, prepared: Prepared) -> Floats:
    """Share a rank until someone is significantly worse than the leader of the group. The next group starts there."""
    values, larger_is_better = headline(prepared)
    tests = compare_pairs(
        values,
        larger_is_better=larger_is_better,
        rules=prepared.config.significance,
        seed=prepared.config.stability.seed,
    )
    order = np.argsort(ranks, kind="stable")
    groups = np.empty(len(ranks))
    leader = order[0]
    for index in order:
        if tests.is_better[leader, index] and ranks[index] > ranks[leader]:
            leader = index
        groups[index] = ranks[leader]
    return rank(groups, method=prepared.config.ties.method)


def headline(prepared: Prepared) -> tuple[Floats, bool]:
    """Algorithm × cluster values that stand for the ranking in tests, and whether larger is better.

    The values of the metric when there is one and it is not ranked case by case. Otherwise the mean rank in each case over
    all metrics of the scheme, so that a test of a many-metric board speaks about all of them.
    """
    leaves = [node for node in walk(prepared.config.scheme) if not node.children]
    names = tuple(dict.fromkeys(name for leaf in leaves for name in metric_names(leaf, prepared)))
    if len(names) == 1 and kept_level(leaves[0]) != "case":
        return cluster_values(names[0], prepared), prepared.metrics[names[0]].spec.larger_is_better
    rank_at = frozenset({"case", "metric"}) | (leaves[0].rank_at & {"structure"})
    return case_ranks(replace(leaves[0], metrics=names, structures=(), rank_at=rank_at, of="value"), prepared), False


def cluster_values(name: str, prepared: Prepared) -> Floats:
    """Algorithm × cluster values of one metric, structures aggregated as the scheme does."""
    leaf = aggregation_node(prepared, name)
    return climb_to_cluster(start(leaf, name, prepared), leaf, prepared).values[0, :, 0, :]


def aggregation_node(prepared: Prepared, name: str) -> Node:
    """A node that takes one metric's value as the scheme aggregates it."""
    leaves = [node for node in walk(prepared.config.scheme) if not node.children]
    leaf = next((node for node in leaves if name in metric_names(node, prepared)), leaves[0])
    return replace(
        leaf, type=SchemeType.VALUE, metrics=(name,), structures=(), rank_at=frozenset({"metric"}), of="value"
    )


def metric_aggregates(prepared: Prepared) -> Mapping[str, Floats]:
    """Metric → one aggregated value per algorithm."""
    result = {}
    for name in prepared.metrics:
        node = aggregation_node(prepared, name)
        result[name] = climb_to_top(start(node, name, prepared), node, prepared, None).values[0, :, 0, 0]
    return result


def _plain_rank(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _cautions(prepared: Prepared) -> list[str]:
    notes = []
    config = prepared.config
    if len(prepared.algorithms) < 2:
        notes.append(f"{len(prepared.algorithms)} ranked algorithm: a ranking needs two")
    if config.stability.compat == CHALLENGER:
        notes.append(f"computed as {CHALLENGER} does, its defects included")
    if config.ties.method is TieMethod.MAX:
        notes.append("tied algorithms share the worst of their ranks")
    return notes
