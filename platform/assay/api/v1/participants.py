"""Who takes part in a challenge, as its organizers see and decide it."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.accounts.selectors import get_person
from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.api.v1.challenges import membership_document
from assay.challenges import services
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Membership
from assay.challenges.selectors import get_participant, participants_of
from assay.submissions.hints import Hint, hints_of

router = Router()


@router.get("/{slug}/participants", response=list[schemas.ParticipantOut])
def list_participants(request: HttpRequest, slug: str, status: Membership.Status | None = None) -> list[dict[str, Any]]:
    """Everybody who takes part or has asked to, with their answers. `status=pending`: those who wait."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    listed = participants_of(challenge=challenge)
    return [document(membership) for membership in listed if status is None or membership.status == status]


@router.post("/{slug}/participants", response=list[schemas.ParticipantOut])
def decide_about_many(request: HttpRequest, slug: str, body: schemas.DecisionsIn) -> list[dict[str, Any]]:
    """The same decision about several people, all or none. They read the reason."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    chosen = [get_participant(challenge=challenge, username=name) for name in dict.fromkeys(body.usernames)]
    status = Membership.Status(body.status)
    services.decide_memberships(memberships=chosen, status=status, reason=body.reason, user=user, now=timezone.now())
    return [document(get_participant(challenge=challenge, username=row.user.username)) for row in chosen]


@router.get("/{slug}/hints", response=list[schemas.HintOut])
def list_hints(request: HttpRequest, slug: str) -> list[Hint]:
    """What teams have in common that may be one: image, predictions, network address, mail address. Hints, not proof."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return hints_of(challenge)


@router.post("/{slug}/participants/{username}", response=schemas.ParticipantOut)
def decide(request: HttpRequest, slug: str, username: str, body: schemas.DecisionIn) -> dict[str, Any]:
    """Accept, reject or exclude somebody. They read the reason."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    membership = get_participant(challenge=challenge, username=username)
    status = Membership.Status(body.status)
    services.decide_membership(membership=membership, status=status, reason=body.reason, user=user, now=timezone.now())
    return document(get_participant(challenge=challenge, username=username))


@router.post("/{slug}/organizers", response={201: schemas.MembershipOut})
def add_organizer(request: HttpRequest, slug: str, body: schemas.OrganizerIn) -> Status[dict[str, Any]]:
    """Let somebody else do what organizers do."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    membership = services.add_organizer(
        challenge=challenge, user=get_person(username=body.username), by=user, now=timezone.now()
    )
    return Status(201, membership_document(membership))


def document(membership: Membership) -> dict[str, Any]:
    """A participant as organizers see them. `user` and `team` are loaded."""
    person = membership.user
    return {
        "answers": membership.answers,
        "rules_version": membership.rules_version,
        "rules_accepted_at": membership.rules_accepted_at,
        "username": person.username,
        "display_name": str(person),
        "email": person.email,
        "institution": person.institution,
        "team": membership.team.name if membership.team else None,
        "status": membership.status,
        "reason": membership.reason,
        "created_at": membership.created_at,
    }
