"""The report of a ranking holds one row per submission, whatever teams are called, and says so when it could not be made."""

import random
from unittest import mock

import pytest
from django.urls import reverse

import factories
from assay.accounts.models import Team
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import reports
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.leaderboards.words import UNFINISHED, sentence
from assay.submissions.models import Submission
from assay.testsets.storage import has_file, open_file

pytestmark = pytest.mark.django_db
RULES = {**factories.PROTOCOL, "ranking": {"metrics": ["dice"], "missing": {"any": 0}}}


@pytest.fixture
def phase(scene):
    testset = factories.testset(challenge=scene.challenge, name="six", case_ids=[f"c{number}" for number in range(6)])
    version = factories.protocol(challenge=scene.challenge, document=RULES)
    row = factories.phase(challenge=scene.challenge, slug="six", testset=testset, protocol=version)
    for level in (0.5, 0.7):
        enter(row, level=level)
    return row


def enter(phase, *, level: float) -> Submission:
    submission = factories.submission(phase=phase, team=factories.team(members=[factories.user()]), status="done")
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, protocol=submission.protocol, testset=submission.testset,
        status="done", is_active=True, created_at=factories.NOW,
    )  # fmt: skip
    chance = random.Random(submission.number)
    for case in submission.testset.cases.all():
        values = [[label, "dice", level + chance.uniform(0, 0.1), ""] for label in ("core", "rim")]
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    rebuild_leaderboard(phase_id=phase.pk, now=factories.NOW)
    return submission


def test_two_teams_of_one_name_have_a_report_with_both(phase):
    Team.objects.filter(submissions__phase=phase).update(name="Quin")  # past the model, as rows made long ago may be
    assert reports.make_report(phase_id=phase.pk)
    with open_file(reports.report_key(phase)) as file:
        page = file.read().decode()
    assert "Quin #1" in page
    assert "Quin #2" in page


def test_a_team_called_like_another_with_its_number_is_told_apart(phase):
    first, second = phase.submissions.order_by("number")
    Team.objects.filter(pk=first.team_id).update(name="Quin")
    Team.objects.filter(pk=second.team_id).update(name="Quin #1")
    enter(phase, level=0.6)
    third = phase.submissions.get(number=3)
    Team.objects.filter(pk=third.team_id).update(name="Quin")
    names = reports.names_of(phase.submissions.select_related("team"), phase=phase)
    assert len(set(names.values())) == 3


def test_a_report_that_failed_says_so_until_it_is_tried_again(phase, client, scene, monkeypatch):
    real = reports.analyse
    monkeypatch.setattr(reports, "analyse", explode)
    address = reverse("portal:report", args=[phase.challenge.slug, phase.slug])
    assert not reports.make_report(phase_id=phase.pk)
    said = {}
    for person in (scene.pia, scene.olga):
        client.force_login(person)
        answer = client.get(address)
        said[person.username] = (answer.status_code, "could not be made" in answer.text, "hidden words" in answer.text)
    assert said == {"pia": (500, True, False), "olga": (500, True, True)}
    monkeypatch.setattr(reports, "analyse", real)
    assert not reports.make_report(phase_id=phase.pk), "it is not tried again by itself"
    assert client.post(address).status_code == 202
    assert reports.make_report(phase_id=phase.pk)
    assert b"".join(client.get(address).streaming_content).startswith(b"<!")


def test_the_next_ranking_is_tried_again(phase, monkeypatch):
    real = reports.analyse
    monkeypatch.setattr(reports, "analyse", explode)
    reports.make_report(phase_id=phase.pk)
    monkeypatch.setattr(reports, "analyse", real)
    enter(phase, level=0.6)
    assert reports.make_report(phase_id=phase.pk)
    assert has_file(reports.report_key(phase))
    assert Leaderboard.objects.get(phase=phase).report_failure


class WorkerKilled(BaseException):
    """The process is gone: no code of ours runs after it."""


def killed(phase, monkeypatch):
    """One report that takes its worker with it."""
    with monkeypatch.context() as patch:
        patch.setattr(reports, "analyse", mock.Mock(side_effect=WorkerKilled))
        with pytest.raises(WorkerKilled):
            reports.make_report(phase_id=phase.pk)


def test_a_report_that_ended_its_worker_twice_is_set_aside_and_organizers_see_why(phase, client, scene, monkeypatch):
    killed(phase, monkeypatch)
    assert reports.report_failure(phase) is None, "it is tried twice"
    killed(phase, monkeypatch)
    never = mock.Mock(side_effect=WorkerKilled)
    monkeypatch.setattr(reports, "analyse", never)
    assert not reports.make_report(phase_id=phase.pk)
    assert not reports.make_report(phase_id=phase.pk)
    assert not never.called
    client.force_login(scene.olga)
    assert sentence(UNFINISHED) in client.get(reverse("organizers:overview", args=[phase.challenge.slug])).text
    assert client.get(reverse("portal:report", args=[phase.challenge.slug, phase.slug])).status_code == 500


def test_an_organizer_lets_a_report_that_was_set_aside_be_tried_again(phase, client, scene, monkeypatch):
    for _ in range(2):
        killed(phase, monkeypatch)
    assert not reports.make_report(phase_id=phase.pk)
    client.force_login(scene.olga)
    assert client.post(reverse("portal:report", args=[phase.challenge.slug, phase.slug])).status_code == 202
    assert reports.make_report(phase_id=phase.pk)


def test_a_report_that_ends_well_starts_counting_anew(phase, monkeypatch):
    killed(phase, monkeypatch)
    assert reports.make_report(phase_id=phase.pk)
    assert Leaderboard.objects.get(phase=phase).report_tries == 0


def explode(*_: object, **__: object) -> None:
    raise ValueError("hidden words of a case")
