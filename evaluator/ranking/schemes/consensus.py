"""One ranking from several: what the tasks, metrics or cohorts of a challenge agree on.

    euclidean       mean of the average-tie ranks: the ranking with the smallest summed squared rank differences
    kemeny_linear   the strict order with the fewest pairwise disagreements (a tie in a vote disagrees by one)
    kemeny_weak     the same with ties allowed in the result
    borda           points: how many others one is ranked before, half a point for a tie
    copeland        wins minus losses in pairwise majority votes

Kemeny orders are NP-hard. The exact search is dynamic programming over sets of algorithms, run separately on each
component of the majority graph (every member of an earlier component beats every member of a later one, and an
optimal order respects that: the extended Condorcet criterion, Truchon 1998). Beyond `EXACT_LINEAR` or `EXACT_WEAK`
members in one component the result is the best of a local search and says so. Among optimal orders the one that keeps
to the Borda order is taken.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evaluator.arrays import Floats, Index
from evaluator.ranking.document.config import ConsensusMethod, TieMethod
from evaluator.ranking.statistics.ties import rank, round_significant

EXACT_LINEAR = 16
EXACT_WEAK = 10
MOST_PASSES = 30
"""Of a local search through all members. It ends by itself after 12 on random votes, noisy votes and cycles of up to 300 members."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """Scores (smaller is better), the ranks they give, and whether the optimum is proven."""

    scores: Floats
    ranks: Floats
    is_exact: bool = True


def consensus(ranks: Floats, *, weights: Floats | None = None, method: ConsensusMethod) -> Consensus:
    """Merge the columns of algorithm × vote. A missing rank stands behind all others of its vote."""
    weights = np.ones(ranks.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    votes = rank(np.where(np.isnan(ranks), np.inf, ranks).T, method=TieMethod.AVERAGE).T
    is_exact = True
    match method:
        case ConsensusMethod.EUCLIDEAN:
            scores = votes @ weights / weights.sum()
        case ConsensusMethod.BORDA:
            scores = -((len(ranks) - votes) @ weights)
        case ConsensusMethod.COPELAND:
            ahead, _ = preferences(votes, weights)
            scores = -np.sign(ahead - ahead.T).sum(axis=1)
        case _:
            scores, is_exact = _kemeny(votes, weights, allows_ties=method is ConsensusMethod.KEMENY_WEAK)
    scores = round_significant(scores, 12)
    return Consensus(scores=scores, ranks=rank(scores, method=TieMethod.MIN), is_exact=is_exact)


def consensus_scores(ranks: Floats, *, weights: Floats, method: ConsensusMethod) -> Floats:
    """Only the scores. Smaller is better."""
    return consensus(ranks, weights=weights, method=method).scores


def preferences(votes: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the votes that put i before j, and of those that tie them."""
    ahead = np.einsum("ijv,v->ij", (votes[:, None] < votes[None]).astype(np.float64), weights)
    tied = np.einsum("ijv,v->ij", (votes[:, None] == votes[None]).astype(np.float64), weights)
    return ahead, tied


def disagreement(order: Floats, votes: Floats, weights: Floats) -> float:
    """Summed symmetric difference between an order and the votes: 2 for a reversed pair, 1 for a tie against an
    order.
    """
    ahead, tied = preferences(votes, weights)
    first, second = np.triu_indices(len(order), 1)
    a, b, t = ahead[first, second], ahead[second, first], tied[first, second]
    direction = np.sign(order[first] - order[second])
    cost = np.where(direction < 0, 2 * b + t, np.where(direction > 0, 2 * a + t, a + b))
    return float(cost.sum())


def _kemeny(votes: Floats, weights: Floats, *, allows_ties: bool) -> tuple[Floats, bool]:
    ahead, tied = preferences(votes, weights)
    before = 2 * ahead.T + tied
    together = ahead + ahead.T
    borda = votes @ weights
    scores = np.empty(len(votes))
    is_exact, place = True, 0
    for component in _components(before, together if allows_ties else None, borda):
        members = component[np.argsort(borda[component], kind="stable")]
        index = np.ix_(members, members)
        if allows_ties:
            buckets, proven = _weak_order(before[index], together[index])
        else:
            order, proven = _linear_order(before[index])
            buckets = [[member] for member in order]
        is_exact = is_exact and proven
        for bucket in buckets:
            place += 1
            scores[members[bucket]] = place
    return scores, is_exact


def _components(before: Floats, together: Floats | None, borda: Floats) -> list[Index]:
    """Split where every earlier member is strictly cheaper before every later one. Such a cut is in every optimal
    order.
    """
    wins = before < before.T
    if together is not None:
        wins &= before < together
    order = np.lexsort((borda, -wins.sum(axis=1)))
    parts, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or wins[np.ix_(order[start:end], order[end:])].all():
            parts.append(order[start:end])
            start = end
    return parts


@dataclass(frozen=True, eq=False)
class _Sets:
    """All sets of one size as bit masks, and for each of its members (set × size) the set without it."""

    sets: Index
    members: Index
    rests: Index


@lru_cache(maxsize=EXACT_LINEAR)
def _sets_by_size(count: int) -> tuple[_Sets, ...]:
    masks = np.arange(1 << count)
    sizes = np.bitwise_count(masks)
    found = []
    for size in range(1, count + 1):
        sets = masks[sizes == size]
        members = np.nonzero((sets[:, None] >> np.arange(count)) & 1)[1].reshape(len(sets), size)
        found.append(_Sets(sets=sets, members=members, rests=sets[:, None] ^ (1 << members)))
    return tuple(found)


