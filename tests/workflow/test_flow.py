"""Whole stories: what a submission goes through, and how it ends."""

import pytest

from assay.accounts.models import AuditEvent
from assay.evaluations.models import CaseScores
from assay.runs.models import CaseRun
from containers.engines.fake import FakeEnding


def test_a_perfect_algorithm_runs_every_case_is_scored_and_ranked_first(stage):
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict, submission.verdict_text) == ("done", "ok", "")
    assert submission.is_charged
    evaluation = submission.evaluations.get()
    assert evaluation.is_active
    assert evaluation.aggregates["dice"]["mean"] == 1.0
    assert CaseScores.objects.filter(evaluation=evaluation).count() == 2
    assert submission.entries.get().rank == 1
    assert submission.entries.get().failed_cases == 0
    verbs = list(AuditEvent.objects.filter(object_id=str(submission.pk)).order_by("id").values_list("verb", flat=True))
    assert verbs == [f"submission.{s}" for s in ("checking", "queued", "running", "scoring", "done")]


def test_the_canary_runs_alone_and_opens_the_others(stage):
    stage.submit()
    stage.check()
    assert sorted(CaseRun.objects.values_list("status", flat=True)) == ["queued", "waiting"]
    assert stage.run_cases(at_most=1) == 1
    assert sorted(CaseRun.objects.values_list("status", flat=True)) == ["done", "queued"]


def test_a_crash_on_one_case_costs_that_case_only(stage):
    calls = []

    def crash_on_the_second(call):
        calls.append(call)
        for source in call.input_dir.iterdir():
            (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding(exit_code=1 if len(calls) == 2 else 0)

    stage.script = crash_on_the_second
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert submission.status == "done"
    assert submission.verdict_text == "the program ended with an error; 1 of 2 cases failed"
    assert submission.entries.get().failed_cases == 1
    assert submission.evaluations.get().aggregates["dice"]["mean"] == 0.5


def test_an_algorithm_that_writes_nothing_fails_without_a_score(stage):
    stage.script = lambda call: FakeEnding()
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict, submission.fault) == ("failed", "output_missing", "participant")
    assert submission.verdict_text == "an expected output file was not written; 2 of 2 cases failed"
    assert not submission.evaluations.exists()


def test_an_output_that_is_no_image_is_named_as_such(stage):
    def write_junk(call):
        for source in call.input_dir.iterdir():
            (call.output_dir / source.name).write_bytes(b"not an image")
        return FakeEnding()

    stage.script = write_junk
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict) == ("failed", "output_invalid")
    assert submission.verdict_text.startswith("an output file does not follow the format (")


def test_the_stored_scores_of_a_case_say_what_was_wrong_with_its_output(stage):
    calls = []

    def junk_on_the_second(call):
        calls.append(call)
        for source in call.input_dir.iterdir():
            content = b"not an image" if len(calls) == 2 else source.read_bytes()
            (call.output_dir / source.name).write_bytes(content)
        return FakeEnding()

    stage.script = junk_on_the_second
    submission = stage.submit()
    stage.play()
    stored = CaseScores.objects.filter(evaluation__submission=submission)
    reasons = [{reason for _, _, _, reason in row.scores} for row in stored]  # which case is second is chance
    assert sorted(reasons, key=sorted) == [{""}, {"output_invalid:format_unsupported"}]


def test_the_container_sees_no_case_name(stage):
    seen = []

    def look(call):
        seen.extend([call.name, *[p.name for p in call.input_dir.iterdir()], *call.environment])
        return FakeEnding()

    stage.script = look
    stage.submit()
    stage.play()
    assert seen
    assert not [text for text in seen if "reference" in text or text in ("a.nii.gz", "b.nii.gz")]


@pytest.mark.parametrize("exit_code", [1, 137])
def test_exit_137_is_an_error_like_any_other(stage, exit_code):
    stage.script = lambda call: FakeEnding(exit_code=exit_code)
    submission = stage.submit()
    stage.play()
    submission.refresh_from_db()
    assert submission.verdict == "nonzero_exit"


@pytest.fixture
def cohort(stage):
    """The phase runs all cases in one container."""
    stage.change_resources(run_mode="cohort")
    return stage


def test_a_cohort_is_one_container_and_every_case_is_scored(cohort):
    submission = cohort.submit()
    cohort.play()
    submission.refresh_from_db()
    assert CaseRun.objects.count() == 1
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert submission.evaluations.get().aggregates["dice"]["mean"] == 1.0


def test_a_case_that_fails_in_a_cohort_costs_that_case_only(cohort):
    def leave_one_out(call):
        _, *others = sorted(call.input_dir.iterdir())
        for source in others:
            (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding()

    cohort.script = leave_one_out
    submission = cohort.submit()
    cohort.play()
    submission.refresh_from_db()
    assert submission.status == "done"
    assert submission.verdict_text == "an expected output file was not written; 1 of 2 cases failed"
    assert submission.entries.get().failed_cases == 1
    assert submission.evaluations.get().aggregates["dice"]["mean"] == 0.5


def test_a_cohort_that_fails_as_a_whole_fails_every_case(cohort):
    cohort.script = lambda call: FakeEnding(exit_code=1)
    submission = cohort.submit()
    cohort.play()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict_text) == (
        "failed",
        "the program ended with an error; 2 of 2 cases failed",
    )
