"""What is kept of submissions, and for how long: the rules of a phase, and deletion by hand where a team asked for it.

Theory of operation. A phase may say for how many days after its end images, predictions and logs of containers are kept
(`keep_images_days`, `keep_predictions_days`, `keep_logs_days`). The reaper deletes what is over. Nothing goes while results are under
review, while a submission is unfinished, or while it is being scored. An image goes once each phase in which it was entered lets it go.
Scores, ranks and receipts always stay: they name what was deleted by its hash.

The rows change first, in one transaction. The files are deleted after it. What a crash leaves in between is named by no row, and
`manage.py collect_garbage` finds it. A submission without predictions is never scored or taken up again, because what is missing
would count as the worst value.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from assay.accounts.audit import record_event
from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.testsets import storage

MOST_AT_ONCE = 200
"""Submissions of one round."""


def lets_go(phase: Phase, *, days: int | None, now: datetime) -> bool:
    """Whether what is kept for so many days after the phase's end may go."""
    if days is None or (phase.review_days is not None and phase.finalized_at is None):
        return False
    return (phase.late_until or phase.closes_at) + timedelta(days=days) <= now


def delete_what_is_over(*, now: datetime) -> None:
    """One round over the rules of all phases."""
    has_rule = Q(keep_images_days__isnull=False) | Q(keep_predictions_days__isnull=False)
    phases = list(Phase.objects.filter(has_rule | Q(keep_logs_days__isnull=False)))
    free = {
        kind: [phase.pk for phase in phases if lets_go(phase, days=getattr(phase, f"keep_{kind}_days"), now=now)]
        for kind in ("images", "predictions", "logs")
    }
    settled = _settled(Submission.objects.order_by("pk"))
    without_predictions = settled.filter(phase__in=free["predictions"], predictions_deleted_at=None)
    delete_predictions(without_predictions.values_list("pk", flat=True)[:MOST_AT_ONCE], by=None, now=now)
    without_logs = settled.filter(phase__in=free["logs"], logs_deleted_at=None)
    delete_logs(without_logs.values_list("pk", flat=True)[:MOST_AT_ONCE], by=None, now=now)
    if free["images"]:
        of_image = Submission.objects.filter(image=OuterRef("pk")).order_by()
        bound = of_image.exclude(phase__in=free["images"], status__in=FINAL)
        entered = AlgorithmImage.objects.filter(Exists(of_image))
        unbound = entered.exclude(Exists(bound)).exclude(Exists(of_image.filter(_is_being_scored())))
        delete_images(unbound, by=None, now=now)


def delete_files(*, submission_ids: Collection[UUID], reason: str, by: User, now: datetime) -> int:
    """Delete images, predictions and logs of these submissions by hand. Answers of how many: what is unfinished is left out.

    An image that was entered elsewhere, too, stays.
    """
    with transaction.atomic():
        settled = _settled(Submission.objects.filter(pk__in=submission_ids))
        chosen = list(settled.select_for_update(of=("self",)).select_related("challenge"))
        keys = [row.pk for row in chosen]
        for row in chosen:
            record_event(
                actor=by,
                verb="submission.files_deleted",
                subject=row,
                challenge_slug=row.challenge.slug,
                now=now,
                reason=reason.strip()[:300],
            )
        delete_predictions(keys, by=by, now=now)
        delete_logs(keys, by=by, now=now)
        elsewhere = Submission.objects.filter(image=OuterRef("pk")).exclude(pk__in=keys)
        images = AlgorithmImage.objects.filter(submissions__in=keys).exclude(Exists(elsewhere)).distinct()
        delete_images(images, by=by, now=now)
        Submission.objects.filter(pk__in=keys).update(deletion_asked_at=None)
    return len(keys)


