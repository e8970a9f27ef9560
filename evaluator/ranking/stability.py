"""How far a ranking would move had other cases been drawn: the bootstrap and what is read off it.

Clusters (cases, patients or sites) are drawn with replacement and the whole scheme is run on each replicate, tie breakers
included. A case drawn twice counts as two independent cases; under `compat: challengeR-1.0.5` it is treated as that tool
does (pooled into one case with doubled algorithms in rank-then-aggregate, counted once in test-then-rank).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats
from evaluator.ranking.document.config import SchemeType
from evaluator.ranking.document.parse_scheme import walk
from evaluator.ranking.schemes.climb import Draws, kept_level
from evaluator.ranking.schemes.prepare import Prepared
from evaluator.ranking.schemes.tree import break_ties, evaluate, is_flat, rank_scores

_CELLS_AT_ONCE = 20_000_000  # doubles in the largest array of a pass: 160 MB


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Where a statistic lies over all replicates; `n_undefined` replicates had none (everything tied)."""

    mean: float | None
    median: float | None
    q25: float | None
    q75: float | None
    n_undefined: int


def draw_clusters(prepared: Prepared, *, count: int, seed: int) -> Draws:
    """Multiplicities of `count` replicates."""
    size = prepared.unit_count(prepared.config.cluster)
    random = np.random.default_rng(seed)
    if prepared.config.stability.nested:
        return _with_raters(_draw_nested(prepared, random, count=count, size=size), prepared, random)
    multiplicities = np.empty((count, size))
    step = max(1, _CELLS_AT_ONCE // size)
    for first in range(0, count, step):
        rows = min(step, count - first)
        # Drawing indices and counting them is the multinomial distribution too, six times as fast as asking for it.
        drawn = random.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        multiplicities[first : first + rows] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
    draws = Draws(multiplicities=multiplicities, follows_challenger=prepared.config.stability.follows_challenger)
    return _with_raters(draws, prepared, random)


def _with_raters(draws: Draws, prepared: Prepared, random: np.random.Generator) -> Draws:
    """Raters drawn beside the clusters, each on its own: the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007)."""
    if prepared.config.stability.raters is None:
        return draws
    names, size = (
        prepared.members[prepared.config.stability.raters],
        len(prepared.unit_names[prepared.config.stability.raters]),
    )
    drawn = np.stack([np.bincount(random.integers(size, size=size), minlength=size) for _ in draws.multiplicities])
    return replace(draws, raters=drawn[:, names].astype(np.float64))


def _draw_nested(prepared: Prepared, random: np.random.Generator, *, count: int, size: int) -> Draws:
    """Hierarchical bootstrap: the units of the top level (sites) with replacement, then in each as many clusters as it has.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8, with both stages replaced.
    """
    parents = prepared.parents(prepared.config.cluster, prepared.config.levels[-1])
    groups = (
        [np.arange(size)] if parents is None else [np.flatnonzero(parents == p) for p in range(int(parents.max()) + 1)]
    )
    multiplicities = np.zeros((count, size))
    for row in multiplicities:
        for site in random.integers(len(groups), size=len(groups)):
            members = groups[site]
            row += np.bincount(members[random.integers(len(members), size=len(members))], minlength=size)
    return Draws(multiplicities=multiplicities, follows_challenger=prepared.config.stability.follows_challenger)


def bootstrap_ranks(prepared: Prepared, draws: Draws) -> Floats:
    """Replicate × algorithm ranks."""
    config = prepared.config
    parts = []
    for batch in batches(prepared, draws):
        scores = break_ties(evaluate(config.scheme, prepared, batch), config.ties.breakers, prepared, batch)
        parts.append(rank_scores(scores, prepared))
    return np.concatenate(parts) if parts else np.empty((0, len(prepared.algorithms)))


def batches(prepared: Prepared, draws: Draws) -> list[Draws]:
    """The replicates in portions whose arrays stay small."""
    size = max(1, _CELLS_AT_ONCE // widest_row(prepared))
    return [draws.part(first, first + size) for first in range(0, len(draws.multiplicities), size)]


def widest_row(prepared: Prepared) -> int:
    """Doubles of one replicate in the largest array that the scheme makes."""
    structures = sum(len(metric.structures) for metric in prepared.metrics.values())
    units = max((len(names) for level, names in prepared.unit_names.items() if level != "case"), default=1)
    count, cases = len(prepared.algorithms), len(prepared.cases)
    widest = structures * max(count * units, cases)
    roots = (prepared.config.scheme, *prepared.config.ties.breakers)
    for node in (node for root in roots for node in walk(root)):
        if node.type is SchemeType.SIGNIFICANCE or node.of == "significance":
            widest = max(widest, count**2)
        elif is_flat(node) and kept_level(node) == "case":
            widest = max(widest, structures * count * cases)
    return max(widest, 1)


def rank_intervals(samples: Floats, *, confidence: float) -> Floats:
    """Algorithm × (low, high): quantiles of the bootstrap ranks, as R's type 7 takes them."""
    tail = (1 - confidence) / 2
    return np.quantile(samples, [tail, 1 - tail], axis=0).T


def winner_shares(samples: Floats) -> Floats:
    """Share of replicates in which each algorithm has rank 1; ties count for all."""
    return np.asarray((samples == 1).mean(axis=0))


def kendall_tau(samples: Floats, reference: Floats) -> Floats:
    """Tau-b of every replicate with the ranking of the whole data; NaN where either is all ties."""
    first, second = np.triu_indices(len(reference), 1)
    truth = np.sign(reference[first] - reference[second])
    result = np.empty(len(samples))
    step = max(1, _CELLS_AT_ONCE // max(len(truth), 1))
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        signs = np.sign(part[:, first] - part[:, second])
        scale = np.sqrt(np.count_nonzero(signs, axis=1) * float(np.count_nonzero(truth)))
        with np.errstate(invalid="ignore", divide="ignore"):
            result[start : start + step] = signs @ truth / scale
    return result


def footrule(samples: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Spearman's footrule Σ|a - b| of every replicate, and weighted by 1 / min(a, b)."""
    distance = np.abs(samples - reference)
    return distance.sum(axis=1), (distance / np.minimum(samples, reference)).sum(axis=1)


def summarise(values: Floats) -> Summary:
    """Mean and quartiles of what is defined."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return Summary(mean=None, median=None, q25=None, q75=None, n_undefined=len(values))
    q25, median, q75 = (float(q) for q in np.quantile(defined, [0.25, 0.5, 0.75]))
    return Summary(
        mean=math.fsum(defined) / len(defined), median=median, q25=q25, q75=q75, n_undefined=len(values) - len(defined)
    )


def rank_frequencies(samples: Floats) -> npt.NDArray[np.intp]:
    """Algorithm × rank: in how many replicates the algorithm had that rank (rounded to the place below when shared)."""
    places = np.floor(samples).astype(np.intp) - 1
    longest = max(samples.shape[1], int(places.max(initial=0)) + 1)
    return np.stack([np.bincount(column, minlength=longest) for column in places.T])
