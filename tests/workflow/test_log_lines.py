"""Every transition is one line of the log: none is missing, none is said twice, and the last line is how things stand.

A story is played, and what its lines say is compared with the tables of legal changes and with the rows.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest
from django.utils import timezone

from assay.evaluations.models import Evaluation
from assay.runs.lifecycle import CASE_RUN_TRANSITIONS, RUN_TRANSITIONS
from assay.runs.models import CaseRun, Run
from assay.submissions.lifecycle import RESUMED, TRANSITIONS
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason, Told
from assay.workflow import flow
from assay.workflow.flow.resuming import rerun_case, resume
from assay.workflow.workers import reaper, scoring
from containers.engines.fake import FakeEnding
from containers.verdicts import Verdict

EVALUATION_TRANSITIONS = {"queued": {"running", "failed"}, "running": {"queued", "done", "failed"}}
TABLES = {
    "submission": {**{str(k): set(v) for k, v in TRANSITIONS.items()}, "failed": set(RESUMED)},
    "run": RUN_TRANSITIONS,
    "caserun": CASE_RUN_TRANSITIONS,
    "evaluation": EVALUATION_TRANSITIONS,
}
MODELS = {"submission": Submission, "run": Run, "caserun": CaseRun, "evaluation": Evaluation}
NO_STATUS = ("cancel_requested", "rejudged", "case_rerun", "activated", "disqualified")
FIRST = {"submission": "received", "run": "queued", "caserun": "waiting", "evaluation": "queued"}
"""What a row comes into being as. A submission's first line is written by the door that accepts it."""


def status_of(record: logging.LogRecord) -> str:
    word = record.getMessage().partition(".")[2]
    return str(record.keys.get("status", "")) if word == "resumed" else word.replace("requeued", "queued")


@pytest.fixture
def told(caplog, django_capture_on_commit_callbacks, stage):
    """Plays a story and answers which status every object went through, by its lines."""

    def play(story: Callable[[], object]) -> dict[tuple[str, str], list[str]]:
        caplog.set_level(logging.INFO, logger="assay.events")
        caplog.clear()
        with django_capture_on_commit_callbacks(execute=True):
            story()
        paths = defaultdict(list)
        for record in caplog.records:
            if record.name != "assay.events" or record.keys["object"] not in TABLES:
                continue
            if record.getMessage().partition(".")[2] not in NO_STATUS:
                paths[record.keys["object"], str(record.keys["id"])].append(status_of(record))
        return paths

    return play


def check(paths: dict[tuple[str, str], list[str]], *, seen: set[tuple[str, str, str]]) -> None:
    """Each object's lines are a legal path that ends where the object is."""
    for (kind, key), statuses in paths.items():
        path = statuses if statuses[0] == FIRST[kind] else [FIRST[kind], *statuses]
        steps = list(pairwise(path))
        for before, after in steps:
            assert after in TABLES[kind].get(before, ()), f"{kind} {key}: {path}"
        assert MODELS[kind].objects.get(pk=key).status == path[-1], f"{kind} {key}: {path}"
        seen |= {(kind, before, after) for before, after in steps}
    for kind, model in MODELS.items():
        for row in model.objects.all():
            if row.status != FIRST[kind] and not getattr(row, "kept_from_id", None):
                assert (kind, str(row.pk)) in paths, f"{kind} became {row.status} without a line"


def out_of_order(**case):
    raise RuntimeError("out of order")


def test_a_submission_that_goes_well_says_each_step_once(told, stage):
    seen = set()
    check(told(lambda: (stage.submit(), stage.play())), seen=seen)
    assert ("submission", "scoring", "done") in seen
    assert ("caserun", "waiting", "queued") in seen
    assert ("evaluation", "running", "done") in seen
    assert ("run", "running", "done") in seen