def _costs_behind(before: Floats) -> Floats:
    """Set × member: the cost of the member standing behind everyone in the set."""
    costs = np.zeros((1 << len(before), len(before)))
    for member, row in enumerate(before):
        np.add(costs[: 1 << member], row, out=costs[1 << member : 2 << member])
    return costs


def _linear_order(before: Floats) -> tuple[list[int], bool]:
    """`before[i, j]` is the cost of i standing before j. Members come in Borda order, which breaks ties between
    optima.
    """
    count = len(before)
    if count > EXACT_LINEAR:
        return _local_search(before), False
    behind = _costs_behind(before)
    best = np.zeros(1 << count)
    last = np.zeros(1 << count, dtype=np.intp)
    for layer in _sets_by_size(count):
        cost = best[layer.rests] + behind.ravel()[layer.rests * count + layer.members]
        least = cost.min(axis=1)
        # The last of equal ones: members come in Borda order, and the better ones are to stand in front.
        place = cost.shape[1] - 1 - np.argmax(cost[:, ::-1] <= least[:, None] + 1e-9, axis=1)
        rows = np.arange(len(cost))
        best[layer.sets], last[layer.sets] = cost[rows, place], layer.members[rows, place]
    order, mask = [], (1 << count) - 1
    while mask:
        order.append(int(last[mask]))
        mask ^= 1 << order[-1]
    return order[::-1], True


@dataclass(frozen=True, eq=False)
class _Layer:
    """All sets of one size with each of their non-empty subsets, which may be their last bucket. The largest subset comes first."""

    sets: Index
    starts: Index
    counts: Index
    buckets: Index
    rests: Index


@lru_cache(maxsize=EXACT_WEAK)
def _layers(count: int) -> tuple[_Layer, ...]:
    layers = []
    for layer in _sets_by_size(count):
        # The subsets of a set by its own members: the bits of 2ˢ - 1 … 1 spread over them.
        size, sets = layer.members.shape[1], layer.sets
        inner = np.arange((1 << size) - 1, 0, -1)
        chosen = (inner[:, None] >> np.arange(size)) & 1
        buckets = (1 << layer.members) @ chosen.T
        width = buckets.shape[1]
        layers.append(
            _Layer(
                sets=sets,
                starts=np.arange(len(sets)) * width,
                counts=np.full(len(sets), width),
                buckets=buckets.ravel(),
                rests=(sets[:, None] ^ buckets).ravel(),
            )
        )
    return tuple(layers)


def _weak_order(before: Floats, together: Floats) -> tuple[list[list[int]], bool]:
    """As `_linear_order`, where `together[i, j]` is the cost of i and j sharing a bucket. Sets of one size are solved at once."""
    count = len(before)
    if count > EXACT_WEAK:
        return _merge_neighbours(_local_search(before), before, together), False
    bits = ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1).astype(np.float64)
    inside = ((bits @ together) * bits).sum(axis=1) / 2
    behind = _costs_behind(before)
    best = np.zeros(1 << count)
    chosen = np.zeros(1 << count, dtype=np.intp)
    for layer in _layers(count):
        across = np.einsum("ij,ij->i", behind[layer.rests], bits[layer.buckets])
        cost = best[layer.rests] + inside[layer.buckets] + across
        least = np.repeat(np.minimum.reduceat(cost, layer.starts), layer.counts)
        place = np.where(cost <= least + 1e-9, np.arange(len(cost)), len(cost))
        first = np.minimum.reduceat(place, layer.starts)
        best[layer.sets], chosen[layer.sets] = cost[first], layer.buckets[first]
    buckets, mask = [], (1 << count) - 1
    while mask:
        buckets.append([member for member in range(count) if chosen[mask] >> member & 1])
        mask ^= int(chosen[mask])
    return buckets[::-1], True


def _local_search(before: Floats) -> list[int]:
    """Start from the Borda order. Move one member at a time to its cheapest place until no move helps, or often enough."""
    order = list(range(len(before)))
    gain = before.T - before  # gain[i, j]: what moving i before j (it stood behind) costs or saves, by sign
    for _ in range(MOST_PASSES):
        has_moved = False
        for member in order:
            place = order.index(member)
            rest = order[:place] + order[place + 1 :]
            # Cost of standing at each place: behind rest[:p], before rest[p:].
            steps = np.concatenate([[0.0], np.cumsum(gain[member, rest])])
            target = int(np.argmin(steps))
            if steps[target] < steps[place] - 1e-9:
                order = [*rest[:target], member, *rest[target:]]
                has_moved = True
        if not has_moved:
            break
    return order


def _merge_neighbours(order: list[int], before: Floats, together: Floats) -> list[list[int]]:
    """Cut a linear order into buckets optimally: dynamic programming over the cuts."""
    count = len(order)
    ordered_before = np.triu(before[np.ix_(order, order)], 1)
    saving = np.triu(together[np.ix_(order, order)], 1) - ordered_before
    best, cut = np.zeros(count + 1), [0]
    within = np.zeros(0)  # of a bucket from each place to the end so far
    for end in range(1, count + 1):
        column = saving[:end, end - 1]
        within = np.append(within, 0.0) + np.cumsum(column[::-1])[::-1]
        costs = best[:end] + within
        cut.append(int(np.argmin(costs)))
        best[end] = costs[cut[-1]]
    buckets, end = [], count
    while end:
        buckets.append(order[cut[end] : end])
        end = cut[end]
    return buckets[::-1]
