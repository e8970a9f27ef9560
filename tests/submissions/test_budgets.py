"""Budgets of a phase: what is used, what is held, when nothing more is accepted, and what organizers see of it."""

from datetime import timedelta

import pytest
from django.urls import reverse

import factories
from assay.challenges.models import Phase
from assay.submissions.budgets import Budget, budget_condition, cost_of, forecast_of, nearly_spent
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.run_time import add_run_time
from assay.submissions.selectors import eligibility_of
from markup import markup

HOUR, GIB = 3600.0, 2**30


@pytest.fixture
def ran(scene, now) -> Submission:
    """A submission of Pia's team that ran for three hours."""
    row = factories.submission(phase=scene.phase, team=scene.team, status="done")
    for hours in (1, 2):
        add_run_time(submission=row, seconds=hours * HOUR, now=now)
    AlgorithmImage.objects.filter(pk=row.image_id).update(rewritten_bytes=3 * GIB)
    return row


def limited(scene, **budgets) -> Phase:
    Phase.objects.filter(pk=scene.phase.pk).update(**budgets)
    scene.phase.refresh_from_db()
    return scene.phase


def test_what_ran_is_added_up(ran):
    ran.refresh_from_db()
    assert ran.run_seconds == 3 * HOUR


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        ({"budget_hours": 4}, ""),
        ({"budget_hours": 3}, "the phase has used its computing time"),
        ({"team_budget_hours": 3}, "your team has used its computing time"),
        ({"budget_gib": 3}, "the phase has used its space"),
        ({"team_budget_gib": 2}, "your team has used its space"),
        ({"budget_hours": 0}, "the phase has used its computing time"),
        ({"team_budget_gib": 4, "budget_gib": 4}, ""),
    ],
)
def test_a_budget_that_is_reached_stops_submissions(scene, ran, now, budgets, says):
    phase = limited(scene, **budgets)
    found = eligibility_of(person=scene.pia, phase=phase, now=now)
    missing = [condition.text for condition in found.conditions if not condition.ok]
    assert [says in text for text in missing] == ([True] if says else [])
    assert found.can_submit == (not says)


def test_another_teams_use_counts_for_the_phase_and_not_for_the_team(scene, ran, now):
    other = factories.team(name="Delta")
    assert budget_condition(phase=limited(scene, team_budget_hours=3), team=other).ok
    assert not budget_condition(phase=limited(scene, budget_hours=3), team=other).ok


def test_what_is_under_way_is_held_with_the_longest_it_may_run(scene, ran):
    factories.submission(phase=scene.phase, team=scene.team, status="running", reserved_seconds=2 * HOUR)
    cost = cost_of(limited(scene, budget_hours=6), now=factories.NOW)
    assert (cost.hours.used, cost.hours.held, cost.hours.is_reached) == (3, 2, False)
    assert cost_of(limited(scene, budget_hours=5), now=factories.NOW).hours.is_reached


def test_an_image_that_is_entered_twice_is_stored_once(scene, ran):
    factories.submission(phase=scene.phase, team=scene.team, image=ran.image)
    cost = cost_of(scene.phase, now=factories.NOW)
    assert cost.gib.used == 3
    assert [(row.team, row.submissions, row.hours.used, row.gib.used) for row in cost.teams] == [(scene.team, 2, 3, 3)]


def test_the_forecast_goes_on_at_the_pace_until_now(now):
    opens, closes = now - timedelta(hours=10), now + timedelta(hours=30)
    used = Budget(used=5, held=0, allowed=10)
    assert forecast_of(used, opens_at=opens, closes_at=closes, now=now) == (20, now + timedelta(hours=10))
    assert forecast_of(Budget(used=1, held=0, allowed=10), opens_at=opens, closes_at=closes, now=now) == (4, None)
    assert forecast_of(used, opens_at=now, closes_at=closes, now=now) == (None, None)
    assert forecast_of(used, opens_at=opens, closes_at=now, now=now) == (None, None)


def test_organizers_are_told_from_seven_tenths_on(scene, ran, client):
    client.force_login(scene.olga)
    assert nearly_spent(scene.challenge) == []
    limited(scene, budget_hours=4)
    assert nearly_spent(scene.challenge) == [(scene.phase, 0.75)]
    assert "75 % of the budget" in markup(client.get(reverse("organizers:overview", args=["brains"])))
    page = markup(client.get(reverse("organizers:costs", args=["brains"])))
    assert "budget nearly reached" in page
    assert "Pia and friends" in page
    table = client.get(reverse("organizers:costs", args=["brains"]) + "?format=csv").content.decode()
    assert "final,Pia and friends,1,3.0" in table


def test_a_team_never_reads_how_much_was_used(scene, ran, client):
    limited(scene, team_budget_hours=3)
    client.force_login(scene.pia)
    page = markup(client.get(reverse("portal:phase", args=["brains", "final"])))
    assert "your team has used its computing time" in page
    assert "3 hours" not in page


def test_an_estimate_is_teams_times_submissions_times_cases(scene, client):
    """Two cases, 20 teams, 5 submissions each, 3 minutes a case: 10 hours. A limit of ten minutes a case: 33.3 hours."""
    client.force_login(scene.olga)
    address = reverse("organizers:costs", args=["brains"])
    (row,) = client.get(address, {"teams": 20, "each": 5, "minutes": "3", "price": "1,5"}).context["estimates"]
    limit = scene.phase.protocol.document["resources"]["wall_seconds"]
    assert (row.cases, row.hours, row.price) == (2, 10, 15)
    assert row.longest_hours == pytest.approx(100 * 2 * limit / HOUR)
    for nonsense in ({"teams": "many"}, {"minutes": "-1"}, {"price": "nan"}, {"each": "9" * 12}):
        assert client.get(address, nonsense).context["estimates"] == []
