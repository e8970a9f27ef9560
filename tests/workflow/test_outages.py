"""More of group F of the catalogue: servers that go away and come back, messages and answers that come twice or never."""

import random
from datetime import timedelta

import pytest
from django.core.files.storage import FileSystemStorage  # noqa: TID251  it is storage that fails here
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

import factories
from assay.accounts.models import AuditEvent
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.models import Leaderboard
from assay.node.http import NodeApi
from assay.node.lease import LeaseGuard
from assay.runs.models import CaseRun, Run
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.workflow import flow, tasks
from assay.workflow.flow import doorbells
from assay.workflow.workers import checking, reaper, scoring
from containers.verdicts import Verdict


def final(submission: Submission) -> tuple[str, str, bool]:
    submission.refresh_from_db()
    return submission.status, submission.verdict, submission.is_charged


def endings(submission: Submission) -> int:
    return AuditEvent.objects.filter(
        object_id=str(submission.pk), verb__in=[f"submission.{status}" for status in FINAL]
    ).count()


def test_a_message_that_is_delivered_again_during_the_work_starts_nothing(stage, monkeypatch):
    submission = stage.submit()
    stage.check()
    stage.run_cases()
    evaluation, redelivered, real = Evaluation.objects.get(), [], scoring.score_case

    def score_while_it_comes_again(**case):
        redelivered.append(scoring.score_evaluation(evaluation_id=evaluation.pk, worker="second", clock=timezone.now))
        return real(**case)

    monkeypatch.setattr(scoring, "score_case", score_while_it_comes_again)
    assert scoring.score_evaluation(evaluation_id=evaluation.pk, worker="first", clock=timezone.now)
    assert redelivered == [False, False]
    assert final(submission) == ("done", "ok", True)
    assert Evaluation.objects.get().attempt == 1


def test_a_broker_that_forgot_everything_costs_a_round_of_the_reaper(
    stage, monkeypatch, django_capture_on_commit_callbacks
):
    """Every first message is lost. Only what the reaper rings arrives."""
    lost = []
    monkeypatch.setattr(doorbells, "ring", lambda *message, **options: lost.append(message))
    submission = stage.submit()
    doors = {
        "assay.workflow.tasks.check": tasks.check,
        "assay.workflow.tasks.score": tasks.score,
        "assay.workflow.tasks.rebuild": tasks.rebuild,
        "assay.workflow.tasks.tell": tasks.tell,
        "assay.node.tasks.work": lambda pool: stage.run_cases(),
    }
    for _ in range(4):
        lost.clear()
        with django_capture_on_commit_callbacks(execute=True):
            reaper.reap(now=timezone.now())
        rung = list(lost)
        for task, arguments in rung:
            doors[task](*arguments)
    assert final(submission) == ("done", "ok", True)
    assert submission.entries.get().rank == 1


@pytest.mark.parametrize(("seconds_away", "is_kept"), [(59, True), (61, False)])
def test_a_node_outlives_a_database_that_is_away_for_less_than_its_lease(stage, monkeypatch, seconds_away, is_kept):
    stage.submit()
    stage.check()
    order = stage.api().claim(slots=1, cached_images=[])
    now = [0.0]
    guard = LeaseGuard(api=stage.api(), order=order, clock=lambda: now[0])
    guard._lease_seconds = 60.0
    now[0] += seconds_away  # nobody answered meanwhile
    assert guard.should_stop() is not is_kept


def test_a_result_that_was_recorded_while_the_answer_got_lost_counts_once(stage, monkeypatch):
    submission = stage.submit()
    real, answers = NodeApi.record, []

    def lose_the_answer(self, order, ending):
        real(self, order, ending)
        answers.append("lost")
        real(self, order, ending)  # what the node does when it hears nothing

    monkeypatch.setattr(NodeApi, "record", lose_the_answer)
    stage.play()
    assert answers == ["lost", "lost"]
    assert final(submission) == ("done", "ok", True)
    assert CaseScores.objects.count() == 2


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_round_of_the_reaper_without_a_database_ends_and_the_next_one_works(stage, monkeypatch, error):
    submission = stage.submit()

    def fail(**_):
        raise error("the server closed the connection")

    with monkeypatch.context() as broken:
        broken.setattr(reaper, "STEPS", (fail,))
        with pytest.raises(error):
            reaper.reap(now=timezone.now())
    stage.play()
    assert final(submission) == ("done", "ok", True)


def test_a_clock_that_is_wrong_by_a_year_takes_no_lease_away(stage):
    stage.submit()
    stage.check()
    order = stage.api().claim(slots=1, cached_images=[])
    for wrong in (timedelta(days=365), -timedelta(days=365)):
        reaper.reap(now=timezone.now() + wrong)
    assert not stage.api().heartbeat(order).is_cancelled
    assert CaseRun.objects.get(id=order.case_run_id).status == "running"


def test_what_was_rolled_back_rings_nowhere(stage, monkeypatch, django_capture_on_commit_callbacks):
    rung = []
    monkeypatch.setattr(doorbells, "ring", lambda *message, **options: rung.append(message))
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        doorbells.ring_check(stage.submit().pk)
        transaction.set_rollback(True)
    assert rung == []
    assert not Submission.objects.exists()


