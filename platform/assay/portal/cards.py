"""The list of challenges with their numbers, as the home page shows it. A constant number of queries."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Count, F, OuterRef, Subquery

from assay.challenges.access import Person
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.selectors import found_challenges
from assay.pages.windows import challenge_status
from assay.submissions.models import Submission

log = logging.getLogger(__name__)
CARDS = 48
"""How many challenges a page shows: rows of two and of three are full."""


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


@dataclass(frozen=True, kw_only=True)
class CardPage:
    """One page of the list, and how many challenges there are on all of them."""

    cards: list[ChallengeCard]
    page: int
    pages: int
    total: int


def challenge_cards(*, person: Person, search: str, status: str, only_mine: bool, page: int, now: datetime) -> CardPage:
    """The challenges this person may know of, soonest deadline first. What is not on the page is not read."""
    challenges = found_challenges(person=person, search=search)
    if only_mine and person.is_authenticated:
        challenges = challenges.filter(memberships__user=person, memberships__status=Membership.Status.ACCEPTED)
    open_phases = Phase.objects.filter(challenge=OuterRef("pk"), closes_at__gt=now).order_by("closes_at")
    rows = challenges.annotate(next_deadline=Subquery(open_phases.values("closes_at")[:1])).order_by(
        F("next_deadline").asc(nulls_last=True), "title", "pk"
    )
    if status:  # it follows from windows of phases, which only the rules of windows know
        rows = rows.filter(
            pk__in=[row.pk for row in rows.prefetch_related("phases") if _status(row, now=now) == status]
        )
    total = rows.count()
    pages = max(1, math.ceil(total / CARDS))
    page = min(page, pages)
    listed = list(rows.prefetch_related("phases")[(page - 1) * CARDS : page * CARDS])
    return CardPage(cards=_cards(listed, person=person, now=now), page=page, pages=pages, total=total)


def _cards(listed: Sequence[Challenge], *, person: Person, now: datetime) -> list[ChallengeCard]:
    numbers = {
        row["challenge"]: (row["teams"], row["total"])
        for row in Submission.objects.filter(challenge__in=listed)
        .values("challenge")
        .annotate(teams=Count("team", distinct=True), total=Count("id"))
    }
    parts = _parts_of(person, listed)
    return [
        replace(
            _readable_card(challenge, numbers.get(challenge.pk, (0, 0)), now=now), my_part=parts.get(challenge.pk, "")
        )
        for challenge in listed
    ]


def _status(challenge: Challenge, *, now: datetime) -> str:
    return _readable_card(challenge, (0, 0), now=now).status


def _parts_of(person: Person, challenges: Sequence[Challenge]) -> dict[int, str]:
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
