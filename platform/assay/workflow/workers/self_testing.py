"""The scoring worker's other work: trying the rules of a phase before anybody competes under them."""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from assay.challenges.protocols import rules_of
from assay.evaluations import self_tests, specs
from assay.evaluations.models import SelfTest
from assay.testsets.models import Case
from assay.workflow.workers.scoring import ScoringTooMuch, naming_case, within_limits
from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol
from evaluator.results import CaseResult
from evaluator.scoring import judge_trials, try_case, try_rows

log = logging.getLogger(__name__)


def run_self_test(*, self_test_id: int, clock: Callable[[], datetime]) -> bool:
    """Claim, try and finish one; False when there was nothing to do."""
    found = self_tests.claim_self_test(self_test_id)
    if found is None:
        return False
    protocol = rules_of(found.protocol)
    report: dict[str, Any] = {"image": protocol.evaluation.image if protocol.evaluation else ""}
    try:
        cases = chosen_cases(found, protocol=protocol)
        report["cases"] = [case.case_id for case in cases]
        trials = judge_trials(protocol, scored_trials(protocol, cases))
        report["trials"] = [
            {"name": trial.name, "means": trial.means, "troubles": trial.troubles[:20], "notes": trial.notes[:20]}
            for trial in trials
        ]
        is_passed = not any(trial.troubles for trial in trials)
    except (EvaluatorError, ScoringTooMuch) as problem:
        report["error"], is_passed = str(problem)[:300], False
    except Exception as error:
        log.exception("self_test.fault", extra={"phase": str(found.phase)})
        if found.attempt < self_tests.ATTEMPTS:
            raise  # the reaper rings again once the lease is over
        report["error"], is_passed = f"a fault of ours: {type(error).__name__}"[:300], False
    return self_tests.finish_self_test(found, is_passed=is_passed, report=report, now=clock())


def chosen_cases(found: SelfTest, *, protocol: Protocol) -> Sequence[Case]:
    """Which cases are tried. Of a table all, because some scores need whole columns."""
    cases = list(found.testset.cases.all())
    if protocol.table_form is not None or len(cases) <= self_tests.CASES:
        return cases
    return [cases[0], cases[len(cases) // 2], cases[-1]]


def scored_trials(protocol: Protocol, cases: Sequence[Case]) -> Mapping[str, Sequence[CaseResult]]:
    """Trial → the results of all these cases."""
    if protocol.table_form is not None:
        with within_limits(f"of {len(cases)} rows"):
            return try_rows(protocol=protocol, references={case.case_id: specs.reference_row(case) for case in cases})
    scratch_root = Path(settings.SCRATCH_ROOT)
    scratch_root.mkdir(mode=0o700, parents=True, exist_ok=True)
    scored: dict[str, list[CaseResult]] = {}
    for case in cases:
        with (
            tempfile.TemporaryDirectory(dir=scratch_root, prefix="self-test-") as scratch,
            naming_case(case),
            within_limits(case.case_id),
        ):
            tried = try_case(
                protocol=protocol, case_id=case.case_id, references=specs.references_of(case), scratch=Path(scratch)
            )
        for trial, result in tried.items():
            scored.setdefault(trial, []).append(result)
    return scored
