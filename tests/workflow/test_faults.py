"""Whatever dies, is doubled, comes late or comes back: every submission ends once, and no team pays for it."""

import uuid
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

import factories
from assay.evaluations.models import CaseScores, Evaluation
from assay.evaluations.services import ATTEMPTS
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.rejudging import rejudgement_of
from assay.leases import LeaseLost
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.workflow import flow, tasks
from assay.workflow.flow import doorbells
from assay.workflow.flow.resuming import resume
from assay.workflow.operations.stuck import find_stuck
from assay.workflow.workers import checking, reaper, scoring
from containers.engines.fake import FakeEnding
from stage import nifti_bytes


@pytest.fixture
def rung(monkeypatch):
    """Every doorbell that would have rung."""
    bells = []
    monkeypatch.setattr(doorbells, "ring", lambda task, arguments, *, queue: bells.append((task.split(".")[-1], queue)))
    return bells


def expire_leases() -> None:
    """As if the lease had run out: the node has been silent."""
    past = timezone.now() - timedelta(seconds=1)
    CaseRun.objects.filter(status="running").update(lease_until=past)
    Evaluation.objects.filter(status="running").update(lease_until=past)


def wait_out() -> None:
    """As if the pause after a fault of ours were over."""
    CaseRun.objects.update(not_before=None)
    Evaluation.objects.update(not_before=None)


def final(submission: Submission) -> tuple[str, str, bool]:
    submission.refresh_from_db()
    return submission.status, submission.verdict, submission.is_charged


def test_the_same_doorbell_ten_times_makes_one_run_and_one_evaluation(stage):
    submission = stage.submit()
    for _ in range(10):
        checking.check_submission(submission_id=submission.pk, clock=timezone.now)
    assert Run.objects.count() == 1
    stage.run_cases()
    evaluation = Evaluation.objects.get()
    for _ in range(10):
        scoring.score_evaluation(evaluation_id=evaluation.pk, worker="test", clock=timezone.now)
    assert CaseScores.objects.count() == 2
    assert final(submission) == ("done", "ok", True)


def test_a_killed_node_loses_its_case_to_another_and_nothing_is_scored_twice(stage):
    submission = stage.submit()
    stage.check()
    order = stage.api().claim(slots=1, cached_images=[])
    assert order is not None
    assert stage.run_cases() == 0
    expire_leases()
    reaper.reap(now=timezone.now())
    stage.play()
    assert final(submission) == ("done", "ok", True)
    assert CaseRun.objects.get(id=order.case_run_id).attempt == 2
    assert CaseScores.objects.count() == 2


def test_a_killed_scoring_worker_is_replaced_and_only_missing_cases_are_scored(stage, monkeypatch):
    submission = stage.submit()
    stage.check()
    stage.run_cases()
    real, scored = scoring.score_case, []

    def die_at_the_second(**case):
        scored.append(case["case_id"])
        if len(scored) == 2:
            raise SystemExit
        return real(**case)

    monkeypatch.setattr(scoring, "score_case", die_at_the_second)
    evaluation = Evaluation.objects.get()
    with pytest.raises(SystemExit):
        scoring.score_evaluation(evaluation_id=evaluation.pk, worker="first", clock=timezone.now)
    assert CaseScores.objects.count() == 1
    assert not scoring.score_evaluation(evaluation_id=evaluation.pk, worker="too early", clock=timezone.now)
    expire_leases()
    assert scoring.score_evaluation(evaluation_id=evaluation.pk, worker="second", clock=timezone.now)
    assert scored == ["a", "b", "b"]
    assert final(submission) == ("done", "ok", True)