@pytest.mark.parametrize("seed", range(3))
def test_everything_said_ten_times_in_any_order_counts_once(stage, seed):
    submission = stage.submit()
    order = list(range(40))
    random.Random(seed).shuffle(order)
    for number in order:
        (stage.check, stage.run_cases, stage.score, stage.rank)[number % 4]()
        checking.check_submission(submission_id=submission.pk, clock=timezone.now)
        for run in Run.objects.all():
            flow.advance_run(run_id=run.pk, now=timezone.now())
    stage.play()
    assert final(submission) == ("done", "ok", True)
    assert endings(submission) == 1
    assert CaseScores.objects.count() == 2
    assert Leaderboard.objects.get().answered == Leaderboard.objects.get().asked


@pytest.fixture
def failing_storage(monkeypatch):
    """Storage that answers nothing while the list is not empty."""
    switch, real = ["503 Service Unavailable"], FileSystemStorage.path

    def path(self, name):
        if switch:
            raise OSError(switch[0])
        return real(self, name)

    monkeypatch.setattr(FileSystemStorage, "path", path)
    return switch


def test_storage_that_fails_while_scoring_costs_one_attempt_and_a_pause(stage, failing_storage):
    failing_storage.clear()
    submission = stage.submit()
    stage.check()
    stage.run_cases()
    failing_storage.append("503 Service Unavailable")
    for _ in range(5):
        stage.score()
    assert Evaluation.objects.get().attempt == 1
    failing_storage.clear()
    Evaluation.objects.update(not_before=timezone.now())
    stage.score()
    assert final(submission) == ("done", "ok", True)


def test_half_a_file_is_never_taken_for_the_whole(stage):
    submission = stage.submit()
    stage.check()
    cases = submission.testset.cases.all()
    paths = [storage.local_path(case.inputs[0]["key"]) for case in cases]
    whole = [path.read_bytes() for path in paths]
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content[: len(content) // 2])
    stage.run_cases()
    canary = CaseRun.objects.get(is_canary=True)
    assert (canary.status, canary.reason, canary.infrastructure_failures) == ("queued", "node_api", 1)
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    CaseRun.objects.update(not_before=None)
    stage.play()
    assert final(submission) == ("done", "ok", True)


def test_a_submission_that_waits_while_its_phase_closes_counts(stage):
    submission = stage.submit()
    stage.check()
    stage.scene.phase.closes_at = timezone.now() - timedelta(seconds=1)
    stage.scene.phase.save()
    stage.play()
    assert final(submission) == ("done", "ok", True)
    assert submission.entries.get().rank == 1


def test_a_row_that_cannot_be_dealt_with_keeps_nobody_else_waiting(stage, monkeypatch):
    poisoned, healthy = stage.submit(), stage.submit(team=factories.team(members=[stage.scene.otto]))
    stage.check()
    CaseRun.objects.filter(is_canary=True).update(status="done", verdict="ok", finished_at=timezone.now())
    real, broken = flow.advance_run, poisoned.runs.get().pk

    def advance(*, run_id, now):
        if run_id == broken:
            raise KeyError("a field that an older version wrote")
        real(run_id=run_id, now=now)

    monkeypatch.setattr(flow, "advance_run", advance)
    reaper.reap(now=timezone.now())
    assert healthy.runs.get().case_runs.filter(status="queued").count() == 1
    assert poisoned.runs.get().case_runs.filter(status="queued").count() == 0


@pytest.mark.parametrize(
    ("noun", "statuses"),
    [
        ("submission", [s for s in Submission.Status if s not in FINAL]),
        ("case run", [CaseRun.Status.WAITING, CaseRun.Status.QUEUED, CaseRun.Status.RUNNING]),
        ("evaluation", [s for s in Evaluation.Status if s not in ("done", "failed")]),
    ],
)
def test_the_reapers_table_names_every_status_that_is_not_final(noun, statuses):
    rows = [line for line in (reaper.__doc__ or "").splitlines() if line.startswith(f"| {noun} ")]
    named = {word.strip(",") for row in rows for word in row.split("|")[1].split()}
    assert {str(status) for status in statuses} - named == set()
    assert all(row.split("|")[2].strip() and row.split("|")[4].strip() for row in rows), (
        "an owner, and what happens then"
    )


def test_many_are_cancelled_at_once_and_each_ends_once(stage):
    chosen = [stage.submit() for _ in range(3)]
    stage.check()
    ids = [submission.pk for submission in chosen]
    assert flow.cancel_all(submission_ids=ids, by=stage.scene.pia, now=timezone.now()) == ids
    assert flow.cancel_all(submission_ids=ids, by=stage.scene.pia, now=timezone.now()) == []
    assert [final(submission) for submission in chosen] == [("cancelled", Verdict.CANCELLED, False)] * 3
    assert [endings(submission) for submission in chosen] == [1, 1, 1]