def ask_for_deletion(*, submission: Submission, by: User, now: datetime) -> bool:
    """A team asks its organizers to delete the files of a submission. `False`: it has asked already, or they are gone."""
    with transaction.atomic():
        rows = Submission.objects.filter(pk=submission.pk, deletion_asked_at=None, predictions_deleted_at=None)
        if not rows.update(deletion_asked_at=now):
            return False
        record_event(
            actor=by,
            verb="submission.deletion_asked",
            subject=submission,
            challenge_slug=submission.challenge.slug,
            now=now,
        )
    return True


def _is_being_scored() -> Exists:
    unfinished = (Evaluation.Status.QUEUED, Evaluation.Status.RUNNING)
    return Exists(Evaluation.objects.filter(submission=OuterRef("pk"), status__in=unfinished))


def _settled(rows: QuerySet[Submission]) -> QuerySet[Submission]:
    """Those that have ended and are not being scored."""
    return rows.filter(status__in=FINAL).exclude(_is_being_scored())


def delete_predictions(submission_ids: Collection[UUID], *, by: User | None, now: datetime) -> None:
    """Delete what these submissions wrote, and archives of predictions that no other submission was made of."""
    keys = list(submission_ids)
    with transaction.atomic():
        case_runs = CaseRun.objects.filter(run__submission__in=keys).exclude(outputs=[])
        files = [output["key"] for outputs in case_runs.values_list("outputs", flat=True) for output in outputs]
        case_runs.update(outputs=[])
        elsewhere = Submission.objects.filter(predictions=OuterRef("pk"), predictions_deleted_at=None)
        uploads = Upload.objects.filter(submissions__in=keys).exclude(Exists(elsewhere.exclude(pk__in=keys)))
        found = dict(uploads.exclude(key="").values_list("pk", "key"))
        Upload.objects.filter(pk__in=found).update(key="")
        _note(keys, field="predictions_deleted_at", verb="submission.predictions_deleted", by=by, now=now)
        _delete_after([*files, *found.values()])


def delete_logs(submission_ids: Collection[UUID], *, by: User | None, now: datetime) -> None:
    """Delete what the containers of these submissions said."""
    keys = list(submission_ids)
    with transaction.atomic():
        case_runs = CaseRun.objects.filter(run__submission__in=keys).exclude(log_key="")
        files = list(case_runs.values_list("log_key", flat=True))
        case_runs.update(log_key="")
        _note(keys, field="logs_deleted_at", verb="submission.logs_deleted", by=by, now=now)
        _delete_after(files)


def delete_images(images: QuerySet[AlgorithmImage], *, by: User | None, now: datetime) -> None:
    """Delete these images. Somebody who submits one at this moment is told that it was deleted, and uploads it again."""
    with transaction.atomic():
        kept = images.filter(status=AlgorithmImage.Status.ACCEPTED).exclude(rewritten_key="")
        found = dict(kept.values_list("pk", "rewritten_key")[:MOST_AT_ONCE])
        rows = AlgorithmImage.objects.filter(pk__in=found)
        rows.update(status=AlgorithmImage.Status.DELETED, rewritten_key="", rewritten_bytes=0)
        for image in rows:
            record_event(
                actor=by,
                actor_label="" if by else "workflow",
                verb="image.deleted",
                subject=image,
                now=now,
                sha256=image.image_id,
            )
        _delete_after([*found.values()])


def _note(keys: Sequence[UUID], *, field: str, verb: str, by: User | None, now: datetime) -> None:
    rows = Submission.objects.filter(pk__in=keys, **{field: None})
    for row in rows.select_related("challenge"):
        record_event(
            actor=by,
            actor_label="" if by else "workflow",
            verb=verb,
            subject=row,
            challenge_slug=row.challenge.slug,
            now=now,
        )
    Submission.objects.filter(pk__in=keys, **{field: None}).update(**{field: now})


def _delete_after(files: Sequence[str]) -> None:
    """Delete files once the transaction has ended well."""
    for key in filter(None, files):
        transaction.on_commit(partial(storage.delete_file, key))
