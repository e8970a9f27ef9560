"""Submissions found by anything, and what is done with many at once after a look at how many."""

from datetime import timedelta

import pytest
from django.urls import reverse

import factories
from assay.accounts.models import AuditEvent
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.services import rebuild_leaderboard
from assay.organizers.submissions import ACTS
from assay.submissions.models import Submission
from markup import markup


@pytest.fixture
def rows(scene, client):
    client.force_login(scene.olga)
    other = factories.team(name="Delta", members=[scene.otto])
    factories.membership(challenge=scene.challenge, user=scene.otto, team=other)
    made = [
        factories.submission(phase=scene.phase, team=scene.team, name="Alpha", status="done"),
        factories.submission(phase=scene.phase, team=other, name="Beta", status="failed", verdict="timeout", fault="participant"),
        factories.submission(phase=scene.phase, team=other, name="Gamma", status="failed", verdict="oom", fault="platform"),
    ]  # fmt: skip
    Submission.objects.filter(name="Gamma").update(created_at=factories.NOW - timedelta(days=3), flag="ask them")
    return made


def url(query: str = "") -> str:
    return reverse("organizers:submissions", args=["brains"]) + query


def listed(client, query: str) -> set[str]:
    return {row.name for row, _progress in client.get(url(query)).context["submissions"]}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?q=alp", {"Alpha"}),
        ("?q=delta", {"Beta", "Gamma"}),
        ("?q=%232", {"Beta"}),
        ("?status=failed&verdict=timeout", {"Beta"}),
        ("?fault=platform", {"Gamma"}),
        ("?age=1", {"Alpha", "Beta"}),
        ("?state=flagged", {"Gamma"}),
        ("?state=ranked&status=done", {"Alpha"}),
        ("?phase=final", {"Alpha", "Beta", "Gamma"}),
        ("?phase=other", set()),
        ("?node=gpu-7", set()),
        ("?age=nonsense&state=nonsense", {"Alpha", "Beta", "Gamma"}),
    ],
)
def test_a_list_holds_what_matches_everything(rows, client, query, names):
    assert listed(client, query) == names


def test_a_bulk_act_is_shown_before_it_is_done(rows, client):
    asked = client.post(url("?status=failed"), {"action": "flag", "scope": "matching"})
    page = markup(asked)
    assert "Flag: 2 submissions" in page
    assert "Note, for organizers alone" in page
    assert not Submission.objects.filter(flag="seen").exists()
    ids = [str(pk) for pk in asked.context["asked_ids"]]
    done = {"action": "flag", "chosen": ids, "confirmed": "2", "reason": "seen"}
    said = markup(client.post(url("?status=failed"), done, follow=True))
    assert "2 of 2 are flagged" in said
    assert set(Submission.objects.filter(flag="seen").values_list("name", flat=True)) == {"Beta", "Gamma"}
    assert AuditEvent.objects.filter(verb="submission.flagged").count() == 2


def test_nothing_is_done_without_a_choice_a_note_or_the_same_number(rows, client):
    for form in (
        {"action": "hide"},
        {"action": "nonsense", "chosen": str(rows[0].pk)},
        {"action": "disqualify", "chosen": str(rows[0].pk), "confirmed": "1"},
        {"action": "hide", "chosen": [str(row.pk) for row in rows], "confirmed": "2"},
    ):
        answer = client.post(url(), form, follow=True)
        assert answer.status_code == 200
    assert "The number has changed" in markup(answer)
    assert not Submission.objects.filter(is_hidden=True).exists()
    assert not Submission.objects.filter(is_disqualified=True).exists()


def test_what_is_of_another_challenge_is_left_alone(rows, client, scene):
    theirs = factories.phase(challenge=factories.challenge(slug="lungs"), slug="x")
    foreign = factories.submission(phase=factories.with_testset(theirs), team=scene.team)
    client.post(url(), {"action": "hide", "chosen": [str(foreign.pk), str(rows[0].pk)], "confirmed": "1"})
    assert list(Submission.objects.filter(is_hidden=True)) == [rows[0]]


def test_a_hidden_submission_stands_on_no_board_until_it_is_shown(scene, client):
    client.force_login(scene.olga)
    entry = factories.entry(phase=scene.phase, team=scene.team, rank=1)
    page = reverse("organizers:submission", args=["brains", entry.submission.pk])
    for act, count in (("hide", 0), ("show", 1)):
        client.post(page, {"action": act})
        rebuild_leaderboard(phase_id=scene.phase.pk, now=factories.NOW)
        assert LeaderboardEntry.objects.count() == count


def test_an_attempt_is_given_back_and_counted_again(scene, rows, client):
    for act, is_charged in (("refund", False), ("refund", False), ("charge", True)):
        client.post(url(), {"action": act, "chosen": str(rows[1].pk), "confirmed": "1"})
        rows[1].refresh_from_db()
        assert (rows[1].is_charged, rows[1].is_refunded) == (is_charged, not is_charged)
    assert AuditEvent.objects.filter(verb="submission.refunded").count() == 1


def test_the_list_is_a_table_to_take_away(rows, client):
    text = client.get(url("?status=failed&format=csv")).content.decode()
    assert [line.split(",")[2] for line in text.splitlines()] == ["name", "Beta", "Gamma"]


@pytest.mark.parametrize("act", sorted(ACTS))
def test_every_act_can_be_done_to_everything(rows, client, act):
    ids = [str(row.pk) for row in rows]
    answer = client.post(url(), {"action": act, "chosen": ids, "confirmed": "3", "reason": "why"})
    assert answer.status_code == 302
