"""The vectorised bootstrap equals ranking each replicate from scratch, in both ways of counting repeated cases."""

import numpy as np
import pytest
from scipy import stats

from evaluator.bench.coverage import SCORES, covered
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.ranking.analysis import analyse
from evaluator.ranking.intervals import median_interval, metric_interval
from evaluator.ranking.schemes.climb import Draws
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.stability import (
    bootstrap_ranks,
    draw_clusters,
    footrule,
    kendall_tau,
    rank_frequencies,
    rank_intervals,
    summarise,
    winner_shares,
)

SCHEMES = {
    "mean": {"type": "value"},
    "median": {"type": "value", "aggregate": "median"},
    "quantile": {"type": "value", "aggregate": {"case": "quantile:0.3"}},
    "std": {"type": "value", "aggregate": {"case": "std"}},
    "mean of ranks": {"type": "mean_of_ranks"},
    "rank then mean": {"type": "mean_of_ranks", "rank_at": ["case"]},
    "rank then median": {"type": "median_of_ranks", "rank_at": ["case"]},
    "flat": {"type": "mean_of_ranks", "rank_at": ["case", "structure"], "nesting": "flat"},
    "borda": {"type": "borda", "rank_at": ["case"]},
    "significance": {"type": "significance"},
    "ranks of significance": {"type": "mean_of_ranks", "of": "significance"},
    "consensus": {"type": "consensus", "rank_at": ["case"], "consensus": "euclidean"},
    "children": {
        "type": "mean_of_ranks",
        "children": [{"type": "value"}, {"type": "median_of_ranks", "rank_at": ["case"]}],
    },
}
CASES, ALGORITHMS, REPLICATES = 17, 5, 12


def scores(seed: int, *, holes: bool):
    random = np.random.default_rng(seed)
    values = np.round(random.beta(6, 2, (ALGORITHMS, CASES, 2)), 2)
    if holes:
        values[random.random(values.shape) < 0.1] = np.nan
    return values


def table_of(values, cases) -> ScoreTable:
    """`cases` may repeat: every copy becomes a case of its own."""
    return ScoreTable.from_rows(
        (f"a{a}", f"c{place:03d}", f"s{s}", "dice", None if np.isnan(values[a, case, s]) else values[a, case, s], "")
        for a in range(len(values))
        for place, case in enumerate(cases)
        for s in range(values.shape[2])
    )


def config_of(scheme: str, missing="rank_last", **more):
    return parse_ranking(
        {
            "metrics": ["dice"],
            "scheme": SCHEMES[scheme],
            "missing": {"any": missing},
            "ties": {"break": ["dice.s1"]},
            **more,
        }
    )


@pytest.mark.parametrize("missing", [0, "drop_pair", "rank_last"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_replicate_equals_ranking_its_cases_as_independent_ones(scheme, missing):
    values = scores(1, holes=True)
    config = config_of(scheme, missing)
    prepared = prepare(table_of(values, range(CASES)), config)
    draws = draw_clusters(prepared, count=REPLICATES, seed=4)
    found = bootstrap_ranks(prepared, draws)
    for replicate, multiplicity in enumerate(draws.multiplicities.astype(int)):
        drawn = np.repeat(np.arange(CASES), multiplicity)
        ranking = rank_algorithms(table_of(values, drawn), config).ranks()
        assert [ranking[f"a{a}"] for a in range(ALGORITHMS)] == found[replicate].tolist(), multiplicity


def test_a_cluster_bootstrap_draws_whole_patients():
    values = scores(2, holes=False)
    patients = {f"c{case:03d}": {"patient": f"p{case % 4}"} for case in range(CASES)}
    rows = [(f"a{a}", f"c{c:03d}", "", "dice", values[a, c, 0], "") for a in range(ALGORITHMS) for c in range(CASES)]
    table = ScoreTable.from_rows(rows, attributes=patients)
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "unit": {"levels": ["case"], "cluster": "patient"}})
    prepared = prepare(table, config)
    drawn = np.array([[2.0, 0.0, 1.0, 1.0]])
    cases = [c for c in range(CASES) for _ in range(int(drawn[0, c % 4]))]
    expected = stats.rankdata(-np.round(values[:, cases, 0].mean(axis=1), 12), "min")
    assert bootstrap_ranks(prepared, Draws(multiplicities=drawn))[0].tolist() == expected.tolist()


