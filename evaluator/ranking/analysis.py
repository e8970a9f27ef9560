"""Everything that can be said about how far to trust a ranking, in one record: `analyse` computes it, reports show it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import (
    FEW_CLUSTERS,
    Adjustment,
    Aggregate,
    ConsensusMethod,
    Node,
    RankingConfig,
    SchemeType,
    Test,
)
from evaluator.ranking.engine import (
    Ranking,
    TaskRanks,
    aggregation_node,
    cluster_values,
    headline,
    rank_prepared,
    rank_tasks,
)
from evaluator.ranking.intervals import Interval, aggregate_samples, metric_interval
from evaluator.ranking.planning import FEWEST_UNITS, Plan, plan_cases
from evaluator.ranking.rank_sets import RankSets, rank_sets
from evaluator.ranking.schemes.climb import Draws
from evaluator.ranking.schemes.consensus import consensus
from evaluator.ranking.schemes.prepare import Prepared, prepare
from evaluator.ranking.schemes.reduction import quantile
from evaluator.ranking.schemes.tree import evaluate, rank_scores
from evaluator.ranking.stability import (
    Summary,
    bootstrap_ranks,
    draw_clusters,
    footrule,
    kendall_tau,
    rank_frequencies,
    rank_intervals,
    summarise,
    winner_shares,
)
from evaluator.ranking.statistics.equivalence import Equivalence, equivalences
from evaluator.ranking.statistics.significance import (
    PairTests,
    adjust_family,
    compare_pairs,
    gaps,
    neighbour_tails,
    t_tail,
)
from evaluator.ranking.table import ScoreTable

SMALL_SAMPLE = 50
MOST_ALGORITHMS_FOR_PAIRS = 100
MOST_KEMENY_REPLICATES = 200

METHODS: Mapping[str, Mapping[str, Any]] = {
    "test": {"type": SchemeType.SIGNIFICANCE},
    "mean": {"type": SchemeType.VALUE},
    "median": {"type": SchemeType.VALUE, "aggregate": {"case": Aggregate(kind="median")}},
    "rank then mean": {"type": SchemeType.MEAN_OF_RANKS, "rank_at": frozenset({"case", "metric"})},
    "rank then median": {"type": SchemeType.MEDIAN_OF_RANKS, "rank_at": frozenset({"case", "metric"})},
}


@dataclass(frozen=True, eq=False, kw_only=True)
class MetricAnalysis:
    """One metric: intervals of the aggregates, tests of all pairs (`None` on very long boards), ranks by each method."""

    interval: Interval
    tests: PairTests | None
    ranks_by_method: Mapping[str, Floats]
    pair_counts: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """How many clusters both algorithms of a pair have a value of."""
    equivalence: Equivalence | None = None
    """Which pairs are practically equal, where the metric has a margin."""

    def top(self, count: int) -> "MetricAnalysis":
        """Only the best few algorithms."""
        return MetricAnalysis(
            interval=Interval(
                estimate=self.interval.estimate[:count],
                low=self.interval.low[:count],
                high=self.interval.high[:count],
                method=self.interval.method,
            ),
            tests=None if self.tests is None else self.tests.top(count),
            ranks_by_method={method: ranks[:count] for method, ranks in self.ranks_by_method.items()},
            pair_counts=self.pair_counts[:count, :count],
            equivalence=None if self.equivalence is None else self.equivalence.top(count),
        )


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Two algorithms next to each other. `p` is Holm-adjusted over all neighbouring pairs.

    `false_claim` is the probability, from the paired differences, that claiming `better` outperforms `worse` is wrong
    (2505.04720: the t distribution of the mean difference). NaN when fewer than two pairs tell.
    """

    better: str
    worse: str
    p: float
    is_separable: bool
    false_claim: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Analysis:
    """A ranking and its uncertainty. Arrays run over `algorithms`, best first. Without a bootstrap (`bootstrap` is 0) the one
    sample of ranks is the ranking itself.
    """

    ranking: Ranking
    algorithms: tuple[str, ...]
    bootstrap: int
    seed: int
    confidence: float
    rank_samples: Floats
    rank_intervals: Floats
    winner_shares: Floats
    tau_samples: Floats
    tau: Summary
    footrule: Summary
    weighted_footrule: Summary
    metrics: Mapping[str, MetricAnalysis]
    neighbours: tuple[Neighbours, ...]
    warnings: tuple[str, ...]
    sets: RankSets | None = None
    plan: Plan | None = None
    tasks: TaskRanks | None = None

    def top(self, count: int) -> "Analysis":
        """The same with the best few algorithms only. Their ranks stay those among all."""
        return replace(
            self,
            algorithms=self.algorithms[:count],
            rank_samples=self.rank_samples[:, :count],
            rank_intervals=self.rank_intervals[:count],
            winner_shares=self.winner_shares[:count],
            metrics={name: part.top(count) for name, part in self.metrics.items()},
            neighbours=self.neighbours[: max(0, count - 1)],
            sets=None if self.sets is None else self.sets.top(count),
        )

    def statistics(self, algorithm: str) -> dict[str, Any]:
        """What a leaderboard row shows of an algorithm: JSON-able."""
        index = self.algorithms.index(algorithm)
        nearest = next((pair for pair in self.neighbours if pair.better == algorithm), None)
        return {
            "rank_interval": [float(end) for end in self.rank_intervals[index]],
            "rank_set": None if self.sets is None else [float(self.sets.low[index]), float(self.sets.high[index])],
            "winner_share": float(self.winner_shares[index]) if self.bootstrap else None,
            "intervals": {
                name: [_number(part.interval.low[index]), _number(part.interval.high[index])]
                for name, part in self.metrics.items()
            },
            "separable_from_next": None if nearest is None else nearest.is_separable,
            "p_next": None if nearest is None else _number(nearest.p),
            "false_claim": None if nearest is None else _number(nearest.false_claim),
        }

    def to_json(self) -> dict[str, Any]:
        """The whole analysis without its samples."""
        return {
            "input_sha256": self.ranking.input_sha256,
            "bootstrap": self.bootstrap,
            "seed": self.seed,
            "confidence": self.confidence,
            "entries": [
                {**asdict(entry), **(self.statistics(entry.algorithm) if entry.algorithm in self.algorithms else {})}
                for entry in self.ranking.entries
            ],
            "tau": asdict(self.tau),
            "footrule": asdict(self.footrule),
            "weighted_footrule": asdict(self.weighted_footrule),
            "significance": {
                name: {
                    "algorithms": list(self.algorithms),
                    "p": [[_number(p) for p in row] for row in part.tests.p],
                    "n": part.pair_counts.tolist(),
                    "p_adjusted": [[_number(p) for p in row] for row in part.tests.adjusted],
                    "is_better": part.tests.is_better.tolist(),
                    "rank_ranges": part.tests.rank_ranges().tolist(),
                }
                for name, part in self.metrics.items()
                if part.tests is not None
            },
            "equivalence": {
                name: {"algorithms": list(self.algorithms), **_plain_equivalence(part.equivalence)}
                for name, part in self.metrics.items()
                if part.equivalence is not None
            },
            "methods": {
                name: {method: [float(r) for r in ranks] for method, ranks in part.ranks_by_method.items()}
                for name, part in self.metrics.items()
            },
            "rank_frequencies": {
                "algorithms": list(self.algorithms),
                "counts": rank_frequencies(self.rank_samples).tolist() if self.bootstrap and self.algorithms else None,
            },
            "neighbours": [
                {**asdict(pair), "p": _number(pair.p), "false_claim": _number(pair.false_claim)}
                for pair in self.neighbours
            ],
            "rank_sets": None
            if self.sets is None
            else {
                "confidence": self.sets.confidence,
                "is_better": self.sets.is_better.tolist(),
                "with_the_winner": [self.algorithms[index] for index in self.sets.leaders],
            },
            "plan": None if self.plan is None else self.plan.to_json(),
            "tasks": None
            if self.tasks is None
            else {
                "algorithms": list(self.tasks.algorithms),
                "names": list(self.tasks.parts),
                "weights": self.tasks.weights.tolist(),
                "ranks": self.tasks.ranks.tolist(),
                "is_exact": self.tasks.merged.is_exact,
            },
            "notes": list(self.ranking.notes),
            "warnings": list(self.warnings),
        }


