"""Two teams of a challenge become one, until the date that its organizers set.

The captain of one asks, the captain of the other agrees. Everybody of the first team competes for the second from then on, and its
submissions move with them, so what both have used of the submission limit is added up. Elsewhere both teams stay what they are.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import Team, TeamMember, User
from assay.challenges.models import Challenge, Membership, TeamMerge
from assay.challenges.teams import require_captain
from assay.leaderboards.services import ask_for_rebuild
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.submissions.models import Submission
from assay.workflow.flow import doorbells, unfinished_submissions


def ask_to_merge(*, challenge: Challenge, team: Team, into_slug: str, by: User, now: datetime) -> TeamMerge:
    """Ask another team of the challenge to take this one in."""
    require_captain(team=team, user=by)
    refuse_too_late(challenge, now=now)
    into = Team.objects.filter(challenge_memberships__challenge=challenge, slug=into_slug).exclude(pk=team.pk).first()
    if into is None:
        raise NotFoundError(
            _("No other team of this name takes part in the challenge."), found=into_slug[:80], field="into"
        )
    refuse_too_large(challenge=challenge, team=team, into=into)
    with transaction.atomic():
        merge, is_new = TeamMerge.objects.get_or_create(
            challenge=challenge, team=team, is_accepted=None, defaults={"into": into, "asked_by": by, "asked_at": now}
        )
        if not is_new:
            raise ConflictError(
                _("Your team has asked %(team)s already.") % {"team": merge.into.name},
                what_to_do=_("Wait for the answer, or take the question back."),
            )
        record_event(
            actor=by, verb="team.merge_asked", subject=merge, challenge_slug=challenge.slug, now=now, into=into.slug
        )
        captains = list(User.objects.filter(team_memberships__team=into, team_memberships__is_captain=True))
        _tell(merge, people=captains, event="merge_asked", now=now)
    return merge


def decide_merge(*, merge_id: int, accepts: bool, by: User, now: datetime) -> TeamMerge:
    """The other captain agrees or not. The one who asked may take it back. Of two decisions, one counts."""
    merge = open_merges(by).filter(pk=merge_id).first()
    if merge is None:
        raise NotFoundError(_("There is no such question."), what_to_do=_("Look at your teams again."))
    if accepts:
        require_captain(team=merge.into, user=by)
        refuse_too_late(merge.challenge, now=now)
    with transaction.atomic():
        Challenge.objects.select_for_update(no_key=True).get(pk=merge.challenge_id)
        waiting = TeamMerge.objects.filter(pk=merge.pk, is_accepted=None)
        if not waiting.update(is_accepted=accepts, decided_at=now):
            raise ConflictError(_("This was decided meanwhile."))
        record_event(
            actor=by,
            verb="team.merged" if accepts else "team.merge_refused",
            subject=merge,
            challenge_slug=merge.challenge.slug,
            now=now,
            team=merge.team.slug,
            into=merge.into.slug,
        )
        if accepts:
            _merge(merge, now=now)
    return merge


def _merge(merge: TeamMerge, *, now: datetime) -> None:
    """Move people and submissions. The challenge's row is locked."""
    challenge = merge.challenge
    refuse_too_large(challenge=challenge, team=merge.team, into=merge.into)
    moved = Submission.objects.filter(challenge=challenge, team=merge.team)
    if unfinished_submissions().filter(pk__in=moved.values("pk")).exists():
        raise ConflictError(
            _("A submission of %(team)s has not ended yet.") % {"team": merge.team.name},
            what_to_do=_("Merge once it has."),
        )
    people = list(
        User.objects.filter(challenge_memberships__challenge=challenge, challenge_memberships__team=merge.team)
    )
    phases = list(moved.values_list("phase", flat=True).distinct())
    moved.update(team=merge.into, is_chosen=False)
    Membership.objects.filter(challenge=challenge, team=merge.team).update(team=merge.into)
    for person in people:
        TeamMember.objects.get_or_create(team=merge.into, user=person, defaults={"joined_at": now})
    for phase_id in phases:
        ask_for_rebuild(phase_id=phase_id, now=now)
        doorbells.ring_leaderboard(phase_id)
    _tell(merge, people=list(User.objects.filter(teams=merge.into)), event="merged", now=now)


def open_merges(user: User) -> QuerySet[TeamMerge]:
    """The questions that wait, of teams that this person leads: theirs to answer, and theirs to take back."""
    led = TeamMember.objects.filter(user=user, is_captain=True).values("team")
    waiting = TeamMerge.objects.filter(is_accepted=None).select_related("challenge", "team", "into")
    return (waiting.filter(into__in=led) | waiting.filter(team__in=led)).order_by("pk")


def mergeable(user: User, *, now: datetime) -> QuerySet[Membership]:
    """Where this person's teams may still merge: their memberships, with challenge and team."""
    led = TeamMember.objects.filter(user=user, is_captain=True).values("team")
    mine = Membership.objects.filter(user=user, team__in=led, challenge__merge_until__gt=now)
    return mine.select_related("challenge", "team").order_by("challenge__title", "pk")


def refuse_too_late(challenge: Challenge, *, now: datetime) -> None:
    """Raises ConflictError where teams cannot merge, or no longer."""
    if challenge.merge_until is None or challenge.merge_until <= now:
        raise ConflictError(
            _("Teams cannot merge in this challenge now."),
            found=_("until %(moment)s UTC") % {"moment": f"{challenge.merge_until:%Y-%m-%d %H:%M}"}
            if challenge.merge_until
            else _("no date is set"),
            what_to_do=_("Ask the organizers."),
        )


def refuse_too_large(*, challenge: Challenge, team: Team, into: Team) -> None:
    """Raises ConflictError where both together are more people than a team may have."""
    together = challenge.memberships.filter(team__in=[team, into]).count()
    if challenge.team_size and together > challenge.team_size:
        raise ConflictError(
            _("Both teams together are too large."),
            found=_("%(size)s people") % {"size": together},
            expected=_("at most %(size)s people per team") % {"size": challenge.team_size},
        )


def _tell(merge: TeamMerge, *, people: list[User], event: str, now: datetime) -> None:
    facts = {"challenge": merge.challenge.title, "team": merge.into.name, "other": merge.team.name}
    news = News(
        kind=Kind.TEAM,
        event=event,
        key=f"{event}:{merge.pk}",
        path=reverse("portal:teams"),
        facts=facts,
        challenge_slug=merge.challenge.slug,
    )
    notify(people=people, news=news, now=now)
