"""Looks after everything that has not ended: every non-final status has an owner, a deadline, and what happens then.

| what waits | its owner | deadline | then |
|---|---|---|---|
| submission received, checking | a checker with its lock | `check_deadline_seconds` | rung; past it: failed, our fault |
| submission queued, running | its run's case runs | theirs | the run is advanced again |
| case run waiting | its run's canary | the canary's | the run is advanced again |
| case run queued | the pool | none: it waits its turn | the pool is rung; the page says why it waits |
| case run running | the node holding the lease | `lease_until` | requeued, at most three times; then failed as our fault |
| round of prompts asked for | the scoring pool | the lease it was asked under | rung again; the node gives up after a quarter of an hour |
| evaluation queued | the scoring pool | none | rung again |
| evaluation running | the worker holding the lease | `lease_until` | rung again, at most five attempts; then failed as our fault |
| submission scoring | its evaluation | its evaluation's | advanced, or failed with the evaluation |
| self-test asked for | the scoring pool | its lease | rung again, at most three attempts; then failed as our fault |
| leaderboard asked for | the ranking queue | two tries | rung again; then set aside: see `leaderboards.services.behind` |
| results of a phase that is over | the reaper | `releases_at`, or the end of an embargo | released |
| results under review | the organizers | `review_days`, and an answer to each objection | final |
| images of the phase before | the reaper | the phase opens and the one before is over | entered, where `carry_over` says so |
| images, predictions and logs of a phase that is over | the reaper | `keep_…_days` after its end, and no review | deleted |
| cancel requested | the node, or nobody | the lease | carried out again |
| mail | the mail server | none: it waits longer after each failure | tried again seven times; then given up, and shown on `/ops` |
| upload unfinished, unused, or checked | nobody | its expiry; none once checked | its space is given back |

Two reapers at once are harmless (every step is a conditional update). An advisory lock keeps the second one idle. A row that
cannot be dealt with is logged and keeps nothing else waiting.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError
from django.db.models import Count, Exists, F, OuterRef

from assay.challenges import services as challenges
from assay.evaluations import self_tests
from assay.evaluations import services as evaluations
from assay.leaderboards.services import behind
from assay.leases import LeaseLost
from assay.notices.delivery import waiting_mails
from assay.notices.webhooks import waiting_deliveries
from assay.runs import services as runs
from assay.runs.intervals import current_intervals
from assay.runs.leases import database_now
from assay.runs.models import CaseRun, PromptRound, Run
from assay.submissions import objections
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason, Told
from assay.submissions.uploads import tidy_uploads
from assay.workflow import flow
from assay.workflow.flow import carrying, doorbells
from assay.workflow.flow.keeping import delete_what_is_over
from assay.workflow.workers.locks import only_one
from containers.verdicts import Fault, Verdict

log = logging.getLogger(__name__)


def reap(*, now: datetime) -> None:
    """One round over everything unfinished."""
    with only_one(purpose="reap", subject="all") as is_mine:
        if not is_mine:
            return
        for step in STEPS:
            with surviving(step.__name__):
                step(now=now)


@contextmanager
def surviving(what: str) -> Iterator[None]:
    """One thing that goes wrong must not stop the others. Without a database nothing goes, and the next round comes soon."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("reaper.fault", extra={"at": what})


def reap_leases(*, now: datetime) -> int:
    """Take back the case runs of nodes that went silent."""
    taken = 0
    for case_run in runs.expired_leases(now=database_now()):
        with surviving(f"case run {case_run.id}"), suppress(LeaseLost):
            flow.release(
                case_run_id=case_run.id,
                fence=case_run.fence,
                reason="lease_expired",
                now=now,
                actor_label="reaper",
                counts=True,
            )
            taken += 1
    return taken


def settle_cancels(*, now: datetime) -> None:
    """Finish cancels whose process died half-way."""
    asked = flow.unfinished_submissions().filter(cancel_requested_at__isnull=False)
    for submission_id in asked.values_list("pk", flat=True):
        with surviving(f"submission {submission_id}"):
            flow.settle_cancel(submission_id=submission_id, now=now)


def advance_idle_runs(*, now: datetime) -> None:
    """Advance runs in which nothing is queued or running: the process that should have done so died between two transactions."""
    active = CaseRun.objects.filter(run=OuterRef("pk"), status__in=[CaseRun.Status.QUEUED, CaseRun.Status.RUNNING])
    idle = Run.objects.filter(finished_at=None).exclude(Exists(active))
    for run_id in idle.values_list("id", flat=True):
        with surviving(f"run {run_id}"):
            flow.advance_run(run_id=run_id, now=now)