def pooled_rank_then_mean(values, multiplicity, average):
    """challengeR's bootstrap: a case drawn m times is one case with m copies of every algorithm."""
    total, count = np.zeros(len(values)), 0
    for case, copies in enumerate(multiplicity):
        if copies:
            pooled = np.repeat(-values[:, case], copies)
            ranks = stats.rankdata(pooled, "average" if average else "min").reshape(len(values), copies)
            total += ranks.sum(axis=1)
            count += copies
    return total / count


@pytest.mark.parametrize("ties", ["min", "average"])
def test_compatibility_mode_pools_repeated_cases_in_rank_then_mean(ties):
    values = scores(3, holes=False)[:, :, 0]
    rows = [(f"a{a}", f"c{c:03d}", "", "dice", values[a, c], "") for a in range(ALGORITHMS) for c in range(CASES)]
    document = {"metrics": ["dice"], "scheme": SCHEMES["rank then mean"], "ties": {"method": ties, "digits": None}}
    config = parse_ranking({**document, "stability": {"compat": "challengeR-1.0.5"}})
    prepared = prepare(ScoreTable.from_rows(rows), config)
    draws = draw_clusters(prepared, count=60, seed=1)
    found = bootstrap_ranks(prepared, draws)
    expected = np.stack(
        [
            stats.rankdata(pooled_rank_then_mean(values, row.astype(int), ties == "average"), ties)
            for row in draws.multiplicities
        ]
    )
    assert np.array_equal(found, expected)
    independent = bootstrap_ranks(prepare(ScoreTable.from_rows(rows), parse_ranking(document)), draws_of(draws))
    assert not np.array_equal(found, independent), "the defect must be visible, or this test shows nothing"


def draws_of(draws: Draws) -> Draws:
    return Draws(multiplicities=draws.multiplicities)


def test_compatibility_mode_pools_repeated_cases_in_rank_then_median():
    values = scores(3, holes=False)[:, :, 0]
    rows = [(f"a{a}", f"c{c:03d}", "", "dice", values[a, c], "") for a in range(ALGORITHMS) for c in range(CASES)]
    scheme = SCHEMES["rank then median"]
    config = parse_ranking({"metrics": ["dice"], "scheme": scheme, "stability": {"compat": "challengeR-1.0.5"}})
    prepared = prepare(ScoreTable.from_rows(rows), config)
    draws = draw_clusters(prepared, count=30, seed=1)
    for found, row in zip(bootstrap_ranks(prepared, draws), draws.multiplicities.astype(int), strict=True):
        pooled = [
            stats.rankdata(np.repeat(-values[:, case], copies), "min").reshape(ALGORITHMS, copies)
            for case, copies in enumerate(row)
            if copies
        ]
        medians = np.median(np.concatenate(pooled, axis=1), axis=1)
        assert found.tolist() == stats.rankdata(medians, "min").tolist()


def test_compatibility_mode_drops_repeated_cases_in_test_then_rank():
    values = scores(4, holes=False)
    compat = config_of("significance", stability={"compat": "challengeR-1.0.5"})
    prepared = prepare(table_of(values, range(CASES)), compat)
    draws = draw_clusters(prepared, count=REPLICATES, seed=9)
    found = bootstrap_ranks(prepared, draws)
    for replicate, multiplicity in enumerate(draws.multiplicities):
        once = table_of(values, np.flatnonzero(multiplicity))
        plain = parse_ranking({"metrics": ["dice"], "scheme": "significance", "ties": {"break": ["dice.s1"]}})
        # Only the test sees each case once. The tie breaker is a mean and counts every copy.
        wins = {e.algorithm: e.score for e in rank_algorithms(once, plain).entries}
        order = [(-wins[f"a{a}"], found[replicate][a]) for a in range(ALGORITHMS)]
        assert sorted(order) == sorted(order, key=lambda pair: pair[1])


def test_kendall_tau_b_equals_scipy_and_is_undefined_when_all_tie():
    random = np.random.default_rng(0)
    samples = random.integers(1, 6, (40, 7)).astype(float)
    truth = random.integers(1, 6, 7).astype(float)
    expected = [stats.kendalltau(row, truth).statistic for row in samples]
    assert kendall_tau(samples, truth) == pytest.approx(expected, abs=1e-12)
    assert summarise(kendall_tau(np.ones((3, 7)), truth)).n_undefined == 3
    assert summarise(kendall_tau(np.ones((3, 7)), truth)).mean is None


