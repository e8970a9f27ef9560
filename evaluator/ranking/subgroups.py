"""Do results hold for every age band, sex, site, domain and vendor? Boards per subgroup, and tests between them.

Per algorithm and metric: Kruskal–Wallis over all groups. Then, as that test allows, every pair of groups by the two-sided
Mann–Whitney U test with Benjamini–Hochberg over the pairs. Both use the normal or χ² approximation with ties corrected
(Mann–Whitney with continuity), as R and SciPy do for samples that are not tiny. Groups with too few cases are left out
and named, never silently dropped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.document.config import MEAN, Adjustment, RankingConfig, Subgroup, TieMethod
from evaluator.ranking.engine import Ranking, aggregation_node, headline, rank_algorithms
from evaluator.ranking.groups import split
from evaluator.ranking.schemes.climb import merge_structures, start
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.statistics.distributions import chi_squared_tail, normal_tail
from evaluator.ranking.statistics.significance import adjust_family, gaps
from evaluator.ranking.statistics.ties import rank
from evaluator.ranking.table import ScoreTable


@dataclass(frozen=True, kw_only=True)
class GroupTests:
    """One algorithm in one metric: `p_overall` by Kruskal–Wallis, `p_pairs` by pair of groups, adjusted."""

    algorithm: str
    metric: str
    p_overall: float
    p_pairs: Mapping[tuple[str, str], float]


@dataclass(frozen=True, kw_only=True)
class SubgroupAnalysis:
    """One attribute. `boards` rank each group on its own. `dropped` names groups with too few cases and how many they had."""

    attribute: str
    groups: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, int]
    boards: Mapping[str, Ranking]
    tests: tuple[GroupTests, ...]
    winner: "WinnerInGroups | None" = None


@dataclass(frozen=True, kw_only=True)
class WinnerInGroups:
    """Does the winner win everywhere? `ranks`: group → rank. The lead over `runner_up` in each group, and how much it differs.

    `p_heterogeneity` is Cochran's Q, `i_squared` the share of variance beyond chance (Higgins and Thompson 2002). NaN where fewer
    than two groups have a spread.
    """

    winner: str
    runner_up: str
    ranks: Mapping[str, float | None]
    leads: Mapping[str, float]
    p_heterogeneity: float
    i_squared: float

    @property
    def in_words(self) -> str:
        """`A ranks first in 3 of 5 groups; …`."""
        first = sum(rank == 1 for rank in self.ranks.values())
        told = f"{self.winner} ranks first in {first} of {len(self.ranks)} groups"
        if math.isnan(self.p_heterogeneity):
            return told
        how = f"I² {self.i_squared:.0%}, Q test p {self.p_heterogeneity:.3g}"
        return f"{told}; its lead over {self.runner_up} differs between them ({how})"


def analyse_subgroups(table: ScoreTable, config: RankingConfig) -> tuple[SubgroupAnalysis, ...]:
    """Every subgroup the configuration names."""
    return tuple(analyse_subgroup(table, config, subgroup) for subgroup in config.subgroups)


def analyse_subgroup(table: ScoreTable, config: RankingConfig, subgroup: Subgroup) -> SubgroupAnalysis:
    """Rank each group and test between groups. Cases without the attribute belong to no group."""
    every = split(table, subgroup)
    whole = rank_algorithms(table, config)
    groups = {name: cases for name, cases in every.items() if len(cases) >= subgroup.minimum_cases}
    return SubgroupAnalysis(
        attribute=subgroup.attribute,
        groups=groups,
        dropped={name: len(cases) for name, cases in every.items() if name not in groups},
        boards={name: rank_algorithms(table.only_cases(cases), config) for name, cases in groups.items()},
        tests=_tests(table, config, groups) if len(groups) > 1 else (),
        winner=_winner(table, config, groups, whole) if len(groups) > 1 else None,
    )


def _winner(
    table: ScoreTable, config: RankingConfig, groups: Mapping[str, tuple[str, ...]], whole: Ranking
) -> WinnerInGroups | None:
    ranked = [entry.algorithm for entry in whole.entries if entry.rank is not None]
    if len(ranked) < 2:
        return None
    leads: dict[str, float] = {}
    variances: dict[str, float] = {}
    ranks: dict[str, float | None] = {}
    for name, cases in groups.items():
        part = prepare(table.only_cases(cases), config)
        ranks[name] = rank_algorithms(table.only_cases(cases), config).ranks().get(ranked[0])
        if ranked[0] not in part.algorithms or ranked[1] not in part.algorithms:
            continue
        values, larger_is_better = headline(part)
        first, second = (values[part.algorithms.index(who)] for who in ranked[:2])
        d = gaps(first, second) if larger_is_better else gaps(second, first)
        d = d[np.isfinite(d)]
        if len(d) > 1:
            leads[name], variances[name] = float(d.mean()), float(d.var(ddof=1)) / len(d)
    p, share = heterogeneity(list(leads.values()), list(variances.values()))
    return WinnerInGroups(
        winner=ranked[0], runner_up=ranked[1], ranks=ranks, leads=leads, p_heterogeneity=p, i_squared=share
    )


def heterogeneity(effects: Sequence[float], variances: Sequence[float]) -> tuple[float, float]:
    """Cochran's Q as a p, and I², of effects with their variances. NaN with fewer than two of them that vary."""
    usable = [(e, v) for e, v in zip(effects, variances, strict=True) if v > 0]
    if len(usable) < 2:
        return math.nan, math.nan
    weights = np.array([1 / v for _, v in usable])
    values = np.array([e for e, _ in usable])
    q = float((weights * (values - (weights * values).sum() / weights.sum()) ** 2).sum())
    degrees = len(usable) - 1
    return chi_squared_tail(q, degrees), max(0.0, (q - degrees) / q) if q > 0 else 0.0


