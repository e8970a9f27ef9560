"""Rows side by side: paired differences by hand, tests against SciPy, and what a viewer may not see."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

import factories
from assay.evaluations.models import CaseScores
from assay.leaderboards.comparing import compare_rows, difference_of
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard

VALUES = {"A": [0.5, 0.6, 0.7, 0.8], "B": [0.6, 0.6, 0.9, 0.7], "C": [0.4, 0.5, None, 0.7]}
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def phase(scene):
    testset = factories.testset(challenge=scene.challenge, name="four", case_ids=NAMES)
    phase = factories.phase(challenge=scene.challenge, slug="four", testset=testset)
    for rank, values in enumerate(VALUES.values(), start=1):
        known = [value for value in values if value is not None]
        metrics = {
            "dice": {
                "mean": float(np.mean(known)),
                "per_label": {"core": {"mean": values[0]}, "rim": {"mean": values[1]}},
            }
        }
        entry = factories.entry(phase=phase, rank=rank, metrics=metrics)
        CaseScores.objects.bulk_create(
            CaseScores(
                evaluation=entry.evaluation, case=case, scores=[["core", "dice", value, ""], ["rim", "dice", value, ""]]
            )
            for case, value in zip(testset.cases.order_by("position"), values, strict=True)
        )
    return phase


def compared(phase, *numbers, shows_cases=True):
    board = leaderboard(phase, is_organizer=True, now=factories.NOW, wanted=Wanted(numbers=numbers))
    return compare_rows(board.entries, phase=phase, columns=board.metrics, shows_cases=shows_cases)


@pytest.mark.django_db
def test_a_pair_is_compared_on_the_cases_both_have(phase):
    (metric,) = compared(phase, 1, 2).metrics
    (pair,) = metric.differences
    assert metric.means == pytest.approx((0.65, 0.7))
    assert (pair.cases, pair.wins, pair.ties, pair.losses) == (4, 2, 1, 1)
    assert pair.mean == pytest.approx(0.05)  # +0.1, 0, +0.2, −0.1
    assert pair.low <= pair.mean <= pair.high
    # differences +0.1, 0, +0.2, −0.1: mean 0.05, squared deviations 0.0025 + 0.0025 + 0.0225 + 0.0225, divided by 3
    reach = 1.96 * (0.05 / 3) ** 0.5
    assert pair.limits == pytest.approx((0.05 - reach, 0.05 + reach))
    assert metric.structures == {"core": (0.5, 0.6), "rim": (0.6, 0.6)}


@pytest.mark.django_db
def test_a_case_without_a_value_leaves_its_pairs_only(phase):
    (metric,) = compared(phase, 1, 2, 3).metrics
    assert metric.cases["c"] == (0.7, 0.9, None)
    assert [(d.first, d.second, d.cases) for d in metric.differences] == [(0, 1, 4), (0, 2, 3), (1, 2, 3)]
    assert metric.differences[1].losses == 3


@pytest.mark.django_db
def test_p_is_adjusted_for_every_pair_on_the_page(phase):
    (alone,) = (d.p for d in compared(phase, 1, 3).metrics[0].differences)
    among = [d.p for d in compared(phase, 1, 2, 3).metrics[0].differences]
    assert among[1] == pytest.approx(min(1.0, 3 * alone))


@pytest.mark.django_db
def test_single_cases_stay_out_where_the_viewer_may_not_see_them(phase, django_assert_num_queries):
    with django_assert_num_queries(
        4
    ):  # the rows, the disqualified ones, the best means and the evaluations: no case is read
        (metric,) = compared(phase, 1, 2, shows_cases=False).metrics
    assert metric.means == pytest.approx((0.65, 0.7))
    assert (metric.cases, metric.differences) == ({}, ())


@pytest.mark.django_db
def test_rows_scored_under_different_rules_say_so(phase, scene):
    assert compared(phase, 1, 2).differs_in == []
    entry = phase.entries.get(submission__number=2)
    entry.evaluation.protocol = factories.protocol(challenge=scene.challenge)
    entry.evaluation.evaluator_version = "9.9"
    entry.evaluation.save()
    assert compared(phase, 1, 2).differs_in == ["protocol versions", "versions of the evaluator"]


def test_the_test_is_scipys():
    random = np.random.default_rng(3)
    first = random.uniform(0.5, 0.9, 40)
    second = first + random.normal(0.01, 0.03, 40)
    found = difference_of(np.stack([first, second], axis=1).tolist(), first=0, second=1, larger_is_better=True)
    expected = wilcoxon(second, first, correction=True, method="approx").pvalue
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.mean == pytest.approx(float((second - first).mean()))


def test_smaller_is_better_turns_wins_around():
    found = difference_of([(5.0, 3.0), (5.0, 6.0), (5.0, 5.0)], first=0, second=1, larger_is_better=False)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.mean == pytest.approx(-1 / 3)


def test_a_pair_with_nothing_in_common_has_nothing_to_say():
    found = difference_of([(None, 0.5), (0.5, None)], first=0, second=1, larger_is_better=True)
    assert (found.cases, found.mean, found.low, found.p) == (0, None, None, None)


def test_two_equal_rows_have_no_p():
    found = difference_of([(0.5, 0.5), (0.6, 0.6)], first=0, second=1, larger_is_better=True)
    assert (found.ties, found.mean, found.p) == (2, 0.0, None)
