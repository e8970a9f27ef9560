"""The estimate of a ranking's work: never below what the engine does, and not far above it. Heavy documents are refused with figures."""

import dataclasses
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest

from evaluator.protocol import load_named_protocol, named_protocols
from evaluator.ranking import ConfigError, ScoreTable, analyse, parse_ranking
from evaluator.ranking.document.config import ConsensusMethod
from evaluator.ranking.schemes import consensus, prepare, reduction, tree
from evaluator.ranking.stability import draw_clusters, widest_row
from evaluator.ranking.statistics import significance
from evaluator.ranking.work import (
    FEWEST_REPLICATES,
    FLAT,
    MOMENT,
    MOST_STEPS,
    QUANTILE,
    SORT,
    USUAL,
    Size,
    check_work,
    replicates_within,
    work_of,
)

pytestmark = pytest.mark.slow

METRICS = [{"id": "dice"}, {"id": "hd95"}]
PERMUTATION = {"test": "permutation", "repetitions": 500}
TREES = {
    "mean": {"type": "value", "metrics": ["dice"]},
    "median": {"type": "value", "metrics": ["dice"], "aggregate": "median"},
    "ranks": {"type": "mean_of_ranks"},
    "case ranks": {"type": "mean_of_ranks", "rank_at": ["case", "structure"]},
    "flat": {"type": "sum_of_ranks", "rank_at": ["case"], "nesting": "flat"},
    "median of ranks": {"type": "median_of_ranks", "rank_at": ["case"]},
    "wins": {"type": "significance"},
    "wins at structures": {"type": "mean_of_ranks", "of": "significance", "rank_at": ["structure"]},
    "kemeny": {"type": "consensus", "consensus": "kemeny_linear", "rank_at": ["structure"]},
    "kemeny with ties": {"type": "consensus", "consensus": "kemeny_weak", "rank_at": ["case"]},
    "children": {"type": "mean_of_ranks", "children": [{"type": "borda"}, {"type": "significance"}, "value"]},
}
TREES["children"]["children"][2] = {"type": "value", "metrics": ["dice"]}
OTHERS = {
    "permutation": {"scheme": "significance", "significance": PERMUTATION, "stability": {"bootstrap": 3}},
    "bootstrap": {
        "scheme": "significance",
        "significance": {"test": "bootstrap_diff", "repetitions": 200},
        "stability": {"bootstrap": 3},
    },
    "t": {"scheme": "significance", "significance": {"test": "t_paired"}, "stability": {"bootstrap": 20}},
    "bca": {"scheme": "mean_of_ranks", "stability": {"bootstrap": 200, "interval": "bca"}},
    "breakers": {"scheme": "mean_of_ranks", "ties": {"break": ["dice.a", "hd95", "dice"]}},
    "ties": {"scheme": "mean_of_ranks", "significance": {"tie_if_not_significant": True}},
    "challengeR": {
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
        "stability": {"compat": "challengeR-1.0.5", "bootstrap": 100},
    },
}
DOCUMENTS = {name: {"metrics": METRICS, "scheme": scheme} for name, scheme in TREES.items()} | {
    name: {"metrics": METRICS} | document for name, document in OTHERS.items()
}
ALGORITHMS, CASES, STRUCTURES = 18, 40, ("a", "b", "c")


def table(*, algorithms=ALGORITHMS, cases=CASES):
    random = np.random.default_rng(3)
    rows = [
        (f"team {a}", f"case {c}", label, metric, float(random.random()), "")
        for a in range(algorithms)
        for c in range(cases)
        for label in STRUCTURES
        for metric in ("dice", "hd95")
    ]
    return ScoreTable.from_rows(rows)


def exact(before, most, steps):
    """Larger components are searched locally."""
    return steps if len(before) <= most else 0


class Counter:
    """Adds up what the engine's kernels are given, at the estimate's prices."""

    def __init__(self):
        self.steps = 0

    def wrap(self, function, price):
        def counted(*args, **named):
            self.steps += price(*args, **named)
            return function(*args, **named)

        return counted

    def watching(self):
        stack = ExitStack()
        for module, name, price in (
            (tree, "rank", lambda keys, **_: SORT * keys.size),
            (tree, "weighted_mean", lambda values, weights: FLAT * max(values.size, weights.size)),
            (tree, "consensus_scores", lambda ranks, **_: ranks.shape[0] ** 2 * ranks.shape[1]),
            (reduction, "_weighted_moments", lambda values, weights, **_: MOMENT * values.size * len(weights)),
            (reduction, "_weighted_quantile", lambda values, weights, **_: QUANTILE * values.size * len(weights)),
            (significance, "signed_ranks", lambda differences: SORT * differences.size),
            (significance, "drawn_signed_rank", lambda d, draws: 8 * d.size * draws.counts.shape[1]),
            (significance, "t_tail", lambda _: 75_000),
            (significance, "permutation_tails", lambda d, signs: d.shape[0] * 25 * len(signs) + signs.size * 9),
            (significance, "bootstrap_tails", lambda d, drawn: d.shape[0] * 25 * len(drawn) + drawn.size * 9),
            (consensus, "_linear_order", lambda before: exact(before, 16, 13 * 2 ** len(before) * len(before))),
            (consensus, "_weak_order", lambda before, _: exact(before, 10, 100 * 3 ** len(before))),
        ):
            stack.enter_context(mock.patch.object(module, name, self.wrap(getattr(module, name), price)))
        return stack


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_ranking_does_more_than_was_estimated(name):
    scores, config = table(), parse_ranking(DOCUMENTS[name])
    counter = Counter()
    with counter.watching():
        analyse(scores, config)
    estimated = work_of(config, Size.of(scores, config)).total(config.stability.bootstrap)
    assert counter.steps <= estimated
    if "kemeny" not in name:  # whose cost depends on how the votes disagree: the estimate takes the worst
        assert estimated <= 15 * counter.steps


