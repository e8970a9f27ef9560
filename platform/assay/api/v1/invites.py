"""Invitations to a challenge: organizers make and end them, and the person who has one opens it."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import person_of, user_of
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import ChallengeInvite
from assay.challenges.registration import end_invite, invite_by_mail, make_invite, open_invite
from assay.challenges.telling import mail_challenge_invite, public_invite_address

router, open_router = Router(), Router()
SHOWN = 200


@router.get("/{slug}/invites", response=list[schemas.ChallengeInviteOut])
def list_invites(request: HttpRequest, slug: str) -> list[dict[str, Any]]:
    """The newest first, with those who have used them."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    rows = challenge.invites.prefetch_related("used__user").order_by("-pk")[:SHOWN]
    return [document(row) for row in rows]


@router.post("/{slug}/invites", response={201: list[schemas.ChallengeInviteOut]})
def invite(request: HttpRequest, slug: str, body: schemas.ChallengeInviteIn) -> Status[list[dict[str, Any]]]:
    """Invite people: one mail to each address, or without addresses one link, which is shown this once."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    now = timezone.now()
    if not body.addresses:
        row, secret = make_invite(challenge=challenge, uses=body.uses, days=body.days, by=user, now=now)
        return Status(201, [document(row) | {"link": public_invite_address(secret)}])
    made = []
    with transaction.atomic():  # all of them or none
        for address in dict.fromkeys(body.addresses):
            row, secret = invite_by_mail(challenge=challenge, address=address, by=user, now=now)
            mail_challenge_invite(invite=row, secret=secret, by=user, now=now)
            made.append(document(row))
    return Status(201, made)


@router.delete("/{slug}/invites/{invite_id}", response={204: None})
def end(request: HttpRequest, slug: str, invite_id: schemas.RowKey) -> Status[None]:
    """Let an invitation be used no more. Who has used it stays."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    end_invite(challenge=challenge, invite_id=invite_id, by=user, now=timezone.now())
    return Status(204, None)


@open_router.post("/open", response=schemas.InviteOpened)
def follow(request: HttpRequest, body: schemas.InviteAccepted) -> dict[str, str]:
    """See the challenge that an invitation leads to. Join it afterwards: no organizer has to agree."""
    challenge = open_invite(secret=body.token, user=user_of(request), now=timezone.now())
    return {"challenge": challenge.slug, "title": challenge.title}


def document(row: ChallengeInvite) -> dict[str, Any]:
    """An invitation without its secret."""
    return {
        "id": row.pk,
        "email": row.email,
        "uses_left": row.uses_left,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "used_by": [used.user.username for used in row.used.all()],
        "link": None,
    }
