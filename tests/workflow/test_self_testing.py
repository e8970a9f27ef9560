"""Before participants come: a phase's rules tried on known answers, and the organizers' baseline."""

import io

import pytest
from django.urls import reverse

import factories
import image_archives
from assay.accounts.models import AuditEvent
from assay.evaluations import self_tests
from assay.evaluations.models import SelfTest
from assay.leaderboards.models import LeaderboardEntry
from assay.organizers.consoles import phases_of, readiness
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.workflow.flow.self_testing import ask_self_test
from assay.workflow.workers import reaper, self_testing
from markup import markup


@pytest.fixture
def as_olga(client, stage):
    client.force_login(stage.scene.olga)
    return client


@pytest.fixture
def url(stage) -> str:
    return reverse("organizers:trial", args=["brains", "final"])


def work(now) -> None:
    for pk in self_tests.waiting_self_tests().values_list("pk", flat=True):
        self_testing.run_self_test(self_test_id=pk, clock=lambda: now)


def test_right_rules_pass_and_the_page_shows_what_each_answer_is_worth(stage, as_olga, url, now):
    assert as_olga.post(url, {"self-test": "1"}).status_code == 302
    waiting = as_olga.get(url)
    assert (waiting.status_code, "A scoring worker is at it" in markup(waiting)) == (202, True)
    work(now)
    test = SelfTest.objects.get()
    assert (test.is_passed, test.report["cases"]) == (True, ["a", "b"])
    answer = as_olga.get(url)
    page = markup(answer)
    assert answer.status_code == 200
    assert "1.000" in page
    assert "every metric has its best value" in page
    assert AuditEvent.objects.filter(verb="phase.self_test_asked", actor=stage.scene.olga).count() == 1


def test_rules_that_reward_an_empty_answer_are_found_out(stage, as_olga, url, now):
    protocol = stage.scene.phase.protocol
    generous = {**protocol.document, "conventions": {"prediction_empty": {"dice": 1}}}
    factories.rewrite_protocol(protocol, generous)
    as_olga.post(url, {"self-test": "1"})
    work(now)
    assert not SelfTest.objects.get().is_passed
    assert "dice of core in a is 1, the best value there is" in markup(as_olga.get(url))


def test_a_reference_that_cannot_be_used_is_named(stage, as_olga, url, now):
    case = stage.scene.phase.chosen_testset.testset.cases.get(case_id="b")
    storage.delete_file(case.references[0]["key"])
    stored = storage.save_file(key=case.references[0]["key"], stream=io.BytesIO(), max_bytes=9)
    case.references[0].update(sha256=stored.sha256, bytes=0)
    case.save()
    as_olga.post(url, {"self-test": "1"})
    work(now)
    assert "case b" in SelfTest.objects.get().report["error"]
    assert "The rules could not be tried" in markup(as_olga.get(url))


def test_asking_twice_asks_once_and_other_rules_ask_anew(stage, now):
    phase, olga = stage.scene.phase, stage.scene.olga
    first = ask_self_test(phase=phase, user=olga, now=now)
    assert ask_self_test(phase=phase, user=olga, now=now) == first
    work(now)
    phase.protocol = factories.protocol(challenge=phase.challenge)
    phase.save()
    assert self_tests.newest_self_tests([phase]) == {}
    second = ask_self_test(phase=phase, user=olga, now=now)
    assert self_tests.newest_self_tests([phase]) == {phase.pk: second}


def test_a_worker_that_died_is_followed_by_another_one(stage, now):
    asked = ask_self_test(phase=stage.scene.phase, user=stage.scene.olga, now=now)
    held = self_tests.claim_self_test(asked.pk)
    assert self_tests.claim_self_test(asked.pk) is None
    SelfTest.objects.update(lease_until=now)
    later = self_tests.claim_self_test(asked.pk)
    assert not self_tests.finish_self_test(held, is_passed=False, report={}, now=now)
    assert self_tests.finish_self_test(later, is_passed=True, report={}, now=now)


def test_the_reaper_rings_for_what_nobody_works_on(stage, now, monkeypatch):
    asked = ask_self_test(phase=stage.scene.phase, user=stage.scene.olga, now=now)
    rung = []
    monkeypatch.setattr(reaper.doorbells, "ring_self_test", rung.append)
    reaper.ring_self_tests(now=now)
    assert rung == [asked.pk]


def test_a_phase_without_cases_is_told_so(stage, as_olga, now):
    empty = factories.phase(challenge=stage.scene.challenge, slug="empty")
    page = as_olga.post(reverse("organizers:trial", args=["brains", empty.slug]), {"self-test": "1"})
    assert page.status_code == 409
    assert "no test set" in markup(page)


def enter_baseline(client, url, folder):
    with image_archives.honest_image(folder / "image.tar").open("rb") as archive:
        return client.post(url, {"baseline": "1", "name": "Otsu", "archive": archive})


def test_a_baseline_runs_before_the_phase_opens_and_is_shown_without_a_rank(stage, as_olga, url, tmp_path, now):
    phase = stage.scene.phase
    phase.opens_at, phase.closes_at = (
        now + (phase.closes_at - phase.opens_at),
        now + 2 * (phase.closes_at - phase.opens_at),
    )
    phase.save()
    assert enter_baseline(as_olga, url, tmp_path).status_code == 302
    baseline = Submission.objects.get()
    assert (baseline.is_baseline, baseline.is_charged, baseline.is_late) == (True, False, False)
    assert list(baseline.team.members.all()) == [stage.scene.olga]
    stage.play()
    entry = LeaderboardEntry.objects.get()
    assert (entry.submission, entry.rank) == (baseline, None)
    board = markup(as_olga.get(reverse("portal:leaderboard", args=["brains", "final"])))
    assert "baseline" in board
    assert enter_baseline(as_olga, url, tmp_path).status_code == 302
    stage.play()
    assert LeaderboardEntry.objects.count() == 2  # every baseline stands there, not the latest alone


def test_both_are_on_the_list_of_what_has_to_be_ready(stage, as_olga, url, tmp_path, now):
    def failing() -> list[str]:
        challenge = stage.scene.challenge
        return [check.text for check in readiness(challenge, phases_of(challenge, now=now)) if not check.ok]

    words = {"the self-test of every phase has passed", "a baseline was scored in every phase"}
    assert words <= set(failing())
    as_olga.post(url, {"self-test": "1"})
    work(now)
    enter_baseline(as_olga, url, tmp_path)
    stage.play()
    assert not words & set(failing())


def test_participants_find_no_such_door(stage, client, url, tmp_path):
    client.force_login(stage.scene.pia)
    assert client.get(url).status_code == 403
    assert enter_baseline(client, url, tmp_path).status_code == 403
    assert not Submission.objects.exists()
