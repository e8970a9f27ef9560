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

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats
from evaluator.ranking.document.config import ConsensusMethod, TieMethod
from evaluator.ranking.statistics.ties import rank, round_significant

EXACT_LINEAR = 16
EXACT_WEAK = 10


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
    """Only the scores; smaller is better."""
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


def _components(before: Floats, together: Floats | None, borda: Floats) -> list[npt.NDArray[np.intp]]:
    """Split where every earlier member is strictly cheaper before every later one; such a cut is in every optimal
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


def _linear_order(before: Floats) -> tuple[list[int], bool]:
    """`before[i, j]` is the cost of i standing before j. Members come in Borda order, which breaks ties between
    optima.
    """
    count = len(before)
    if count > EXACT_LINEAR:
        return _local_search(before), False
    masks = np.arange(1 << count)
    bits = (masks[:, None] >> np.arange(count)) & 1
    best = np.full(1 << count, np.inf)
    last = np.zeros(1 << count, dtype=np.intp)
    best[0] = 0
    sizes = bits.sum(axis=1)
    cost_of_adding = bits @ before  # mask × member: the member stands behind everyone in the mask
    for size in range(1, count + 1):
        level = masks[sizes == size]
        for member in range(count):
            here = level[bits[level, member] == 1]
            rest = here ^ (1 << member)
            cost = best[rest] + cost_of_adding[rest, member]
            better = cost <= best[here] + 1e-9
            best[here] = np.where(better, cost, best[here])
            last[here] = np.where(better, member, last[here])
    order, mask = [], (1 << count) - 1
    while mask:
        order.append(int(last[mask]))
        mask ^= 1 << order[-1]
    return order[::-1], True


def _weak_order(before: Floats, together: Floats) -> tuple[list[list[int]], bool]:
    count = len(before)
    if count > EXACT_WEAK:
        return _merge_neighbours(_local_search(before), before, together), False
    inside = [_inner_cost(mask, together) for mask in range(1 << count)]
    best = [0.0] + [np.inf] * ((1 << count) - 1)
    chosen = [0] * (1 << count)
    rows = (((np.arange(1 << count)[:, None] >> np.arange(count)) & 1) @ before).tolist()
    for mask in range(1, 1 << count):
        bucket = mask
        while bucket:
            rest = mask ^ bucket
            across = sum(rows[rest][member] for member in range(count) if bucket >> member & 1)
            cost = best[rest] + inside[bucket] + across
            if cost < best[mask] - 1e-9:
                best[mask], chosen[mask] = cost, bucket
            bucket = (bucket - 1) & mask
    buckets, mask = [], (1 << count) - 1
    while mask:
        buckets.append([member for member in range(count) if chosen[mask] >> member & 1])
        mask ^= chosen[mask]
    return buckets[::-1], True


def _inner_cost(mask: int, together: Floats) -> float:
    members = [member for member in range(len(together)) if mask >> member & 1]
    return float(together[np.ix_(members, members)].sum() / 2)


def _local_search(before: Floats) -> list[int]:
    """Start from the Borda order; move one member at a time to its cheapest place until no move helps."""
    order = list(range(len(before)))
    gain = before.T - before  # gain[i, j]: what moving i before j (it stood behind) costs or saves, by sign
    has_moved = True
    while has_moved:
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
    return order


def _merge_neighbours(order: list[int], before: Floats, together: Floats) -> list[list[int]]:
    """Cut a linear order into buckets optimally: dynamic programming over the cuts."""
    count = len(order)
    ordered_before = np.triu(before[np.ix_(order, order)], 1)
    saving = np.triu(together[np.ix_(order, order)], 1) - ordered_before
    best, cut = [0.0], [0]
    for end in range(1, count + 1):
        costs = [best[start] + saving[start:end, start:end].sum() for start in range(end)]
        cut.append(int(np.argmin(costs)))
        best.append(float(min(costs)))
    buckets, end = [], count
    while end:
        buckets.append(order[cut[end] : end])
        end = cut[end]
    return buckets[::-1]
