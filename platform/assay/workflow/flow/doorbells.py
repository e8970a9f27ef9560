"""Telling others that there may be something to do. A doorbell may be lost, doubled or late: PostgreSQL holds the truth.

A broker that is down costs nobody anything: the submission is stored, the caller gets an answer, and the reaper rings again.
"""

import logging
from functools import partial
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

DOORBELL_LIFETIME_SECONDS = 60
"""A doorbell nobody answered for this long is stale. The reaper rings anew."""

MAX_AGENTS_WOKEN = 16
ANSWER_SECONDS = 10.0


def pool_queue(pool: str) -> str:
    """The queue the agents of a run pool listen on."""
    return f"pool.{pool}"


def ring_check(submission_id: UUID) -> None:
    """A submission may want checking."""
    _ring_on_commit("assay.workflow.tasks.check", [str(submission_id)], queue="workflow")


def ring_build(submission_id: UUID) -> None:
    """A submission of code may want building."""
    _ring_on_commit("assay.workflow.tasks.build", [str(submission_id)], queue="scoring")


def ring_pool(pool: str, *, case_runs: int = 1) -> None:
    """A pool may have case runs to claim. One doorbell wakes one agent, so several case runs ring several times."""
    for _ in range(min(case_runs, MAX_AGENTS_WOKEN)):
        _ring_on_commit("assay.node.tasks.work", [pool], queue=pool_queue(pool))


def ring_scoring(evaluation_id: UUID) -> None:
    """An evaluation may want scoring."""
    _ring_on_commit("assay.workflow.tasks.score", [str(evaluation_id)], queue="scoring")


def ring_self_test(self_test_id: int) -> None:
    """The rules of a phase may want trying."""
    _ring_on_commit("assay.workflow.tasks.self_test", [self_test_id], queue="scoring")


def ring_prompts(round_id: int) -> None:
    """A container waits for what it is to be told."""
    _ring_on_commit("assay.workflow.tasks.prompt", [round_id], queue="prompts")


def ring_leaderboard(phase_id: int) -> None:
    """A leaderboard may want rebuilding."""
    _ring_on_commit("assay.workflow.tasks.rebuild", [phase_id], queue="ranking")


def ring_report(phase_id: int) -> None:
    """Somebody wants to read the report of a ranking."""
    _ring_on_commit("assay.workflow.tasks.report", [phase_id], queue="ranking")


def ring_mail() -> None:
    """Mails may wait to be sent."""
    _ring_on_commit("assay.workflow.tasks.tell", [], queue="workflow")


def try_broker() -> None:
    """Raise when the broker does not answer."""
    with current_app.connection_for_write(connect_timeout=ANSWER_SECONDS) as connection:
        connection.connect()


def _ring_on_commit(task: str, arguments: list[Any], *, queue: str) -> None:
    transaction.on_commit(partial(ring, task, arguments, queue=queue))


def ring(task: str, arguments: list[Any], *, queue: str) -> None:
    """Send one doorbell now. A broker that does not answer is logged, not raised."""
    try:
        current_app.send_task(
            task, args=arguments, queue=queue, expires=DOORBELL_LIFETIME_SECONDS, retry=False, ignore_result=True
        )
    except (OperationalError, OSError) as error:
        log.warning("doorbell.lost", extra={"task": task, "queue": queue, "error": str(error)})
