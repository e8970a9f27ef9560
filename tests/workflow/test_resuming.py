"""Doing again what did not come to a good end, and nothing else: no case twice, no attempt charged, one final status."""

import io
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

import factories
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import AuditEvent
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.rejudging import rejudgement_of
from assay.runs.models import CaseRun, Run
from assay.runs.selectors import case_progress, progress
from assay.submissions.models import Submission
from assay.testsets import storage
from assay.testsets.models import PhaseTestSet, TestSet
from assay.workflow import flow
from assay.workflow.flow.resuming import rerun_case, resume, resume_all
from assay.workflow.workers import reaper
from containers.engines.fake import FakeEnding


def final(submission: Submission) -> tuple[str, str, bool]:
    submission.refresh_from_db()
    return submission.status, submission.verdict, submission.is_charged


def fail_by_our_fault(submission: Submission) -> None:
    """The case run that is queued has used up its retries on faults of ours."""
    CaseRun.objects.filter(run__submission=submission, status="queued").update(
        status="failed", verdict="infrastructure", fault="platform", finished_at=timezone.now()
    )
    flow.advance_run(run_id=submission.runs.latest("number").id, now=timezone.now())


def again(stage, submission: Submission) -> bool:
    return resume(submission_id=submission.pk, by=stage.scene.olga, now=timezone.now())


@pytest.fixture
def half_run(stage):
    """A submission of which one case ended well and the other failed by our fault."""
    submission = stage.submit()
    stage.check()
    stage.run_cases(at_most=1)
    fail_by_our_fault(submission)
    assert final(submission) == ("failed", "infrastructure", False)
    return submission


def new_version(stage, *, changes: dict[str, str] | None = None, case_ids: tuple[str, ...] = ("b", "a")) -> TestSet:
    """The hidden test set once more, in another order: the reference of a case in `changes` becomes another's. The phase uses it."""
    testset = factories.testset(challenge=stage.scene.challenge, case_ids=case_ids)
    old = {case.case_id: case for case in stage.scene.phase.chosen_testset.testset.cases.all()}
    for case in testset.cases.all():
        if case.case_id not in old:
            continue  # a scan nobody has seen
        case.inputs = old[case.case_id].inputs
        case.references = old[(changes or {}).get(case.case_id, case.case_id)].references
        case.save()
    PhaseTestSet.objects.filter(phase=stage.scene.phase).update(testset=testset)
    return testset


def test_what_failed_by_our_fault_runs_only_the_missing_case_and_is_ranked(stage, half_run):
    done = CaseRun.objects.get(status="done")
    assert again(stage, half_run)
    assert not again(stage, half_run), "pressing twice does it once"
    assert final(half_run)[0] == "queued"
    assert stage.run_cases() == 1, "the case that ended well does not run again"
    stage.score()
    stage.rank()
    assert final(half_run) == ("done", "ok", False)
    run = half_run.runs.get(number=2)
    kept, ran = run.case_runs.get(case=done.case), run.case_runs.exclude(case=done.case).get()
    assert (kept.status, kept.kept_from, kept.outputs) == ("done", done, done.outputs)
    assert (ran.status, ran.kept_from) == ("done", None)
    assert half_run.evaluations.get().aggregates["dice"]["mean"] == 1.0
    assert half_run.entries.get().rank == 1
    assert half_run.entries.get().failed_cases == 0
    verbs = list(AuditEvent.objects.filter(object_id=str(half_run.pk)).order_by("id").values_list("verb", flat=True))
    told = ("failed", "resumed", "running", "scoring", "done")
    assert verbs[-5:] == [f"submission.{word}" for word in told]
    assert AuditEvent.objects.get(verb="submission.resumed").actor == stage.scene.olga


def test_an_algorithms_own_failure_stands_when_its_run_is_taken_up_again(stage):
    stage.script = lambda call: FakeEnding(exit_code=1)
    submission = stage.submit()
    stage.check()
    stage.run_cases(at_most=1)
    fail_by_our_fault(submission)
    stage.script = type(stage).script
    assert again(stage, submission)
    assert stage.run_cases() == 1
    stage.score()
    assert final(submission) == ("done", "nonzero_exit", False)
    assert submission.verdict_text == "the program ended with an error; 1 of 2 cases failed"


