"""Lists as pages show them: challenges with their numbers, submissions with their progress. Constant query counts."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from assay.challenges.access import Person
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.selectors import challenge_list
from assay.evaluations.disclosure import as_seen, is_closed
from assay.portal.windows import challenge_status, with_status
from assay.runs.selectors import progress
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
    cards = [_readable_card(challenge, numbers.get(challenge.pk, (0, 0)), now=now) for challenge in listed]
    cards = [card for card in cards if not status or card.status == status]
    return sorted(cards, key=lambda card: (card.next_deadline is None, card.next_deadline or now, card.challenge.title))


def with_progress(submissions: Iterable[Submission], *, sees_all: bool = False) -> list[Submission]:
    """The submissions, each carrying `progress` where its viewer may see it."""
    listed = [as_seen(submission, is_insider=sees_all) for submission in submissions]
    found = progress([submission.pk for submission in listed])
    for submission in listed:
        is_shown = sees_all or may_see_progress(submission)
        submission.progress = found[submission.pk] if is_shown and found[submission.pk].total else None  # type: ignore[attr-defined]  # for templates only
    return listed


def may_see_progress(submission: Submission) -> bool:
    """Per-case progress says how many hidden cases there are and how long each takes: a closed submission shows none."""
    return not is_closed(submission)


def _readable_card(challenge: Challenge, numbers: tuple[int, int], *, now: datetime) -> ChallengeCard:
    """The card; one row that cannot be read does not take the others with it."""
    try:
        return _card(challenge, numbers, now=now)
    except Exception:
        log.exception("row.unreadable", extra={"noun": "challenge", "row": challenge.slug})
        return ChallengeCard(
            challenge=challenge, status="cannot be read", phases=[], teams=0, submissions=0, next_deadline=None
        )


def _card(challenge: Challenge, numbers: tuple[int, int], *, now: datetime) -> ChallengeCard:
    phases = with_status(challenge.phases.all(), now=now)
    deadlines = [phase.closes_at for phase in phases if phase.closes_at > now]
    return ChallengeCard(
        challenge=challenge,
        status=challenge_status(challenge, phases, now=now),
        phases=phases,
        teams=numbers[0],
        submissions=numbers[1],
        next_deadline=min(deadlines, default=None),
    )
