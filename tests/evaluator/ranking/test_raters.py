"""Several raters' references: readings are averaged within a scan, and raters are drawn beside the scans."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.commands.rank import rank
from evaluator.ranking import ConfigError, ScoreTable, analyse, parse_ranking
from evaluator.ranking.engine import metric_aggregates
from evaluator.ranking.intervals import aggregate_samples
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.score_files import read_scores
from evaluator.ranking.stability import bootstrap_ranks, draw_clusters

SCANS, RATERS = 12, 4
DOCUMENT = {
    "metrics": ["dice"],
    "scheme": "value",
    "unit": {"levels": ["structure", "case", "scan"], "cluster": "scan"},
    "stability": {"raters": "rater"},
}


def readings(values) -> ScoreTable:
    """`values`: algorithm × scan × rater."""
    count, scans, raters = values.shape
    cases = [(f"s{s} / r{r}", f"s{s}", f"r{r}") for s in range(scans) for r in range(raters)]
    return ScoreTable.from_rows(
        [
            (f"a{a}", case, "", "dice", float(v), "")
            for a in range(count)
            for (case, *_), v in zip(cases, values[a].flat, strict=True)
        ],
        attributes={case: {"scan": scan, "rater": rater} for case, scan, rater in cases},
    )


def test_a_replicate_is_the_mean_over_drawn_scans_of_the_means_over_drawn_raters() -> None:
    values = np.random.default_rng(1).random((3, SCANS, RATERS))
    prepared = prepare(readings(values), parse_ranking(DOCUMENT))
    draws = draw_clusters(prepared, count=30, seed=4)
    scans = [prepared.unit_names["scan"].index(f"s{s}") for s in range(SCANS)]
    raters = [prepared.cases.index(f"s0 / r{r}") for r in range(RATERS)]
    drawn_scans, drawn_raters = draws.multiplicities[:, scans], draws.raters[:, raters]
    assert (drawn_raters.sum(axis=1) == RATERS).all()
    expected = np.stack(
        [
            np.average(np.average(values, axis=2, weights=r), axis=1, weights=s)
            for s, r in zip(drawn_scans, drawn_raters, strict=True)
        ]
    )
    np.testing.assert_allclose(aggregate_samples("dice", prepared, draws), expected, rtol=1e-12)
    np.testing.assert_allclose(metric_aggregates(prepared)["dice"], values.mean(axis=(1, 2)), rtol=1e-12)
    order = (-expected).argsort(axis=1).argsort(axis=1) + 1
    np.testing.assert_array_equal(bootstrap_ranks(prepared, draws), order)


@pytest.mark.parametrize("nesting", ["nested", "flat"])
@pytest.mark.parametrize("kind", ["mean_of_ranks", "median_of_ranks"])
def test_ranks_taken_in_each_reading_are_resampled_too(kind: str, nesting: str) -> None:
    """A scheme whose units stay below the drawn level was never resampled: every replicate was the ranking itself."""
    scheme = {"type": kind, "rank_at": ["case"], "nesting": nesting}
    values = np.random.default_rng(2).random((3, SCANS, RATERS))
    for stability in ({}, {"raters": "rater"}):
        prepared = prepare(readings(values), parse_ranking({**DOCUMENT, "scheme": scheme, "stability": stability}))
        found = bootstrap_ranks(prepared, draw_clusters(prepared, count=40, seed=1))
        assert found.shape == (40, 3)
        assert len({tuple(row) for row in found}) > 2


def test_intervals_hold_for_other_raters_only_when_raters_are_drawn() -> None:
    """6 raters whose taste favours an algorithm more or less: 150 boards, the interval of a mean against the true mean 0.5."""
    random = np.random.default_rng(3)
    covered = {}
    for name, stability in (("scans", {}), ("scans and raters", {"raters": "rater"})):
        config = parse_ranking({**DOCUMENT, "stability": {**stability, "interval": "percentile"}})
        hits = 0
        for _ in range(150):
            values = (
                0.5
                + random.normal(0, 0.05, (2, 30, 1))
                + random.normal(0, 0.05, (2, 1, 6))
                + random.normal(0, 0.02, (2, 30, 6))
            )
            prepared = prepare(readings(values.clip(0, 1)), config)
            low, high = np.quantile(
                aggregate_samples("dice", prepared, draw_clusters(prepared, count=200, seed=1))[:, 0], [0.025, 0.975]
            )
            hits += low <= 0.5 <= high
        covered[name] = hits / 150
    assert covered["scans"] < 0.75
    assert covered["scans and raters"] > 0.88


def test_tests_count_scans_and_not_readings() -> None:
    values = np.random.default_rng(4).random((2, SCANS, RATERS))
    found = analyse(readings(values), parse_ranking(DOCUMENT), bootstrap=20)
    assert found.metrics["dice"].pair_counts.tolist() == [[SCANS, SCANS], [SCANS, SCANS]]


def test_a_column_of_raters_is_understood(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rows = [
        f"{a},c{s},{r},{random.random():.4f},{'xy'[s % 2]}"
        for a in ("m1", "m2")
        for s in range(6)
        for r in ("Ana", "Ben")
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(("Model,Case,Annotator,Dice,site", *rows)) + "\n")
    found = read_scores(path, parse_ranking({"metrics": ["dice"]}))
    assert len(found.table.cases) == 12
    assert found.table.attributes["c3 / Ben"] == {"site": "y", "scan": "c3", "rater": "Ben"}
    assert (found.config.levels, found.config.cluster) == (("structure", "case", "scan"), "scan")
    assert found.config.stability.raters == "rater"
    result = CliRunner().invoke(rank, [str(path), "--bootstrap", "20", "--json", str(tmp_path / "r.json")])
    assert result.exit_code == 0, result.output
    assert "2 raters (Annotator): every reading is a case" in result.output
    again = CliRunner().invoke(rank, ["--from", str(tmp_path / "r.json")])
    assert again.exit_code == 0, again.output


def test_one_rater_a_case_is_something_said_of_the_case(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,case,rater,dice\na,1,Ana,0.5\na,2,Ben,0.5\nb,1,Ana,0.6\nb,2,Ben,0.5\n")
    found = read_scores(path, parse_ranking({"metrics": ["dice"]}))
    assert found.table.attributes["1"] == {"rater": "Ana"}
    assert found.config.cluster == "case"


def test_a_reading_without_a_rater_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,case,rater,dice\na,1,Ana,0.5\na,1,,0.5\nb,1,Ana,0.6\nb,1,Ben,0.5\n")
    result = CliRunner().invoke(rank, [str(path)])
    assert result.exit_code == 1
    assert "line 3, column rater: found nothing; expected the rater of every row" in result.output


def test_raters_need_a_level_above_their_readings() -> None:
    with pytest.raises(ConfigError, match=r"stability.raters: found it where cases count as independent"):
        parse_ranking({"metrics": ["dice"], "stability": {"raters": "rater"}})