def test_a_broker_that_is_down_costs_nobody_anything(stage, monkeypatch, django_capture_on_commit_callbacks):
    def refuse(*args, **kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(doorbells.current_app, "send_task", refuse)
    submission = stage.submit()
    with django_capture_on_commit_callbacks(execute=True):
        stage.play()
    assert final(submission) == ("done", "ok", True)


def test_the_reaper_rings_for_everything_that_waits(stage, rung, django_capture_on_commit_callbacks):
    def reap() -> list[tuple[str, str]]:
        rung.clear()
        with django_capture_on_commit_callbacks(execute=True):
            reaper.reap(now=timezone.now())
        return rung

    stage.submit(created_at=timezone.now())
    assert reap() == [("check", "workflow")]
    stage.check()
    assert reap() == [("work", "pool.default")]
    stage.run_cases()
    assert reap() == [("score", "scoring")]
    stage.score()
    assert sorted(reap()) == [("rebuild", "ranking"), ("tell", "workflow")], "the team is told by mail as well"
    stage.rank()
    tasks.tell()
    assert reap() == []


def test_a_node_that_comes_back_after_its_lease_is_refused(stage):
    stage.submit()
    stage.check()
    sleeper = stage.api()
    order = sleeper.claim(slots=1, cached_images=[])
    expire_leases()
    reaper.reap(now=timezone.now())
    with pytest.raises(LeaseLost):
        sleeper.heartbeat(order)
    with pytest.raises(LeaseLost):
        sleeper.record(order, {"verdict": "timeout"})
    with pytest.raises(LeaseLost):
        sleeper.put_log(order, log=b"late")
    assert CaseRun.objects.get(id=order.case_run_id).status == "queued"


def test_a_node_that_restarts_gives_its_cases_back_at_once(stage):
    stage.submit()
    stage.check()
    api = stage.api()
    order = api.claim(slots=1, cached_images=[])
    api.register(slots=1, inventory={})
    assert CaseRun.objects.get(id=order.case_run_id).status == "queued"


def test_a_second_reaper_changes_nothing(stage):
    stage.submit()
    stage.check()
    stage.api().claim(slots=1, cached_images=[])
    expire_leases()
    for _ in range(3):
        reaper.reap(now=timezone.now())
    assert CaseRun.objects.get(is_canary=True).infrastructure_failures == 1


def test_a_doorbell_for_a_row_that_is_not_there_is_no_error(db):
    checking.check_submission(submission_id=uuid.uuid4(), clock=timezone.now)
    assert not scoring.score_evaluation(evaluation_id=uuid.uuid4(), worker="test", clock=timezone.now)


def test_a_node_that_is_shut_down_hands_its_case_back_uncounted(stage):
    stage.submit()
    stage.check()
    api = stage.api()
    order = api.claim(slots=1, cached_images=[])
    api.release(order, reason="node_stopping", counts=False)
    case_run = CaseRun.objects.get(id=order.case_run_id)
    assert (case_run.status, case_run.infrastructure_failures) == ("queued", 0)


def test_our_faults_are_tried_three_times_and_never_charged(stage):
    submission = stage.submit()
    stage.check()
    for _ in range(3):
        stage.api().claim(slots=1, cached_images=[])
        expire_leases()
        reaper.reap(now=timezone.now())
    assert final(submission) == ("failed", "infrastructure", False)
    assert submission.fault == "platform"
    assert set(CaseRun.objects.values_list("status", flat=True)) == {"failed"}


def test_a_faulty_engine_is_ours_and_not_the_algorithms(stage):
    def break_down(call):
        raise OSError("no space left on device")

    stage.script = break_down
    submission = stage.submit()
    for _ in range(3):
        assert not submission.finished_at
        stage.play()
        wait_out()
    assert final(submission) == ("failed", "infrastructure", False)


@pytest.mark.parametrize("stops_at", ["received", "queued"])
def test_what_is_cancelled_before_it_ran_is_not_charged(stage, stops_at):
    submission = stage.submit()
    if stops_at == "queued":
        stage.check()
    assert flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())
    assert not flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())
    stage.play()
    assert final(submission) == ("cancelled", "cancelled", False)