def _tests(table: ScoreTable, config: RankingConfig, groups: Mapping[str, tuple[str, ...]]) -> tuple[GroupTests, ...]:
    prepared = prepare(table, config)
    index = {case: position for position, case in enumerate(prepared.cases)}
    at = {name: np.array([index[case] for case in cases]) for name, cases in groups.items()}
    found = []
    for metric in prepared.metrics:
        node = aggregation_node(prepared, metric)
        block = merge_structures(start(node, metric, prepared), node.aggregate.get("structure", MEAN))
        for algorithm, row in zip(prepared.algorithms, block.values[0, :, 0], strict=True):
            samples = {name: row[cases][~np.isnan(row[cases])] for name, cases in at.items()}
            found.append(_group_tests(algorithm, metric, samples))
    return tuple(found)


def _group_tests(algorithm: str, metric: str, samples: Mapping[str, Floats]) -> GroupTests:
    pairs = list(combinations(samples, 2))
    p = np.array([[mann_whitney(samples[a], samples[b]) for a, b in pairs]])
    adjusted = adjust_family(p, Adjustment.BH)[0]
    return GroupTests(
        algorithm=algorithm,
        metric=metric,
        p_overall=kruskal_wallis(list(samples.values())),
        p_pairs={pair: float(value) for pair, value in zip(pairs, adjusted, strict=True)},
    )


def kruskal_wallis(samples: Sequence[Floats]) -> float:
    """p of "all groups come from one distribution". NaN when a group is empty or all values are equal."""
    values = np.concatenate(samples)
    n = len(values)
    if min(len(sample) for sample in samples) == 0:
        return math.nan
    ranks = rank(values, method=TieMethod.AVERAGE)
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    sums = sum(float(part.sum()) ** 2 / len(part) for part in np.split(ranks, ends))
    correction = 1 - _tie_term(values) / (n**3 - n) if n > 1 else 0.0
    if correction <= 0:
        return math.nan
    h = (12 / (n * (n + 1)) * sums - 3 * (n + 1)) / correction
    return chi_squared_tail(h, len(samples) - 1)


def mann_whitney(first: Floats, second: Floats) -> float:
    """Two-sided p. NaN when a sample is empty or all values are equal."""
    n, m = len(first), len(second)
    if not n or not m:
        return math.nan
    values = np.concatenate([first, second])
    total = n + m
    u = float(rank(values, method=TieMethod.AVERAGE)[:n].sum()) - n * (n + 1) / 2
    variance = n * m / 12 * (total + 1 - _tie_term(values) / (total * (total - 1)))
    if variance <= 0:
        return math.nan
    z = (abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return min(1.0, 2 * float(normal_tail(np.array(z))))


def _tie_term(values: Floats) -> float:
    """Σ(t³ - t) over groups of equal values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts**3 - counts).sum())
