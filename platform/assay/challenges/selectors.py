"""Questions about challenges: each fetches what a page needs, in a number of queries that does not grow."""

from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.challenges.access import Person, visible_challenges
from assay.challenges.models import Challenge, Membership, Phase


def challenge_list(*, person: Person, search: str = "") -> QuerySet[Challenge]:
    """Challenges this person may know of, newest first, with phases and the number of participants (two queries)."""
    rows = found_challenges(person=person, search=search).annotate(
        participant_count=Count(
            "memberships",
            filter=Q(memberships__role=Membership.Role.PARTICIPANT, memberships__status=Membership.Status.ACCEPTED),
        )
    )
    return rows.prefetch_related(Prefetch("phases", Phase.objects.select_related("protocol"))).order_by(
        "-created_at", "slug"
    )


def found_challenges(*, person: Person, search: str) -> QuerySet[Challenge]:
    """Challenges this person may know of whose title, summary or slug has the words. All of them without words."""
    rows = visible_challenges(person=person)
    if not search:
        return rows
    return rows.filter(Q(title__icontains=search) | Q(summary__icontains=search) | Q(slug__icontains=search))


def organizers_of(*, challenge: Challenge) -> QuerySet[Membership]:
    """Who organizes it."""
    return challenge.memberships.select_related("user").filter(
        role=Membership.Role.ORGANIZER, status=Membership.Status.ACCEPTED
    )


def participants_of(*, challenge: Challenge) -> QuerySet[Membership]:
    """Who takes part or has asked to, with their teams (one query)."""
    return (
        challenge.memberships.select_related("user", "team")
        .filter(role=Membership.Role.PARTICIPANT)
        .order_by("status", "-created_at")
    )


def get_participant(*, challenge: Challenge, username: str) -> Membership:
    """Somebody who takes part, or has asked to."""
    membership = participants_of(challenge=challenge).filter(user__username=username).first()
    if membership is None:
        raise NotFoundError(_("Nobody of this name takes part or has asked to."), found=username)
    return membership