def test_a_running_case_is_told_at_its_heartbeat_and_the_submission_ends_once(stage):
    submission = stage.submit()
    stage.check()
    api = stage.api()
    order = api.claim(slots=1, cached_images=[])
    flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())
    assert final(submission)[0] == "running"
    assert api.heartbeat(order).is_cancelled
    api.record(order, {"verdict": "cancelled"})
    assert final(submission) == ("cancelled", "cancelled", True)
    assert api.claim(slots=1, cached_images=[]) is None


def test_a_cancelled_submission_is_not_finished_by_its_late_scores(stage):
    submission = stage.submit()
    stage.check()
    stage.run_cases()
    flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())
    stage.score()
    stage.rank()
    assert final(submission)[0] == "cancelled"
    assert not stage.scene.phase.entries.exists()


def test_an_evaluator_that_fails_is_tried_again_and_can_be_asked_again_without_a_run(stage, monkeypatch):
    submission = stage.submit()
    stage.check()
    stage.run_cases()

    def fail(**case):
        raise RuntimeError("out of order")

    with monkeypatch.context() as broken:
        broken.setattr(scoring, "score_case", fail)
        for attempt in range(1, ATTEMPTS + 1):
            stage.score()
            stage.score()
            assert Evaluation.objects.get().attempt == attempt, "the second try comes after a pause"
            wait_out()
    assert final(submission) == ("failed", "infrastructure", False)
    evaluation = Evaluation.objects.get()
    assert (evaluation.status, evaluation.error) == ("failed", "RuntimeError: out of order")
    assert flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now()) == []
    assert resume(submission_id=submission.pk, by=stage.scene.olga, now=timezone.now())
    stage.score()
    assert final(submission) == ("done", "ok", False)
    assert Run.objects.count() == 1


def test_rejudging_ranks_only_once_it_is_activated_and_old_scores_stay(stage):
    submission = stage.submit()
    stage.play()
    old = Evaluation.objects.get()
    (new,) = flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now())
    stage.score()
    stage.rank()
    old.refresh_from_db()
    assert old.is_active
    assert flow.activate(evaluation_ids=[new.pk], by=stage.scene.olga, now=timezone.now()) == 1
    stage.rank()
    assert submission.evaluations.get(is_active=True) == new
    assert submission.entries.get().evaluation == new
    assert old.case_scores.count() == 2


def test_judging_again_with_the_same_versions_gives_the_same_bits_and_says_so(stage):
    submission = stage.submit()
    stage.play()
    flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now())
    stage.score()
    first, second = (row.receipt for row in submission.evaluations.order_by("number"))
    same = ("scores_sha256", "evaluator", "protocol", "testset")
    assert [first[key] for key in same] == [second[key] for key in same]
    assert {len(first[key]["sha256"]) for key in same[1:]} == {64}
    assert (first["evaluation"], second["evaluation"]) == (1, 2)


@pytest.mark.parametrize("which", ["prediction", "reference"])
def test_a_stored_file_that_changed_is_our_fault_and_never_a_score(stage, which, tmp_path):
    """Rejudged after somebody wrote another label map over a stored one: without the hash this was a score of 0.5, unnoticed."""
    submission = stage.submit()
    stage.play()
    scores = {row.case.case_id: row.scores for row in CaseScores.objects.all()}
    case_run = CaseRun.objects.get(case__case_id="b")
    key = (case_run.outputs if which == "prediction" else case_run.case.references)[0]["key"]
    path = storage.local_path(key)
    path.write_bytes(nifti_bytes(np.zeros((4, 4, 4), np.uint8), tmp_path))
    (new,) = flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now())
    for _ in range(ATTEMPTS):
        stage.score()
        wait_out()
    new.refresh_from_db()
    assert new.status == "failed"
    assert new.error.startswith(f"StoredFileChanged: {key} has the sha256 {storage.hash_file(path)[:12]}…, but ")
    assert final(submission)[:2] == ("done", "ok")
    assert not new.case_scores.filter(case__case_id="b").exists()
    assert {row.case.case_id: row.scores for row in submission.evaluations.get(number=1).case_scores.all()} == scores
    (line,) = find_stuck(now=timezone.now())
    assert (line.kind, line.submission, line.acts) == ("rejudgement", submission, ())
    assert "Restore this file from a backup" in line.text