def ring_pools(*, now: datetime) -> None:  # noqa: ARG001  a step's signature
    """Ring every pool that has something to claim."""
    queued = CaseRun.objects.filter(status=CaseRun.Status.QUEUED).values("pool").annotate(case_runs=Count("id"))
    for row in queued:
        doorbells.ring_pool(row["pool"], case_runs=row["case_runs"])


def ring_checks(*, now: datetime) -> None:
    """Ring for every unchecked submission. Give up on those past the deadline."""
    deadline = now - timedelta(seconds=current_intervals().check_deadline_seconds)
    unchecked = Submission.objects.filter(status__in=[Submission.Status.RECEIVED, Submission.Status.CHECKING])
    for submission in unchecked:
        if max(submission.created_at, submission.status_changed_at) < deadline:
            flow.refuse(
                submission_id=submission.pk,
                verdict=Verdict.INFRASTRUCTURE,
                told=Told(reason=Reason.CHECK_FAULT),
                fault=Fault.PLATFORM,
                now=now,
            )
        else:
            doorbells.ring_check(submission.pk)


def ring_evaluations(*, now: datetime) -> None:
    """Ring for every evaluation nobody works on. Give up on those whose attempts are used up."""
    for evaluation in evaluations.waiting_evaluations(now=database_now()):
        if evaluation.attempt >= evaluations.ATTEMPTS:
            with surviving(f"evaluation {evaluation.id}"):
                flow.give_up_scoring(evaluation_id=evaluation.id, now=now)
        else:
            doorbells.ring_scoring(evaluation.id)
    for run in Run.objects.filter(
        status=Run.Status.DONE, submission__status=Submission.Status.SCORING, evaluations=None
    ).select_related("submission"):
        doorbells.ring_scoring(evaluations.ask_for_evaluation(submission=run.submission, run=run, now=now).id)


def ring_self_tests(*, now: datetime) -> None:  # noqa: ARG001  a step's signature
    """Ring for every self-test that nobody works on."""
    for self_test_id in self_tests.waiting_self_tests().values_list("pk", flat=True):
        doorbells.ring_self_test(self_test_id)


def ring_prompts(*, now: datetime) -> None:  # noqa: ARG001  a step's signature
    """Ring for every container that waits for its prompts."""
    awaited = PromptRound.objects.filter(
        made_at=None, case_run__status=CaseRun.Status.RUNNING, case_run__fence=F("fence")
    )
    for round_id in awaited.values_list("pk", flat=True):
        doorbells.ring_prompts(round_id)


def ring_leaderboards(*, now: datetime) -> None:  # noqa: ARG001  a step's signature
    """Ring for every ranking that is behind and not set aside."""
    for phase_id in behind().values_list("phase_id", flat=True):
        doorbells.ring_leaderboard(phase_id)


def ring_mail(*, now: datetime) -> None:
    """Ring where a mail or a webhook is due."""
    if waiting_mails(now=now).exists() or waiting_deliveries(now=now).exists():
        doorbells.ring_mail()


def release_due_results(*, now: datetime) -> None:
    """Release the results of phases that are over."""
    for phase in challenges.due_releases(now=now):
        with surviving(f"phase {phase.pk}"):
            flow.release_results(phase=phase, by=None, now=now)


def finalize_due_results(*, now: datetime) -> None:
    """Make results final whose review is over and answered."""
    for phase in objections.due_finals(now=now):
        with surviving(f"phase {phase.pk}"):
            flow.finalize(phase=phase, by=None, now=now)


def carry_over_images(*, now: datetime) -> None:
    """Enter images of the phase before in phases that have opened."""
    for phase in carrying.due_carries(now=now):
        with surviving(f"phase {phase.pk}"):
            carrying.carry(phase=phase, now=now)


STEPS = (
    release_due_results,
    finalize_due_results,
    carry_over_images,
    reap_leases,
    settle_cancels,
    advance_idle_runs,
    ring_pools,
    ring_checks,
    ring_evaluations,
    ring_self_tests,
    ring_prompts,
    ring_leaderboards,
    ring_mail,
    tidy_uploads,
    delete_what_is_over,
)
