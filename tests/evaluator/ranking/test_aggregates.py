"""Means that are none of the usual: geometric, trimmed, the share above a value. SciPy is the oracle."""

import numpy as np
import pytest
from scipy import stats

from evaluator.ranking import ScoreTable, analyse, parse_ranking, rank_algorithms
from evaluator.ranking.document.parse_scheme import aggregate
from evaluator.ranking.errors import ConfigError
from evaluator.ranking.schemes.reduction import reduce_units

VALUES = np.random.default_rng(2).random((1, 3, 1, 20))
ORACLES = {
    "geometric": stats.gmean,
    "trimmed:0.1": lambda row: stats.trim_mean(row, 0.1),
    "highest:0.7": lambda row: np.sort(row)[-round(0.7 * len(row)) :].mean(),
    "lowest:0.7": lambda row: np.sort(row)[: round(0.7 * len(row))].mean(),
    "share_above:0.8": lambda row: np.mean(row > 0.8),
}


@pytest.mark.parametrize("text", ORACLES)
def test_an_aggregate_is_what_scipy_says(text: str) -> None:
    found = reduce_units(VALUES, parents=None, how=aggregate(text, "x"))
    assert found[0, :, 0, 0] == pytest.approx([ORACLES[text](row) for row in VALUES[0, :, 0]], rel=1e-12)


@pytest.mark.parametrize("text", ORACLES)
def test_a_draw_is_the_sample_with_its_copies(text: str) -> None:
    weights = np.random.default_rng(3).integers(0, 4, (5, 20)).astype(np.float64)
    found = reduce_units(VALUES, parents=None, how=aggregate(text, "x"), weights=weights)
    for drawn, values in zip(weights, found, strict=True):
        for row, value in zip(VALUES[0, :, 0], values[:, 0, 0], strict=True):
            copies = np.repeat(row, drawn.astype(int))
            copies = np.repeat(copies, 10)  # the oracles cut whole values only: compare where the cut is whole
            assert value == pytest.approx(ORACLES[text](copies), rel=1e-12)


@pytest.mark.parametrize("text", ["geometric", "share_above:0.8"])
def test_missing_values_are_left_out(text: str) -> None:
    gaps = VALUES.copy()
    gaps[0, :, 0, ::3] = np.nan
    found = reduce_units(gaps, parents=None, how=aggregate(text, "x"))
    assert found[0, :, 0, 0] == pytest.approx([ORACLES[text](row[~np.isnan(row)]) for row in gaps[0, :, 0]], rel=1e-12)


@pytest.mark.parametrize("text", ORACLES)
def test_a_whole_analysis_runs_on_it(text: str) -> None:
    table = ScoreTable.from_arrays(
        algorithms=["a", "b", "c"], cases=[f"c{i}" for i in range(20)], metrics={"dice": VALUES[0, :, 0]}
    )
    config = parse_ranking({"metrics": ["dice"], "scheme": {"type": "value", "aggregate": {"case": text}}})
    expected = [ORACLES[text](row) for row in VALUES[0, :, 0]]
    scores = {entry.algorithm: entry.score for entry in rank_algorithms(table, config).entries}
    assert [scores[name] for name in "abc"] == pytest.approx(expected)
    interval = analyse(table, config, bootstrap=50).metrics["dice"].interval
    assert (interval.low <= interval.high).all()


@pytest.mark.parametrize("text", ["trimmed:0.5", "quantile:2", "highest:0", "lowest:2", "share_above", "mode"])
def test_what_is_no_aggregate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected mean, median, std, sum or quantile:q with q between 0 and 1"):
        aggregate(text, "x")


def test_a_geometric_mean_of_negative_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="found a value below zero"):
        reduce_units(-VALUES, parents=None, how=aggregate("geometric", "x"))