def test_every_case_and_run_of_a_failure_says_so_once(told, stage):
    stage.script = lambda call: FakeEnding(exit_code=1)
    stage.change_resources(on_case_failure="stop")
    seen = set()
    check(told(lambda: (stage.submit(), stage.play())), seen=seen)
    assert {("caserun", "running", "failed"), ("caserun", "waiting", "failed"), ("run", "running", "failed")} <= seen
    assert ("submission", "running", "failed") in seen


def test_a_cancel_says_once_what_it_ended(told, stage):
    def story():
        submission = stage.submit()
        stage.check()
        flow.cancel(submission_id=submission.pk, by=stage.scene.pia, now=timezone.now())

    seen = set()
    check(told(story), seen=seen)
    ended = {("caserun", "queued", "cancelled"), ("caserun", "waiting", "cancelled"), ("run", "queued", "cancelled")}
    assert ended | {("submission", "queued", "cancelled")} <= seen


def test_a_lease_that_is_lost_is_one_line_and_so_is_the_next_claim(told, stage):
    def story():
        stage.submit()
        stage.check()
        assert stage.api().claim(slots=1, cached_images=[]) is not None
        CaseRun.objects.filter(status="running").update(lease_until=timezone.now())
        reaper.reap(now=timezone.now())
        stage.play()

    seen = set()
    check(told(story), seen=seen)
    assert ("caserun", "running", "queued") in seen


def test_scoring_that_fails_and_is_taken_up_again_says_each_step_once(told, stage, monkeypatch):
    def story():
        submission = stage.submit()
        stage.check()
        stage.run_cases()
        with monkeypatch.context() as broken:
            broken.setattr(scoring, "score_case", out_of_order)
            stage.score()
            Evaluation.objects.update(not_before=None, attempt=5)
            reaper.reap(now=timezone.now())
        assert resume(submission_id=submission.pk, by=stage.scene.olga, now=timezone.now())
        stage.play()
        rerun_case(submission_id=submission.pk, case_id="a", by=stage.scene.olga, now=timezone.now())
        stage.play()
        flow.rejudge(submission_ids=[submission.pk], by=stage.scene.olga, now=timezone.now())
        stage.play()

    seen = set()
    check(told(story), seen=seen)
    assert {("evaluation", "running", "queued"), ("evaluation", "queued", "failed")} <= seen
    assert {("submission", "scoring", "failed"), ("submission", "failed", "scoring")} <= seen


def test_what_is_refused_before_it_runs_says_so_once(told, stage):
    def story():
        for status in (Submission.Status.RECEIVED, Submission.Status.CHECKING):
            submission = stage.submit(status=status)
            flow.refuse(
                submission_id=submission.pk,
                verdict=Verdict.IMAGE_INVALID,
                told=Told(reason=Reason.NO_COMMAND),
                now=timezone.now(),
            )

    assert [path for (kind, _), path in told(story).items() if kind == "submission"] == [["failed"], ["failed"]]


def test_a_change_that_is_rolled_back_is_not_told(told, stage, monkeypatch):
    def story():
        submission = stage.submit()
        stage.check()
        stage.run_cases()
        monkeypatch.setattr(flow, "ask_for_rebuild", out_of_order)
        (evaluation,) = submission.evaluations.all()
        with pytest.raises(RuntimeError):
            scoring.score_evaluation(evaluation_id=evaluation.pk, worker="test", clock=timezone.now)

    paths = told(story)
    assert [path for (kind, _), path in paths.items() if kind == "evaluation"] == [["queued", "running"]]
    assert Evaluation.objects.get().status == "running", "its lease runs out, and the reaper sees to it"


def test_no_line_has_the_words_of_a_failed_evaluation(told, stage, caplog, monkeypatch):
    def story():
        stage.submit()
        stage.check()
        stage.run_cases()
        monkeypatch.setattr(scoring, "score_case", out_of_order)
        Evaluation.objects.update(attempt=4)
        stage.score()

    told(story)
    (line,) = [record for record in caplog.records if record.getMessage() == "evaluation.failed"]
    assert "error" not in line.keys
