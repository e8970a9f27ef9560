"""What people are told about their part in a challenge. Each of these is called in the transaction of what it tells."""

from datetime import UTC, datetime, timedelta

from django.urls import reverse
from django.utils.translation import gettext as _

from assay.accounts.models import User
from assay.challenges.models import (
    Announcement,
    Challenge,
    ChallengeInvite,
    Membership,
    Phase,
    Post,
    PublicationRequest,
)
from assay.challenges.zones import moment_words, zone_of
from assay.notices.models import Kind
from assay.notices.services import News, mail_to_address, notify, public_address
from assay.notices.webhooks import emit

DEADLINE_STEPS = (timedelta(days=1), timedelta(days=3))
"""How long before its end a phase is told of."""


def people_in(challenge: Challenge, *, role: Membership.Role) -> list[User]:
    """Who was accepted in this role."""
    return list(
        User.objects.filter(
            challenge_memberships__challenge=challenge,
            challenge_memberships__role=role,
            challenge_memberships__status=Membership.Status.ACCEPTED,
        )
    )


def organizing(challenge: Challenge) -> list[User]:
    """Who organizes it."""
    return people_in(challenge, role=Membership.Role.ORGANIZER)


def taking_part(challenge: Challenge) -> list[User]:
    """Who takes part."""
    return people_in(challenge, role=Membership.Role.PARTICIPANT)


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
    payload = {"challenge": challenge.slug, "person": membership.user.username, "address": public_address(news.path)}
    emit(event="asked_to_join", payload=payload, now=now, team_id=None, challenge_slug=challenge.slug)


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


def tell_announcement(*, announcement: Announcement, now: datetime) -> None:
    """Organizers announce something: everybody who takes part hears of it, and the other organizers."""
    challenge = announcement.challenge
    news = News(
        kind=Kind.ANNOUNCEMENT,
        event="announced",
        key=f"announced:{announcement.pk}",
        path=reverse("portal:news", args=[challenge.slug]),
        facts={"challenge": challenge.title, "title": announcement.title, "text": announcement.text},
        challenge_slug=challenge.slug,
    )
    notify(people=[*taking_part(challenge), *organizing(challenge)], news=news, now=now)


def tell_post(*, post: Post, is_new: bool, now: datetime) -> None:
    """A new topic is told to organizers and editors, a post to those who wrote under its topic. Never to its author."""
    topic = post.topic
    challenge = topic.challenge
    if is_new:
        people = [*organizing(challenge), *people_in(challenge, role=Membership.Role.EDITOR)]
    else:
        people = list(User.objects.filter(pk__in=topic.posts.filter(removed_at=None).values("by")))
    news = News(
        kind=Kind.DISCUSSION,
        event="topic_opened" if is_new else "post_written",
        key=f"post:{post.pk}",
        path=f"{reverse('portal:topic', args=[challenge.slug, topic.pk])}#post-{post.pk}",
        facts={"challenge": challenge.title, "person": str(post.by), "title": topic.title},
        challenge_slug=challenge.slug,
    )
    can_see = [person for person in people if person.pk != post.by_id]
    notify(people=can_see, news=news, now=now)


def tell_deadlines(*, now: datetime) -> None:
    """Phases that close soon: all who take part are told three days before, and one day before.

    A phase whose end is moved is told again. Repeating this tells nobody twice.
    """
    soon = Phase.objects.filter(
        challenge__status=Challenge.Status.PUBLISHED,
        is_paused=False,
        is_archived=False,
        opens_at__lte=now,
        closes_at__gt=now,
        closes_at__lte=now + max(DEADLINE_STEPS),
    )
    for phase in soon.select_related("challenge"):
        step = min(step for step in DEADLINE_STEPS if phase.closes_at <= now + step)
        challenge = phase.challenge
        closes = moment_words(phase.closes_at, zone=zone_of(challenge.timezone) or UTC, ends=True)
        news = News(
            kind=Kind.DEADLINE,
            event="closes_soon",
            key=f"closes_soon:{phase.pk}:{phase.closes_at.isoformat()}:{step.days}",
            path=reverse("portal:phase", args=[challenge.slug, phase.slug]),
            facts={"challenge": challenge.title, "phase": phase.title, "closes": closes},
            challenge_slug=challenge.slug,
        )
        notify(people=taking_part(challenge), news=news, now=now)


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


def mail_challenge_invite(*, invite: ChallengeInvite, secret: str, by: User, now: datetime) -> None:
    """Send somebody the link that invites them to a challenge."""
    words = {
        "person": by,
        "challenge": invite.challenge.title,
        "link": public_invite_address(secret),
        "until": f"{invite.expires_at:%Y-%m-%d}",
    }
    text = _(
        "%(person)s invites you to take part in the challenge %(challenge)s on Assay.\n\n"
        "Open this link to see it and to join. It works once, until %(until)s:\n%(link)s\n\n"
        "If you do not know %(person)s, ignore this mail."
    )
    subject = _("Invitation to %(challenge)s") % {"challenge": invite.challenge.title}
    mail_to_address(address=invite.email, subject=subject, text=text % words, now=now)


def public_invite_address(secret: str) -> str:
    """Where an invite is opened."""
    return public_address(reverse("portal:challenge-invite", args=[secret]))
