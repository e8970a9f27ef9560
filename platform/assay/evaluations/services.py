"""What changes evaluations: asking for one, leasing it, storing scores, ending and activating it.

An evaluation is leased and fenced like a case run, because a scoring worker can be killed like a node. Scores are unique per
(evaluation, case), so a second worker that repeats a case changes nothing, and one that takes over continues with the missing
cases only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Max, Q
from django.db.models.functions import Now

from assay.accounts.audit import log_event, record_event
from assay.accounts.models import User
from assay.challenges.models import Challenge, ProtocolVersion
from assay.evaluations.models import CaseScores, Evaluation, MetricImage
from assay.leases import not_leased
from assay.runs.intervals import current_intervals
from assay.runs.models import Run
from assay.submissions.models import Submission
from assay.testsets.models import TestSet

ATTEMPTS = 5
"""More than a case run has: scoring is ours alone, an outage takes two of them, and giving up costs an organizer's hand."""

CLAIM = """
UPDATE evaluations_evaluation SET
    status = 'running', fence = fence + 1, attempt = attempt + 1, worker = %(worker)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(evaluation)s
  AND (not_before IS NULL OR not_before <= clock_timestamp())
  AND (status = 'queued' OR (status = 'running' AND lease_until < clock_timestamp()))
  AND attempt < %(attempts)s
RETURNING fence
"""

RENEW = """
UPDATE evaluations_evaluation SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(evaluation)s AND fence = %(fence)s AND status = 'running'
"""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What an evaluation came to. `aggregates`: as `evaluator.scoring.summarise` makes them. `receipt`: signed."""

    aggregates: Mapping[str, Any]
    receipt: Mapping[str, Any]
    backend: str
    evaluator_version: str


@dataclass(frozen=True, kw_only=True)
class EvaluationLease:
    """What a scoring worker holds."""

    evaluation_id: UUID
    fence: int


def ask_for_evaluation(
    *,
    submission: Submission,
    run: Run,
    now: datetime,
    protocol: ProtocolVersion | None = None,
    testset: TestSet | None = None,
    activates_when_done: bool = True,
) -> Evaluation:
    """A new evaluation of what the run produced, by the frozen protocol and test set unless others are given."""
    number = (submission.evaluations.aggregate(last=Max("number"))["last"] or 0) + 1
    evaluation = Evaluation.objects.create(
        submission=submission,
        run=run,
        number=number,
        protocol=protocol or submission.protocol,
        testset=testset or submission.testset,
        activates_when_done=activates_when_done,
        created_at=now,
    )
    log_event(verb="evaluation.queued", subject=evaluation, submission=submission.pk, number=number)
    return evaluation


def claim_evaluation(*, evaluation_id: UUID, worker: str, lease_seconds: float) -> EvaluationLease | None:
    """Take the evaluation, if nobody alive holds it."""
    parameters: dict[str, str | float | int] = {
        "evaluation": str(evaluation_id),
        "worker": worker[:120],
        "lease_seconds": lease_seconds,
        "attempts": ATTEMPTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, parameters)
        row = cursor.fetchone()
    if row is not None:
        log_event(verb="evaluation.running", subject=("evaluation", evaluation_id), worker=worker, fence=row[0])
    return EvaluationLease(evaluation_id=evaluation_id, fence=row[0]) if row else None


def renew_evaluation(lease: EvaluationLease, *, lease_seconds: float) -> None:
    """Keep the lease. Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(RENEW, {"evaluation": lease.evaluation_id, "fence": lease.fence, "lease_seconds": lease_seconds})
        if cursor.rowcount == 0:
            raise not_leased(f"Evaluation {lease.evaluation_id}", fence=lease.fence)


def store_case_scores(*, evaluation_id: UUID, case_pk: int, scores: Sequence[Sequence[Any]]) -> None:
    """Store a case's scores once. The same case again changes nothing."""
    row = CaseScores(evaluation_id=evaluation_id, case_id=case_pk, scores=[list(score) for score in scores])
    CaseScores.objects.bulk_create([row], ignore_conflicts=True)