def test_an_upload_we_could_not_check_is_checked_after_all(stage):
    long_ago = factories.NOW - timedelta(days=365)
    submission = stage.submit(created_at=long_ago, status_changed_at=long_ago)
    reaper.reap(now=timezone.now())
    assert final(submission) == ("failed", "infrastructure", False)
    assert again(stage, submission)
    reaper.reap(now=timezone.now())
    assert final(submission)[0] == "received", "it has a new deadline"
    stage.play()
    assert final(submission) == ("done", "ok", False)


def test_a_mended_reference_revives_what_could_not_be_scored(stage):
    case = stage.scene.phase.chosen_testset.testset.cases.get(case_id="b")
    kept = storage.save_file(key="testsets/b/broken.nii.gz", stream=io.BytesIO(b"no volume"), max_bytes=100)
    case.references = [{**case.references[0], "key": kept.key, "sha256": kept.sha256}]
    case.save()
    submission = stage.submit()
    stage.play()
    assert final(submission) == ("failed", "reference_invalid", False)
    mended = new_version(stage, changes={"b": "a"})
    assert again(stage, submission)
    stage.score()
    stage.rank()
    assert final(submission) == ("done", "ok", False)
    assert Run.objects.count() == 1, "nothing ran again"
    assert submission.testset == mended
    assert submission.entries.get().rank == 1


@pytest.mark.parametrize("status", ["done", "cancelled", "failed"])
def test_what_ended_well_by_its_team_or_by_its_own_fault_is_not_taken_up_again(stage, status):
    submission = stage.submit(status=status, fault="participant" if status == "failed" else "")
    assert not again(stage, submission)
    assert final(submission)[0] == status


def test_many_are_taken_up_at_once_and_those_that_cannot_be_are_left_out(stage, half_run):
    other = stage.submit(status="done")
    ids = [half_run.pk, other.pk]
    assert resume_all(submission_ids=ids, by=stage.scene.olga, now=timezone.now()) == [half_run.pk]


def test_a_submission_that_is_taken_up_again_can_still_be_cancelled_and_is_not_charged(stage, half_run):
    again(stage, half_run)
    assert flow.cancel(submission_id=half_run.pk, by=stage.scene.pia, now=timezone.now())
    assert final(half_run) == ("cancelled", "cancelled", False)
    assert stage.run_cases() == 0


def test_a_failure_that_comes_back_can_be_taken_up_once_more(stage, half_run):
    again(stage, half_run)
    fail_by_our_fault(half_run)
    assert final(half_run) == ("failed", "infrastructure", False)
    assert again(stage, half_run)
    stage.play()
    assert final(half_run) == ("done", "ok", False)
    kept = CaseRun.objects.get(run__number=3, kept_from__isnull=False)
    assert kept.kept_from.run.number == 1, "it points at the case run that really ran"


def test_the_database_allows_one_unfinished_run_of_a_submission(stage, half_run):
    again(stage, half_run)
    with pytest.raises(IntegrityError, match="runs_one_unfinished"), transaction.atomic():
        Run.objects.create(submission=half_run, number=9, pool="default", created_at=timezone.now())


def rerun(stage, submission: Submission, case_id: str = "a") -> Run:
    return rerun_case(submission_id=submission.pk, case_id=case_id, by=stage.scene.olga, now=timezone.now())


