"""Rejudging a whole phase: score again, see whose rank would move, then activate all of it or nothing."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from ninja import Router, Status

from assay.accounts.errors import ConflictError
from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_phase
from assay.leaderboards.rejudging import rejudgement_of
from assay.submissions.models import Submission
from assay.workflow import flow

router = Router()


@router.post(
    "/{slug}/phases/{phase}/rejudge", response={202: schemas.RejudgeOut}, summary="Score every finished run again"
)
def rejudge(request: HttpRequest, slug: str, phase: str) -> Status[dict[str, Any]]:
    """By the phase's present protocol and test set. Nothing ranks until it is activated."""
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    done = Submission.objects.filter(phase=row, status=Submission.Status.DONE).values_list("pk", flat=True)
    asked = flow.rejudge(submission_ids=list(done), by=user, now=timezone.now())
    return Status(202, {"evaluations": [evaluation.pk for evaluation in asked]})


@router.get("/{slug}/phases/{phase}/rejudgement", response=schemas.RejudgementOut, summary="Whose rank would move")
def show(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """The dry run: ranks and scores before and after."""
    row, _ = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    found = rejudgement_of(row)
    return {"waiting": len(found.waiting), "unfinished": found.unfinished, "moves": found.moves}


@router.post(
    "/{slug}/phases/{phase}/rejudgement/activate",
    response=schemas.ActivatedOut,
    summary="Let the re-scored evaluations rank",
)
def activate(request: HttpRequest, slug: str, phase: str) -> dict[str, int]:
    """All of them at once. The old scores stay readable."""
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    found = rejudgement_of(row)
    if found.unfinished or not found.waiting:
        raise ConflictError(
            gettext("There is nothing complete to activate."),
            found=gettext("%(waiting)s ready, %(unfinished)s not finished")
            % {"waiting": len(found.waiting), "unfinished": found.unfinished},
            what_to_do=gettext("Rejudge the phase, and wait until every evaluation is done."),
        )
    return {"activated": flow.activate(evaluation_ids=found.waiting, by=user, now=timezone.now())}
