"""Asking for a self-test of a phase's rules."""

from datetime import datetime

from django.db import transaction

from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.evaluations import self_tests
from assay.evaluations.models import SelfTest
from assay.workflow.flow import doorbells


def ask_self_test(*, phase: Phase, user: User, now: datetime) -> SelfTest:
    """Ask for one, and ring."""
    with transaction.atomic():
        asked = self_tests.ask_self_test(phase=phase, user=user, now=now)
        doorbells.ring_self_test(asked.pk)
    return asked
