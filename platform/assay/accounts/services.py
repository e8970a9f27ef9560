"""Changes to people and teams."""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.text import slugify
from django.utils.translation import gettext

from assay.accounts.addresses import note_address, note_verified
from assay.accounts.audit import record_event
from assay.accounts.bounds import refuse_too_many
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError, NotFoundError
from assay.accounts.models import Team, TeamInvite, TeamMember, User
from assay.accounts.names import clean_line, clean_name, name_key
from assay.accounts.tokens import hash_secret, new_secret

INVITE_PREFIX = "assayinvite_"
INVITE_LIFETIME = timedelta(days=14)
MOST_INVITES_PER_DAY = 20
USER_NAME = re.compile(r"[\w.+-]+")
"""As Django takes it, without @: what looks like an address of somebody else deceives."""
SOLO_TRIES = 5
"""How often a free name is looked for while others take the one that was found."""


def create_user(*, username: str, email: str, password: str | None, display_name: str, now: datetime) -> User:
    """Sign somebody up. Without a password they sign in by another organization, until they set one."""
    shown = clean_line(display_name, what=gettext("The name others see"), longest=80, field="display_name")
    chosen = clean_name(username, what=gettext("The user name"), longest=60, field="username")
    if not USER_NAME.fullmatch(chosen):
        raise InvalidError(
            gettext("A user name is no e-mail address.")
            if "@" in chosen
            else gettext("A user name has no spaces and no other signs."),
            found=chosen,
            expected=gettext("letters, digits and . + - _"),
            field="username",
        )
    user = User(username=chosen, email=email.strip(), display_name=shown, date_joined=now)
    try:
        if password is not None:
            validate_password(password, user)
        user.set_password(password)
        user.full_clean()
    except ValidationError as error:
        raise InvalidError(
            sentence_of(error),
            what_to_do=gettext("Correct what is named and send it again."),
            field=next(iter(error.error_dict)) if hasattr(error, "error_dict") else "password",
        ) from error
    try:
        with transaction.atomic():
            user.save()
            note_address(user)
            record_event(actor=user, verb="user.signed_up", subject=user, now=now)
    except IntegrityError as error:  # somebody else signed up with it between the check and now
        raise ConflictError(
            gettext("This user name or e-mail address was just taken."), code="name_taken", field="username"
        ) from error
    return user


def create_administrator(*, username: str, email: str, password: str, now: datetime) -> User:
    """Somebody new who may do everything on this server."""
    with transaction.atomic():
        note_verified(create_user(username=username, email=email, password=password, display_name="", now=now))
        return promote_to_administrator(username=username, now=now)


def promote_to_administrator(*, username: str, now: datetime) -> User:
    """Let somebody who has an account do everything on this server."""
    with transaction.atomic():
        if not User.objects.filter(username=username.strip()).update(is_staff=True, is_superuser=True):
            raise NotFoundError(
                gettext("Nobody here is called %(username)s.") % {"username": repr(username)},
                what_to_do=gettext("Look at the spelling, or create them."),
            )
        user = User.objects.get(username=username.strip())
        record_event(actor=user, actor_label="command line", verb="user.promoted", subject=user, now=now)
    return user


def has_administrator() -> bool:
    """Whether anybody may do everything here."""
    return User.objects.filter(is_superuser=True, is_active=True).exists()


def sentence_of(error: ValidationError) -> str:
    """Django's findings as one sentence per field: `Password: too short. E-mail: …`."""
    words = {
        "username": gettext("User name"),
        "email": gettext("E-mail"),
        "password": gettext("Password"),
        "__all__": "",
    }
    named: Mapping[str, list[str]] = (
        error.message_dict if hasattr(error, "error_dict") else {"password": error.messages}
    )
    said = [(words.get(field, field), " ".join(texts)) for field, texts in named.items()]
    return " ".join(f"{field}: {text}" if field else text for field, text in said)


def create_team(*, user: User, name: str, institution: str = "", now: datetime) -> Team:
    """Found a team. Its founder is its captain."""
    title = clean_name(name, what=gettext("The team's name"), longest=80, field="name")
    place = clean_line(institution, what=gettext("The institution"), longest=120, field="institution")
    try:
        with transaction.atomic():
            refuse_too_many(verb="team.founded", by=user, now=now)
            team = Team.objects.create(name=title, slug=team_slug(title), institution=place, created_at=now)
            TeamMember.objects.create(team=team, user=user, is_captain=True, joined_at=now)
            record_event(actor=user, verb="team.founded", subject=team, now=now)
    except IntegrityError as error:
        raise ConflictError(
            gettext("There is a team named %(title)s already, or one that looks like it.") % {"title": repr(title)},
            code="name_taken",
            what_to_do=gettext("Choose another name."),
            field="name",
        ) from error
    return team


