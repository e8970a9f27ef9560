"""The list of challenges with their numbers, as the home page shows it. A constant number of queries."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Count

from assay.challenges.access import Person
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.selectors import challenge_list
from assay.pages.windows import challenge_status
from assay.submissions.models import Submission

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChallengeCard:
    """One challenge on the home page."""

    challenge: Challenge
    status: str
    phases: list[Phase]
    teams: int
    submissions: int
    next_deadline: datetime | None
    my_part: str = ""
    """The reader's membership: its status, or `organizer`. Empty where they have none."""


def challenge_cards(*, person: Person, search: str, status: str, only_mine: bool, now: datetime) -> list[ChallengeCard]:
    """The challenges this person may know of, soonest deadline first."""
    challenges = challenge_list(person=person, search=search)
    if only_mine and person.is_authenticated:
        challenges = challenges.filter(memberships__user=person, memberships__status=Membership.Status.ACCEPTED)
    listed = list(challenges)
    numbers = {
        row["challenge"]: (row["teams"], row["total"])
        for row in Submission.objects.filter(challenge__in=listed)
        .values("challenge")
        .annotate(teams=Count("team", distinct=True), total=Count("id"))
    }
    parts = _parts_of(person, listed)
    cards = [
        replace(
            _readable_card(challenge, numbers.get(challenge.pk, (0, 0)), now=now), my_part=parts.get(challenge.pk, "")
        )
        for challenge in listed
    ]
    cards = [card for card in cards if not status or card.status == status]
    return sorted(cards, key=lambda card: (card.next_deadline is None, card.next_deadline or now, card.challenge.title))


def _parts_of(person: Person, challenges: list[Challenge]) -> dict[int, str]:
    """What this person is in each of these challenges. One query."""
    if not person.is_authenticated:
        return {}
    mine = Membership.objects.filter(user=person, challenge__in=challenges)
    accepted, organizer = Membership.Status.ACCEPTED, Membership.Role.ORGANIZER
    return {
        row.challenge_id: str(organizer if row.role == organizer and row.status == accepted else row.status)
        for row in mine
    }


def _readable_card(challenge: Challenge, numbers: tuple[int, int], *, now: datetime) -> ChallengeCard:
    """The card. One row that cannot be read does not take the others with it."""
    try:
        return _card(challenge, numbers, now=now)
    except Exception:
        log.exception("row.unreadable", extra={"noun": "challenge", "row": challenge.slug})
        return ChallengeCard(
            challenge=challenge, status="cannot be read", phases=[], teams=0, submissions=0, next_deadline=None
        )


def _card(challenge: Challenge, numbers: tuple[int, int], *, now: datetime) -> ChallengeCard:
    phases = list(challenge.phases.all())
    deadlines = [phase.closes_at for phase in phases if phase.closes_at > now]
    return ChallengeCard(
        challenge=challenge,
        status=challenge_status(challenge, phases, now=now),
        phases=phases,
        teams=numbers[0],
        submissions=numbers[1],
        next_deadline=min(deadlines, default=None),
    )
