"""Tests and adjustments against SciPy, R's documented rules, and numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy import special, stats

from evaluator.ranking.document.config import Adjustment, Significance, Test
from evaluator.ranking.statistics.distributions import chi_squared_tail, incomplete_beta, normal_tail, student_tail
from evaluator.ranking.statistics.signed_rank import Draws, drawn_signed_rank, running_sums, signed_ranks
from evaluator.ranking.statistics.significance import (
    adjust_family,
    compare_pairs,
    largest_rejected,
    permutation_tails,
    win_shares,
)


def wilcoxon(x, y, *, sides="greater"):
    """The SciPy call that equals R's `wilcox.test(paired=TRUE, exact=FALSE)`."""
    return stats.wilcoxon(x, y, alternative=sides, zero_method="wilcox", correction=True, method="asymptotic").pvalue


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [3, 7, 30, 200])
def test_wilcoxon_equals_r_with_ties_zeros_and_missing_pairs(seed, size):
    random = np.random.default_rng(seed)
    values = random.integers(0, 12, (3, size)) / 8
    values[0, 0], values[1, 0] = 1.0, 0.5  # at least one pair differs
    values[2, random.random(size) < 0.2] = np.nan
    for sides, rules in (("greater", Significance()), ("two-sided", Significance(is_one_sided=False))):
        p = compare_pairs(values, larger_is_better=True, rules=rules).p
        for i, j in ((0, 1), (1, 0), (0, 2), (2, 1)):
            both = ~np.isnan(values[i]) & ~np.isnan(values[j])
            if (values[i][both] != values[j][both]).any():
                expected = min(1.0, wilcoxon(values[i][both], values[j][both], sides=sides))
                assert p[i, j] == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_of_the_micro_example_by_hand():
    """d = 1, 2, 3, 4, -5: V = 10, n = 5, z = (10 - 7.5 - 0.5) / √13.75 = 0.5394; p = 0.2948."""
    values = np.array([[1.0, 2.0, 3.0, 4.0, -5.0], [0.0] * 5])
    deviation, sigma = signed_ranks(values[:1] - values[1:])
    assert (deviation[0], sigma[0]) == (2.5, math.sqrt(13.75))
    p = compare_pairs(values, larger_is_better=True, rules=Significance()).p
    assert p[0, 1] == pytest.approx(0.5 * math.erfc(2 / math.sqrt(13.75) / math.sqrt(2)))


def test_identical_columns_have_p_one_that_stays_in_the_family_and_no_two_sided_p():
    values = np.array([[0.5, 0.6], [0.5, 0.6], [0.1, 0.2]])
    one = compare_pairs(values, larger_is_better=True, rules=Significance(adjust=Adjustment.BONFERRONI))
    assert one.p[0, 1] == one.p[1, 0] == 1
    assert one.adjusted[0, 2] == pytest.approx(min(1, 6 * one.p[0, 2])), "six ordered pairs"
    two = compare_pairs(
        values, larger_is_better=True, rules=Significance(is_one_sided=False, adjust=Adjustment.BONFERRONI)
    )
    assert np.isnan(two.p[0, 1])
    assert two.adjusted[0, 2] == pytest.approx(min(1, 2 * two.p[0, 2])), "three unordered pairs, one without p"


def test_a_failure_that_ranks_last_loses_its_pair_and_two_failures_are_no_pair():
    last = -math.inf
    values = np.array([[0.5, 0.6, 0.7, last], [last, last, last, last]])
    p = compare_pairs(values, larger_is_better=True, rules=Significance()).p
    assert p[0, 1] == pytest.approx(normal_tail(np.array((3 - 0.5) / math.sqrt(3 * 4 / 4)))), "V = 6, mid-ranks 2, 2, 2"


@pytest.mark.parametrize("kind", ["ties and zeros", "all different", "one zero"])
@pytest.mark.parametrize("size", [3, 40, 4500])
def test_drawn_wilcoxon_equals_the_test_on_the_repeated_pairs(size, kind):
    random = np.random.default_rng(size)
    difference = random.normal(size=size) if kind != "ties and zeros" else random.integers(-6, 7, size) / 4
    if kind == "one zero":
        difference[1] = 0
    draws = random.multinomial(size, np.full(size, 1 / size), size=9).astype(float)
    deviation, sigma = drawn_signed_rank(difference, Draws.of(draws))
    for row, dev, sd in zip(draws, deviation, sigma, strict=True):
        expected_dev, expected_sd = signed_ranks(np.repeat(difference, row.astype(int))[None])
        assert (dev, sd) == (expected_dev[0], pytest.approx(expected_sd[0], rel=1e-12))


@pytest.mark.parametrize("length", [1, 23, 24, 25, 100])
def test_running_sums_equal_cumsum(length):
    rows = np.random.default_rng(length).integers(0, 9, (length, 3)).astype(np.float32)
    assert np.array_equal(running_sums(rows), np.cumsum(rows, axis=0))


def test_paired_t_equals_scipy():
    values = np.random.default_rng(0).normal(size=(3, 25)) + np.array([[0.3], [0.0], [0.1]])
    p = compare_pairs(values, larger_is_better=True, rules=Significance(test=Test.T_PAIRED)).p
    for i, j in ((0, 1), (2, 0)):
        assert p[i, j] == pytest.approx(stats.ttest_rel(values[i], values[j], alternative="greater").pvalue, abs=1e-12)
    assert np.isnan(
        compare_pairs(values, larger_is_better=True, rules=Significance(test=Test.T_PAIRED)).p.diagonal()
    ).all()