def test_an_upload_nobody_could_check_in_time_is_our_fault(stage):
    long_ago = timezone.now() - timedelta(hours=3)
    submission = stage.submit(created_at=long_ago, status_changed_at=long_ago)
    reaper.reap(now=timezone.now())
    assert final(submission) == ("failed", "infrastructure", False)


def test_an_idle_run_is_advanced_by_the_reaper(stage):
    submission = stage.submit()
    stage.check()
    CaseRun.objects.filter(is_canary=True).update(status="done", verdict="ok", finished_at=timezone.now())
    reaper.reap(now=timezone.now())
    assert CaseRun.objects.filter(status="queued").count() == 1
    assert final(submission)[0] == "queued"


def test_a_disqualified_submission_leaves_the_ranking_and_keeps_its_scores(stage):
    submission = stage.submit()
    stage.play()
    assert flow.disqualify(submission_id=submission.pk, reason="two accounts", by=stage.scene.olga, now=timezone.now())
    stage.rank()
    assert not stage.scene.phase.entries.exists()
    assert CaseScores.objects.count() == 2


def test_a_change_during_a_rebuild_is_not_lost(stage):
    stage.submit()
    stage.play()
    board = Leaderboard.objects.get()
    assert board.asked == board.answered == 1
    Leaderboard.objects.update(asked=3)
    stage.rank()
    board.refresh_from_db()
    assert board.answered == 3


def test_three_timeouts_in_a_row_leave_the_rest_unrun(stage):
    testset = stage.scene.phase.chosen_testset.testset
    for place in range(2, 6):
        case = testset.cases.create(
            case_id=f"c{place}",
            position=place,
            grid=factories.GRID,
            inputs=[],
            references=testset.cases.first().references,
        )
        assert case.pk
    stage.script = lambda call: FakeEnding(seconds=1000)
    submission = stage.submit(limits={"wall_seconds": 0.05})
    stage.check()
    stage.run_cases()
    assert final(submission) == ("failed", "timeout", True)
    assert submission.verdict_text == "time limit of 0.05 s reached on 3 cases in a row; 6 of 6 cases failed"
    assert CaseRun.objects.filter(verdict="unrun").count() == 3


def test_a_dry_run_says_whose_rank_would_move(stage, monkeypatch):
    scene = stage.scene
    other = factories.team(name="Quick", members=[scene.otto])
    mine = stage.submit()
    stage.play()

    def fail_after_the_canary(call):
        for source in call.input_dir.iterdir():
            (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding(exit_code=0 if call.name.endswith("-0-a1") else 1)

    stage.script = fail_after_the_canary
    theirs = stage.submit(team=other, user=scene.otto)
    stage.play()
    assert [mine.entries.get().rank, theirs.entries.get().rank] == [1, 2]
    real = scoring.score_case

    def judge_harshly(**case):
        return real(**{**case, "failure": "timeout", "predictions": None})

    monkeypatch.setattr(scoring, "score_case", judge_harshly)
    flow.rejudge(submission_ids=[mine.pk], by=scene.olga, now=timezone.now())
    assert rejudgement_of(scene.phase).unfinished == 1
    stage.score()
    found = rejudgement_of(scene.phase)
    moves = {move.number: (move.rank_before, move.rank_after) for move in found.moves}
    assert moves == {mine.number: (1, 2), theirs.number: (2, 1)}
    assert len(found.waiting) == 1
    assert mine.entries.get().rank == 1, "a dry run moves nothing"


def test_a_ranking_that_changes_leaves_a_signed_snapshot_and_one_that_does_not_leaves_none(stage):
    stage.submit()
    stage.play()
    snapshot = stage.scene.phase.snapshots.get()
    assert snapshot.document["entries"][0]["rank"] == 1
    Leaderboard.objects.update(asked=9)
    stage.rank()
    assert stage.scene.phase.snapshots.count() == 1
