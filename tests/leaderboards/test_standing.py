"""What a board is sorted by: worked out at the rebuild, by the view, and no finer than the viewer is told."""

from importlib import import_module

import pytest
from django.apps import apps

import factories
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.standing import best_means, views_of
from assay.submissions.models import Submission

DICE = {
    "dice": {"mean": 0.8, "per_label": {"core": {"mean": 0.7}}, "per_site": {"A": {"mean": 0.9}, "B": {"mean": None}}}
}


def board(phase, *, is_organizer=False, **wanted):
    return leaderboard(phase, is_organizer=is_organizer, now=factories.NOW, wanted=Wanted(**wanted))


def numbers(phase, **wanted):
    return [row.number for row in board(phase, **wanted).entries]


def released_as(scene, release, *means):
    """The phase with this release, and one row for each mean, in the order of the ranks."""
    document = {**factories.PROTOCOL, "release": release}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.save()
    for rank, mean in enumerate(means, start=1):
        facts = {"failed_cases": 5 - rank, "metrics": {"dice": {"mean": mean}}}
        entry = factories.entry(phase=scene.phase, rank=rank, **facts)
        entry.evaluation.aggregates = facts["metrics"]
        entry.evaluation.save()
    factories.settle_board(scene.phase)
    return scene.phase


def test_views_are_all_cases_together_and_every_value_of_every_breakdown():
    assert views_of({**DICE, "note": "no metric"}) == {
        "pooled": {"dice": 0.8},
        "site:A": {"dice": 0.9},
        "site:B": {"dice": None},
    }


def test_the_best_of_a_metric_follows_its_direction_and_passes_over_what_is_undefined():
    rows = [
        {"pooled": {"dice": d, "hd95": h}, "site:A": {"dice": None}} for d, h in ((0.7, 3.0), (None, 2.0), (0.9, None))
    ]
    best = best_means(rows, is_max={"dice": True, "hd95": False})
    assert best == {"pooled": {"dice": 0.9, "hd95": 2.0}, "site:A": {}}


def test_rows_are_sorted_by_a_metric_in_the_view_that_is_shown(scene):
    for site in (0.5, 0.9, None, 0.7):
        metrics = {"dice": {"mean": 0.8, "per_site": {"A": {"mean": site}}}}
        factories.entry(phase=scene.phase, rank=1, metrics=metrics)
    assert numbers(scene.phase, sort="-dice", view="site:A") == [2, 4, 1, 3]
    assert numbers(scene.phase, sort="dice", view="site:A") == [1, 4, 2, 3]
    assert numbers(scene.phase, sort="-dice") == [1, 2, 3, 4]
    shown = board(scene.phase, view="site:A")
    assert (shown.best, shown.views) == ({"dice": 0.9}, ("pooled", "site:A"))


def test_what_is_not_ranked_comes_last_whatever_the_order(scene):
    for rank, mean in ((None, 0.9), (1, 0.5), (2, 0.7)):
        factories.entry(phase=scene.phase, rank=rank, metrics={"dice": {"mean": mean}})
    assert numbers(scene.phase, sort="-dice") == [3, 2, 1]
    assert numbers(scene.phase, sort="-rank") == [3, 2, 1]
    assert numbers(scene.phase, sort="no such column") == [2, 3, 1]


def test_a_part_of_a_board_knows_how_many_rows_match(scene):
    for rank in range(1, 6):
        factories.entry(
            phase=scene.phase,
            rank=rank,
            team=factories.team(name=f"{'Odd' if rank % 2 else 'Even'} {rank}", members=[factories.user()]),
        )
    shown = board(scene.phase, search="odd", offset=1, limit=1)
    assert ([row.team for row in shown.entries], shown.count) == (["Odd 3"], 3)
    assert numbers(scene.phase, numbers={2, 5, 99}) == [2, 5]


def test_an_anonymous_board_is_neither_searched_nor_sorted_by_real_names(scene):
    for name in ("Zeta", "Alpha"):
        factories.entry(
            phase=scene.phase,
            rank=1,
            team=factories.team(name=name, members=[factories.user()]),
        )
    Submission.objects.update(name="Algorithm")
    scene.phase.is_anonymous = True
    assert numbers(scene.phase, search="alpha") == []
    assert numbers(scene.phase, search="team 2") == [2]
    assert numbers(scene.phase, sort="team") == [1, 2]
    assert numbers(scene.phase, is_organizer=True, sort="team") == [2, 1]


def test_the_order_of_closed_rows_tells_no_more_than_the_rows(scene):
    phase = released_as(scene, {"mode": "aggregate", "rounding": 1}, 0.91, 0.94, 0.76)
    assert numbers(phase, sort="-dice") == [1, 2, 3]  # 0.9, 0.9, 0.8
    assert numbers(phase, is_organizer=True, sort="-dice") == [2, 1, 3]
    assert numbers(phase, sort="failed_cases") == [1, 2, 3]
    assert numbers(phase, is_organizer=True, sort="failed_cases") == [3, 2, 1]
    assert board(phase).best == {"dice": 0.9}
    assert board(phase, is_organizer=True).best == {"dice": 0.94}


def test_equal_steps_of_a_ladder_share_their_rank(scene):
    phase = released_as(scene, {"mode": "ladder", "delta": 0.1}, 0.93, 0.88, 0.71)
    assert [row.rank for row in board(phase).entries] == [1, 1, 3]
    assert [row.rank for row in board(phase, is_organizer=True).entries] == [1, 2, 3]
    assert [row.metrics for row in board(phase).entries] == [{"dice": {"mean": told}} for told in (0.9, 0.9, 0.7)]


@pytest.mark.django_db
def test_boards_from_before_are_rebuilt_once(scene):
    Leaderboard.objects.create(phase=scene.phase, asked=3, answered=3, asked_at=factories.NOW)
    import_module("assay.leaderboards.migrations.0002_standing").ask_for_rebuilds(apps, None)
    assert Leaderboard.objects.get().asked == 4
