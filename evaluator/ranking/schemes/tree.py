"""The expression tree, evaluated bottom-up.

Theory of operation. A leaf lets each metric climb the levels (`climb.py`) until only the axes of `rank_at` are left,
ranks the algorithms at every unit that is left, and combines the ranks; metrics are combined last, by their weights.

    aggregate-then-rank   rank_at: [metric]                      climb to the top, rank once
    rank-then-aggregate   rank_at: [case, metric]                rank every case, climb with the ranks
    per class and cohort  rank_at: [cohort, structure, metric]

All replicates of a bootstrap are evaluated at once, as the first axis of every array.

Nobody gains by having no value: a dropped pair is unranked in its own case, but above the case level an algorithm
without any value ranks behind all others.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats
from evaluator.ranking.document.config import MEDIAN, Node, SchemeType, TieMethod
from evaluator.ranking.errors import ConfigError
from evaluator.ranking.schemes.climb import (
    Block,
    Draws,
    climb_to_cluster,
    climb_to_ranks,
    climb_to_top,
    kept_level,
    ladder,
    standing_weights,
    start,
    unit_weights,
)
from evaluator.ranking.schemes.consensus import consensus_scores
from evaluator.ranking.schemes.prepare import Prepared
from evaluator.ranking.schemes.reduction import reduce_units, weighted_mean
from evaluator.ranking.statistics.significance import win_shares
from evaluator.ranking.statistics.ties import rank, round_significant

LAST_SCORE = 0.1
"""What the last rank is worth as a score, the first being worth 1 (Learn2Reg)."""


@dataclass(frozen=True, eq=False)
class NodeScores:
    """Scores draw × algorithm. `order`, when there, decides instead of the score (smaller is better): ties were
    broken.
    """

    values: Floats
    larger_is_better: bool
    order: Floats | None = None


@dataclass(frozen=True, eq=False)
class Units:
    """Ranks draw × algorithm × unit; each unit's own weight; how often it was drawn (draw × unit), where that counts here."""

    ranks: Floats
    own_weights: Floats
    multiplicities: Floats | None = None

    @property
    def weights(self) -> Floats:
        """Draw × unit: own weight times multiplicity."""
        own = self.own_weights[None]
        return own if self.multiplicities is None else own * self.multiplicities


def rank_scores(scores: NodeScores, prepared: Prepared, *, method: TieMethod | None = None) -> Floats:
    """Ranks draw × algorithm; algorithms without a score come last."""
    ties = prepared.config.ties
    if scores.order is not None:
        return rank(scores.order, method=method or ties.method)
    keys = round_significant(scores.values, ties.digits)
    keys = -keys if scores.larger_is_better else keys
    return rank(
        np.where(np.isnan(keys), math.inf, keys),
        method=method or ties.method,
        tolerance=ties.tolerance,
        follow_challenger=prepared.config.stability.follows_challenger,
    )


def evaluate(node: Node, prepared: Prepared, draws: Draws | None = None) -> NodeScores:
    """The scores of a node for the data as it is, or for every bootstrap replicate."""
    match node.type:
        case SchemeType.LEXICOGRAPHIC:
            children = node.children or tuple(_value_node(node, name) for name in metric_names(node, prepared))
            return break_ties(evaluate(children[0], prepared, draws), children[1:], prepared, draws)
        case SchemeType.VALUE:
            return _mean_of_children(node, prepared, draws) if node.children else _value(node, prepared, draws)
        case SchemeType.MIN_MAX:
            return _min_max(node, prepared, draws)
        case SchemeType.SIGNIFICANCE:
            return _mean_win_share(node, prepared, draws)
        case _:
            return _of_ranks(node, prepared, draws)


def metric_names(node: Node, prepared: Prepared) -> tuple[str, ...]:
    """The metrics a node works on: its own choice, or all."""
    return node.metrics or tuple(spec.id for spec in prepared.config.metrics)


def break_ties(
    scores: NodeScores, breakers: Sequence[Node], prepared: Prepared, draws: Draws | None = None
) -> NodeScores:
    """Order algorithms with equal scores by the next node, and the next; what stays equal stays tied."""
    if not breakers:
        return scores
    order = rank_scores(scores, prepared, method=TieMethod.MIN)
    for breaker in breakers:
        place = rank_scores(evaluate(breaker, prepared, draws), prepared, method=TieMethod.MIN)
        order = rank(order * (place.shape[-1] + 1.0) + place, method=TieMethod.MIN)
    return replace(scores, order=order)


