"""Sample sizes and rank sets: held to simulations, and to SciPy's distributions."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluator.ranking import ScoreTable, parse_ranking
from evaluator.ranking.document.config import Significance, Test
from evaluator.ranking.planning import cases_needed, plan_cases, plan_lines, t_power
from evaluator.ranking.rank_sets import rank_sets
from evaluator.ranking.schemes.prepare import prepare

T = Significance(test=Test.T_PAIRED)
WILCOXON = Significance(test=Test.WILCOXON)


@pytest.mark.parametrize("n", [3, 10, 40, 500])
@pytest.mark.parametrize("effect", [0.0, 0.2, 0.8])
def test_the_power_of_t_is_that_of_the_noncentral_t(n: int, effect: float) -> None:
    expected = stats.nct.sf(stats.t.isf(0.05, n - 1), n - 1, effect * math.sqrt(n))
    assert t_power(effect, n, level=0.05) == pytest.approx(expected, abs=2e-4)


def test_the_published_sample_size_of_a_paired_t_test_is_found() -> None:
    """Cohen (1988), as every textbook has it: d = 0.5, one-sided 5 %, power 80 % needs 27 pairs. Two-sided 34."""
    d = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    d = (d - d.mean()) / d.std(ddof=1) + 0.5
    assert cases_needed(d, T) == 27
    assert cases_needed(d, Significance(test=Test.T_PAIRED, is_one_sided=False)) == 34


POPULATIONS = {
    "normal": stats.norm(0.3, 1).ppf,
    "skewed": lambda u: stats.expon.ppf(u) - 0.6,
    "ties": lambda u: np.round(stats.norm(0.4, 1).ppf(u)),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("rules", [T, WILCOXON], ids=["t", "wilcoxon"])
def test_the_planned_number_has_the_planned_power(name: str, rules: Significance) -> None:
    """Planned from a pilot of the distribution itself, so that only the method errs: 4000 trials, within three points of 80 %."""
    n = cases_needed(POPULATIONS[name]((np.arange(1000) + 0.5) / 1000), rules)
    assert n is not None
    trials = POPULATIONS[name](np.random.default_rng(5).random((4000, n)))
    if rules.test is Test.WILCOXON:
        p = stats.wilcoxon(
            trials, axis=1, alternative="greater", zero_method="wilcox", correction=True, method="asymptotic"
        ).pvalue
    else:
        p = stats.ttest_1samp(trials, 0, axis=1, alternative="greater").pvalue
    assert (p <= 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_a_difference_of_none_needs_no_number_that_anybody_has() -> None:
    assert cases_needed(np.array([1.0, -1.0, 1.0, -1.0]), T) is None
    assert cases_needed(np.zeros(20), WILCOXON) is None
    assert cases_needed(np.array([0.2]), T) is None


def table(n: int, gap: float) -> ScoreTable:
    random = np.random.default_rng(1)
    base = random.normal(0.8, 0.05, n)
    noise = random.normal(0, 0.01, (3, n))
    values = np.clip(base + noise - np.array([[0.0], [gap], [3 * gap]]), 0, 1)
    return ScoreTable.from_arrays(
        algorithms=["a", "b", "c"], cases=[f"c{i}" for i in range(n)], metrics={"dice": values},
        attributes={f"c{i}": {"patient": f"p{i // 2}"} for i in range(n)},
    )  # fmt: skip


def test_a_plan_counts_patients_where_patients_are_independent() -> None:
    document = {"metrics": ["dice"], "scheme": "value", "significance": {"test": "t_paired"}}
    by_case = plan_cases(prepare(table(60, 0.002), parse_ranking(document)), [0, 1, 2])
    unit = {"levels": ["structure", "case", "patient"], "cluster": "patient"}
    by_patient = plan_cases(prepare(table(60, 0.002), parse_ranking({**document, "unit": unit})), [0, 1, 2])
    assert (by_case.units, by_patient.units) == (60, 30)
    pair, clustered = by_case.pairs[0], by_patient.pairs[0]
    assert pair.needed is not None
    assert clustered.needed is not None
    assert clustered.needed < pair.needed
    assert pair.ratio == pytest.approx(60 / pair.needed)
    assert pair.half_widths[0] > pair.half_widths[1] > pair.half_widths[2]
    d = table(60, 0.002).metrics["dice"].values[0, 0] - table(60, 0.002).metrics["dice"].values[1, 0]
    low, high = stats.t.interval(0.95, 59, d.mean(), d.std(ddof=1) / math.sqrt(60))
    assert 2 * pair.half_widths[0] == pytest.approx(high - low)


def test_a_pilot_plans_for_a_stated_difference() -> None:
    prepared = prepare(table(20, 0.001), parse_ranking({"metrics": ["dice"], "scheme": "value"}))
    small, large = (plan_cases(prepared, [0, 1, 2], difference=size) for size in (0.002, 0.02))
    assert all(pair.needed for pair in small.pairs)
    assert small.pairs[0].needed > 10 * large.pairs[0].needed
    assert small.ranking is not None
    assert small.ranking >= max(pair.needed or 0 for pair in small.pairs)
    assert "power 80%" in plan_lines(small)[0]
    assert "at most" in plan_lines(small)[-1]
    said = plan_lines(small, difference=0.002)
    assert "for a true difference of 0.002, in" in said[1]
    assert "observed difference" in said[2]


TRUTHS = {
    "all tied": [0.0, 0.0, 0.0, 0.0],
    "near ties": [0.0, 0.02, 0.04, 0.06],
    "a clear order": [0.0, 2.0, 4.0, 6.0],
    "two groups": [0.0, 0.0, 3.0, 3.0],
}


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("n", [10, 60])
def test_rank_sets_cover_all_true_ranks_at_once(truth: str, n: int) -> None:
    means = np.array(TRUTHS[truth])
    lowest = 1 + (means[None] > means[:, None]).sum(axis=1)
    highest = len(means) - (means[None] < means[:, None]).sum(axis=1)
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(120):
        base = random.exponential(1, n)
        values = means[:, None] + base + random.normal(0, 1, (len(means), n)) * np.array([[0.5], [1], [1], [2]])
        found = rank_sets(values, larger_is_better=True, confidence=0.95, seed=trial)
        covered += bool((found.low <= lowest).all() and (found.high >= highest).all())
    assert covered / 120 >= 0.95 - 2.5 * math.sqrt(0.05 * 0.95 / 120)


def test_rank_sets_are_single_ranks_where_the_order_is_clear() -> None:
    random = np.random.default_rng(0)
    values = np.array([[3.0], [2.0], [1.0]]) + random.normal(0, 0.05, (3, 40))
    found = rank_sets(values, larger_is_better=True, confidence=0.95, seed=1)
    assert found.low.tolist() == found.high.tolist() == [1, 2, 3]
    assert found.leaders == (0,)
    turned = rank_sets(values, larger_is_better=False, confidence=0.95, seed=1)
    assert turned.low.tolist() == [3, 2, 1]


def test_equal_algorithms_and_few_cases_are_never_separated() -> None:
    same = np.vstack([np.arange(30.0)] * 3)
    assert rank_sets(same, larger_is_better=True, confidence=0.95, seed=1).leaders == (0, 1, 2)
    few = np.array([[3.0, 3.1], [1.0, 1.2]])
    assert rank_sets(few, larger_is_better=True, confidence=0.95, seed=1).high.tolist() == [2, 2]


def test_a_value_behind_every_number_does_not_break_the_sets() -> None:
    values = np.array([[0.9] * 20, [0.5] * 19 + [-math.inf]]) + np.linspace(0, 0.01, 20)
    found = rank_sets(values, larger_is_better=True, confidence=0.95, seed=1)
    assert np.isfinite(found.low).all()
