"""Questions about people and teams."""

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.accounts.models import ApiToken, Team, User


def tokens_of(*, user: User) -> QuerySet[ApiToken]:
    """Somebody's own tokens, newest first. Never their secrets."""
    return user.api_tokens.filter(revoked_at=None).order_by("-created_at")


def teams_of(*, user: User) -> QuerySet[Team]:
    """The teams somebody belongs to, with their members (two queries)."""
    return Team.objects.filter(members=user).prefetch_related("memberships__user").order_by("name")


def team_led(*, user: User, name: str) -> Team | None:
    """The team of this very name that somebody leads."""
    return Team.objects.filter(name=name.strip(), memberships__user=user, memberships__is_captain=True).first()


def get_team(*, user: User, slug: str) -> Team:
    """One of your own teams."""
    team = teams_of(user=user).filter(slug=slug).first()
    if team is None:
        raise NotFoundError(
            _("There is no such team among yours."), found=slug, what_to_do=_("Look at your list of teams.")
        )
    return team


def get_person(*, username: str) -> User:
    """Somebody by user name."""
    person = User.objects.filter(username=username, is_active=True).first()
    if person is None:
        raise NotFoundError(_("There is nobody of this user name."), found=username)
    return person