def case_ranks(node: Node, prepared: Prepared) -> Floats:
    """Algorithm × cluster: the weighted mean over the node's metrics of the ranks taken in each case."""
    columns, weights = [], []
    for name in metric_names(node, prepared):
        block = _rank_units(node, climb_to_ranks(start(node, name, prepared), node, prepared, None), prepared)
        level_node = replace(node, rank_at=frozenset({"metric"}), aggregate={})
        columns.append(climb_to_cluster(block, level_node, prepared).values[0, :, 0, :])
        weights.append(prepared.metrics[name].spec.weight)
    stacked = np.stack(columns, axis=-1)
    return weighted_mean(stacked, np.broadcast_to(np.array(weights), stacked.shape))


def _value_node(node: Node, name: str) -> Node:
    return replace(node, type=SchemeType.VALUE, name=name, metrics=(name,))


def _value(node: Node, prepared: Prepared, draws: Draws | None) -> NodeScores:
    """Metrics climbed to the top and averaged by weight; they must agree on which direction is better."""
    names = metric_names(node, prepared)
    is_spread = any(how.kind == "std" for how in node.aggregate.values())
    directions = {prepared.metrics[name].spec.larger_is_better and not is_spread for name in names}
    if len(directions) > 1:
        raise ConfigError(
            f"scheme {node.name or node.type}: found metrics of both directions; expected ranks, or one direction"
        )
    tops = [climb_to_top(start(node, name, prepared), node, prepared, draws).values[:, :, 0, 0] for name in names]
    weights = np.array([prepared.metrics[name].spec.weight for name in names])
    return NodeScores(values=_weighted(tops, weights), larger_is_better=directions.pop())


