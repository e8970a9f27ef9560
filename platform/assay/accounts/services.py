"""Changes to people and teams."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError, NotFoundError
from assay.accounts.models import Team, TeamInvite, TeamMember, User
from assay.accounts.tokens import hash_secret, new_secret

INVITE_PREFIX = "assayinvite_"
INVITE_LIFETIME = timedelta(days=14)


def create_user(*, username: str, email: str, password: str, display_name: str, now: datetime) -> User:
    """Sign somebody up."""
    user = User(username=username.strip(), email=email.strip(), display_name=display_name.strip(), date_joined=now)
    try:
        validate_password(password, user)
        user.set_password(password)
        user.full_clean()
    except ValidationError as error:
        raise InvalidError(sentence_of(error), what_to_do="Correct what is named and send it again.") from error
    try:
        with transaction.atomic():
            user.save()
            record_event(actor=user, verb="user.signed_up", subject=user, now=now)
    except IntegrityError as error:  # somebody else signed up with it between the check and now
        raise ConflictError("This user name or e-mail address was just taken.", code="name_taken") from error
    return user


def sentence_of(error: ValidationError) -> str:
    """Django's findings as one sentence per field: `password: too short. email: …`."""
    if not hasattr(error, "error_dict"):
        return "password: " + " ".join(error.messages)
    named: Mapping[str, list[str]] = error.message_dict
    return " ".join(f"{'' if field == '__all__' else f'{field}: '}{' '.join(texts)}" for field, texts in named.items())


def create_team(*, user: User, name: str, institution: str = "", now: datetime) -> Team:
    """Found a team; its founder is its captain."""
    title = name.strip()
    slug = slugify(title)[:70]
    if not slug:
        raise InvalidError(
            "A team needs a name with letters or digits.", found=repr(name), expected="such as 'Blue Lab'"
        )
    try:
        with transaction.atomic():
            team = Team.objects.create(name=title[:80], slug=slug, institution=institution, created_at=now)
            TeamMember.objects.create(team=team, user=user, is_captain=True, joined_at=now)
            record_event(actor=user, verb="team.founded", subject=team, now=now)
    except IntegrityError as error:
        raise ConflictError(
            f"There is a team named {title!r} already.", code="name_taken", what_to_do="Choose another name."
        ) from error
    return team


def solo_team(*, user: User, now: datetime) -> Team:
    """The team somebody competes in alone: made at the first need, named after them."""
    with transaction.atomic():
        team, is_new = Team.objects.get_or_create(
            slug=solo_slug(user),
            defaults={"name": str(user)[:80], "institution": user.institution, "created_at": now},
        )
        if is_new:
            TeamMember.objects.create(team=team, user=user, is_captain=True, joined_at=now)
            record_event(actor=user, verb="team.founded", subject=team, now=now, solo=True)
    return team


def solo_slug(user: User) -> str:
    """A name nobody can take: `slugify` never makes an underscore at the front."""
    return f"_solo-{user.pk}"


def invite_to_team(*, user: User, team: Team, email: str, now: datetime) -> tuple[TeamInvite, str]:
    """Invite one person; the second value is the secret of the link, which works once."""
    if not TeamMember.objects.filter(team=team, user=user, is_captain=True).exists():
        raise NotAllowedError("Only the team's captain invites.", what_to_do="Ask your captain.")
    if team.slug.startswith("_solo-"):
        raise ConflictError("This team is for one person.", what_to_do="Found a team with a name first.")
    secret = new_secret(prefix=INVITE_PREFIX)
    with transaction.atomic():
        invite = TeamInvite.objects.create(
            team=team, email=email, token_hash=hash_secret(secret), created_by=user, expires_at=now + INVITE_LIFETIME
        )
        record_event(actor=user, verb="team.invited", subject=team, now=now, invite=invite.pk)
    return invite, secret


def accept_invite(*, user: User, secret: str, now: datetime) -> Team:
    """Join the team an invite leads to. Of two people who try at once, one gets in."""
    with transaction.atomic():
        invite = TeamInvite.objects.select_related("team").filter(token_hash=hash_secret(secret)).first()
        if invite is None:
            raise NotFoundError("This invite is not known.", what_to_do="Ask for a new one.")
        usable = TeamInvite.objects.filter(pk=invite.pk, accepted_at=None, expires_at__gt=now)
        if not usable.update(accepted_at=now):
            raise ConflictError("This invite was used already, or has expired.", what_to_do="Ask for a new one.")
        TeamMember.objects.get_or_create(team=invite.team, user=user, defaults={"joined_at": now})
        record_event(actor=user, verb="team.joined", subject=invite.team, now=now)
    return invite.team
