"""The fewest patients that a combination of two partitions' sums depends on: the minimum cut of their bipartite multigraph."""

from collections import Counter
from collections.abc import Hashable, Sequence


def fewest_patients(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The smallest number of patients whose removal splits a connected part of the graph.

    `first[i]` and `second[i]` are the blocks of patient i.
    O(nodes³) by Stoer and Wagner (J. ACM 44, 1997). Returns the number of patients where there is nothing to split.
    """
    edges = Counter(zip((("first", block) for block in first), (("second", block) for block in second), strict=True))
    weights: dict[Hashable, dict[Hashable, int]] = {}
    for (left, right), count in edges.items():
        weights.setdefault(left, {})[right] = count
        weights.setdefault(right, {})[left] = count
    return min((minimum_cut(part) for part in components(weights)), default=len(first))


def components(weights: dict[Hashable, dict[Hashable, int]]) -> list[dict[Hashable, dict[Hashable, int]]]:
    """The connected parts of a graph."""
    left, parts = set(weights), []
    while left:
        start = next(iter(left))
        reached, ahead = {start}, [start]
        while ahead:
            fresh = set(weights[ahead.pop()]) - reached
            reached |= fresh
            ahead += fresh
        left -= reached
        parts.append({node: dict(weights[node]) for node in reached})
    return parts


def minimum_cut(graph: dict[Hashable, dict[Hashable, int]]) -> int:
    """The global minimum cut of a connected graph with two nodes or more. `graph` is used up."""
    best = sum(sum(row.values()) for row in graph.values())
    while len(graph) > 1:
        order, cut = adjacency_order(graph)
        best = min(best, cut)
        merge(graph, keep=order[-2], away=order[-1])
    return best


def adjacency_order(graph: dict[Hashable, dict[Hashable, int]]) -> tuple[list[Hashable], int]:
    """Nodes in maximum adjacency order, and the cut that separates the last one."""
    order: list[Hashable] = []
    bound = dict.fromkeys(graph, 0)
    cut = 0
    while bound:
        node = max(bound, key=lambda candidate: bound[candidate])
        cut = bound.pop(node)
        order.append(node)
        for neighbour, weight in graph[node].items():
            if neighbour in bound:
                bound[neighbour] += weight
    return order, cut


def merge(graph: dict[Hashable, dict[Hashable, int]], *, keep: Hashable, away: Hashable) -> None:
    """Make one node of two."""
    for neighbour, weight in graph.pop(away).items():
        del graph[neighbour][away]
        if neighbour != keep:
            graph[keep][neighbour] = graph[keep].get(neighbour, 0) + weight
            graph[neighbour][keep] = graph[keep][neighbour]