def _min_max(node: Node, prepared: Prepared, draws: Draws | None) -> NodeScores:
    """Each part scaled over the teams, 0 the worst and 1 the best, and their weighted mean. Equal teams all have 1.

    A value behind every number counts as the worst.
    """
    if node.children:
        parts = [evaluate(child, prepared, draws) for child in node.children]
        weights = np.asarray(node.weights)
    else:
        names = metric_names(node, prepared)
        parts = [_value(_value_node(node, name), prepared, draws) for name in names]
        weights = np.array([prepared.metrics[name].spec.weight for name in names])
    scaled = []
    for part in parts:
        values = part.values if part.larger_is_better else -part.values
        finite = np.where(np.isfinite(values), values, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all missing: stays missing
            low, high = np.nanmin(finite, axis=-1, keepdims=True), np.nanmax(finite, axis=-1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(high > low, (values - low) / (high - low), 1.0)
        scaled.append(np.where(np.isinf(values), 0.0, np.where(np.isnan(values), np.nan, share)))
    return NodeScores(values=_weighted(scaled, weights), larger_is_better=True)


def _mean_of_children(node: Node, prepared: Prepared, draws: Draws | None) -> NodeScores:
    children = [evaluate(child, prepared, draws) for child in node.children]
    if len({child.larger_is_better for child in children}) > 1:
        raise ConfigError(
            f"scheme {node.name or node.type}: found children of both directions; expected ranks, or one direction"
        )
    values = _weighted([child.values for child in children], np.array(node.weights))
    return NodeScores(values=values, larger_is_better=children[0].larger_is_better)


def _weighted(parts: Sequence[Floats], weights: Floats) -> Floats:
    """Weighted mean of draw × algorithm arrays; a part without a value leaves none, so that gaps never help."""
    if len(parts) == 1:
        return parts[0]
    stacked = np.stack(parts, axis=-1)
    mean = weighted_mean(stacked, np.broadcast_to(weights, stacked.shape))
    return np.where(np.isnan(stacked[..., weights > 0]).any(axis=-1), np.nan, mean)


def _wins(node: Node, name: str, prepared: Prepared, draws: Draws | None) -> Block:
    """Share of the others an algorithm is significantly better than, at every unit the node keeps."""
    block = climb_to_cluster(start(node, name, prepared), node, prepared)
    cluster, kept = prepared.config.cluster, kept_level(node)
    if kept is not None and kept in ladder(node)[: ladder(node).index(cluster) + 1 if cluster in ladder(node) else 1]:
        raise ConfigError(
            f"scheme {node.name or node.type}: found rank_at {kept}; expected a level above {cluster} to test in"
        )
    parents = prepared.parents(cluster, kept)
    units = np.zeros(block.values.shape[-1], dtype=np.intp) if parents is None else parents
    multiplicities = None if draws is None else draws.multiplicities
    if draws is not None and draws.follows_challenger:
        multiplicities = np.minimum(draws.multiplicities, 1)
    columns = [
        [
            _win_shares(block, prepared, structure, np.flatnonzero(units == unit), multiplicities)
            for unit in range(int(units.max(initial=0)) + 1)
        ]
        for structure in range(block.values.shape[2])
    ]
    values = np.moveaxis(np.array(columns), (2, 3), (0, 1))
    return replace(block, values=values, level=kept, is_raw=False, is_drawn=draws is not None)


def _win_shares(
    block: Block, prepared: Prepared, structure: int, at: npt.NDArray[np.intp], multiplicities: Floats | None
) -> Floats:
    """Draw × algorithm; NaN for a structure nobody has a value of in these units: it does not exist there."""
    values = block.values[0, :, structure][:, at]
    shares = win_shares(
        values,
        larger_is_better=block.metric.spec.larger_is_better,
        rules=prepared.config.significance,
        multiplicities=None if multiplicities is None else multiplicities[:, at],
        seed=prepared.config.stability.seed,
        memory=prepared.memory,
        place=(block.metric.spec.id, block.metric.structures[structure], at.tobytes()),
    )
    return np.full_like(shares, np.nan) if np.isnan(values).all() else shares


def _mean_win_share(node: Node, prepared: Prepared, draws: Draws | None) -> NodeScores:
    names = metric_names(node, prepared)
    plain = replace(node, aggregate={})
    tops = [
        climb_to_top(_wins(node, name, prepared, draws), plain, prepared, draws).values[:, :, 0, 0] for name in names
    ]
    weights = np.array([prepared.metrics[name].spec.weight for name in names])
    return NodeScores(values=_weighted(tops, weights), larger_is_better=True)


def _rank_units(node: Node, block: Block, prepared: Prepared, *, copies: Floats | None = None) -> Block:
    """Replace values by ranks among the algorithms, unit by unit.

    `copies` is how often each unit was drawn, for challengeR's bootstrap: it pools a case drawn m times into one case
    with m copies of every algorithm, so ranks become m (r - 1) + 1.
    """
    if copies is None:
        return replace(block, values=_rank_block(node, block, prepared, copies=1), is_raw=False)
    values = np.zeros_like(block.values)
    for count in np.unique(copies[copies > 0]):
        at = copies == count
        part = replace(block, values=block.values[..., at])
        values[..., at] = _rank_block(node, part, prepared, copies=int(count))
    return replace(block, values=values, is_raw=False)


def _rank_block(node: Node, block: Block, prepared: Prepared, *, copies: int) -> Floats:
    ties = prepared.config.ties
    larger = node.of == "significance" or block.metric.spec.larger_is_better
    values = block.values if block.is_raw else round_significant(block.values, ties.digits)
    keys = np.moveaxis(-values if larger else values, 1, -1)
    if block.level != "case":
        is_real_unit = ~np.isnan(keys).all(axis=-1, keepdims=True)
        keys = np.where(np.isnan(keys) & is_real_unit, math.inf, keys)
    ranks = rank(
        np.repeat(keys, copies, axis=-1) if copies > 1 else keys,
        method=TieMethod.AVERAGE if node.type is SchemeType.BORDA else ties.method,
        tolerance=ties.tolerance,
        follow_challenger=prepared.config.stability.follows_challenger,
    )
    return np.moveaxis(ranks[..., ::copies], -1, 1)


def _of_ranks(node: Node, prepared: Prepared, draws: Draws | None) -> NodeScores:
    if draws is not None and draws.follows_challenger and not node.children and node.of == "value":
        replicates = [replace(draws, multiplicities=row[None]) for row in draws.multiplicities]
        values = np.concatenate([_leaf_of_ranks(node, prepared, replicate) for replicate in replicates])
    elif node.children:
        values = _combine(node, _units_of_children(node, prepared, draws), prepared)
    else:
        values = _leaf_of_ranks(node, prepared, draws)
    if node.normalise:
        values = values / len(prepared.algorithms)
    return NodeScores(values=values, larger_is_better=node.type in (SchemeType.BORDA, SchemeType.RANK_SCORES))


def is_flat(node: Node) -> bool:
    """Whether all ranked units of all metrics stand side by side."""
    return node.nesting == "flat" or node.type in (
        SchemeType.MEDIAN_OF_RANKS,
        SchemeType.CONSENSUS,
        SchemeType.RANK_SCORES,
    )


def _leaf_of_ranks(node: Node, prepared: Prepared, draws: Draws | None) -> Floats:
    blocks = []
    for name in metric_names(node, prepared):
        if node.of == "significance":
            block, copies = _wins(node, name, prepared, draws), None
        else:
            block = climb_to_ranks(start(node, name, prepared), node, prepared, draws)
            copies = (
                unit_weights(block, node, prepared, draws) if draws is not None and draws.follows_challenger else None
            )
        blocks.append(_rank_units(node, block, prepared, copies=None if copies is None else copies[0]))
    if is_flat(node):
        return _combine(node, _flat(node, blocks, prepared, draws), prepared)
    plain = replace(node, aggregate={})
    tops = [climb_to_top(block, plain, prepared, draws).values[:, :, 0, 0] for block in blocks]
    weights = np.array([block.metric.spec.weight for block in blocks])
    unit_counts = [(~np.isnan(block.values)).any(axis=1).sum(axis=(1, 2)).max() for block in blocks]
    return _scaled(node, _weighted(tops, weights), total=float(weights @ unit_counts), prepared=prepared)


def _flat(node: Node, blocks: Sequence[Block], prepared: Prepared, draws: Draws | None) -> Units:
    """All ranked units of all metrics side by side; a unit weighs as its metric, its structure and its draws say."""
    ranks, own, drawn = [], [], []
    for block in blocks:
        count = block.values.shape[-1]
        multiplicities = standing_weights(block, node, prepared, draws)
        own.append(np.repeat(np.asarray(block.weights) * block.metric.spec.weight, count))
        if multiplicities is not None:
            drawn.append(np.tile(multiplicities, (1, len(block.weights))))
        ranks.append(block.values.reshape(*block.values.shape[:2], -1))
    return Units(
        ranks=np.concatenate(ranks, axis=-1),
        own_weights=np.concatenate(own),
        multiplicities=np.concatenate(drawn, axis=-1) if drawn else None,
    )


def _units_of_children(node: Node, prepared: Prepared, draws: Draws | None) -> Units:
    method = TieMethod.AVERAGE if node.type is SchemeType.BORDA else None
    ranks = [rank_scores(evaluate(child, prepared, draws), prepared, method=method) for child in node.children]
    return Units(ranks=np.stack(ranks, axis=-1), own_weights=np.asarray(node.weights))


def _combine(node: Node, units: Units, prepared: Prepared) -> Floats:
    if node.type is SchemeType.CONSENSUS:
        return _consensus(node, units)
    if node.type is SchemeType.MEDIAN_OF_RANKS:
        return _median(units)
    weights = np.broadcast_to(units.weights[:, None, :], (len(units.weights), *units.ranks.shape[1:]))
    if node.type is SchemeType.RANK_SCORES:
        steps = max(1, len(prepared.algorithms) - 1)
        return np.exp(weighted_mean(np.log(1 - (1 - LAST_SCORE) * (units.ranks - 1) / steps), weights))
    mean = weighted_mean(units.ranks, weights)
    total = units.weights[0, ~np.isnan(units.ranks[0]).all(axis=0)].sum()
    return _scaled(node, mean, total=float(total), prepared=prepared)


def _median(units: Units) -> Floats:
    if len(np.unique(units.own_weights)) > 1:
        raise ConfigError(
            "scheme median_of_ranks: found different weights; expected none, for a median has no use for them"
        )
    medians = reduce_units(units.ranks, parents=None, how=MEDIAN, weights=units.multiplicities)
    return medians.reshape(-1, units.ranks.shape[1])


def _consensus(node: Node, units: Units) -> Floats:
    draws = max(len(units.weights), len(units.ranks))
    ranks = np.broadcast_to(units.ranks, (draws, *units.ranks.shape[1:]))
    weights = np.broadcast_to(units.weights, (draws, units.weights.shape[1]))
    return np.stack(
        [consensus_scores(a, weights=w, method=node.consensus) for a, w in zip(ranks, weights, strict=True)]
    )


def _scaled(node: Node, mean: Floats, *, total: float, prepared: Prepared) -> Floats:
    """A mean rank as it is, as a sum of ranks, or as Borda points (how many others one is better than, ties half)."""
    if node.type is SchemeType.SUM_OF_RANKS:
        return mean * total
    if node.type is SchemeType.BORDA:
        return (len(prepared.algorithms) - mean) * total
    return mean