@pytest.mark.parametrize("test", [Test.PERMUTATION, Test.BOOTSTRAP])
def test_resampling_tests_agree_with_the_t_test_on_a_normal_sample_and_repeat_with_their_seed(test):
    values = np.random.default_rng(3).normal(size=(2, 60)) + np.array([[0.25], [0.0]])
    rules = Significance(test=test, repetitions=20_000)
    p = compare_pairs(values, larger_is_better=True, rules=rules, seed=5).p
    expected = stats.ttest_rel(values[0], values[1], alternative="greater").pvalue
    assert p[0, 1] == pytest.approx(expected, abs=0.02)
    assert np.array_equal(p, compare_pairs(values, larger_is_better=True, rules=rules, seed=5).p, equal_nan=True)


def test_resampling_tests_never_say_zero():
    values = np.array([np.arange(30.0) + 5, np.arange(30.0)])
    p = compare_pairs(values, larger_is_better=True, rules=Significance(test=Test.PERMUTATION, repetitions=99)).p
    assert p[0, 1] == pytest.approx(0.01)


def test_smaller_is_better_turns_the_comparison_round():
    values = np.array([np.arange(10.0), np.arange(10.0) + 3])
    assert compare_pairs(values, larger_is_better=False, rules=Significance()).is_better.tolist() == [
        [False, True],
        [False, False],
    ]


def test_a_two_sided_difference_counts_for_the_better_side_only():
    values = np.array([np.arange(20.0) + 3, np.arange(20.0)])
    tests = compare_pairs(values, larger_is_better=True, rules=Significance(is_one_sided=False))
    assert tests.p[0, 1] == tests.p[1, 0]
    assert tests.is_better.tolist() == [[False, True], [False, False]]


def test_adjustments_by_hand():
    """p = 0.01, 0.04, 0.03 of m = 3: Holm 3·0.01, 2·0.03, then max(0.06, 0.04). BH 0.03, 0.04, 0.04."""
    p = np.array([[0.01, 0.04, 0.03]])
    assert adjust_family(p, Adjustment.HOLM)[0] == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_family(p, Adjustment.BH)[0] == pytest.approx([0.03, 0.04, 0.04])
    assert adjust_family(p, Adjustment.BONFERRONI)[0] == pytest.approx([0.03, 0.12, 0.09])
    holed = adjust_family(np.array([[0.01, np.nan, 0.03]]), Adjustment.HOLM)[0]
    assert holed[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(holed[1])


@pytest.mark.parametrize("method", list(Adjustment))
def test_the_quick_decision_equals_comparing_adjusted_p_values(method):
    random = np.random.default_rng(7)
    p = np.round(random.beta(0.4, 2, (200, 12)), 3)
    p[random.random(p.shape) < 0.1] = np.nan
    limit = largest_rejected(p, method, alpha=0.05)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(p <= limit[:, None], adjust_family(p, method) <= 0.05)
    assert (limit > 0).any()
    assert method is Adjustment.NONE or (limit == -1).any()


def test_win_shares_of_one_algorithm_are_zero():
    assert win_shares(np.ones((1, 4)), larger_is_better=True, rules=Significance()).tolist() == [[0.0]]


def test_tails_equal_scipy():
    for x in (0.0, 0.3, 1.0, 4.7, 30.0, 200.0):
        for degrees in (1, 2, 5, 40):
            assert chi_squared_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-10, abs=1e-300)
            assert student_tail(x, degrees) == pytest.approx(stats.t.sf(x, degrees), rel=1e-10)
            assert student_tail(-x, degrees) == pytest.approx(stats.t.sf(-x, degrees), rel=1e-10)
    for share in (0.0, 1e-4, 0.2, 0.5, 0.9, 1.0):
        assert incomplete_beta(share, 3.5, 0.5) == pytest.approx(special.betainc(3.5, 0.5, share), rel=1e-10)
    assert normal_tail(np.array([0.0, 5.0, -3.0])) == pytest.approx(stats.norm.sf([0.0, 5.0, -3.0]), rel=1e-12)
    assert math.isnan(student_tail(math.nan, 3))
    assert (student_tail(math.inf, 3), student_tail(-math.inf, 3)) == (0.0, 1.0)


def test_decisions_leave_a_range_of_ranks_open():
    """a beats b and c, b and c are not separated: a is first, b and c are second or third."""
    base = np.arange(20.0)
    wobble = np.where(np.arange(20) % 2, 0.3, -0.3)
    tests = compare_pairs(np.array([base + 5, base + wobble, base]), larger_is_better=True, rules=Significance())
    assert tests.rank_ranges().tolist() == [[1, 1], [2, 3], [2, 3]]


@pytest.mark.parametrize("test", [Test.T_PAIRED, Test.PERMUTATION, Test.BOOTSTRAP])
def test_means_cannot_be_tested_against_a_value_behind_every_number(test):
    values = np.array([[0.5, 0.6, 0.7], [0.1, 0.2, -math.inf], [0.1, np.nan, 0.3]])
    p = compare_pairs(values, larger_is_better=True, rules=Significance(test=test, repetitions=200)).p
    assert np.isnan(p[0, 1])
    assert np.isnan(p[1, 2])
    assert 0 < p[0, 2] <= 1


def test_a_permutation_p_value_by_enumeration():
    """d = 1, 2, 4: only all-plus reaches the sum 7, one of eight sign patterns. -7 or less is always reached by -d."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=np.int8)
    up, down = permutation_tails(np.array([[1.0, 2.0, 4.0]]), signs)
    assert (up[0], down[0]) == ((1 + 1) / 9, (1 + 8) / 9)
