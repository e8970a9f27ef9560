"""Equal to challengeR 1.0.5: all reference rankings and all reference p-values."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from evaluator.ranking import RankingConfig, ScoreTable, parse_ranking, rank_algorithms
from evaluator.ranking.document.config import Adjustment, Significance
from evaluator.ranking.engine import cluster_values
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.statistics.significance import PairTests, compare_pairs

REFERENCE = Path(__file__).parent / "reference"

WORST = {"dice": 0, "nsd": 0, "hd95": 374}
SCHEMES = {
    "mean": {"type": "value"},
    "median": {"type": "value", "aggregate": "median"},
    "rankThenMean": {"type": "mean_of_ranks", "rank_at": ["case"]},
    "rankThenMedian": {"type": "median_of_ranks", "rank_at": ["case"]},
    "test": {"type": "significance"},
}


def read(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    def rows() -> Iterator[tuple[str, str, str, str, float | None, str]]:
        for row in read("cases.csv"):
            for metric in WORST:
                value = float(row[metric]) if row[metric] else None
                yield row["algorithm"], row["case"], "", metric, value, "" if value is not None else "missing"

    return ScoreTable.from_rows(rows())


def config_for(metric: str, na_treat: str, method: str, *, compat: bool) -> RankingConfig:
    scheme, *rest = method.split("_")
    rule = {"na.rm": "drop_pair", "worst": WORST[metric], "none_NA_last": "rank_last"}[na_treat]
    return parse_ranking(
        {
            "metrics": [metric],
            "missing": {"any": rule},
            "scheme": SCHEMES[scheme],
            "ties": {"method": rest[-1], "digits": None if compat else 12},
            "significance": {"adjust": rest[0] if scheme == "test" else "none"},
            "stability": {"compat": "challengeR-1.0.5" if compat else None},
        }
    )


def expected_rankings() -> Mapping[tuple[str, str, str], list[dict[str, str]]]:
    rankings: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in read("challengeR_rankings.csv"):
        rankings[row["metric"], row["na_treat"], row["method"]].append(row)
    return rankings


RANKINGS = expected_rankings()


def test_there_are_54_reference_rankings() -> None:
    assert len(RANKINGS) == 54


@pytest.mark.parametrize("key", RANKINGS, ids="-".join)
def test_ranking_equals_challenger_in_compatibility_mode(table: ScoreTable, key: tuple[str, str, str]) -> None:
    ranking = rank_algorithms(table, config_for(*key, compat=True))
    found = {entry.algorithm: entry for entry in ranking.entries}
    for row in RANKINGS[key]:
        entry = found[row["algorithm"]]
        assert entry.rank == float(row["rank"]), row
        assert entry.score == pytest.approx(float(row["aggregate"]), abs=1e-9), row


def test_defaults_differ_from_challenger_only_where_missing_ranks_are_counted(table: ScoreTable) -> None:
    differing = set()
    for key, rows in RANKINGS.items():
        ranking = rank_algorithms(table, config_for(*key, compat=False))
        found = {entry.algorithm: entry for entry in ranking.entries}
        for row in rows:
            entry = found[row["algorithm"]]
            if entry.rank != float(row["rank"]) or abs((entry.score or 0) - float(row["aggregate"])) > 1e-9:
                differing.add((*key, row["algorithm"]))
    assert differing == {
        ("nsd", "none_NA_last", "rankThenMean_min", "A8"),
        ("nsd", "none_NA_last", "rankThenMean_average", "A8"),
    }


def pair_tests(table: ScoreTable, metric: str, na_treat: str, rules: Significance) -> tuple[tuple[str, ...], PairTests]:
    prepared = prepare(table, config_for(metric, na_treat, "mean_min", compat=True))
    values = cluster_values(metric, prepared)
    return prepared.algorithms, compare_pairs(values, larger_is_better=metric != "hd95", rules=rules)


@pytest.mark.parametrize(
    ("column", "rules"),
    [
        ("p_one_sided", Significance()),
        ("p_two_sided", Significance(is_one_sided=False)),
        ("p_holm", Significance(adjust=Adjustment.HOLM)),
        ("p_bh", Significance(adjust=Adjustment.BH)),
        ("p_bonferroni", Significance(adjust=Adjustment.BONFERRONI)),
    ],
)
def test_p_values_equal_those_of_r(table: ScoreTable, column: str, rules: Significance) -> None:
    rows = read("pairwise_wilcoxon.csv")
    groups = {
        (row["metric"], row["na_treat"]): pair_tests(table, row["metric"], row["na_treat"], rules) for row in rows[:1]
    }
    groups = {key: pair_tests(table, *key, rules) for key in {(row["metric"], row["na_treat"]) for row in rows}}
    for row in rows:
        names, tests = groups[row["metric"], row["na_treat"]]
        found = tests.adjusted[names.index(row["better"]), names.index(row["worse"])]
        expected = float(row[column]) if row[column] not in ("NA", "NaN", "") else math.nan
        assert found == pytest.approx(expected, abs=1e-10, nan_ok=True), row
        if column == "p_holm":
            assert tests.is_better[names.index(row["better"]), names.index(row["worse"])] == (
                row["challengeR_decision_holm05"] == "1"
            )
    assert len(rows) >= 56
