"""Boards that stay open, and sites: tests that survive looking, resampling by site, and whether the winner wins everywhere."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from evaluator.ranking import ConfigError, ScoreTable, analyse, parse_ranking
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.stability import draw_clusters
from evaluator.ranking.statistics.anytime import anytime_p, log_e_value
from evaluator.ranking.subgroups import analyse_subgroups, heterogeneity


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 2), (2, 5), (40, 10)])
def test_the_bet_is_the_mixture_written_out(wins: int, losses: int) -> None:
    value, _ = integrate.quad(lambda p: 2 * (2 * p) ** wins * (2 - 2 * p) ** losses, 0.5, 1)
    assert math.exp(log_e_value(wins, losses)) == pytest.approx(value, rel=1e-8)


@pytest.mark.slow
def test_looking_after_every_case_raises_no_more_false_alarms_than_stated() -> None:
    """Nobody is better: 1500 boards of 300 cases, looked at after each. A test of fixed size that is looked at so alarms for a third."""
    random = np.random.default_rng(4)
    signs = np.where(random.random((1500, 300)) < 0.5, 1.0, -1.0)
    alarms = np.mean([anytime_p(row) <= 0.05 for row in signs])
    assert alarms <= 0.05
    wins = (signs > 0).cumsum(axis=1)
    n = np.arange(1, 301)
    fixed = stats.binom.sf(wins[:, 9:] - 1, n[9:], 0.5).min(axis=1) <= 0.05
    assert fixed.mean() > 0.2


def test_a_real_difference_is_found_and_the_order_of_looks_does_not_matter_later() -> None:
    random = np.random.default_rng(1)
    better = np.where(random.random(200) < 0.7, 1.0, -1.0)
    assert anytime_p(better) < 0.001
    assert anytime_p(-better) > 0.2
    assert anytime_p(np.append(better, -np.ones(50))) == anytime_p(better), "an alarm once given stands"
    assert anytime_p(np.zeros(9)) == anytime_p(np.array([np.nan])) == 1


def table(sites: int = 4, patients: int = 10, lead=lambda site: 0.02) -> ScoreTable:
    random = np.random.default_rng(0)
    cases = [f"s{s}p{p}" for s in range(sites) for p in range(patients)]
    base = random.normal(0.7, 0.05, len(cases))
    leads = np.array([lead(s) for s in range(sites) for _ in range(patients)])
    noise = random.normal(0, 0.01, (2, len(cases)))
    values = np.stack([base + leads, base]) + noise
    return ScoreTable.from_arrays(
        algorithms=["a", "b"], cases=cases, metrics={"dice": values},
        attributes={c: {"site": c[:2]} for c in cases},
    )  # fmt: skip


DOCUMENT = {
    "metrics": ["dice"],
    "scheme": "value",
    "unit": {"levels": ["structure", "case", "site"], "cluster": "case"},
}


def test_the_test_of_open_boards_is_one_of_the_document() -> None:
    config = parse_ranking({**DOCUMENT, "significance": {"test": "e_value"}})
    found = analyse(table(), config, bootstrap=0)
    d = table().metrics["dice"].values[0, 0] - table().metrics["dice"].values[1, 0]
    assert found.neighbours[0].p == anytime_p(d)
    assert found.plan is None


def test_nested_draws_take_sites_first_and_then_their_cases() -> None:
    config = parse_ranking({**DOCUMENT, "stability": {"nested": True}})
    draws = draw_clusters(prepare(table(), config), count=400, seed=1).multiplicities.reshape(400, 4, 10)
    per_site = draws.sum(axis=2)
    assert (per_site.sum(axis=1) == 40).all()
    assert (per_site % 10 == 0).all(), "a site that was drawn gives as many cases as it has"
    assert (per_site == 0).any(axis=1).mean() == pytest.approx(1 - math.factorial(4) / 4**4, abs=0.06)
    plain = draw_clusters(prepare(table(), parse_ranking(DOCUMENT)), count=400, seed=1).multiplicities.reshape(
        400, 4, 10
    )
    assert (plain.sum(axis=2) > 0).all()


def test_nested_draws_need_a_level_above() -> None:
    with pytest.raises(ConfigError, match="nested: found true where case is the top level"):
        parse_ranking({"metrics": ["dice"], "stability": {"nested": True}})


def test_whether_the_winner_wins_at_every_site_is_said() -> None:
    config = parse_ranking({**DOCUMENT, "subgroups": [{"attribute": "site", "minimum_cases": 5}]})
    (same,) = analyse_subgroups(table(), config)
    assert same.winner.in_words.startswith("a ranks first in 4 of 4 groups")
    assert same.winner.p_heterogeneity > 0.01
    (apart,) = analyse_subgroups(table(lead=lambda site: 0.08 if site else -0.05), config)
    assert apart.winner.in_words.startswith("a ranks first in 3 of 4 groups")
    assert apart.winner.i_squared > 0.9
    assert apart.winner.ranks["s0"] == 2


def test_heterogeneity_is_that_of_the_textbook() -> None:
    """Two effects 1 and 3 with variance 1 each: Q = 2, one degree of freedom, I² = 0.5."""
    p, share = heterogeneity([1, 3], [1, 1])
    assert (p, share) == (pytest.approx(stats.chi2.sf(2, 1)), 0.5)
    assert math.isnan(heterogeneity([1], [1])[0])