def team_slug(title: str) -> str:
    """The team's name for addresses. One without Latin letters gets a name made of its key."""
    return slugify(title)[:70] or f"team-{hashlib.sha256(name_key(title).encode()).hexdigest()[:12]}"


def free_team_name(wanted: str, *, owner: str) -> str:
    """`wanted` if no other team is called that, else `wanted (owner)`, else with a number. The constraint has the last word."""
    tries = (
        wanted[:80],
        f"{wanted[: 77 - len(owner[:40])]} ({owner[:40]})",
        *(f"{wanted[:70]} ({n})" for n in range(2, 1000)),
    )
    return next(name for name in tries if name_key(name) and not Team.objects.filter(name_key=name_key(name)).exists())


def solo_team(*, user: User, now: datetime) -> Team:
    """The team somebody competes in alone: made at the first need, named after them."""
    for _ in range(SOLO_TRIES):
        team = Team.objects.filter(slug=solo_slug(user)).first()
        if team is not None:
            return team
        with suppress(IntegrityError), transaction.atomic():  # taken since we looked: look again
            team = Team.objects.create(
                slug=solo_slug(user),
                name=free_team_name(str(user), owner=user.username),
                institution=user.institution,
                created_at=now,
            )
            TeamMember.objects.create(team=team, user=user, is_captain=True, joined_at=now)
            record_event(actor=user, verb="team.founded", subject=team, now=now, solo=True)
    raise ConflictError(
        gettext("Your team of one could not be named."), code="name_taken", what_to_do=gettext("Try again.")
    )


def solo_slug(user: User) -> str:
    """A name nobody can take: `slugify` never makes an underscore at the front."""
    return f"_solo-{user.pk}"


def invite_to_team(*, user: User, team: Team, email: str, now: datetime) -> tuple[TeamInvite, str]:
    """Invite one person. The second value is the secret of the link, which works once."""
    if not TeamMember.objects.filter(team=team, user=user, is_captain=True).exists():
        raise NotAllowedError(gettext("Only the team's captain invites."), what_to_do=gettext("Ask your captain."))
    if team.slug.startswith("_solo-"):
        raise ConflictError(
            gettext("This team is for one person."), what_to_do=gettext("Found a team with a name first.")
        )
    try:
        validate_email(email)
    except ValidationError as error:
        raise InvalidError(
            gettext("This is no e-mail address."),
            found=repr(email[:80]),
            expected=gettext("such as ada@example.org"),
            field="email",
        ) from error
    secret = new_secret(prefix=INVITE_PREFIX)
    with transaction.atomic():
        refuse_too_many(verb="team.invited", by=user, now=now)
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        today = TeamInvite.objects.filter(team=team, expires_at__gt=now + INVITE_LIFETIME - timedelta(days=1))
        if today.count() >= MOST_INVITES_PER_DAY:  # each is a mail to an address that we know nothing of
            raise LimitReachedError(
                gettext("A team sends %(most)s invitations a day.") % {"most": MOST_INVITES_PER_DAY},
                retry_at=now + timedelta(days=1),
            )
        invite = TeamInvite.objects.create(
            team=team, email=email, token_hash=hash_secret(secret), created_by=user, expires_at=now + INVITE_LIFETIME
        )
        record_event(actor=user, verb="team.invited", subject=team, now=now, invite=invite.pk)
    return invite, secret


def is_member(user: User, *, team: Team) -> bool:
    """Whether somebody is in a team."""
    return TeamMember.objects.filter(team=team, user=user).exists()


def usable_invite(*, secret: str, user: User, now: datetime) -> TeamInvite:
    """The invite that a link stands for. Raises NotFoundError, and ConflictError when it can be used no more.

    Members of the team may open it again: nothing changes for them.
    """
    invite = TeamInvite.objects.select_related("team", "created_by").filter(token_hash=hash_secret(secret)).first()
    if invite is None:
        raise NotFoundError(gettext("This invite is not known."), what_to_do=gettext("Ask for a new one."))
    is_over = invite.accepted_at is not None or invite.expires_at <= now
    if is_over and not is_member(user, team=invite.team):
        raise invite_is_over()
    return invite


def invite_is_over() -> ConflictError:
    """What the person hears who opens an invite too late."""
    return ConflictError(
        gettext("This invite was used already, or has expired."), what_to_do=gettext("Ask for a new one.")
    )


def accept_invite(*, user: User, secret: str, now: datetime) -> Team:
    """Join the team an invite leads to. Of two people who try at once, one gets in."""
    with transaction.atomic():
        invite = usable_invite(secret=secret, user=user, now=now)
        if not TeamInvite.objects.filter(pk=invite.pk, accepted_at=None).update(accepted_at=now):
            if is_member(user, team=invite.team):  # a second click
                return invite.team
            raise invite_is_over()
        TeamMember.objects.get_or_create(team=invite.team, user=user, defaults={"joined_at": now})
        record_event(actor=user, verb="team.joined", subject=invite.team, now=now)
    return invite.team
