"""Consensus rankings against exhaustive search and the definition of each method. Task comparison and its tree."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from evaluator.ranking import ConfigError, ScoreTable, parse_ranking, rank_algorithms
from evaluator.ranking.document.config import ConsensusMethod
from evaluator.ranking.schemes import consensus as module
from evaluator.ranking.schemes.consensus import consensus, disagreement
from evaluator.ranking.tasks import compare_tasks, link, ranking_distances

METHODS = list(ConsensusMethod)


def votes(seed: int, *, algorithms: int = 5, tasks: int = 7):
    random = np.random.default_rng(seed)
    return np.stack([rankdata(random.integers(0, 4, algorithms), "min") for _ in range(tasks)], axis=1).astype(float)


def average(ranks):
    return np.stack([rankdata(column, "average") for column in ranks.T], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_euclidean_is_the_mean_of_average_tie_ranks(seed):
    ranks = votes(seed)
    found = consensus(ranks, method=ConsensusMethod.EUCLIDEAN)
    assert found.scores == pytest.approx(average(ranks).mean(axis=1))
    assert found.ranks.tolist() == rankdata(np.round(average(ranks).mean(axis=1), 10), "min").tolist()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_kemeny_linear_is_the_best_of_all_orders(seed, weighted):
    ranks = votes(seed)
    weights = np.arange(1.0, 8.0) if weighted else np.ones(7)
    found = consensus(ranks, weights=weights, method=ConsensusMethod.KEMENY_LINEAR)
    best = min(disagreement(np.array(order, dtype=float), average(ranks), weights) for order in permutations(range(5)))
    assert found.is_exact
    assert sorted(found.ranks) == [1, 2, 3, 4, 5]
    assert disagreement(found.ranks, average(ranks), weights) == best


@pytest.mark.parametrize("seed", range(6))
def test_kemeny_weak_is_the_best_of_all_orders_with_ties(seed):
    ranks = votes(seed, algorithms=4)
    found = consensus(ranks, method=ConsensusMethod.KEMENY_WEAK)
    best = min(
        disagreement(np.array(order, dtype=float), average(ranks), np.ones(7)) for order in product(range(4), repeat=4)
    )
    assert found.is_exact
    assert disagreement(found.ranks, average(ranks), np.ones(7)) == best


def test_kemeny_says_when_it_is_not_proven_and_is_still_good():
    random = np.random.default_rng(0)
    ranks = np.stack([random.permutation(24) + 1.0 for _ in range(9)], axis=1)
    found = consensus(ranks, method=ConsensusMethod.KEMENY_LINEAR)
    borda = rankdata(average(ranks).sum(axis=1), "ordinal").astype(float)
    assert not found.is_exact
    assert disagreement(found.ranks, average(ranks), np.ones(9)) <= disagreement(borda, average(ranks), np.ones(9))
    weak = consensus(ranks, method=ConsensusMethod.KEMENY_WEAK)
    assert not weak.is_exact
    assert disagreement(weak.ranks, average(ranks), np.ones(9)) <= disagreement(found.ranks, average(ranks), np.ones(9))


@pytest.mark.parametrize("method", [ConsensusMethod.KEMENY_LINEAR, ConsensusMethod.KEMENY_WEAK])
def test_a_local_search_ends_after_so_many_passes(method, monkeypatch):
    tangle = np.random.default_rng(0).permuted(np.tile(np.arange(40.0)[:, None], (1, 5)), axis=0)
    monkeypatch.setattr(module, "MOST_PASSES", 1)
    once = consensus(tangle, method=method)
    monkeypatch.undo()
    often = consensus(tangle, method=method)
    assert not once.is_exact
    costs = [disagreement(result.scores, tangle, np.ones(5)) for result in (often, once)]
    assert costs[0] < costs[1]


def test_equal_costs_share_a_bucket_only_where_that_is_cheaper():
    turned = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    assert consensus(turned, method=ConsensusMethod.KEMENY_LINEAR).scores.tolist() == [1, 2, 3]
    assert consensus(turned, method=ConsensusMethod.KEMENY_WEAK).ranks.tolist() == [1, 1, 3]


def test_kemeny_stays_exact_for_many_algorithms_that_the_majority_orders():
    order = np.arange(1.0, 61.0)
    noisy = order.copy()
    noisy[[4, 5]] = noisy[[5, 4]]
    found = consensus(np.stack([order, order, noisy], axis=1), method=ConsensusMethod.KEMENY_LINEAR)
    assert found.is_exact
    assert found.ranks.tolist() == order.tolist()


def test_borda_and_copeland_by_hand():
    """Votes a>b>c, a>b>c, b>c>a. Borda: a 4, b 4, c 1. Majorities: a beats b and c, b beats c."""
    ranks = np.array([[1, 1, 3], [2, 2, 1], [3, 3, 2]], dtype=float)
    assert consensus(ranks, method=ConsensusMethod.BORDA).scores.tolist() == [-4, -4, -1]
    assert consensus(ranks, method=ConsensusMethod.BORDA).ranks.tolist() == [1, 1, 3]
    assert consensus(ranks, method=ConsensusMethod.COPELAND).ranks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_agreeing_votes_are_the_consensus_and_a_missing_rank_stands_last(method):
    ranks = np.array([[1, 1], [2, 2], [np.nan, 3]], dtype=float)
    assert consensus(ranks, method=method).ranks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_a_heavy_vote_decides(method):
    ranks = np.array([[1, 3, 3], [2, 2, 2], [3, 1, 1]], dtype=float)
    assert consensus(ranks, weights=np.array([5.0, 1.0, 1.0]), method=method).ranks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_a_scheme_can_be_a_consensus_over_its_units(method):
    rows = [
        (name, f"c{i}", "", "dice", value, "")
        for name, values in {"a": [0.9, 0.9, 0.1], "b": [0.8, 0.8, 0.9], "c": [0.7, 0.7, 0.8]}.items()
        for i, value in enumerate(values)
    ]
    scheme = {"type": "consensus", "rank_at": ["case"], "consensus": method.value}
    ranking = rank_algorithms(ScoreTable.from_rows(rows), parse_ranking({"metrics": ["dice"], "scheme": scheme}))
    expected = consensus(np.array([[1, 1, 3], [2, 2, 1], [3, 3, 2]], dtype=float), method=method).ranks
    assert [ranking.ranks()[name] for name in "abc"] == expected.tolist()


def task_table() -> ScoreTable:
    random = np.random.default_rng(4)
    attributes = {f"c{i}": {"task": "xyz"[i % 3]} for i in range(30)}
    skill = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    return ScoreTable.from_rows(
        [
            (name, f"c{i}", "", "dice", level - (0.5 if i % 3 == 2 and name == "a" else 0) + 0.02 * random.random(), "")
            for name, level in skill.items()
            for i in range(30)
        ],
        attributes=attributes,
    )


def test_tasks_are_ranked_apart_and_merged():
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "multi_task": {"consensus": "euclidean"}})
    found = compare_tasks(task_table(), config)
    assert found.tasks == ("x", "y", "z")
    assert found.ranks.tolist() == [[1, 1, 4], [2, 2, 1], [3, 3, 2], [4, 4, 3]]
    assert found.merged is not None
    assert found.merged.scores == pytest.approx([2, 5 / 3, 8 / 3, 11 / 3])
    heavy = parse_ranking({"metrics": ["dice"], "scheme": "value", "multi_task": {"weights": {"x": 9, "y": 9, "z": 1}}})
    merged = compare_tasks(task_table(), heavy).merged
    assert merged is not None
    assert merged.ranks.tolist() == [1, 2, 3, 4]


def test_a_weight_for_a_task_nobody_knows_is_refused():
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "multi_task": {"weights": {"x": 1, "lung": 2}}})
    with pytest.raises(ConfigError, match=r"multi_task.weights: found lung; expected tasks .* task: x, y, z"):
        compare_tasks(task_table(), config)


def test_without_tasks_metrics_and_structures_are_compared():
    rows = [
        (name, "c0", label, "dice", value, "")
        for label, values in {"liver": (0.9, 0.8), "tumour": (0.4, 0.6)}.items()
        for name, value in zip("ab", values, strict=True)
    ]
    found = compare_tasks(ScoreTable.from_rows(rows), parse_ranking({"metrics": ["dice"], "scheme": "value"}))
    assert found.tasks == ("dice liver", "dice tumour")
    assert found.distances.tolist() == [[0, 2], [2, 0]]
    turned = found.sorted_by(("b", "a"))
    assert (turned.algorithms, turned.ranks.tolist()) == (("b", "a"), [[2, 1], [1, 2]])


def test_the_tree_of_tasks_equals_scipy():
    random = np.random.default_rng(3)
    ranks = np.stack([random.permutation(9) + 1.0 for _ in range(7)], axis=1)
    distances = ranking_distances(ranks) + squareform(random.random(21) * 1e-3)
    for complete, name in ((False, "average"), (True, "complete")):
        expected = linkage(squareform(distances), name)
        found = link(distances, complete=complete)
        assert [merge.height for merge in found] == pytest.approx(expected[:, 2].tolist())
        assert [sorted((m.first, m.second)) for m in found] == [sorted(map(int, row[:2])) for row in expected]
