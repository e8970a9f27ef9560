"""Boards per subgroup, the tests between them, and groups that are too small."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluator.ranking import ScoreTable, parse_ranking
from evaluator.ranking.groups import band_names, split
from evaluator.ranking.subgroups import analyse_subgroups, kruskal_wallis, mann_whitney


def table() -> ScoreTable:
    """40 cases: `a` is better in women, `b` in men. Four cases of unknown sex, ages 10 to 49, one age missing."""
    rows, attributes = [], {}
    for i in range(40):
        sex = "unknown" if i < 4 else "female" if i % 2 else "male"
        attributes[f"c{i}"] = {"sex": sex, "age": "" if i == 39 else str(10 + i)}
        rows += [("a", f"c{i}", "", "dice", (0.9 if sex == "female" else 0.5) + 0.001 * i, "")]
        rows += [("b", f"c{i}", "", "dice", 0.7 + 0.001 * i, "")]
    return ScoreTable.from_rows(rows, attributes=attributes)


def config(*subgroups):
    return parse_ranking({"metrics": ["dice"], "scheme": "value", "subgroups": list(subgroups)})


def test_each_group_has_its_own_board_and_small_groups_are_named():
    (found,) = analyse_subgroups(table(), config({"attribute": "sex", "minimum_cases": 10}))
    assert {name: len(cases) for name, cases in found.groups.items()} == {"female": 18, "male": 18}
    assert found.dropped == {"unknown": 4}
    assert dict(found.boards["female"].ranks()) == {"a": 1, "b": 2}
    assert dict(found.boards["male"].ranks()) == {"b": 1, "a": 2}


def test_groups_are_tested_as_kruskal_wallis_then_mann_whitney_with_bh():
    (found,) = analyse_subgroups(table(), config({"attribute": "sex", "minimum_cases": 3}))
    by_name = {test.algorithm: test for test in found.tests}
    values = {name: [float(table().metrics["dice"].values[0, 0, table().cases.index(c)]) for c in cases]
              for name, cases in found.groups.items()}  # fmt: skip
    assert by_name["a"].p_overall == pytest.approx(stats.kruskal(*values.values()).pvalue, rel=1e-9)
    pairs = list(by_name["a"].p_pairs)
    raw = [stats.mannwhitneyu(values[x], values[y], method="asymptotic").pvalue for x, y in pairs]
    assert list(by_name["a"].p_pairs.values()) == pytest.approx(stats.false_discovery_control(raw).tolist(), rel=1e-9)
    assert len(pairs) == 3
    assert by_name["a"].p_overall < 1e-6 < by_name["b"].p_overall


def test_numbers_are_cut_into_half_open_bands_and_cases_without_one_belong_to_none():
    (found,) = analyse_subgroups(table(), config({"attribute": "age", "bands": [20, 40], "minimum_cases": 5}))
    assert {name: len(cases) for name, cases in found.groups.items()} == {"< 20": 10, "20 to < 40": 20, "≥ 40": 9}
    assert band_names((18.0,)) == ("< 18", "≥ 18")
    groups = split(table(), config("nowhere").subgroups[0])
    assert groups == {}


def test_one_group_alone_has_a_board_but_no_tests():
    (found,) = analyse_subgroups(table(), config({"attribute": "sex", "minimum_cases": 18}))
    assert found.tests != ()
    (alone,) = analyse_subgroups(table().only_cases(found.groups["male"]), config("sex"))
    assert (list(alone.boards), alone.tests) == (["male"], ())


@pytest.mark.parametrize("seed", range(10))
def test_rank_tests_equal_scipy_with_ties(seed):
    random = np.random.default_rng(seed)
    first, second, third = (random.integers(0, 9, size).astype(float) for size in (12, 15, 9))
    assert kruskal_wallis([first, second, third]) == pytest.approx(
        stats.kruskal(first, second, third).pvalue, rel=1e-10
    )
    expected = stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert mann_whitney(first, second) == pytest.approx(expected, rel=1e-10)


def test_rank_tests_of_nothing_and_of_equal_values_are_undefined():
    ones = np.ones(4)
    assert math.isnan(kruskal_wallis([ones, ones]))
    assert math.isnan(kruskal_wallis([ones, np.empty(0)]))
    assert math.isnan(mann_whitney(ones, ones))
    assert math.isnan(mann_whitney(ones, np.empty(0)))
