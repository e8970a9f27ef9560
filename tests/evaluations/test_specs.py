"""Why a case has no usable prediction: the verdict with its reason, so that a stored score can say both."""

import pytest

from assay.evaluations.specs import Answer, failure_of
from assay.runs.models import CaseRun
from assay.testsets.models import Case
from containers.spec import FailedCase, Usage


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