def test_intervals_frequencies_and_winners_of_a_small_sample():
    samples = np.array([[1, 2, 3], [1, 3, 2], [2, 1, 3], [1, 1, 3]], dtype=float)
    assert winner_shares(samples).tolist() == [0.75, 0.5, 0.0]
    assert rank_frequencies(samples).tolist() == [[3, 1, 0], [2, 1, 1], [0, 1, 3]]
    low, high = rank_intervals(samples, confidence=0.5)[0]
    assert (low, high) == (1.0, 1.25)
    plain, weighted = footrule(samples, np.array([1.0, 2.0, 3.0]))
    assert plain.tolist() == [0, 2, 2, 1]
    assert weighted.tolist() == [0, 1 / 2 + 1 / 2, 1 + 1, 1]


def test_the_percentile_interval_of_a_mean_is_that_of_its_resampled_means():
    values = scores(5, holes=False)
    prepared = prepare(table_of(values, range(CASES)), config_of("mean"))
    draws = draw_clusters(prepared, count=400, seed=2)
    found = metric_interval("dice", prepared, draws)
    means = draws.multiplicities @ values.mean(axis=2).T / CASES
    assert found.method == "percentile bootstrap"
    assert found.low == pytest.approx(np.quantile(means, 0.025, axis=0))
    assert found.high == pytest.approx(np.quantile(means, 0.975, axis=0))


def test_bca_equals_scipy_on_the_same_resamples():
    random = np.random.default_rng(8)
    sample = random.exponential(size=40)
    table = ScoreTable.from_rows(("a", f"c{i:02d}", "", "time", float(v), "") for i, v in enumerate(sample))
    prepared = prepare(table, parse_ranking({"metrics": ["time"], "scheme": "value"}))
    draws = draw_clusters(prepared, count=4000, seed=1)
    found = metric_interval("time", prepared, draws, kind="bca")
    expected = stats.bootstrap((sample,), np.mean, n_resamples=20000, method="BCa", rng=np.random.default_rng(3))
    assert found.method == "BCa bootstrap"
    assert found.low[0] == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert found.high[0] == pytest.approx(expected.confidence_interval.high, abs=0.03)


def test_a_studentised_interval_equals_its_definition_on_the_same_resamples():
    sample = np.random.default_rng(8).exponential(size=40)
    table = ScoreTable.from_rows(("a", f"c{i:02d}", "", "time", float(v), "") for i, v in enumerate(sample))
    prepared = prepare(table, parse_ranking({"metrics": ["time"], "scheme": "value"}))
    draws = draw_clusters(prepared, count=500, seed=1)
    found = metric_interval("time", prepared, draws, kind="studentised")
    resampled = [np.repeat(sample, counts.astype(int)) for counts in draws.multiplicities]
    t = [(each.mean() - sample.mean()) / (each.std() / np.sqrt(39)) for each in resampled]
    error = sample.std(ddof=1) / np.sqrt(40)
    assert found.method == "studentised bootstrap"
    assert found.low[0] == pytest.approx(sample.mean() - np.quantile(t, 0.975) * error)
    assert found.high[0] == pytest.approx(sample.mean() - np.quantile(t, 0.025) * error)


def test_few_cases_get_students_interval_within_the_range_of_the_metric():
    """Values 0.9, 1, 1: mean 29/30, standard error 1/30, t(2) at 2.5 % is 4.302653."""
    table = ScoreTable.from_rows(("a", f"c{i}", "", "dice", v, "") for i, v in enumerate((0.9, 1.0, 1.0)))
    prepared = prepare(table, parse_ranking({"metrics": ["dice"], "scheme": "value"}))
    found = metric_interval("dice", prepared, draw_clusters(prepared, count=100, seed=1), kind="studentised")
    assert found.low[0] == pytest.approx(29 / 30 - 4.302653 / 30)
    assert found.high[0] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("name", list(SCORES))
def test_the_default_interval_of_a_mean_covers_it_as_often_as_it_promises(name: str, n: int) -> None:
    """Within 2 points and the error of counting 300 boards, but a long tail: 91 % at ten cases, where BCa covers 84 %."""
    scores, truth = SCORES[name]
    found = covered(scores, truth, n=n, kind="studentised", boards=300, seed=4) / 300
    assert found > (0.90 if name.startswith("a distance") else 0.93) - 1.96 * np.sqrt(0.95 * 0.05 / 300)


