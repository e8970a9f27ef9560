"""Who may join a challenge, and what they say and accept when they do.

In this order: who was excluded stays out. Who was invited is accepted. People named by `deny` are refused, and people whom `allow`
does not name, where it names anybody. People named by `auto_accept` are accepted. Everybody else is accepted, or waits for the
organizers where `requires_approval` says so.

An entry with an `@` is an address, one without is a domain with all below it. `allow` and `auto_accept` count an address only once its
owner has shown that it is theirs, where this installation can tell.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from assay.accounts.addresses import can_verify, is_verified
from assay.accounts.audit import record_event
from assay.accounts.bounds import refuse_too_many
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError, NotFoundError
from assay.accounts.models import Team, User
from assay.accounts.tokens import hash_secret, new_secret
from assay.challenges.models import (
    Challenge,
    ChallengeInvite,
    InvitedPerson,
    Membership,
    RulesAcceptance,
    RulesText,
)

LONGEST_ANSWER = 2000
INVITE_PREFIX = "assayjoin_"
INVITE_LIFETIME = timedelta(days=30)
MOST_USES = 1000
MOST_INVITES_PER_DAY = 200


@dataclass(frozen=True, kw_only=True)
class Application:
    """What somebody sends when they join: their team (None: alone), one answer per question, the version of the rules they accept."""

    team: Team | None = None
    answers: Sequence[str] = ()
    rules_version: int = 0


def matches(address: str, entries: Sequence[str]) -> bool:
    """Whether an address is one of these, or of one of these domains.

    >>> matches("ada@cs.example.org", ["example.org"]), matches("ada@badexample.org", ["example.org"])
    (True, False)
    """
    typed = address.strip().casefold()
    domain = typed.rpartition("@")[2]
    for written in entries:
        entry = written.strip().casefold().removeprefix("@")
        is_domain = "@" not in entry
        if typed == entry or (is_domain and (domain == entry or domain.endswith(f".{entry}"))):
            return True
    return False


def status_of_new(*, challenge: Challenge, user: User) -> Membership.Status:
    """How somebody begins who joins now. Raises NotAllowedError."""
    if is_invited(challenge=challenge, user=user):
        return Membership.Status.ACCEPTED
    owns = not can_verify() or is_verified(user)
    if matches(user.email, challenge.deny):
        raise NotAllowedError(
            _("The organizers take nobody with your mail address."), what_to_do=_("Ask the organizers.")
        )
    if challenge.allow and not (owns and matches(user.email, challenge.allow)):
        raise NotAllowedError(
            _("Only people with certain mail addresses may join this challenge."),
            expected=_("a verified address that the organizers have listed"),
            what_to_do=_("Use the address of your institution, or ask the organizers for an invitation."),
        )
    if challenge.auto_accept and owns and matches(user.email, challenge.auto_accept):
        return Membership.Status.ACCEPTED
    return Membership.Status.PENDING if challenge.requires_approval else Membership.Status.ACCEPTED


def checked_answers(*, challenge: Challenge, answers: Sequence[str]) -> list[dict[str, str]]:
    """Each question with its answer. Raises InvalidError where one is missing."""
    given = [answer.strip() for answer in answers]
    questions: list[str] = challenge.questions
    if len(given) != len(questions) or not all(given):
        raise InvalidError(
            _("Every question of the organizers needs an answer."),
            code="answers_needed",
            found=_("%(count)s answers") % {"count": sum(1 for answer in given if answer)},
            expected=" · ".join(questions),
            what_to_do=_("Answer them on the page of the challenge."),
            field=f"answer#{next((at for at, answer in enumerate(given) if not answer), 0)}",
        )
    if any(len(answer) > LONGEST_ANSWER for answer in given):
        raise InvalidError(
            _("An answer is too long."),
            expected=_("at most %(most)s characters") % {"most": LONGEST_ANSWER},
            field=f"answer#{next(at for at, answer in enumerate(given) if len(answer) > LONGEST_ANSWER)}",
        )
    return [{"question": question, "answer": answer} for question, answer in zip(questions, given, strict=True)]


def check_rules(*, challenge: Challenge, version: int) -> None:
    """Raises ConflictError where somebody has not accepted the rules as they stand now."""
    if challenge.rules_version and version != challenge.rules_version:
        raise ConflictError(
            _("The rules of this challenge have to be accepted first."),
            code="rules_not_accepted",
            found=_("version %(version)s") % {"version": version} if version else _("none accepted"),
            expected=_("version %(version)s") % {"version": challenge.rules_version},
            what_to_do=_("Read them and accept them on the page of the challenge."),
            field="rules_version",
        )


def needs_acceptance(membership: Membership) -> bool:
    """Whether the rules have changed materially since this person accepted them."""
    return membership.rules_version < membership.challenge.rules_version


def accept_rules(*, membership: Membership, version: int, now: datetime) -> None:
    """Note that somebody accepts the rules as they stand now. Raises ConflictError when they have read another version."""
    challenge = membership.challenge
    check_rules(challenge=challenge, version=version)
    with transaction.atomic():
        note_acceptance(membership=membership, now=now)


def note_acceptance(*, membership: Membership, now: datetime) -> None:
    """Write down which text was accepted, and when."""
    challenge = membership.challenge
    if not challenge.rules_version:
        return
    rules = note_rules(challenge=challenge, now=now)
    RulesAcceptance.objects.get_or_create(rules=rules, user=membership.user, defaults={"at": now})
    membership.rules_version, membership.rules_accepted_at = challenge.rules_version, now
    membership.save(update_fields=["rules_version", "rules_accepted_at"])
    record_event(
        actor=membership.user,
        verb="rules.accepted",
        subject=membership,
        challenge_slug=challenge.slug,
        now=now,
        version=challenge.rules_version,
        sha256=rules.sha256,
    )


def note_rules(*, challenge: Challenge, now: datetime) -> RulesText:
    """The row of the rules as they stand. Called when they are pushed, and by those who accept rules that are older than these rows."""
    sha256 = hashlib.sha256(challenge.rules.encode()).hexdigest()
    row, _is_new = RulesText.objects.get_or_create(
        challenge=challenge,
        version=challenge.rules_version,
        sha256=sha256,
        defaults={"text": challenge.rules, "at": now},
    )
    return row


def is_invited(*, challenge: Challenge, user: User) -> bool:
    """Whether this person has opened an invite."""
    return InvitedPerson.objects.filter(challenge=challenge, user=user).exists()


def invite_by_mail(*, challenge: Challenge, address: str, by: User, now: datetime) -> tuple[ChallengeInvite, str]:
    """An invite for one person. The second value is the secret of the link."""
    try:
        validate_email(address.strip())
    except ValidationError as error:
        raise InvalidError(
            _("This is no e-mail address."),
            found=repr(address[:80]),
            expected=_("such as ada@example.org"),
            field="addresses",
        ) from error
    return make_invite(challenge=challenge, email=address.strip(), uses=1, by=by, now=now)


def make_invite(
    *, challenge: Challenge, uses: int, by: User, now: datetime, email: str = "", days: int = INVITE_LIFETIME.days
) -> tuple[ChallengeInvite, str]:
    """An invite that so many people may use. The second value is the secret of the link. The challenge's row is locked while we count."""
    if not 1 <= uses <= MOST_USES or not 1 <= days <= 365:
        raise InvalidError(
            _("An invitation is for 1 to %(uses)s people, for 1 to 365 days.") % {"uses": MOST_USES},
            found=_("%(uses)s people, %(days)s days") % {"uses": uses, "days": days},
            field="days" if 1 <= uses <= MOST_USES else "uses",
        )
    secret = new_secret(prefix=INVITE_PREFIX)
    with transaction.atomic():
        refuse_too_many(verb="challenge.invited", by=by, now=now)
        Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
        if challenge.invites.filter(created_at__gt=now - timedelta(days=1)).count() >= MOST_INVITES_PER_DAY:
            raise LimitReachedError(
                _("A challenge makes %(most)s invitations a day.") % {"most": MOST_INVITES_PER_DAY},
                retry_at=now + timedelta(days=1),
            )
        invite = ChallengeInvite.objects.create(
            challenge=challenge,
            email=email,
            token_hash=hash_secret(secret),
            uses_left=uses,
            created_by=by,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        record_event(
            actor=by,
            verb="challenge.invited",
            subject=invite,
            challenge_slug=challenge.slug,
            now=now,
            uses=uses,
        )
    return invite, secret


def open_invite(*, secret: str, user: User, now: datetime) -> Challenge:
    """Use an invite: from now on this person sees the challenge and may join it. Opening it again changes nothing."""
    with transaction.atomic():
        invites = ChallengeInvite.objects.select_for_update(of=("self",)).select_related("challenge")
        invite = invites.filter(
            token_hash=hash_secret(secret)
        ).first()  # locked: a second click waits, and changes nothing
        if invite is None:
            raise NotFoundError(_("This invite is not known."), what_to_do=_("Ask for a new one."))
        if is_invited(challenge=invite.challenge, user=user):
            return invite.challenge
        usable = ChallengeInvite.objects.filter(pk=invite.pk, uses_left__gt=0, expires_at__gt=now)
        if not usable.update(uses_left=F("uses_left") - 1):
            raise ConflictError(_("This invite was used already, or has expired."), what_to_do=_("Ask for a new one."))
        InvitedPerson.objects.create(invite=invite, challenge=invite.challenge, user=user, at=now)
        record_event(
            actor=user,
            verb="challenge.invite_used",
            subject=invite,
            challenge_slug=invite.challenge.slug,
            now=now,
        )
    return invite.challenge


def usable_invite(*, secret: str, user: User, now: datetime) -> ChallengeInvite:
    """The invite that a link stands for. Raises NotFoundError, and ConflictError when this person can use it no more."""
    invite = ChallengeInvite.objects.select_related("challenge").filter(token_hash=hash_secret(secret)).first()
    if invite is None:
        raise NotFoundError(_("This invite is not known."), what_to_do=_("Ask for a new one."))
    is_over = not invite.uses_left or invite.expires_at <= now
    if is_over and not is_invited(challenge=invite.challenge, user=user):
        raise ConflictError(_("This invite was used already, or has expired."), what_to_do=_("Ask for a new one."))
    return invite


def end_invite(*, challenge: Challenge, invite_id: int, by: User, now: datetime) -> None:
    """Let an invite be used no more. Who has used it stays."""
    invite = challenge.invites.filter(pk=invite_id).first()
    if invite is None:
        raise NotFoundError(_("There is no such invitation."))
    with transaction.atomic():
        challenge.invites.filter(pk=invite.pk).update(uses_left=0)
        record_event(actor=by, verb="challenge.invite_ended", subject=invite, challenge_slug=challenge.slug, now=now)
