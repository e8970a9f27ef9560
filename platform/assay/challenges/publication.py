"""Publishing a draft, at once or once an operator has agreed (`ASSAY_PUBLICATION_NEEDS_APPROVAL`).

Only the first publication is asked for: a challenge that was public can be archived and taken up again, and never becomes a draft.
"""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.challenges.models import Challenge, PublicationRequest
from assay.challenges.quotas import refuse_over_challenges
from assay.challenges.telling import tell_publication_asked, tell_publication_decided

LONGEST_REASON = 300


def publish_challenge(*, challenge: Challenge, user: User, now: datetime) -> Challenge:
    """Let everybody see a draft, or ask an operator to. A challenge without a phase has nothing to show.

    The challenge's row is locked, so that of two people who publish at once one asks, and the other finds it asked.
    """
    if not challenge.phases.exists():
        raise ConflictError(
            gettext("The challenge has no phase yet."), what_to_do=gettext("Push a challenge.yaml with one.")
        )
    with transaction.atomic():
        found = Challenge.objects.select_for_update().get(pk=challenge.pk)
        if found.status == Challenge.Status.DRAFT:
            refuse_over_challenges(user=found.created_by, status=Challenge.Status.PUBLISHED)
            if needs_approval(user):
                ask_for_publication(challenge=found, user=user, now=now)
            else:
                close_request(challenge=found, is_approved=True, reason="", by=user, now=now)
                make_public(challenge=found, user=user, now=now)
    challenge.refresh_from_db()
    return challenge


def needs_approval(user: User) -> bool:
    """Whether an operator has to agree when this person publishes. Operators agree with themselves."""
    return settings.PUBLICATION_NEEDS_APPROVAL and not user.is_staff


def make_public(*, challenge: Challenge, user: User | None, now: datetime) -> None:
    """Show a draft to everybody. Its row is locked by the caller."""
    Challenge.objects.filter(pk=challenge.pk).update(status=Challenge.Status.PUBLISHED)
    record_event(
        actor=user,
        actor_label="" if user else "command line",
        verb="challenge.published",
        subject=challenge,
        challenge_slug=challenge.slug,
        now=now,
    )


def ask_for_publication(*, challenge: Challenge, user: User, now: datetime) -> None:
    """Put the draft on the operators' list. Once is enough."""
    request, is_new = PublicationRequest.objects.get_or_create(
        challenge=challenge, is_approved=None, defaults={"asked_by": user, "asked_at": now}
    )
    if is_new:
        record_event(
            actor=user, verb="challenge.publication_asked", subject=challenge, challenge_slug=challenge.slug, now=now
        )
        tell_publication_asked(request=request, now=now)


def close_request(*, challenge: Challenge, is_approved: bool, reason: str, by: User | None, now: datetime) -> bool:
    """Answer the open request of a challenge; `False` when there is none."""
    waiting = PublicationRequest.objects.filter(challenge=challenge, is_approved=None)
    return bool(waiting.update(is_approved=is_approved, reason=reason, decided_by=by, decided_at=now))


def decide_publication(*, slug: str, approves: bool, reason: str, by: User | None, now: datetime) -> PublicationRequest:
    """An operator agrees to a publication, or refuses it with a reason that the organizers read. Of two operators, one decides."""
    reason = reason.strip()
    if len(reason) > LONGEST_REASON:
        raise InvalidError(
            gettext("The reason is too long."),
            found=f"{len(reason)} characters",
            expected=f"at most {LONGEST_REASON}",
            field="reason",
        )
    if not approves and not reason:
        raise InvalidError(
            gettext("A refusal needs a reason."),
            expected="what the organizers have to change",
            what_to_do=gettext("Write one."),
            field="reason",
        )
    with transaction.atomic():
        challenge = Challenge.objects.select_for_update().filter(slug=slug).first()
        if challenge is None:
            raise NotFoundError(gettext("There is no such challenge."), found=slug)
        if not close_request(challenge=challenge, is_approved=approves, reason=reason, by=by, now=now):
            raise ConflictError(
                gettext("Nobody waits for this decision."),
                found=f"{slug} is {challenge.status}",
                what_to_do=gettext("Look at the list again: another operator may have decided."),
            )
        record_event(
            actor=by,
            actor_label="" if by else "command line",
            verb=f"challenge.publication_{'approved' if approves else 'refused'}",
            subject=challenge,
            challenge_slug=slug,
            now=now,
            reason=reason,
        )
        if approves:
            refuse_over_challenges(user=challenge.created_by, status=Challenge.Status.PUBLISHED)
            make_public(challenge=challenge, user=by, now=now)
        decided = PublicationRequest.objects.filter(challenge=challenge).select_related("challenge").latest("pk")
        tell_publication_decided(request=decided, now=now)
        return decided


def waiting_publications() -> QuerySet[PublicationRequest]:
    """What operators have to decide, oldest first."""
    waiting = PublicationRequest.objects.filter(is_approved=None)
    return waiting.select_related("challenge", "asked_by").order_by("asked_at", "pk")


def last_request(challenge: Challenge) -> PublicationRequest | None:
    """The newest request to publish a draft. None for a challenge that is public."""
    if challenge.status != Challenge.Status.DRAFT:
        return None
    return challenge.publication_requests.select_related("challenge", "asked_by").order_by("-pk").first()