@pytest.mark.parametrize(("method", "size"), [("kemeny_linear", 16), ("kemeny_weak", 10)])
def test_the_worst_votes_for_kemeny_cost_what_was_estimated(method, size):
    cycle = np.stack([np.roll(np.arange(size), turn) for turn in range(size)], axis=1)
    votes = np.concatenate([cycle, cycle + size, cycle + 2 * size]).astype(float)
    counter = Counter()
    with counter.watching():
        found = consensus.consensus(votes, method=ConsensusMethod(method))
    assert found.is_exact
    scheme = {"type": "consensus", "consensus": method}
    config = parse_ranking({"metrics": METRICS, "scheme": scheme})
    whole = work_of(config, dataclasses.replace(USUAL, algorithms=3 * size)).ranking
    plain = work_of(parse_ranking({"metrics": METRICS, "scheme": scheme | {"consensus": "borda"}}), USUAL).ranking
    assert counter.steps <= whole
    assert counter.steps >= (whole - plain) / 3


def test_the_estimate_counts_arrays_as_the_bootstrap_does():
    scores = table()
    for name, document in DOCUMENTS.items():
        config = parse_ranking(document)
        prepared = prepare.prepare(scores, config)
        assert widest_row(prepared) <= max(ALGORITHMS**2, 6 * ALGORITHMS * CASES), name


@pytest.mark.parametrize("name", named_protocols())
def test_every_protocol_that_ships_is_accepted(name):
    protocol = load_named_protocol(name)
    size = dataclasses.replace(USUAL, structures=len(protocol.labels), metrics=len(protocol.metrics))
    check_work(parse_ranking(protocol.ranking), size)


HEAVY = {
    "permutations in every replicate": (
        {"scheme": "significance", "significance": {"test": "permutation", "repetitions": 200_000}},
        "significance.repetitions",
    ),
    "ten thousand tests": (
        {"scheme": {"type": "significance", "rank_at": ["structure"]}, "stability": {"bootstrap": 10_000}},
        "at most ",
    ),
    "ten thousand Kemeny searches": (
        {
            "scheme": {"type": "consensus", "consensus": "kemeny_linear", "rank_at": ["case"]},
            "stability": {"bootstrap": 10_000},
        },
        "not Kemeny's",
    ),
    "two thousand parts": (
        {"scheme": {"type": "mean_of_ranks", "children": ["borda"] * 2000}, "stability": {"bootstrap": 10_000}},
        "fewer parts",
    ),
    "four hundred tie breakers": (
        {"scheme": "borda", "ties": {"break": ["dice", "hd95"] * 200}, "stability": {"bootstrap": 10_000}},
        "fewer parts",
    ),
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_document_is_refused_with_figures_and_what_to_lower(name):
    document, way = HEAVY[name]
    with pytest.raises(ConfigError) as refused:
        check_work(parse_ranking({"metrics": METRICS} | document), dataclasses.replace(USUAL, structures=20))
    words = str(refused.value)
    assert "for 60 algorithms and 200 cases; expected at most 3.0e+11 steps" in words
    assert way in words


@pytest.mark.parametrize("scheme", [TREES["kemeny"], TREES["wins"], TREES["flat"]])
def test_what_the_refusal_advises_is_accepted(scheme):
    size = dataclasses.replace(USUAL, algorithms=200, structures=100, metrics=2)
    document = {"metrics": METRICS, "scheme": scheme, "stability": {"bootstrap": 10_000}}
    config = parse_ranking(document)
    fitting = replicates_within(work_of(config, size), wanted=10_000)
    with pytest.raises(ConfigError, match=f"at most {fitting} replicates"):
        check_work(config, size)
    check_work(parse_ranking(document | {"stability": {"bootstrap": fitting}}), size)
    with pytest.raises(ConfigError):
        check_work(parse_ranking(document | {"stability": {"bootstrap": fitting + 1}}), size)


def test_few_replicates_are_none_and_too_much_without_any_is_told_apart():
    config = parse_ranking(DOCUMENTS["mean"])
    work = work_of(config, USUAL)
    assert replicates_within(work, wanted=1000) == 1000
    assert replicates_within(work, wanted=1000, limit=work.total(FEWEST_REPLICATES - 1)) == 0
    assert replicates_within(work, wanted=50, limit=work.total(51)) == 50
    assert replicates_within(work, wanted=1000, limit=work.total(0) - 1) is None


def test_more_of_anything_is_never_less_work():
    config = parse_ranking(DOCUMENTS["kemeny"])
    small = work_of(config, USUAL).total(1000)
    for field, more in (("algorithms", 61), ("cases", 201), ("structures", 2), ("algorithms", 1000)):
        assert work_of(config, dataclasses.replace(USUAL, **{field: more})).total(1000) > small
    assert small < MOST_STEPS


def test_drawing_in_portions_changes_no_draw(monkeypatch):
    prepared = prepare.prepare(table(algorithms=3), parse_ranking(DOCUMENTS["mean"]))
    whole = draw_clusters(prepared, count=50, seed=7).multiplicities
    monkeypatch.setattr("evaluator.ranking.stability._CELLS_AT_ONCE", 7 * CASES)
    assert np.array_equal(draw_clusters(prepared, count=50, seed=7).multiplicities, whole)
