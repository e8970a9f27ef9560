"""Rules that score over the teams, worked out by hand."""

import pytest

from evaluator.ranking import ConfigError, ScoreTable, parse_ranking, rank_algorithms


def one_case(**values: dict[str, float]) -> ScoreTable:
    return ScoreTable.from_rows(
        (team, "c", "", metric, value, "") for team, found in values.items() for metric, value in found.items()
    )


def test_min_max_scales_over_the_teams_as_wmh_does() -> None:
    table = one_case(
        a={"dice": 0.8, "hd95": 4}, b={"dice": 0.6, "hd95": 2}, c={"dice": 0.7, "hd95": 12}
    )  # dice: 1, 0, 0.5; hd95: 0.8, 1, 0
    found = rank_algorithms(table, parse_ranking({"metrics": ["dice", "hd95"], "scheme": "min_max"}))
    assert {entry.algorithm: entry.score for entry in found.entries} == pytest.approx({"a": 0.9, "b": 0.5, "c": 0.25})
    assert found.larger_is_better


def test_a_value_behind_every_number_is_the_worst_of_the_teams() -> None:
    rows = [("a", "c", "", "dice", 0.8, ""), ("b", "c", "", "dice", 0.6, ""), ("x", "c", "", "dice", None, "failed")]
    config = parse_ranking({"metrics": ["dice"], "scheme": "min_max", "missing": {"any": "rank_last"}})
    found = rank_algorithms(ScoreTable.from_rows(rows), config)
    assert {entry.algorithm: entry.score for entry in found.entries} == {"a": 1, "b": 0, "x": 0}


def test_rank_scores_are_mapped_and_multiplied_as_learn2reg_does() -> None:
    table = one_case(
        a={"dice": 0.9, "tre": 3}, b={"dice": 0.8, "tre": 1}, c={"dice": 0.7, "tre": 2}
    )  # dice: 1, 0.55, 0.1; tre: 0.1, 1, 0.55
    found = rank_algorithms(table, parse_ranking({"metrics": ["dice", "tre"], "scheme": "rank_scores"}))
    scores = {entry.algorithm: entry.score for entry in found.entries}
    assert scores == pytest.approx({"a": (1 * 0.1) ** 0.5, "b": (0.55 * 1) ** 0.5, "c": (0.1 * 0.55) ** 0.5})
    assert found.ranks() == {"b": 1, "a": 2, "c": 3}


def test_values_of_both_directions_are_averaged_once_they_are_scaled() -> None:
    """µ-RegPro: 0.6 of Dice and 0.4 of a distance, of which 20 mm count as 0 and 0 mm as 1. Beyond 20 mm nothing gets worse."""
    table = one_case(a={"dice": 0.8, "tre": 5}, b={"dice": 0.9, "tre": 10}, c={"dice": 0.9, "tre": 30})
    metrics = [{"id": "dice", "weight": 0.6}, {"id": "tre", "direction": "min", "scale": [20, 0], "weight": 0.4}]
    found = rank_algorithms(table, parse_ranking({"metrics": metrics, "scheme": "value"}))
    scores = {entry.algorithm: entry.score for entry in found.entries}
    assert scores == pytest.approx({"a": 0.6 * 0.8 + 0.4 * 0.75, "b": 0.6 * 0.9 + 0.4 * 0.5, "c": 0.6 * 0.9})
    assert found.larger_is_better


def test_a_scaled_metric_that_is_missing_ranks_last_and_its_rules_speak_of_measured_values() -> None:
    rows = [("a", "c", "", "tre", 19.0, ""), ("b", "c", "", "tre", 25.0, ""), ("x", "c", "", "tre", None, "timeout")]
    metric = {"id": "tre", "direction": "min", "scale": [20, 0]}

    def scores(rule: object) -> dict[str, float | None]:
        config = parse_ranking({"metrics": [metric], "scheme": "value", "missing": {"any": rule}})
        return {entry.algorithm: entry.score for entry in rank_algorithms(ScoreTable.from_rows(rows), config).entries}

    assert scores(10) == pytest.approx({"a": 0.05, "b": 0, "x": 0.5})
    assert list(scores("rank_last")) == ["a", "b", "x"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            {"id": "tre", "scale": [0, 20]},
            r"scale: found \[0, 20\]; expected \[worst, best\], here the larger value first",
        ),
        ({"id": "dice", "scale": [0.9, 0.1]}, "here the smaller value first"),
        ({"id": "dice", "scale": 1}, "scale: found 1; expected"),
        ({"id": "dice", "scale": [0, 0]}, "scale: found"),
        ({"id": "d", "direction": "max", "scale": [0, 1], "pooled": {"numerator": "a", "denominator": "b"}}, "pooled"),
    ],
)
def test_a_scale_that_is_none_is_refused(metric: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_ranking({"metrics": [metric]})
