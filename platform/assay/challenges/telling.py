"""What people are told about their part in a challenge. Each of these is called in the transaction of what it tells."""

from datetime import datetime

from django.urls import reverse

from assay.accounts.models import User
from assay.challenges.models import Challenge, Membership, PublicationRequest
from assay.notices.models import Kind
from assay.notices.services import News, notify


def organizing(challenge: Challenge) -> list[User]:
    """Who organizes it."""
    role, status = Membership.Role.ORGANIZER, Membership.Status.ACCEPTED
    return list(
        User.objects.filter(
            challenge_memberships__challenge=challenge,
            challenge_memberships__role=role,
            challenge_memberships__status=status,
        )
    )


def tell_request(*, membership: Membership, now: datetime) -> None:
    """Somebody asks to take part: the organizers have to decide."""
    challenge = membership.challenge
    news = News(
        kind=Kind.REQUEST,
        event="asked_to_join",
        key=f"asked_to_join:{membership.pk}",
        path=reverse("organizers:people", args=[challenge.slug]),
        facts={"challenge": challenge.title, "person": str(membership.user)},
        challenge_slug=challenge.slug,
    )
    notify(people=organizing(challenge), news=news, now=now)


def tell_decision(*, membership: Membership, now: datetime) -> None:
    """The organizers have decided about somebody's part."""
    challenge, status = membership.challenge, str(membership.status)
    news = News(
        kind=Kind.ACCEPTANCE,
        event=status,
        key=f"{status}:{membership.pk}:{now.isoformat()}",
        path=reverse("portal:challenge", args=[challenge.slug]),
        facts={"challenge": challenge.title}
        | ({} if membership.status == Membership.Status.ACCEPTED else {"reason": membership.reason or "–"}),
        challenge_slug=challenge.slug,
    )
    notify(people=[membership.user], news=news, now=now)


def tell_publication_asked(*, request: PublicationRequest, now: datetime) -> None:
    """A draft waits for consent: every operator hears of it."""
    news = News(
        kind=Kind.PUBLICATION,
        event="publication_asked",
        key=f"publication_asked:{request.pk}",
        path=reverse("organizers:rights"),
        facts={"challenge": request.challenge.title, "person": str(request.asked_by)},
        challenge_slug=request.challenge.slug,
    )
    notify(people=list(User.objects.filter(is_staff=True)), news=news, now=now)


def tell_publication_decided(*, request: PublicationRequest, now: datetime) -> None:
    """An operator has agreed or refused: the organizers hear of it."""
    challenge = request.challenge
    news = News(
        kind=Kind.PUBLICATION,
        event=f"publication_{request.state}",
        key=f"publication_{request.state}:{request.pk}",
        path=reverse("organizers:overview", args=[challenge.slug]),
        facts={"challenge": challenge.title} | ({} if request.is_approved else {"reason": request.reason}),
        challenge_slug=challenge.slug,
    )
    notify(people=organizing(challenge), news=news, now=now)
