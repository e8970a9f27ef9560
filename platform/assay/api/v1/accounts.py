"""People, tokens, teams."""

from typing import Any
from uuid import UUID

from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Router, Status

from assay.accounts import addresses, second_factor, selectors, services, tokens
from assay.accounts.errors import NotSignedInError
from assay.accounts.models import Team, User
from assay.api.auth import user_of
from assay.api.throttling import SignInThrottle
from assay.api.v1 import schemas
from assay.notices.services import mail_team_invite
from assay.submissions.use import Use, use_of

router = Router()


@router.post("/users", auth=None, throttle=[SignInThrottle()], response={201: schemas.PersonOut})
def sign_up(request: HttpRequest, body: schemas.SignUp) -> Status[User]:
    """Make an account."""
    user = services.create_user(**body.dict(), now=timezone.now())
    if addresses.must_verify():
        addresses.send_link(user, request=request)
    return Status(201, user)


@router.post("/tokens", auth=None, throttle=[SignInThrottle()], response={201: schemas.TokenIssued})
def issue_token(request: HttpRequest, body: schemas.TokenRequest) -> Status[dict[str, Any]]:
    """Trade a user name and password (and the code of a second factor) for a token. It is shown this once."""
    user = authenticate(request, username=body.username, password=body.password)
    if not isinstance(user, User):
        raise NotSignedInError(_("The user name or the password is wrong."), code="wrong_password")
    addresses.check_verified(user)
    second_factor.check(user, code=body.code, now=timezone.now())
    token, secret = tokens.issue_token(
        user=user, name=body.name, days=body.days, scopes=body.scopes, now=timezone.now()
    )
    return Status(201, {"token": secret, "expires_at": token.expires_at})


@router.get("/tokens", response=list[schemas.TokenOut])
def list_tokens(request: HttpRequest) -> Any:
    """Your tokens, without their secrets."""
    return selectors.tokens_of(user=user_of(request))


@router.delete("/tokens/{token_id}", response={204: None})
def revoke_token(request: HttpRequest, token_id: UUID) -> Status[None]:
    """Make one of your tokens useless."""
    tokens.revoke_token(user=user_of(request), token_id=token_id, now=timezone.now())
    return Status(204, None)


@router.get("/me", response=schemas.PersonOut)
def who_am_i(request: HttpRequest) -> User:
    """The person this token or session belongs to."""
    return user_of(request)


@router.get("/me/use", response=list[schemas.UseOut])
def what_i_use(request: HttpRequest) -> list[Use]:
    """How much of your limits you use: challenges, disk, computing."""
    return use_of(user_of(request), now=timezone.now())


@router.get("/teams", response=list[schemas.TeamOut])
def list_teams(request: HttpRequest) -> list[dict[str, Any]]:
    """Your teams."""
    return [team_document(team) for team in selectors.teams_of(user=user_of(request))]


@router.post("/teams", response={201: schemas.TeamOut})
def create_team(request: HttpRequest, body: schemas.TeamIn) -> Status[dict[str, Any]]:
    """Found a team."""
    user = user_of(request)
    team = services.create_team(user=user, name=body.name, institution=body.institution, now=timezone.now())
    return Status(201, team_document(selectors.get_team(user=user, slug=team.slug)))


@router.post("/teams/{slug}/invites", response={201: schemas.InviteOut})
def invite(request: HttpRequest, slug: str, body: schemas.InviteIn) -> Status[dict[str, Any]]:
    """Invite one person. Give them the token, it works once."""
    user = user_of(request)
    team = selectors.get_team(user=user, slug=slug)
    row, secret = services.invite_to_team(user=user, team=team, email=body.email, now=timezone.now())
    mail_team_invite(address=row.email, team=team, secret=secret, by=user, now=timezone.now())
    return Status(201, {"token": secret, "expires_at": row.expires_at})


@router.post("/invites/accept", response=schemas.TeamOut)
def accept_invite(request: HttpRequest, body: schemas.InviteAccepted) -> dict[str, Any]:
    """Join the team an invite leads to."""
    user = user_of(request)
    team = services.accept_invite(user=user, secret=body.token, now=timezone.now())
    return team_document(selectors.get_team(user=user, slug=team.slug))


def team_document(team: Team) -> dict[str, Any]:
    """A team as the API shows it; `memberships__user` is loaded."""
    members = [
        {"username": row.user.username, "display_name": str(row.user), "is_captain": row.is_captain}
        for row in team.memberships.all()
    ]
    return {"slug": team.slug, "name": team.name, "institution": team.institution, "members": members}
