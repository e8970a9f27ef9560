"""Practically equal: two one-sided tests. SciPy is the oracle, and a simulation counts false claims."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from evaluator.commands.rank import rank
from evaluator.ranking.statistics.equivalence import equivalence_p, equivalences

RANDOM = np.random.default_rng(5)
DIFFERENCES = RANDOM.normal(0.002, 0.02, 30)


@pytest.mark.parametrize("margin", [0.001, 0.01, 0.05])
def test_p_is_the_larger_of_two_one_sided_t_tests(margin: float) -> None:
    expected = max(
        stats.ttest_1samp(DIFFERENCES, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(DIFFERENCES, margin, alternative="less").pvalue,
    )
    assert equivalence_p(DIFFERENCES, margin) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("margin", [0.001, 0.008, 0.012, 0.05])
def test_the_decision_is_that_of_the_interval_within_the_margin(margin: float) -> None:
    values = np.stack([DIFFERENCES, np.zeros(30)])
    found = equivalences(values, margin=margin, alpha=0.05)
    interval = stats.t.interval(0.9, 29, DIFFERENCES.mean(), stats.sem(DIFFERENCES))
    assert (found.low[0, 1], found.high[0, 1]) == pytest.approx(interval, rel=1e-9)
    assert found.is_equivalent[0, 1] == (-margin < interval[0] and interval[1] < margin)
    assert (found.low[1, 0], found.high[1, 0]) == pytest.approx((-interval[1], -interval[0]), rel=1e-9)
    assert found.p[0, 1] == found.p[1, 0]


@pytest.mark.parametrize("skewed", [False, True])
def test_algorithms_that_differ_by_the_margin_are_rarely_called_equal(skewed: bool) -> None:
    """2 000 boards of 40 cases whose true difference is the margin: at most 5 % are called equal, within the error of counting.

    With exponential differences it is 9 %, as for any t-test of 40 such values. The documentation says so.
    """
    random = np.random.default_rng(8)
    noise = random.exponential(1, (2000, 40)) - 1 if skewed else random.normal(0, 1, (2000, 40))
    called = np.mean([equivalence_p(row + 0.8, 0.8) <= 0.05 for row in noise])
    assert called <= 0.05 + (0.05 if skewed else 0.015)
    assert np.mean([equivalence_p(row, 0.8) <= 0.05 for row in noise]) > 0.9


def test_nothing_is_equal_that_was_not_measured() -> None:
    values = np.array([[0.9, np.nan], [0.9, 0.9], [-np.inf, 0.8], [0.9, np.nan]])
    found = equivalences(values, margin=0.1, alpha=0.05)
    assert not found.is_equivalent.any()
    assert np.isnan(found.difference[1, 2])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(rank, [str(argument) for argument in arguments])


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """a and b differ by noise of 0.001, c is 0.2 worse."""
    difficulty = np.random.default_rng(1).normal(0.8, 0.05, 40)
    noise = np.random.default_rng(2).normal(0, 0.001, (3, 40))
    rows = [
        f"{name},c{case},{difficulty[case] + noise[place, case] - lost}"
        for place, (name, lost) in enumerate((("a", 0), ("b", 0), ("c", 0.2)))
        for case in range(40)
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(("algorithm,case,dice", *rows)) + "\n")
    return path


def test_margins_come_from_the_command_line_or_the_document(scores: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("metrics: [{id: dice, margin: 0.01}]\n")
    made = []
    for place, option in enumerate((("--margin", "DSC=0.01"), ("--config", tmp_path / "r.yaml"))):
        output = tmp_path / f"{place}.json"
        result = run(scores, *option, "--bootstrap", 20, "--json", output, "--report", tmp_path / f"{place}.html")
        assert result.exit_code == 0, result.output
        made.append(json.loads(output.read_text())["equivalence"]["dice"])
    assert made[0] == made[1]
    order = made[0]["algorithms"]
    equal = {(order[i], order[j]) for i, row in enumerate(made[0]["is_equivalent"]) for j, yes in enumerate(row) if yes}
    assert equal == {("a", "b"), ("b", "a")}
    page = (tmp_path / "0.html").read_text()
    assert "Who is practically equal?" in page
    assert page.count("different") >= 1
    assert json.loads(output.read_text())["configuration"]["metrics"][0]["margin"] == 0.01


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dice=0", "expected metric=number above 0"),
        ("dice", "expected metric=number above 0"),
        ("sharpness=1", "found the metric 'sharpness'; expected one of dice"),
        (",", "--margin: found nothing"),
        ("dice=nan", "expected metric=number above 0"),
    ],
)
def test_a_margin_that_is_none_is_refused(scores: Path, option: str, message: str) -> None:
    result = run(scores, "--margin", option)
    assert result.exit_code == 1
    assert message in result.output
