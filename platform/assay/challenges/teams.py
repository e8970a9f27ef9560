"""Changes to a team that reach into the challenges it competes in: leaving, removing, handing over, renaming, its size.

Who has submitted for a team stays bound to it in that challenge, because a second team would be a second set of attempts. So
somebody who leaves competes there for nobody until they come back, and anywhere else in whatever team they choose.
"""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotAllowedError, NotFoundError
from assay.accounts.models import Team, TeamMember, User
from assay.accounts.names import clean_name
from assay.accounts.services import free_team_name
from assay.challenges.models import Challenge, Membership
from assay.challenges.telling import organizing
from assay.notices.models import Kind
from assay.notices.services import News, notify


def is_solo(team: Team) -> bool:
    """Whether it is somebody's team of one."""
    return team.slug.startswith("_solo-")


def team_of_organizers(challenge: Challenge, *, now: datetime) -> Team:
    """The team that the organizers' baselines are entered by: made at the first need, with everybody who organizes by now.

    `slugify` never makes an underscore at the front, so nobody else's team can have its name in addresses.
    """
    slug = f"_organizers-{challenge.pk}"
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        name = free_team_name(_("Organizers of %(title)s") % {"title": challenge.title}, owner=challenge.slug)
        team, _is_new = Team.objects.get_or_create(slug=slug, defaults={"name": name, "created_at": now})
    TeamMember.objects.bulk_create(
        (TeamMember(team=team, user=person, joined_at=now) for person in organizing(challenge)), ignore_conflicts=True
    )
    return team


def require_captain(*, team: Team, user: User) -> None:
    """Raises NotAllowedError for everybody else."""
    if not TeamMember.objects.filter(team=team, user=user, is_captain=True).exists():
        raise NotAllowedError(_("Only the team's captain does this."), what_to_do=_("Ask your captain."))


def get_member(*, team: Team, username: str) -> TeamMember:
    """Somebody in the team."""
    member = team.memberships.select_related("user").filter(user__username=username).first()
    if member is None:
        raise NotFoundError(_("Nobody of this name is in the team."), found=username[:60], field="person")
    return member


def leave_team(*, team: Team, user: User, now: datetime) -> None:
    """Leave a team. Its captain hands over first. The last one stays, because its submissions need somebody."""
    if is_solo(team):
        raise ConflictError(_("Your team of one is yours for good."))
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        others = team.memberships.exclude(user=user)
        if not others.exists():
            raise ConflictError(
                _("You are the last member of this team."), what_to_do=_("Invite somebody and hand it over first.")
            )
        if not others.filter(is_captain=True).exists():
            raise ConflictError(_("You are its captain."), what_to_do=_("Hand the team over first."))
        _take_out(team=team, person=user, by=user, verb="team.left", event="left_team", now=now)


def remove_member(*, team: Team, username: str, by: User, now: datetime) -> None:
    """Take somebody out of the team, as its captain."""
    require_captain(team=team, user=by)
    member = get_member(team=team, username=username)
    if member.user_id == by.pk:
        raise ConflictError(_("You cannot remove yourself."), what_to_do=_("Hand the team over, then leave it."))
    with transaction.atomic():
        _take_out(team=team, person=member.user, by=by, verb="team.removed", event="removed_from_team", now=now)


def _take_out(*, team: Team, person: User, by: User, verb: str, event: str, now: datetime) -> None:
    """End somebody's membership, and tell those who stay and those who go."""
    everybody = list(User.objects.filter(teams=team).exclude(pk=by.pk))
    TeamMember.objects.filter(team=team, user=person).delete()
    Membership.objects.filter(team=team, user=person).update(team=None)
    record_event(actor=by, verb=verb, subject=team, now=now, person=person.username)
    _tell(team=team, people=everybody, event=event, person=person, now=now)


def hand_over(*, team: Team, username: str, by: User, now: datetime) -> None:
    """Make somebody else the captain."""
    require_captain(team=team, user=by)
    member = get_member(team=team, username=username)
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        if not TeamMember.objects.filter(team=team, user=by, is_captain=True).update(is_captain=False):
            return  # handed over meanwhile
        TeamMember.objects.filter(pk=member.pk).update(is_captain=True)
        record_event(actor=by, verb="team.handed_over", subject=team, now=now, person=username)
        _tell(team=team, people=[member.user], event="captain_of_team", person=member.user, now=now)


def rename_team(*, team: Team, name: str, by: User, now: datetime) -> None:
    """Give the team another name. Its address stays, so links go on working."""
    require_captain(team=team, user=by)
    title = clean_name(name, what=_("The team's name"), longest=80, field="name")
    before = team.name
    try:
        with transaction.atomic():
            team.name = title
            team.save(update_fields=["name"])
            record_event(actor=by, verb="team.renamed", subject=team, now=now, before=before, after=title)
    except IntegrityError as error:
        team.name = before
        raise ConflictError(
            _("There is a team named %(title)s already, or one that looks like it.") % {"title": repr(title)},
            code="name_taken",
            what_to_do=_("Choose another name."),
            field="name",
        ) from error


def refuse_full_team(*, challenge: Challenge, team: Team) -> None:
    """Raises ConflictError where the team has as many people in the challenge as it may. The caller has locked the challenge's row."""
    if challenge.team_size and challenge.memberships.filter(team=team).count() >= challenge.team_size:
        raise ConflictError(
            _("This team is full in this challenge."),
            code="team_is_full",
            found=_("%(size)s people") % {"size": challenge.team_size},
            expected=_("at most %(size)s people per team") % {"size": challenge.team_size},
            what_to_do=_("Compete in another team, or alone."),
            field="team",
        )


def _tell(*, team: Team, people: list[User], event: str, person: User, now: datetime) -> None:
    news = News(
        kind=Kind.TEAM,
        event=event,
        key=f"{event}:{team.pk}:{person.pk}:{now.isoformat()}",
        path=reverse("portal:teams"),
        facts={"team": team.name, "person": str(person)},
    )
    notify(people=people, news=news, now=now)
