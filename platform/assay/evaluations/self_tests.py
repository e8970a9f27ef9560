"""Self-tests: a phase's rules, on its test set, tried on answers whose worth is known beforehand: see `evaluator/scoring/self_test.py`."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError
from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.evaluations.models import SelfTest
from assay.runs.leases import database_now

HELD = timedelta(minutes=15)
"""How long a worker has a self-test before another one may take it."""
ATTEMPTS = 3
CASES = 3
"""How many cases are tried: the first, the last and one between them."""


def ask_self_test(*, phase: Phase, user: User, now: datetime) -> SelfTest:
    """Ask for one, of the rules and the test set that the phase has now. What is asked for already is not asked for twice."""
    if not hasattr(phase, "chosen_testset"):
        raise ConflictError(
            _("The phase has no test set to try its rules on."),
            code="no_testset",
            found=phase.title,
            what_to_do=_("Add one first."),
        )
    testset = phase.chosen_testset.testset
    with transaction.atomic():
        Phase.objects.select_for_update(no_key=True).get(pk=phase.pk)
        found = phase.self_tests.filter(protocol=phase.protocol, testset=testset, finished_at=None).first()
        if found is not None:
            return found
        made = SelfTest.objects.create(
            phase=phase, protocol=phase.protocol, testset=testset, asked_by=user, asked_at=now
        )
        phase.self_tests.filter(finished_at=None).exclude(pk=made.pk).delete()  # of rules that nobody uses any more
        record_event(
            actor=user,
            verb="phase.self_test_asked",
            subject=phase,
            challenge_slug=phase.challenge.slug,
            now=now,
            protocol=phase.protocol.version,
            testset=str(testset),
        )
    return made


def waiting_self_tests() -> QuerySet[SelfTest]:
    """Those that nobody works on."""
    return SelfTest.objects.filter(Q(lease_until=None) | Q(lease_until__lt=database_now()), finished_at=None)


def claim_self_test(self_test_id: int) -> SelfTest | None:
    """Take one, if nobody alive holds it."""
    now = database_now()
    mine = SelfTest.objects.filter(
        Q(lease_until=None) | Q(lease_until__lt=now), pk=self_test_id, finished_at=None
    ).update(lease_until=now + HELD, attempt=F("attempt") + 1)
    if not mine:
        return None
    rows = SelfTest.objects.select_related("phase__challenge", "protocol", "testset").defer("testset__report")
    return rows.get(pk=self_test_id)


def finish_self_test(found: SelfTest, *, is_passed: bool, report: dict[str, object], now: datetime) -> bool:
    """Write down what came of it; False when somebody else did, or the rules have changed meanwhile."""
    mine = SelfTest.objects.filter(pk=found.pk, finished_at=None, attempt=found.attempt)
    return bool(mine.update(finished_at=now, lease_until=None, is_passed=is_passed, report=report))


def newest_self_tests(phases: Sequence[Phase]) -> dict[int, SelfTest]:
    """Phase → its newest self-test, if it is about the rules and the test set that the phase has now. One query."""
    newest = SelfTest.objects.filter(phase__in=phases).order_by("phase_id", "-pk").distinct("phase_id")
    by_phase = {test.phase_id: test for test in newest}
    return {
        phase.pk: test
        for phase in phases
        if (test := by_phase.get(phase.pk)) is not None
        and test.protocol_id == phase.protocol_id
        and hasattr(phase, "chosen_testset")
        and test.testset_id == phase.chosen_testset.testset_id
    }
