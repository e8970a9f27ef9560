"""What organizers plan: tasks with last days, and what their phases would take."""

from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router

from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_challenge
from assay.challenges.editing import fingerprint
from assay.challenges.models import Challenge
from assay.challenges.tasks import tasks_of
from assay.challenges.writing import current_file
from assay.submissions.budgets import estimates_of
from assay.workflow.flow.tasks import change_tasks

router = Router()


@router.get("/{slug}/tasks", response=schemas.TasksOut)
def list_tasks(request: HttpRequest, slug: str) -> dict[str, Any]:
    """What is to be done, and until when. What is open comes first, by its last day."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return _document(challenge)


@router.post("/{slug}/tasks", response=schemas.TasksOut)
def change(request: HttpRequest, slug: str, body: schemas.TaskIn) -> dict[str, Any]:
    """Add a task or the usual ones, mark one as done or not done, remove one. It changes one line of the challenge file.

    `made_from` is that of the list you read. Where the file is another one by now, nothing is changed.
    """
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    change_tasks(challenge=challenge, user=user, now=timezone.now(), **body.dict())
    return _document(get_organized_challenge(person=user, slug=slug)[0])


@router.get("/{slug}/estimate", response=list[schemas.EstimateOut])
def estimate(
    request: HttpRequest, slug: str, guesses: Annotated[schemas.Guesses, Query()]
) -> list[schemas.EstimateOut]:
    """Hours on nodes and price of each phase with a test set, if every team submits so often and a case takes so long."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return [
        schemas.EstimateOut(
            phase=row.phase.slug,
            cases=row.cases,
            hours=row.hours,
            gpu_hours=row.gpu_hours,
            longest_hours=row.longest_hours,
            price=row.price,
        )
        for row in estimates_of(challenge, **guesses.dict())
    ]


def _document(challenge: Challenge) -> dict[str, Any]:
    return {"made_from": fingerprint(current_file(challenge)), "tasks": tasks_of(challenge, now=timezone.now())}
