"""What happens to a phase when it is over: objections to its results, and its images run again elsewhere."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.api.v1.challenges import phase_document
from assay.challenges.access import get_organized_phase, get_phase, is_organizer
from assay.submissions.models import Objection
from assay.submissions.objections import answer_objection, object_to_results, objections_seen_by
from assay.workflow import flow
from assay.workflow.flow.carrying import plan_rerun, rerun

router = Router()


@router.post("/{slug}/phases/{phase}/rerun", response=schemas.RerunPhaseOut)
def rerun_images(request: HttpRequest, slug: str, phase: str, body: schemas.RerunPhaseIn) -> dict[str, Any]:
    """Enter the archived images of another phase that you organize in this one, or those of this one on its newer test set.

    `which`: each team's `best`, its `chosen` one, or `all`. Nothing is charged. `dry_run` answers the list and enters nothing.
    """
    person, now = person_of(request), timezone.now()
    target, user = get_organized_phase(person=person, challenge_slug=slug, phase_slug=phase)
    source, _ = get_organized_phase(person=person, challenge_slug=body.challenge, phase_slug=body.phase)
    found = plan_rerun(source=source, target=target, which=body.which)
    made = [] if body.dry_run else rerun(source=source, target=target, which=body.which, by=user, now=now)
    return {
        "candidates": [
            {
                "submission_id": row.submission.pk,
                "number": row.submission.number,
                "team": row.submission.team.name,
                "name": row.submission.name,
                "why_not": row.why_not,
            }
            for row in found.candidates
        ],
        "entered": [row.pk for row in made],
        "hours": found.hours,
    }


@router.get("/{slug}/phases/{phase}/objections", response=list[schemas.ObjectionOut])
def list_objections(request: HttpRequest, slug: str, phase: str) -> QuerySet[Objection]:
    """Objections of your team. All of them for organizers."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    return objections_seen_by(
        person=person, phase=row, is_organizer=is_organizer(person=person, challenge=row.challenge)
    )


@router.post("/{slug}/phases/{phase}/objections", response={201: schemas.ObjectionOut})
def make_objection(request: HttpRequest, slug: str, phase: str, body: schemas.ObjectionIn) -> Status[Objection]:
    """Object to results that are under review, for your team."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    return Status(201, object_to_results(phase=row, person=person, text=body.text, now=timezone.now()))


@router.post("/{slug}/phases/{phase}/objections/{objection}", response=schemas.ObjectionOut)
def answer(request: HttpRequest, slug: str, phase: str, objection: int, body: schemas.ObjectionAnswer) -> Objection:
    """Uphold or reject an objection, with an answer that the team reads."""
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return answer_objection(
        phase=row, objection_id=objection, is_upheld=body.uphold, answer=body.answer, user=user, now=timezone.now()
    )


@router.post("/{slug}/phases/{phase}/finalize", response=schemas.PhaseOut)
def finalize(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    """Make the results final, once the review is over and every objection has its answer."""
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return phase_document(phase=flow.finalize(phase=row, by=user, now=timezone.now()), person=user)