def test_the_median_interval_is_a_pair_of_order_statistics():
    """n = 10: P(Bin(10, 1/2) < 2) = 11/1024 = 1.1 %, P(… < 3) = 5.5 %: the 2nd and the 9th value cover 97.9 %."""
    assert median_interval(np.arange(1.0, 11.0), confidence=0.95) == (2.0, 9.0)
    assert median_interval(np.arange(1.0, 6.0), confidence=0.95) == (1.0, 5.0)
    assert median_interval(np.array([np.nan, 3.0]), confidence=0.95) == (3.0, 3.0)
    assert all(np.isnan(median_interval(np.array([np.nan]), confidence=0.95)))
    found = median_interval(np.arange(2000.0), confidence=0.95)
    assert found == (955.0, 1044.0), "close to 1000 ± 1.96 √500"


def test_a_median_over_cases_gets_the_order_statistic_interval():
    prepared = prepare(table_of(scores(6, holes=False), range(CASES)), config_of("median"))
    found = metric_interval("dice", prepared, draw_clusters(prepared, count=10, seed=0))
    assert found.method == "order statistics"
    assert (found.low <= found.estimate).all()
    assert (found.estimate <= found.high).all()


def test_an_analysis_warns_of_few_cases_and_of_no_bootstrap():
    table = table_of(scores(7, holes=False), range(CASES))
    analysis = analyse(table, config_of("mean"), bootstrap=0)
    assert any("only 17 independent cases" in text for text in analysis.warnings)
    assert any("no bootstrap" in text for text in analysis.warnings)
    ranks = [analysis.ranking.ranks()[name] for name in analysis.algorithms]
    assert analysis.rank_intervals.tolist() == [[rank, rank] for rank in ranks]


def test_an_analysis_survives_boards_of_one_none_and_all_tied():
    for values in ({"a": [0.5, 0.6]}, {"a": [0.5, 0.6], "b": [0.5, 0.6]}, {"a": [None, None], "b": [None, None]}):
        rows = [(name, f"c{i}", "", "dice", v, "") for name, cells in values.items() for i, v in enumerate(cells)]
        analysis = analyse(ScoreTable.from_rows(rows), parse_ranking({"metrics": ["dice"], "scheme": "value"}))
        assert analysis.tau.n_undefined == 1000
        assert analysis.to_json()["entries"][0]["rank"] == 1
    nothing = parse_ranking({"metrics": ["dice"], "missing": {"any": "disqualify"}})
    analysis = analyse(ScoreTable.from_rows([("a", "c", "", "dice", None, "")]), nothing)
    assert analysis.algorithms == ()
    assert analysis.to_json()["entries"][0]["rank"] is None


def test_one_case_is_not_resampled_and_proves_nothing():
    rows = [("a", "c1", "", "dice", 0.9, ""), ("b", "c1", "", "dice", 0.1, "")]
    analysis = analyse(ScoreTable.from_rows(rows), parse_ranking({"metrics": ["dice"], "scheme": "value"}))
    assert analysis.bootstrap == 0
    assert analysis.warnings == (
        "only 1 independent case: intervals from fewer than 50 are unreliable",
        "one case cannot be resampled: rank intervals are the ranks themselves",
    )
    first = analysis.to_json()["entries"][0]
    assert (first["rank"], first["rank_interval"], first["winner_share"]) == (1, [1.0, 1.0], None)
    assert (first["separable_from_next"], first["false_claim"]) == (False, None)


def test_neighbours_tell_how_likely_the_claim_of_being_better_is_false():
    random = np.random.default_rng(1)
    base = random.random(60)
    rows = [
        (name, f"c{i}", "", "dice", float(value), "")
        for name, gap in (("best", 0.3), ("second", 0.0), ("twin", 0.0))
        for i, value in enumerate(base * 0.5 + gap + (0.01 * random.random(60) if name != "twin" else 0.005))
    ]
    analysis = analyse(
        ScoreTable.from_rows(rows), parse_ranking({"metrics": ["dice"], "scheme": "value"}), bootstrap=20
    )
    first, second = analysis.neighbours
    assert first.is_separable
    assert first.false_claim < 1e-6
    assert not second.is_separable
    values = {name: np.array([v for n, _, _, _, v, _ in rows if n == name]) for name in ("second", "twin")}
    expected = stats.ttest_rel(values[second.better], values[second.worse], alternative="greater").pvalue
    assert second.false_claim == pytest.approx(expected, abs=1e-12)
