"""Practically equal: two one-sided questions, two tests of each. SciPy is the oracle, and a simulation counts false claims."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from evaluator.arrays import Floats
from evaluator.bench.coverage import DIFFERENCES as DRAWN
from evaluator.bench.coverage import called_equal
from evaluator.commands.rank import rank
from evaluator.ranking.statistics.equivalence import equivalence_p, equivalences

RANDOM = np.random.default_rng(5)
DIFFERENCES = RANDOM.normal(0.002, 0.02, 30)


SKEWED = RANDOM.exponential(0.02, 30) - 0.015


def tests_of_less_than(differences: Floats, bound: float) -> list[float]:
    """p of "the mean is at least `bound`": Student's, and with the skewness removed as Hall (1992) writes it."""
    n = len(differences)
    t = (differences.mean() - bound) / stats.sem(differences)
    skewness = stats.skew(differences, bias=False)
    straight = t + skewness * (2 * t**2 + 1) / (6 * np.sqrt(n)) + skewness**2 * t**3 / (27 * n)
    return [stats.t.cdf(t, n - 1), stats.t.cdf(straight, n - 1)]


@pytest.mark.parametrize("margin", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("differences", [DIFFERENCES, SKEWED])
def test_p_is_the_largest_of_both_sides_and_both_tests(differences: Floats, margin: float) -> None:
    assert tests_of_less_than(differences, margin)[0] == pytest.approx(
        stats.ttest_1samp(differences, margin, alternative="less").pvalue
    )
    expected = max(*tests_of_less_than(differences, margin), *tests_of_less_than(-differences, margin))
    assert equivalence_p(differences, margin) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("margin", [0.001, 0.008, 0.0125, 0.05])
@pytest.mark.parametrize("differences", [DIFFERENCES, SKEWED])
def test_the_decision_is_that_of_the_interval_within_the_margin(differences: Floats, margin: float) -> None:
    found = equivalences(np.stack([differences, np.zeros(30)]), margin=margin, alpha=0.05)
    low, high = found.low[0, 1], found.high[0, 1]
    interval = stats.t.interval(0.9, 29, differences.mean(), stats.sem(differences))
    assert low <= interval[0] + 1e-12
    assert high >= interval[1] - 1e-12
    assert max(tests_of_less_than(differences, high)) == pytest.approx(0.05)
    assert max(tests_of_less_than(-differences, -low)) == pytest.approx(0.05)
    assert found.is_equivalent[0, 1] == (-margin < low and high < margin)
    assert (found.low[1, 0], found.high[1, 0]) == (-high, -low)
    assert found.p[0, 1] == found.p[1, 0]


def test_values_without_spread_have_no_skewness_to_remove() -> None:
    assert equivalence_p(np.zeros(5), 0.1) == 0
    assert equivalence_p(np.full(5, 0.2), 0.1) == 1
    assert equivalence_p(np.array([0.0, 0.01]), 0.1) == pytest.approx(
        stats.ttest_1samp([0.0, 0.01], 0.1, alternative="less").pvalue
    )


@pytest.mark.parametrize("name", ["normal", "exponential", "heavy-tailed (t with 3 degrees)"])
def test_algorithms_that_differ_by_the_margin_are_rarely_called_equal(name: str) -> None:
    """1 000 boards of 40 cases whose true difference is the margin: 5 % are called equal, within the error of counting.

    With Student's test alone it is 9.5 % of exponential differences.
    """
    noise = DRAWN[name](np.random.default_rng(8), (1000, 40))
    assert called_equal(noise) <= 0.05 * 1000 + 1.96 * np.sqrt(1000 * 0.05 * 0.95)
    margin = 5 * noise.std() / np.sqrt(40)
    assert np.mean([equivalence_p(row, margin) <= 0.05 for row in noise[:200]]) > 0.9


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
