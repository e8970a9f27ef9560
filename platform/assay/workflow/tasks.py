"""Every Celery door. A task takes an id, calls one function, and survives being run twice, late, or never.

Messages are acknowledged when they arrive: nothing is lost with one, because the reaper rings again for whatever still waits.
"""

import os
import socket
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from assay.accounts.sign_in import forget_ended_sessions, forget_old_counts
from assay.challenges.telling import tell_deadlines
from assay.leaderboards.reports import make_report
from assay.leaderboards.services import rebuild_leaderboard
from assay.notices.delivery import send_mails
from assay.notices.services import forget_old, write_digests
from assay.notices.webhooks import deliver
from assay.submissions.hints import forget_origins
from assay.workflow.operations.demand import tell_demand
from assay.workflow.workers import checking, prompting, reaper, scoring, self_testing, tidying
from assay.workflow.workers.limits import limited_memory


def worker_name() -> str:
    """How this process calls itself in leases."""
    return f"{socket.gethostname()}/{os.getpid()}"


@shared_task(name="assay.workflow.tasks.check", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def check(submission_id: str) -> None:
    """A submission may want checking."""
    checking.check_submission(submission_id=UUID(submission_id), clock=timezone.now)


@shared_task(name="assay.workflow.tasks.build", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def build(submission_id: str) -> None:
    """A submission of code may want building."""
    checking.build_submission(submission_id=UUID(submission_id), clock=timezone.now)


@shared_task(name="assay.workflow.tasks.score", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def score(evaluation_id: str) -> None:
    """An evaluation may want scoring."""
    scoring.score_evaluation(evaluation_id=UUID(evaluation_id), worker=worker_name(), clock=timezone.now)
    tidying.tidy_this_host()


@shared_task(name="assay.workflow.tasks.self_test", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def self_test(self_test_id: int) -> None:
    """The rules of a phase may want trying."""
    self_testing.run_self_test(self_test_id=self_test_id, clock=timezone.now)


@shared_task(name="assay.workflow.tasks.prompt", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def prompt(round_id: int) -> None:
    """A container may be waiting for its prompts."""
    prompting.make_round(round_id=round_id, clock=timezone.now)


RANKING_SECONDS = 600
RANKING_BYTES = 8 * 2**30
"""What ranking a phase or writing its report may take; Celery ends the child process that goes on for longer."""


@shared_task(name="assay.workflow.tasks.rebuild", acks_late=False, time_limit=RANKING_SECONDS)  # type: ignore[untyped-decorator]  # Celery is untyped
def rebuild(phase_id: int) -> None:
    """A leaderboard may want rebuilding. Once more when it was asked for meanwhile."""
    with limited_memory(RANKING_BYTES):
        while rebuild_leaderboard(phase_id=phase_id, now=timezone.now()):
            pass


@shared_task(name="assay.workflow.tasks.report", acks_late=False, time_limit=RANKING_SECONDS)  # type: ignore[untyped-decorator]  # Celery is untyped
def report(phase_id: int) -> None:
    """Somebody wants to read the report of a ranking."""
    with limited_memory(RANKING_BYTES):
        make_report(phase_id=phase_id)


@shared_task(name="assay.workflow.tasks.tell", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def tell() -> None:
    """Mails and webhooks may wait to be sent."""
    send_mails(now=timezone.now())
    deliver(now=timezone.now())


@shared_task(name="assay.workflow.tasks.reap", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def reap() -> None:
    """Look after everything that has not ended."""
    reaper.reap(now=timezone.now())


@shared_task(name="assay.workflow.tasks.tell_demand", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def tell_demand_of_nodes() -> None:
    """A program that starts machines may want to know what waits."""
    tell_demand(now=timezone.now())


@shared_task(name="assay.workflow.tasks.tidy", acks_late=False)  # type: ignore[untyped-decorator]  # Celery is untyped
def tidy() -> None:
    """Give back space that nobody needs."""
    tidying.tidy_this_host()
    tidying.forget_abandoned_attempts(now=timezone.now())
    forget_old_counts(now=timezone.now())
    forget_ended_sessions(now=timezone.now())
    forget_origins(now=timezone.now())
    tell_deadlines(now=timezone.now())
    write_digests(now=timezone.now())
    forget_old(now=timezone.now())