def _plain_equivalence(found: Equivalence) -> dict[str, Any]:
    matrices = {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_adjusted": found.adjusted,
    }
    return {
        "margin": found.margin,
        "alpha": found.alpha,
        **{name: [[_number(value) for value in row] for row in matrix] for name, matrix in matrices.items()},
        "is_equivalent": found.is_equivalent.tolist(),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def analyse(
    table: ScoreTable, config: RankingConfig, *, bootstrap: int | None = None, seed: int | None = None
) -> Analysis:
    """Rank and examine. `bootstrap` and `seed` override the configuration's. Without replicates intervals are the ranks.

    One independent unit is not resampled: every replicate would be the ranking itself, and look like certainty.
    """
    if config.multi_task is not None and table.algorithms:
        return _analyse_tasks(table, config, bootstrap=bootstrap, seed=seed)
    prepared = prepare(table, config)
    ranking = rank_prepared(table, config, prepared)
    count = config.stability.bootstrap if bootstrap is None else bootstrap
    count = count if prepared.unit_count(config.cluster) > 1 else 0
    seed = config.stability.seed if seed is None else seed
    best_first = tuple(entry.algorithm for entry in ranking.entries if entry.rank is not None)
    order = np.array([prepared.algorithms.index(name) for name in best_first], dtype=np.intp)
    ranks = np.array([ranking.ranks()[name] for name in best_first], dtype=np.float64)
    draws = draw_clusters(prepared, count=count, seed=seed)
    samples = bootstrap_ranks(prepared, draws)[:, order] if count and order.size else ranks[None]
    tau = kendall_tau(samples, ranks)
    plain, weighted = footrule(samples, ranks)
    confidence = config.stability.confidence
    return Analysis(
        ranking=ranking,
        algorithms=best_first,
        bootstrap=count,
        seed=seed,
        confidence=confidence,
        rank_samples=samples,
        rank_intervals=rank_intervals(samples, confidence=confidence),
        winner_shares=winner_shares(samples),
        tau_samples=tau,
        tau=summarise(tau),
        footrule=summarise(plain),
        weighted_footrule=summarise(weighted),
        metrics={name: _metric(name, prepared, draws, order) for name in prepared.metrics} if order.size else {},
        neighbours=neighbours(prepared, order),
        warnings=_warnings(prepared, count),
        sets=_rank_sets(prepared, order, seed=seed),
        plan=_plan(prepared, order),
    )


def _rank_sets(prepared: Prepared, order: Any, *, seed: int) -> RankSets | None:
    if not 2 <= len(order) <= MOST_ALGORITHMS_FOR_PAIRS:
        return None
    values, larger_is_better = headline(prepared)
    confidence = prepared.config.stability.confidence
    return rank_sets(values[order], larger_is_better=larger_is_better, confidence=confidence, seed=seed)


def _plan(prepared: Prepared, order: Any) -> Plan | None:
    is_possible = (
        prepared.config.significance.test is not Test.E_VALUE
        and len(order) > 1
        and prepared.unit_count(prepared.config.cluster) >= FEWEST_UNITS
    )
    return plan_cases(prepared, list(order)) if is_possible else None


def _analyse_tasks(table: ScoreTable, config: RankingConfig, *, bootstrap: int | None, seed: int | None) -> Analysis:
    """Each task is ranked and resampled on its own; every replicate has a consensus of its own."""
    tasks = rank_tasks(table, config)
    ranking = rank_prepared(table, config, next(iter(tasks.parts.values())))
    method = config.multi_task.consensus if config.multi_task else ConsensusMethod.EUCLIDEAN
    count = config.stability.bootstrap if bootstrap is None else bootstrap
    if min(part.unit_count(config.cluster) for part in tasks.parts.values()) < 2:
        count = 0
    if method in (ConsensusMethod.KEMENY_LINEAR, ConsensusMethod.KEMENY_WEAK):
        count = min(count, MOST_KEMENY_REPLICATES)
    seed = config.stability.seed if seed is None else seed
    best_first = tuple(entry.algorithm for entry in ranking.entries if entry.rank is not None)
    order = np.array([tasks.algorithms.index(name) for name in best_first], dtype=np.intp)
    ranks = tasks.merged.ranks[order]
    draws = {
        name: draw_clusters(part, count=count, seed=seed + place)
        for place, (name, part) in enumerate(tasks.parts.items())
    }
    samples = ranks[None]
    if count and order.size:
        votes = np.stack([bootstrap_ranks(part, draws[name]) for name, part in tasks.parts.items()], axis=-1)
        samples = np.stack([consensus(vote, weights=tasks.weights, method=method).ranks for vote in votes])[:, order]
    tau, (plain, weighted) = kendall_tau(samples, ranks), footrule(samples, ranks)
    warnings = [text for part in tasks.parts.values() for text in _warnings(part, count)]
    return Analysis(
        ranking=ranking,
        algorithms=best_first,
        bootstrap=count,
        seed=seed,
        confidence=config.stability.confidence,
        rank_samples=samples,
        rank_intervals=rank_intervals(samples, confidence=config.stability.confidence),
        winner_shares=winner_shares(samples),
        tau_samples=tau,
        tau=summarise(tau),
        footrule=summarise(plain),
        weighted_footrule=summarise(weighted),
        metrics={
            name: _metric_over_tasks(name, tasks, draws, order) for name in next(iter(tasks.parts.values())).metrics
        },
        neighbours=(),
        warnings=(*dict.fromkeys(warnings), "pairs are tested within each task, not over several"),
        tasks=tasks,
    )


def _metric_over_tasks(name: str, tasks: TaskRanks, draws: Mapping[str, Draws], order: Any) -> MetricAnalysis:
    """The weighted mean of the tasks' aggregates, resampled in each task."""
    parts = [metric_interval(name, part, draws[task]).estimate for task, part in tasks.parts.items()]
    estimate = np.average(np.stack(parts), axis=0, weights=tasks.weights)
    low = high = np.full(estimate.shape, np.nan)
    if all(len(drawn.multiplicities) for drawn in draws.values()):
        drawn = np.stack([aggregate_samples(name, part, draws[task]) for task, part in tasks.parts.items()])
        tail = (1 - next(iter(tasks.parts.values())).config.stability.confidence) / 2
        means = np.average(drawn, axis=0, weights=tasks.weights)
        low, high = (quantile(means.T, q) for q in (tail, 1 - tail))
    interval = Interval(estimate=estimate[order], low=low[order], high=high[order], method="percentile bootstrap")
    return MetricAnalysis(interval=interval, tests=None, ranks_by_method={})


def _metric(name: str, prepared: Prepared, draws: Draws, order: Any) -> MetricAnalysis:
    kind, is_small = prepared.config.stability.interval, prepared.unit_count(prepared.config.cluster) < FEW_CLUSTERS
    if kind == "auto":
        kind = "studentised" if is_small else "percentile"
    interval = metric_interval(name, prepared, draws, kind=kind)
    is_there = (~np.isnan(cluster_values(name, prepared)[order])).astype(np.intp)
    tests = equal = None
    if 2 <= len(order) <= MOST_ALGORITHMS_FOR_PAIRS:
        spec = prepared.metrics[name].spec
        # The map shows all pairs at once, so it is adjusted even where the ranking itself counts unadjusted wins.
        rules = prepared.config.significance
        rules = replace(rules, adjust=Adjustment.HOLM) if rules.adjust is Adjustment.NONE else rules
        values = cluster_values(name, prepared)[order]
        tests = compare_pairs(values, larger_is_better=spec.larger_is_better, rules=rules)
        equal = None if spec.margin is None else equivalences(values, margin=spec.margin, alpha=rules.alpha)
    return MetricAnalysis(
        interval=Interval(
            estimate=interval.estimate[order],
            low=interval.low[order],
            high=interval.high[order],
            method=interval.method,
        ),
        tests=tests,
        ranks_by_method=ranks_by_method(name, prepared, order),
        pair_counts=is_there @ is_there.T,
        equivalence=equal,
    )


def ranks_by_method(name: str, prepared: Prepared, order: Any) -> Mapping[str, Floats]:
    """The ranking one metric would give under each of the usual methods."""
    base = replace(aggregation_node(prepared, name), aggregate={})
    result = {}
    for method, changes in METHODS.items():
        if method == "test" and len(order) > MOST_ALGORITHMS_FOR_PAIRS:
            continue
        node: Node = replace(base, **changes)
        result[method] = rank_scores(evaluate(node, prepared), prepared)[0][order]
    return result


def neighbours(prepared: Prepared, order: Any) -> tuple[Neighbours, ...]:
    """Each algorithm against the next one down, on the values that stand for the ranking."""
    if len(order) < 2:
        return ()
    values, larger_is_better = headline(prepared)
    values = (values if larger_is_better else -values)[order]
    rules = prepared.config.significance
    tails = neighbour_tails(values, rules=rules, seed=prepared.config.stability.seed)
    adjusted = adjust_family(tails[None], Adjustment.HOLM)[0]
    names = [prepared.algorithms[index] for index in order]
    return tuple(
        Neighbours(
            better=names[place],
            worse=names[place + 1],
            p=float(p),
            is_separable=bool(p <= rules.alpha),
            false_claim=_false_claim(gaps(values[place], values[place + 1])),
        )
        for place, p in enumerate(adjusted)
    )


def _false_claim(differences: Floats) -> float:
    return t_tail(differences) if np.count_nonzero(~np.isnan(differences)) > 1 else math.nan


def _warnings(prepared: Prepared, bootstrap: int) -> tuple[str, ...]:
    cluster = prepared.config.cluster
    size = prepared.unit_count(cluster)
    found = []
    if size < SMALL_SAMPLE:
        units = cluster if size == 1 else f"{cluster}s"
        found.append(f"only {size} independent {units}: intervals from fewer than {SMALL_SAMPLE} are unreliable")
    if size < 2:
        found.append(f"one {cluster} cannot be resampled: rank intervals are the ranks themselves")
    elif not bootstrap:
        found.append("no bootstrap: rank intervals are the ranks themselves")
    if prepared.config.significance.ties_unless_significant:
        found.append(
            "bootstrap replicates rank by score; the shared ranks of the statistical ties are not re-tested in them"
        )
    return tuple(found)
