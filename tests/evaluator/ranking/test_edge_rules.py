"""Every edge rule a ranking must state: missing values, ties, tolerances, levels, pooled metrics, degenerate boards."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from evaluator.ranking import ConfigError, Ranking, ScoreTable, TableError, parse_ranking, rank_algorithms
from evaluator.ranking.engine import headline
from evaluator.ranking.schemes.prepare import prepare

Scores = Mapping[str, Sequence[float | None]]


def rows(scores: Scores, *, metric: str = "dice", label: str = "", reasons: Mapping[tuple[str, int], str] = {}):
    for algorithm, values in scores.items():
        for index, value in enumerate(values):
            yield algorithm, f"c{index}", label, metric, value, reasons.get((algorithm, index), "")


def rank(scores: Scores, config: Mapping[str, Any], **options: Any) -> Ranking:
    return rank_algorithms(
        ScoreTable.from_rows(rows(scores, **options)), parse_ranking({"metrics": ["dice"], **config})
    )


def places(ranking: Ranking) -> dict[str, float | None]:
    return dict(ranking.ranks())


def scores_of(ranking: Ranking) -> dict[str, float | None]:
    return {entry.algorithm: entry.score for entry in ranking.entries}


# ---- missing values


def test_a_constant_stands_for_a_missing_value() -> None:
    found = rank({"a": [1.0, None], "b": [0.6, 0.6]}, {"scheme": "value", "missing": {"any": 0}})
    assert scores_of(found) == {"b": 0.6, "a": 0.5}
    assert places(found) == {"b": 1, "a": 2}


def test_the_worse_bound_stands_for_a_missing_value_of_a_bounded_metric() -> None:
    config = {"metrics": [{"id": "dice", "bounds": [0.2, 1]}], "scheme": "value", "missing": {"any": "bound"}}
    assert scores_of(rank({"a": [1.0, None], "b": [0.7, 0.7]}, config))["a"] == pytest.approx(0.6)


def test_a_bound_that_is_open_is_refused_with_what_to_do() -> None:
    config = {"metrics": ["hd95"], "scheme": "value", "missing": {"any": "bound"}}
    with pytest.raises(TableError, match="hd95: found the missing rule bound; expected a metric that is bounded"):
        rank({"a": [1.0, None], "b": [2.0, 3.0]}, config, metric="hd95")


def test_the_image_diagonal_of_its_own_case_stands_for_a_missing_distance() -> None:
    table = ScoreTable.from_rows(
        rows({"a": [1.0, None], "b": [2.0, 3.0]}, metric="hd95"),
        attributes={"c0": {"diagonal_mm": "500"}, "c1": {"diagonal_mm": "100"}},
    )
    config = parse_ranking({"metrics": ["hd95"], "scheme": "value", "missing": {"any": "diagonal"}})
    assert scores_of(rank_algorithms(table, config)) == {"b": 2.5, "a": 50.5}


def test_a_diagonal_nobody_gave_is_named() -> None:
    config = {"metrics": ["hd95"], "scheme": "value", "missing": {"any": "diagonal"}}
    with pytest.raises(TableError, match="c0: found no attribute diagonal_mm"):
        rank({"a": [1.0, None], "b": [2.0, 3.0]}, config, metric="hd95")


def test_twice_the_worst_of_the_others_leaves_the_own_values_out() -> None:
    config = {"metrics": ["hd95"], "scheme": "value", "missing": {"any": {"times_max_of_others": 2}}}
    found = rank({"a": [90.0, None], "b": [2.0, 3.0], "c": [4.0, 5.0]}, config, metric="hd95")
    assert scores_of(found)["a"] == (90 + 2 * 5) / 2


@pytest.mark.parametrize(
    ("metric", "factor", "measured"), [("hd95", 0.5, {"b": 4.0, "c": 5.0}), ("dice", 2, {"b": 0.4, "c": 0.3})]
)
def test_a_multiple_of_the_worst_is_never_better_than_the_worst(metric, factor, measured) -> None:
    scores = {"a": [None], **{name: [value] for name, value in measured.items()}}
    config = {"metrics": [metric], "scheme": "value", "missing": {"any": {"times_worst_of_others": factor}}}
    found = rank(scores, config, metric=metric)
    assert scores_of(found)["a"] == measured["c"], "the worst of the others is c's"
    assert places(found) == {"b": 1, "a": 2, "c": 2}


def test_a_constant_that_beats_measured_values_is_noted() -> None:
    config = {"metrics": ["hd95"], "scheme": "value", "missing": {"any": 374}}
    found = rank({"a": [None, 10.0], "b": [500.0, 400.0], "c": [2.0, 3.0]}, config, metric="hd95")
    assert found.notes == ("hd95: missing values that count as 374: 1; measured values worse than that: 2",)
    assert rank({"a": [None, 10.0], "b": [2.0, 3.0]}, config, metric="hd95").notes == ()


def test_a_structure_that_is_not_there_may_count_as_perfect() -> None:
    reasons = {("a", 1): "both_empty", ("b", 1): "both_empty"}
    config = {"scheme": "value", "missing": {"both_empty": 1, "any": 0}}
    found = rank({"a": [0.5, None], "b": [0.7, None]}, config, reasons=reasons)
    assert scores_of(found) == {"b": 0.85, "a": 0.75}
    assert found.notes == ()


def test_a_configuration_without_metrics_learns_them_from_the_scores_and_still_rewards_no_failure() -> None:
    table = ScoreTable.from_rows(rows({"a": [1.0, None], "b": [2.0, 3.0]}, metric="hd95"))
    with pytest.raises(ConfigError, match=r"ranking.missing.any: found 0 for hd95; expected a value worse than 0"):
        rank_algorithms(table, parse_ranking({"missing": {"any": 0}}))


def test_ranking_last_carries_through_means_and_medians() -> None:
    scores = {"a": [1.0, 1.0, None], "b": [0.1, 0.1, 0.1]}
    assert places(rank(scores, {"scheme": "value", "missing": {"any": "rank_last"}})) == {"b": 1, "a": 2}
    median = {"scheme": {"type": "value", "aggregate": "median"}, "missing": {"any": "rank_last"}}
    assert places(rank(scores, median)) == {"a": 1, "b": 2}  # the median of (1, 1, worst) is 1


def test_missing_ranks_are_counted_and_only_challenger_continues_from_the_largest_rank() -> None:
    scores = {"a": [0.9], "b": [0.8], "c": [0.8], "d": [None]}
    config = {"scheme": {"type": "mean_of_ranks", "rank_at": ["case"]}, "missing": {"any": "rank_last"}}
    assert scores_of(rank(scores, config)) == {"a": 1, "b": 2, "c": 2, "d": 4}
    compat = {**config, "stability": {"compat": "challengeR-1.0.5"}}
    assert scores_of(rank(scores, compat)) == {"a": 1, "b": 2, "c": 2, "d": 3}


def test_average_ties_of_missing_values_are_counted_too() -> None:
    scores = {"a": [0.9], "b": [0.8], "c": [0.8], "d": [None], "e": [None]}
    config = {
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
        "missing": {"any": "rank_last"},
        "ties": {"method": "average"},
    }
    assert scores_of(rank(scores, config)) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4.5, "e": 4.5}


def test_dropping_a_case_drops_it_for_everyone() -> None:
    found = rank({"a": [0.9, None], "b": [0.8, 1.0]}, {"scheme": "value", "missing": {"any": "drop_case"}})
    assert scores_of(found) == {"a": 0.9, "b": 0.8}
    assert found.notes == ("dice: cases left out for everybody, because somebody has no value there: 1",)


def test_dropping_a_pair_lets_the_others_close_up() -> None:
    config = {"scheme": {"type": "mean_of_ranks", "rank_at": ["case"]}, "missing": {"any": "drop_pair"}}
    found = rank({"a": [0.9, None], "b": [0.8, 0.5], "c": [0.7, 0.6]}, config)
    assert scores_of(found) == {"a": 1.0, "b": 2.0, "c": 2.0}
    assert found.notes == ("dice: missing values left out: 1; algorithms judged on fewer cases than the others: 1",)


def test_disqualified_algorithms_are_unranked_and_the_others_close_up() -> None:
    found = rank(
        {"a": [1.0, None], "b": [0.5, 0.5], "c": [0.4, 0.4]}, {"scheme": "value", "missing": {"any": "disqualify"}}
    )
    assert places(found) == {"b": 1, "c": 2, "a": None}
    assert "disqualify" in found.entries[-1].note


def test_an_incomplete_submission_is_unranked_when_only_complete_ones_count() -> None:
    config = {"scheme": "value", "missing": {"any": 0}, "submissions": {"require_complete": True}}
    assert places(rank({"a": [1.0, None], "b": [0.5, 0.5]}, config)) == {"b": 1, "a": None}


def test_each_failure_class_has_its_own_rule() -> None:
    reasons = {("a", 0): "timeout: exceeded 5 s", ("b", 0): "output_invalid:wrong_grid", ("c", 0): "prediction_empty"}
    rules = {"failed_case": 0.1, "invalid_output": 0.2, "prediction_empty": 0.3}
    found = rank({name: [None] for name in "abc"}, {"scheme": "value", "missing": rules}, reasons=reasons)
    assert scores_of(found) == {"c": 0.3, "b": 0.2, "a": 0.1}


def test_the_exact_reason_goes_before_its_class_and_any() -> None:
    rules = {"timeout": 0.4, "failed_case": 0.1, "any": 0.0}
    reasons = {("a", 0): "timeout", ("b", 0): "nonzero_exit"}
    found = rank({"a": [None], "b": [None], "c": [None]}, {"scheme": "value", "missing": rules}, reasons=reasons)
    assert scores_of(found) == {"a": 0.4, "b": 0.1, "c": 0.0}


def test_a_structure_the_reference_lacks_is_left_out_for_all() -> None:
    reasons = {("a", 1): "both_empty", ("b", 1): "reference_empty"}
    found = rank({"a": [0.8, None], "b": [0.9, None]}, {"scheme": "value"}, reasons=reasons)
    assert scores_of(found) == {"b": 0.9, "a": 0.8}


def test_without_a_rule_a_missing_value_ranks_last_and_the_ranking_says_so() -> None:
    found = rank({"a": [1.0, None], "b": [0.1, 0.1]}, {"scheme": "value"})
    assert places(found) == {"b": 1, "a": 2}
    assert any("no missing rule" in note for note in found.notes)


def test_what_was_not_measured_is_counted_by_reason() -> None:
    table = ScoreTable.from_rows(
        [
            ("a", "c0", "", "dice", 0.0, "timeout"),
            ("a", "c1", "", "dice", None, ""),
            ("b", "c0", "", "dice", 0.5, ""),
            ("b", "c1", "", "dice", 0.5, ""),
            ("b", "c2", "", "dice", 0.5, ""),
        ]
    )
    found = rank_algorithms(table, parse_ranking({"metrics": ["dice"], "missing": {"any": 0}}))
    counts = {entry.algorithm: entry.missing for entry in found.entries}
    assert counts == {"a": {"dice": {"timeout": 1, "undefined": 1, "absent": 1}}, "b": {}}


def test_an_algorithm_without_any_value_ranks_last_and_never_above_a_number() -> None:
    for rule in ("drop_pair", "rank_last"):
        found = rank({"a": [None, None], "b": [0.0, 0.0]}, {"scheme": "value", "missing": {"any": rule}})
        assert places(found) == {"b": 1, "a": 2}
        assert scores_of(found)["a"] is None


def test_having_no_value_of_one_metric_does_not_leave_that_metric_out() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.9], "b": [0.5]}),
            *rows({"a": [None], "b": [9.0]}, metric="hd95"),
        ]
    )
    config = parse_ranking({"metrics": ["dice", "hd95"], "missing": {"any": "drop_pair"}, "scheme": "mean_of_ranks"})
    assert scores_of(rank_algorithms(table, config)) == {"a": 1.5, "b": 1.5}


# ---- ties


@pytest.mark.parametrize(
    ("method", "expected"),
    [("min", [1, 2, 2, 4]), ("max", [1, 3, 3, 4]), ("average", [1, 2.5, 2.5, 4]), ("dense", [1, 2, 2, 3])],
)
def test_ties_share_ranks_as_configured(method: str, expected: list[float]) -> None:
    found = rank({"a": [0.9], "b": [0.8], "c": [0.8], "d": [0.7]}, {"scheme": "value", "ties": {"method": method}})
    assert [entry.rank for entry in found.entries] == expected


def test_a_tie_tolerance_does_not_chain() -> None:
    scores = {"a": [0.90], "b": [0.86], "c": [0.82]}
    found = rank(scores, {"scheme": "value", "ties": {"tolerance": 0.05}})
    assert places(found) == {"a": 1, "b": 1, "c": 3}


def test_equal_means_tie_although_their_sums_differ_in_the_last_bit() -> None:
    assert 0.1 + 0.2 != 0.3 + 0.0
    assert places(rank({"a": [0.1, 0.2], "b": [0.3, 0.0]}, {"scheme": "value"})) == {"a": 1, "b": 1}
    exact = {"scheme": "value", "ties": {"digits": None}}
    assert places(rank({"a": [0.1, 0.2], "b": [0.3, 0.0]}, exact)) == {"a": 1, "b": 2}


def test_a_tie_is_broken_by_a_structure_and_stays_where_that_ties_too() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.6], "b": [0.8], "c": [0.8]}, label="kidney"),
            *rows({"a": [0.8], "b": [0.6], "c": [0.6]}, label="tumor"),
        ]
    )
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "ties": {"break": ["dice.tumor"]}})
    assert places(rank_algorithms(table, config)) == {"a": 1, "b": 2, "c": 2}


def test_the_next_breaker_is_asked_only_where_the_first_one_ties() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.8], "b": [0.8], "c": [0.8], "d": [0.9]}),
            *rows({"a": [5.0], "b": [5.0], "c": [4.0], "d": [9.0]}, metric="memory"),
            *rows({"a": [3.0], "b": [2.0], "c": [9.0], "d": [9.0]}, metric="time"),
        ]
    )
    config = parse_ranking(
        {"metrics": ["dice", "memory", "time"], "scheme": {"type": "value", "metrics": ["dice"]},
         "ties": {"break": ["memory", "time"]}}
    )  # fmt: skip
    assert places(rank_algorithms(table, config)) == {"d": 1, "c": 2, "b": 3, "a": 4}


def test_algorithms_that_do_not_differ_significantly_share_the_leaders_rank() -> None:
    better = [0.9 + 0.001 * i for i in range(12)]
    similar = [value + (0.01 if i % 2 else -0.011) for i, value in enumerate(better)]
    worse = [value - 0.2 - 0.001 * i for i, value in enumerate(better)]
    config = {"scheme": "value", "significance": {"tie_if_not_significant": True}}
    assert places(rank({"a": better, "b": similar, "c": worse}, config)) == {"a": 1, "b": 1, "c": 3}


# ---- transformations


def test_a_tolerance_forgives_the_first_units_before_ranking() -> None:
    config = {
        "metrics": [{"id": "gpu_memory", "tolerance": 2048}],
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
    }
    found = rank({"a": [1000.0], "b": [2048.0], "c": [4096.0]}, config, metric="gpu_memory")
    assert places(found) == {"a": 1, "b": 1, "c": 3}
    assert {entry.algorithm: entry.aggregates["gpu_memory"] for entry in found.entries} == {"a": 0, "b": 0, "c": 2048}


def test_rounding_happens_before_ranking() -> None:
    config = {
        "metrics": [{"id": "dice", "round_decimals": 2}],
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
    }
    assert places(rank({"a": [0.841], "b": [0.839], "c": [0.83]}, config)) == {"a": 1, "b": 1, "c": 3}


# ---- levels and schemes


def levels_table() -> ScoreTable:
    """Two sites. The first has one patient with three cases, the second two patients with one case each."""
    attributes = {
        "c0": {"patient": "p0", "site": "s0"},
        "c1": {"patient": "p0", "site": "s0"},
        "c2": {"patient": "p0", "site": "s0"},
        "c3": {"patient": "p1", "site": "s1"},
        "c4": {"patient": "p2", "site": "s1"},
    }
    return ScoreTable.from_rows(
        rows({"a": [0.9, 0.9, 0.9, 0.1, 0.3], "b": [0.5, 0.5, 0.5, 0.5, 0.5]}), attributes=attributes
    )


def test_flat_and_nested_averages_differ_as_they_should() -> None:
    flat = rank_algorithms(levels_table(), parse_ranking({"metrics": ["dice"], "scheme": "value"}))
    assert scores_of(flat)["a"] == pytest.approx((0.9 * 3 + 0.1 + 0.3) / 5)
    nested = {"metrics": ["dice"], "scheme": "value", "unit": {"levels": ["structure", "case", "patient", "site"]}}
    assert scores_of(rank_algorithms(levels_table(), parse_ranking(nested)))["a"] == pytest.approx(
        (0.9 + (0.1 + 0.3) / 2) / 2
    )


def test_a_patient_in_two_sites_is_refused() -> None:
    table = levels_table()
    table.attributes["c1"]["site"] = "s1"  # type: ignore[index]
    config = parse_ranking({"metrics": ["dice"], "unit": {"levels": ["case", "patient", "site"]}})
    with pytest.raises(TableError, match="patient p0: found it in site s0 and s1"):
        rank_algorithms(table, config)


def test_a_case_without_its_level_is_named_and_a_level_nobody_knows_is_one_unit() -> None:
    table = levels_table()
    config = parse_ranking(
        {"metrics": ["dice"], "scheme": "value", "unit": {"levels": ["case", "task"], "cluster": "case"}}
    )
    found = rank_algorithms(table, config)
    assert scores_of(found)["a"] == pytest.approx((0.9 * 3 + 0.1 + 0.3) / 5)
    assert found.notes == ("no case says its task: all count as one",)
    table.attributes["c1"]["task"] = "liver"  # type: ignore[index]
    with pytest.raises(TableError, match="c0: found no attribute task; expected one for every case"):
        rank_algorithms(table, config)
    clustered = parse_ranking({"metrics": ["dice"], "unit": {"levels": ["case"], "cluster": "scanner"}})
    with pytest.raises(TableError, match="c0: found no attribute scanner"):
        rank_algorithms(levels_table(), clustered)


def test_ranks_per_site_then_mean() -> None:
    config = {
        "metrics": ["dice"],
        "unit": {"levels": ["case", "site"]},
        "scheme": {"type": "mean_of_ranks", "rank_at": ["site"]},
    }
    assert scores_of(rank_algorithms(levels_table(), parse_ranking(config))) == {"a": 1.5, "b": 1.5}


def test_metric_weights_count_in_mean_ranks() -> None:
    table = ScoreTable.from_rows([*rows({"a": [0.9], "b": [0.8]}), *rows({"a": [9.0], "b": [2.0]}, metric="time")])
    config = {
        "metrics": ["dice", {"id": "time", "weight": 0.5}],
        "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
    }
    assert scores_of(rank_algorithms(table, parse_ranking(config))) == pytest.approx({"a": 2 / 1.5, "b": 2.5 / 1.5})


def test_structure_weights_count_in_values_and_zero_leaves_a_structure_out() -> None:
    table = ScoreTable.from_rows(
        [*rows({"a": [1.0], "b": [0.5]}, label="liver"), *rows({"a": [0.0], "b": [0.5]}, label="tumour")]
    )
    weighted = {"metrics": [{"id": "dice", "structures": {"liver": 1, "tumour": 3}}], "scheme": "value"}
    assert scores_of(rank_algorithms(table, parse_ranking(weighted)))["a"] == 0.25
    only = {"metrics": [{"id": "dice", "structures": {"liver": 1, "tumour": 0}}], "scheme": "value"}
    assert scores_of(rank_algorithms(table, parse_ranking(only)))["a"] == 1.0


def test_sum_of_ranks_over_structures_and_metrics() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.9], "b": [0.8], "c": [0.7]}, label="x"),
            *rows({"a": [0.7], "b": [0.8], "c": [0.9]}, label="y"),
            *rows({"a": [1.0], "b": [2.0], "c": [3.0]}, metric="hd95", label="x"),
            *rows({"a": [1.0], "b": [2.0], "c": [3.0]}, metric="hd95", label="y"),
        ]
    )
    config = parse_ranking({"metrics": ["dice", "hd95"], "scheme": {"type": "sum_of_ranks", "rank_at": ["structure"]}})
    assert scores_of(rank_algorithms(table, config)) == {"a": 1 + 3 + 1 + 1, "b": 8, "c": 3 + 1 + 3 + 3}


def test_borda_counts_those_beaten_and_half_of_the_tied() -> None:
    found = rank(
        {"a": [0.9, 0.5], "b": [0.9, 0.6], "c": [0.1, 0.7]}, {"scheme": {"type": "borda", "rank_at": ["case"]}}
    )
    assert scores_of(found) == {"a": 1.5, "b": 1.5 + 1, "c": 2}
    assert found.larger_is_better


def test_median_of_ranks_over_cases() -> None:
    scores = {"a": [0.9, 0.9, 0.1], "b": [0.5, 0.5, 0.5], "c": [0.4, 0.6, 0.6]}
    found = rank(scores, {"scheme": {"type": "median_of_ranks", "rank_at": ["case"]}})
    assert scores_of(found) == {"a": 1, "b": 2, "c": 2}


def test_a_lexicographic_ranking_looks_at_the_second_metric_only_in_ties() -> None:
    table = ScoreTable.from_rows(
        [*rows({"a": [0.8], "b": [0.8], "c": [0.7]}), *rows({"a": [0.5], "b": [0.6], "c": [0.9]}, metric="iou")]
    )
    config = parse_ranking({"metrics": ["dice", "iou"], "scheme": "lexicographic"})
    assert places(rank_algorithms(table, config)) == {"b": 1, "a": 2, "c": 3}


def test_a_significance_score_is_the_share_of_others_beaten() -> None:
    base = [0.5 + 0.01 * i for i in range(20)]
    scores = {"a": [v + 0.2 + 0.001 * i for i, v in enumerate(base)], "b": base, "c": [v - 0.1 for v in base]}
    assert scores_of(rank(scores, {"scheme": "significance"})) == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_ranks_of_combined_phases_nest() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.9], "b": [0.8], "c": [0.7]}, label="x"),
            *rows({"a": [0.7], "b": [0.8], "c": [0.9]}, label="y"),
        ]
    )
    config = parse_ranking(
        {
            "metrics": ["dice"],
            "scheme": {
                "type": "mean_of_ranks",
                "weights": [2, 1],
                "children": [{"type": "value", "structures": ["x"]}, {"type": "value", "structures": ["y"]}],
            },
        }
    )
    assert scores_of(rank_algorithms(table, config)) == pytest.approx({"a": 5 / 3, "b": 2, "c": 7 / 3})


def test_a_pooled_metric_adds_before_it_divides() -> None:
    """Two cases: 2·(8 + 0) / (10 + 10 + 4 + 2) is not the mean of 0.8 and 0."""
    statistics = {"intersection_voxels": [8, 0], "reference_voxels": [10, 4], "prediction_voxels": [10, 2]}
    other = {"intersection_voxels": [6, 2], "reference_voxels": [10, 4], "prediction_voxels": [10, 2]}
    table = ScoreTable.from_rows(
        row for name in statistics for row in rows({"a": statistics[name], "b": other[name]}, metric=name, label="GTVp")
    )
    spec = {
        "id": "dice_aggregated",
        "direction": "max",
        "pooled": {"numerator": "2*intersection_voxels", "denominator": "reference_voxels + prediction_voxels"},
    }
    found = rank_algorithms(table, parse_ranking({"metrics": [spec], "scheme": "value"}))
    assert scores_of(found) == pytest.approx({"a": 16 / 26, "b": 16 / 26})
    assert places(found) == {"a": 1, "b": 1}


def test_a_failed_case_of_a_pooled_metric_keeps_the_reference_in_the_denominator() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [8, None], "b": [8, 4]}, metric="intersection_voxels"),
            *rows({"a": [10, None], "b": [10, 4]}, metric="reference_voxels"),
            *rows({"a": [10, None], "b": [10, 4]}, metric="prediction_voxels"),
        ]
    )
    document = {"preset": "hecktor22", "metrics": [
        {"id": "dice_aggregated", "direction": "max",
         "pooled": {"numerator": "2*intersection_voxels", "denominator": "reference_voxels + prediction_voxels"}}]}  # fmt: skip
    found = rank_algorithms(table, parse_ranking(document))
    assert scores_of(found) == pytest.approx({"b": 24 / 28, "a": 16 / (10 + 10 + 4 + 0)})


def test_the_spread_over_structures_ranks_the_smaller_first() -> None:
    table = ScoreTable.from_rows(
        [
            *rows({"a": [0.9, 0.9], "b": [0.8, 0.8]}, label="x"),
            *rows({"a": [0.5, 0.5], "b": [0.6, 0.6]}, label="y"),
        ]
    )
    config = parse_ranking({"preset": "mrbrains", "metrics": ["dice"]})
    found = rank_algorithms(table, config)
    assert scores_of(found) == {"b": 3, "a": 3}
    assert places(found) == {"b": 1, "a": 2}


# ---- degenerate boards


@pytest.mark.parametrize(
    "scheme", ["value", "mean_of_ranks", "median_of_ranks", "sum_of_ranks", "borda", "significance", "consensus"]
)
@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"a": [0.5]}, {"a": 1}),
        ({"a": [0.5], "b": [0.5]}, {"a": 1, "b": 1}),
        ({"a": [None], "b": [None]}, {"a": 1, "b": 1}),
    ],
)
def test_tiny_and_tied_boards_have_a_defined_result(scheme: str, scores: Scores, expected: dict[str, int]) -> None:
    assert places(rank(scores, {"scheme": scheme, "missing": {"any": "rank_last"}})) == expected


def test_a_board_of_disqualified_algorithms_only_is_empty_but_there() -> None:
    found = rank({"a": [None], "b": [None]}, {"missing": {"any": "disqualify"}})
    assert places(found) == {"a": None, "b": None}


def test_infinite_and_doubled_scores_are_refused() -> None:
    with pytest.raises(TableError, match="a / c0 /  / dice: found inf; expected a finite number"):
        rank({"a": [math.inf], "b": [0.5]}, {})
    with pytest.raises(TableError, match="found 2 rows for a / c0 / dice; expected one row"):
        ScoreTable.from_rows([*rows({"a": [0.5]}), *rows({"a": [0.6]})])
    with pytest.raises(TableError, match="found no scores"):
        ScoreTable.from_rows([])


def test_a_metric_nobody_has_and_a_mix_of_directions_are_refused() -> None:
    with pytest.raises(TableError, match="nsd: found no scores of this metric"):
        rank({"a": [0.5], "b": [0.6]}, {"metrics": ["nsd"]})
    table = ScoreTable.from_rows([*rows({"a": [0.5], "b": [0.6]}), *rows({"a": [1.0], "b": [2.0]}, metric="hd95")])
    with pytest.raises(ConfigError, match="metrics of both directions"):
        rank_algorithms(table, parse_ranking({"metrics": ["dice", "hd95"], "scheme": "value"}))


# ---- what stands for a board in tests, and refusals of the tree


def test_a_board_of_many_metrics_is_tested_on_the_mean_rank_over_all_of_them() -> None:
    table = ScoreTable.from_rows(
        [*rows({"a": [0.9, 0.8], "b": [0.8, 0.9]}), *rows({"a": [1.0, 1.0], "b": [2.0, 2.0]}, metric="hd95")]
    )
    values, larger = headline(prepare(table, parse_ranking({"metrics": ["dice", "hd95"], "scheme": "mean_of_ranks"})))
    assert not larger
    assert values.tolist() == [[1.0, 1.5], [2.0, 1.5]]


def test_a_board_of_one_metric_is_tested_on_its_values_unless_it_ranks_case_by_case() -> None:
    table = ScoreTable.from_rows(rows({"a": [0.9, 0.8], "b": [0.8, 0.9]}))
    values, larger = headline(prepare(table, parse_ranking({"metrics": ["dice"], "scheme": "value"})))
    assert larger
    assert values.tolist() == [[0.9, 0.8], [0.8, 0.9]]
    by_case = parse_ranking({"metrics": ["dice"], "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]}})
    values, larger = headline(prepare(table, by_case))
    assert (values.tolist(), larger) == ([[1, 2], [2, 1]], False)


def test_tests_see_patients_when_patients_are_the_cluster() -> None:
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "unit": {"levels": ["case"], "cluster": "patient"}})
    values, _ = headline(prepare(levels_table(), config))
    assert values[0].tolist() == pytest.approx([0.9, 0.1, 0.3])


def test_a_mean_of_values_needs_children_of_one_direction() -> None:
    table = ScoreTable.from_rows([*rows({"a": [0.9], "b": [0.5]}), *rows({"a": [3.0], "b": [1.0]}, metric="hd95")])
    children = [{"type": "value", "metrics": ["dice"]}, {"type": "value", "metrics": ["dice"], "aggregate": "median"}]
    config = {"metrics": ["dice", "hd95"], "scheme": {"type": "value", "children": children, "weights": [3, 1]}}
    assert scores_of(rank_algorithms(table, parse_ranking(config))) == {"a": 0.9, "b": 0.5}
    children[1] = {"type": "value", "metrics": ["hd95"]}
    with pytest.raises(ConfigError, match="children of both directions"):
        rank_algorithms(table, parse_ranking(config))


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ({"type": "significance", "rank_at": ["case"]}, "found rank_at case; expected a level above case"),
        ({"type": "value", "structures": ["lung"]}, "found structures lung; expected some of those of dice: liver"),
    ],
)
def test_a_tree_that_does_not_fit_the_scores_is_refused(scheme: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rank({"a": [0.5], "b": [0.6]}, {"scheme": scheme}, label="liver")


def test_a_median_of_ranks_has_no_use_for_weights() -> None:
    table = ScoreTable.from_rows([*rows({"a": [0.9], "b": [0.5]}), *rows({"a": [3.0], "b": [1.0]}, metric="time")])
    config = parse_ranking({"metrics": ["dice", {"id": "time", "weight": 2}], "scheme": "median_of_ranks"})
    with pytest.raises(ConfigError, match="found different weights; expected none"):
        rank_algorithms(table, config)


def test_structures_that_are_not_there_and_half_a_pooled_metric_are_named() -> None:
    weighted = {"metrics": [{"id": "dice", "structures": ["lung"]}]}
    with pytest.raises(TableError, match="dice: found no scores of lung; expected structures among liver"):
        rank({"a": [0.5], "b": [0.6]}, weighted, label="liver")
    pooled = {"metrics": [{"id": "x", "direction": "max", "pooled": {"numerator": "dice", "denominator": "volume"}}]}
    with pytest.raises(TableError, match="x: found no scores of volume"):
        rank({"a": [0.5], "b": [0.6]}, pooled)
    table = ScoreTable.from_rows(
        [*rows({"a": [1.0], "b": [1.0]}, label="x"), *rows({"a": [1.0], "b": [1.0]}, metric="volume", label="y")]
    )
    with pytest.raises(TableError, match="x: found different structures for dice, volume"):
        rank_algorithms(table, parse_ranking(pooled))


def test_arrays_and_rows_make_the_same_table() -> None:
    values = [[0.9, math.nan], [0.8, 0.7]]
    from_arrays = ScoreTable.from_arrays(algorithms=["b", "a"], cases=["c1", "c0"], metrics={"dice": values})
    from_rows = ScoreTable.from_rows(
        (name, case, "", "dice", None if math.isnan(value) else value, "")
        for name, cells in zip("ba", values, strict=True)
        for case, value in zip(("c1", "c0"), cells, strict=True)
    )
    assert from_arrays.sha256() == from_rows.sha256()
    with pytest.raises(TableError, match=r"dice: found shape \(1, 2\); expected 2 × 2 finite values"):
        ScoreTable.from_arrays(algorithms=["a", "b"], cases=["c0", "c1"], metrics={"dice": [[1.0, 2.0]]})


def test_tables_join_only_when_their_algorithms_differ() -> None:
    first, second = (ScoreTable.from_rows(rows({name: [0.5]})) for name in "ab")
    assert first.joined(second).algorithms == ("a", "b")
    with pytest.raises(TableError, match="the same algorithm in both tables"):
        first.joined(first)