def test_one_case_runs_again_and_ranks_only_once_it_is_activated(stage):
    stage.script = lambda call: FakeEnding(exit_code=1)
    submission = stage.submit()
    stage.check()
    stage.run_cases(at_most=1)
    stage.script = type(stage).script
    stage.play()
    assert final(submission) == ("done", "nonzero_exit", True)
    crashed = CaseRun.objects.get(status="failed")
    rerun(stage, submission, crashed.case.case_id)
    assert progress([submission.pk])[submission.pk].failed == 1, "its page shows the run whose scores count"
    with pytest.raises(ConflictError, match="being run already"):
        rerun(stage, submission, crashed.case.case_id)
    assert stage.run_cases() == 1
    stage.score()
    stage.rank()
    assert final(submission) == ("done", "nonzero_exit", True)
    assert submission.entries.get().failed_cases == 1
    found = rejudgement_of(stage.scene.phase)
    assert len(found.waiting) == 1
    flow.activate(evaluation_ids=found.waiting, by=stage.scene.olga, now=timezone.now())
    stage.rank()
    submission.refresh_from_db()
    assert submission.entries.get().failed_cases == 0
    assert submission.evaluations.get(is_active=True).aggregates["dice"]["mean"] == 1.0
    assert {row.verdict for row in case_progress(submission.pk)} == {"ok"}
    assert AuditEvent.objects.get(verb="submission.case_rerun").details == {"case": crashed.case.case_id, "run": 2}


def test_a_case_of_a_submission_that_failed_runs_again_and_the_team_stays_charged(stage):
    stage.script = lambda call: FakeEnding(exit_code=1)
    submission = stage.submit()
    stage.play()
    assert final(submission) == ("failed", "nonzero_exit", True)
    stage.script = type(stage).script
    rerun(stage, submission)
    stage.play()
    assert final(submission) == ("done", "nonzero_exit", True)
    assert submission.verdict_text == "the program ended with an error; 1 of 2 cases failed"
    assert submission.entries.get().failed_cases == 1


def test_a_rerun_that_fails_leaves_the_submission_as_it_was(stage):
    submission = stage.submit()
    stage.play()
    rerun(stage, submission)
    fail_by_our_fault(submission)
    assert final(submission) == ("done", "ok", True)
    assert Evaluation.objects.count() == 1
    assert submission.runs.get(number=2).status == "failed"


def test_a_rerun_can_be_cancelled_and_asked_for_again(stage):
    submission = stage.submit()
    stage.play()
    rerun(stage, submission)
    assert flow.cancel(submission_id=submission.pk, by=stage.scene.olga, now=timezone.now())
    assert stage.run_cases() == 0
    assert submission.runs.get(number=2).status == "cancelled"
    assert final(submission) == ("done", "ok", True)
    rerun(stage, submission)
    assert stage.run_cases() == 1


def test_a_case_there_is_not_is_not_run(stage):
    submission = stage.submit()
    stage.play()
    with pytest.raises(NotFoundError):
        rerun(stage, submission, "zebra")


def test_a_cohort_has_no_single_cases_to_run_again(stage):
    stage.change_resources(run_mode="cohort")
    submission = stage.submit()
    stage.play()
    with pytest.raises(ConflictError, match="one container"):
        rerun(stage, submission)


@pytest.mark.parametrize("run_mode", ["case", "cohort"])
def test_a_corrected_reference_is_scored_without_running_anything(stage, run_mode):
    """The new version has rows and an order of its own: answers are found by the names of their cases."""
    stage.change_resources(run_mode=run_mode)
    submission = stage.submit()
    stage.play()
    assert submission.evaluations.get().aggregates["dice"]["mean"] == 1.0
    new_version(stage, changes={"b": "a"})
    (new,) = flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now())
    stage.score()
    new.refresh_from_db()
    assert new.status == "done"
    dice = {
        row.case.case_id: {label: value for label, metric, value, _ in row.scores if metric == "dice"}
        for row in CaseScores.objects.filter(evaluation=new).select_related("case")
    }
    assert set(dice["a"].values()) == {1.0}
    assert sorted(dice["b"].values()) == [0.0, 1.0], "one label lies elsewhere in its new reference"


def test_a_test_set_with_other_scans_needs_new_runs_and_is_left_alone(stage):
    submission = stage.submit()
    stage.play()
    new_version(stage, case_ids=("a", "b", "c"))
    assert flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now()) == []
    assert Evaluation.objects.count() == 1