def finish_evaluation(lease: EvaluationLease, *, results: Results, now: datetime) -> bool:
    """End the evaluation with its results; False when somebody else did, or holds it."""
    mine = Evaluation.objects.filter(id=lease.evaluation_id, fence=lease.fence, status=Evaluation.Status.RUNNING)
    changed = mine.update(
        status=Evaluation.Status.DONE,
        finished_at=now,
        lease_until=None,
        error="",
        aggregates=results.aggregates,
        receipt=results.receipt,
        backend=results.backend,
        evaluator_version=results.evaluator_version,
    )
    if changed:
        log_event(verb="evaluation.done", subject=("evaluation", lease.evaluation_id))
    return bool(changed)


def release_evaluation(lease: EvaluationLease, *, error: str) -> bool:
    """Put the evaluation back after a fault of ours, to be tried again after a while: an outage must not use up its attempts.

    The attempts are counted. The reaper fails it when they are used up.
    """
    mine = Evaluation.objects.filter(id=lease.evaluation_id, fence=lease.fence, status=Evaluation.Status.RUNNING)
    attempt = mine.values_list("attempt", flat=True).first() or 1
    delay = current_intervals().retry_delay(failures=attempt)
    changed = mine.update(
        status=Evaluation.Status.QUEUED, lease_until=None, not_before=Now() + delay, error=error[:300]
    )
    if changed:
        log_event(verb="evaluation.requeued", subject=("evaluation", lease.evaluation_id), attempt=attempt)
    return bool(changed)


def fail_at_once(lease: EvaluationLease, *, error: str, now: datetime) -> bool:
    """End an evaluation that no further attempt could finish; False when somebody else did, or holds it."""
    return bool(
        Evaluation.objects.filter(id=lease.evaluation_id, fence=lease.fence, status=Evaluation.Status.RUNNING).update(
            status=Evaluation.Status.FAILED, finished_at=now, lease_until=None, error=error[:300]
        )
    )


def keep_metric_image(
    *,
    challenge: Challenge,
    user: User,
    archive_sha256: str,
    key: str,
    size_bytes: int,
    report: dict[str, Any],
    now: datetime,
) -> MetricImage:
    """Note a metric image under the ID that protocols name it by. The same image again is the same row."""
    image, is_new = MetricImage.objects.get_or_create(
        challenge=challenge,
        image_id=report["image_id"],
        defaults={
            "archive_sha256": archive_sha256,
            "rewritten_key": key,
            "rewritten_bytes": size_bytes,
            "report": report,
            "created_by": user,
            "created_at": now,
        },
    )
    if is_new:
        record_event(
            actor=user,
            verb="metric_image.taken",
            subject=image,
            challenge_slug=challenge.slug,
            now=now,
            image_id=image.image_id,
        )
    return image


def fail_exhausted(*, evaluation_id: UUID, now: datetime) -> bool:
    """End an evaluation whose attempts are used up. Nothing is lost, it can be asked for again without another run."""
    stuck = Q(status=Evaluation.Status.QUEUED) | Q(status=Evaluation.Status.RUNNING, lease_until__lt=now)
    return bool(
        Evaluation.objects.filter(stuck, id=evaluation_id, attempt__gte=ATTEMPTS).update(
            status=Evaluation.Status.FAILED, finished_at=now, lease_until=None
        )
    )


def activate(*, evaluation: Evaluation, now: datetime, actor_label: str, actor: Any = None) -> None:
    """Make this the evaluation that ranks. Call inside a transaction. Older scores stay readable."""
    Evaluation.objects.filter(submission_id=evaluation.submission_id, is_active=True).exclude(id=evaluation.id).update(
        is_active=False
    )
    if Evaluation.objects.filter(id=evaluation.id, status=Evaluation.Status.DONE, is_active=False).update(
        is_active=True
    ):
        record_event(
            verb="evaluation.activated",
            subject=evaluation,
            now=now,
            actor=actor,
            actor_label=actor_label,
            submission=str(evaluation.submission_id),
        )


def waiting_evaluations(*, now: datetime) -> Collection[Evaluation]:
    """Evaluations that somebody should be working on: queued, or held by a worker that went silent."""
    is_stuck = Q(status=Evaluation.Status.QUEUED) | Q(status=Evaluation.Status.RUNNING, lease_until__lt=now)
    is_due = Q(not_before=None) | Q(not_before__lte=now)
    return list(Evaluation.objects.filter(is_stuck, is_due).order_by("created_at"))
