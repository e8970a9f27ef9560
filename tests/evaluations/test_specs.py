"""Why a case has no usable prediction: the verdict with its reason, so that a stored score can say both."""

import random

import pytest

import factories
from assay.evaluations.models import Evaluation
from assay.evaluations.specs import Answer, answers_of, failure_of
from assay.runs.models import CaseRun
from assay.runs.services import create_run
from assay.testsets.models import Case
from containers.spec import Curve, FailedCase, Usage


def queued_evaluation() -> Evaluation:
    """Of a submission whose run has every case."""
    phase = factories.with_testset(factories.phase(challenge=factories.challenge()))
    submission = factories.submission(phase=phase, team=factories.team(members=[factories.user()]), status="queued")
    run = create_run(submission=submission, now=factories.NOW, shuffle=random.Random(1))
    return Evaluation.objects.create(
        submission=submission,
        run=run,
        testset=submission.testset,
        protocol=submission.protocol,
        number=1,
        created_at=factories.NOW,
    )


@pytest.mark.parametrize(
    ("case_run", "failure"),
    [
        (None, "unrun"),
        (CaseRun(verdict=""), "unrun"),
        (CaseRun(verdict="ok"), None),
        (CaseRun(verdict="timeout", reason="time_limit"), "timeout:time_limit"),
        (CaseRun(verdict="nonzero_exit"), "nonzero_exit"),
        (CaseRun(verdict="ok", usage=Usage(failed_cases={"2": FailedCase("output_invalid", "not_integral")})), None),
        (
            CaseRun(verdict="ok", usage=Usage(failed_cases={"1": FailedCase("output_invalid", "not_integral")})),
            "output_invalid:not_integral",
        ),
    ],
)
def test_a_failure_keeps_the_reason_of_its_verdict(case_run, failure):
    assert failure_of(case_run and Answer(case_run=case_run, played=Case(position=1))) == failure


@pytest.mark.django_db
def test_the_answers_of_thousands_of_cases_share_one_record_of_run_and_submission(django_assert_num_queries):
    evaluation = queued_evaluation()
    submission = evaluation.submission
    asked = Evaluation.objects.select_related("submission", "testset").get(pk=evaluation.pk)
    with django_assert_num_queries(3):  # the run, its case runs, the cases
        answers = answers_of(asked)
        records = {(id(answer.case_run.run), id(answer.case_run.run.submission)) for answer in answers.values()}
    assert len(answers) == submission.testset.cases.count() > 1
    assert len(records) == 1


@pytest.mark.django_db
def test_answers_hold_the_figures_of_a_case_and_not_its_curves():
    evaluation = queued_evaluation()
    submission, run = evaluation.submission, evaluation.run
    curve = Curve(seconds=(0.0, 0.1), values=(1.0, 2.0))
    run.case_runs.update(
        usage=Usage(wall_seconds=2.5, memory_curve=curve, cpu_curve=curve, gpu_memory_curve=curve, output_bytes=7)
    )
    held = [answer.case_run.usage for answer in answers_of(evaluation).values()]
    assert held == [Usage(wall_seconds=2.5, output_bytes=7)] * submission.testset.cases.count()


@pytest.mark.django_db
@pytest.mark.parametrize("is_cohort", [False, True])
def test_some_cases_have_the_answers_that_they_have_among_all(is_cohort):
    evaluation = queued_evaluation()
    submission, run = evaluation.submission, evaluation.run
    if is_cohort:
        run.case_runs.all().delete()
        CaseRun.objects.create(run=run, case=None, position=0, status="done", verdict="ok")
    answers = {key: (found.case_run.pk, found.played.pk) for key, found in answers_of(evaluation).items()}
    cases = list(submission.testset.cases.all())
    assert len(answers) == len(cases) > 1
    for case in cases:
        alone = answers_of(evaluation, cases=[case])
        assert {key: (found.case_run.pk, found.played.pk) for key, found in alone.items()} == {
            case.pk: answers[case.pk]
        }


@pytest.mark.django_db
def test_a_run_that_was_deleted_has_no_answers():
    evaluation = queued_evaluation()
    assert evaluation.run is not None
    evaluation.run.delete()
    evaluation.refresh_from_db()
    assert answers_of(evaluation) == {}
