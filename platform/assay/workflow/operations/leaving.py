"""What an account holds, as a file for its owner, and its deletion.

A deleted account keeps its row, because submissions, audit events and what others built on them point to it. Everything that names the
person is removed or replaced by `deleted-NUMBER`. Scores, ranks and receipts stay. Signed agreements and accepted rules stay with the
challenge, under the name that they were signed with: they are the organizers' proof.
"""

from datetime import datetime
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core import serializers
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError
from assay.accounts.models import AuditEvent, Team, TeamInvite, TeamMember, User
from assay.accounts.services import free_team_name, solo_slug
from assay.accounts.sessions import end_all_sessions
from assay.challenges.access import organized_by
from assay.challenges.models import Challenge, Membership
from assay.notices.models import Choice, Notice, OutgoingMail
from assay.submissions.models import Submission

SECRETS = frozenset({"password", "token_hash", "session_key", "origin_hash"})
MOST_EVENTS = 10_000


def export_account(user: User) -> dict[str, Any]:
    """Everything that we keep about somebody, by table. No secret and no hash of one is in it."""
    tables: dict[str, QuerySet[Any]] = {
        "account": User.objects.filter(pk=user.pk),
        "addresses": EmailAddress.objects.filter(user=user),
        "identities": user.identities.all(),
        "teams": Team.objects.filter(members=user),
        "tokens": user.api_tokens.all(),
        "challenges": user.challenge_memberships.all(),
        "accepted_rules": user.rules_acceptances.all(),
        "signed_agreements": user.signatures.all(),
        "downloads": user.downloads.all(),
        "submissions": Submission.objects.filter(submitted_by=user),
        "uploads": user.uploads.all(),
        "notices": user.notices.all(),
        "notice_choices": user.notice_choices.all(),
        "history": AuditEvent.objects.filter(actor=user).order_by("-pk")[:MOST_EVENTS],
    }
    return {name: [fields_of(row) for row in rows] for name, rows in tables.items()}


def fields_of(row: Any) -> dict[str, Any]:
    """The columns of a row that are no secrets, as JSON knows them."""
    (written,) = serializers.serialize("python", [row])
    fields = {name: value for name, value in written["fields"].items() if name not in SECRETS}
    return {"id": written["pk"]} | fields


def delete_account(*, user: User, now: datetime) -> None:
    """Delete somebody's account at their own wish. Raises ConflictError while others need them."""
    refuse_needed(user)
    with transaction.atomic():
        name = f"deleted-{user.pk}"
        record_event(actor=user, actor_label=name, verb="user.deleted", subject=user, now=now)
        _leave_teams(user, name=name, now=now)
        Membership.objects.filter(user=user, role=Membership.Role.ORGANIZER).delete()
        Membership.objects.filter(user=user).update(answers=[], reason="")
        for rows in (Notice, Choice, OutgoingMail):
            rows.objects.filter(person=user).delete()
        TeamInvite.objects.filter(created_by=user).delete()
        user.api_tokens.all().delete()
        EmailAddress.objects.filter(user=user).delete()
        user.identities.all().delete()
        Authenticator.objects.filter(user=user).delete()
        AuditEvent.objects.filter(actor=user).update(actor_label=name)
        end_all_sessions(user)
        user.username, user.display_name, user.email = name, _("Deleted account"), f"{name}@deleted.invalid"
        user.first_name = user.last_name = user.institution = user.country = user.orcid = user.language = ""
        user.is_active = user.is_staff = user.is_superuser = False
        user.set_unusable_password()
        user.save()


def refuse_needed(user: User) -> None:
    """Somebody who organizes a challenge alone, or is the only administrator, hands over first. Nobody leaves work behind."""
    alone = [
        row.challenge.title
        for row in organized_by(user).select_related("challenge").exclude(challenge__status=Challenge.Status.ARCHIVED)
        if not row.challenge.memberships.filter(role=Membership.Role.ORGANIZER).exclude(user=user).exists()
    ]
    if alone:
        raise ConflictError(
            _("You are the only organizer of a challenge."),
            code="still_needed",
            found=", ".join(alone)[:300],
            what_to_do=_("Add another organizer, or archive it."),
        )
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not others.exists():
        raise ConflictError(
            _("You are the only administrator."), code="still_needed", what_to_do=_("Make another one first.")
        )
    if Submission.objects.filter(submitted_by=user, finished_at=None).exists():
        raise ConflictError(
            _("A submission of yours has not ended yet."),
            code="still_needed",
            what_to_do=_("Wait for it, or cancel it."),
        )


def _leave_teams(user: User, *, name: str, now: datetime) -> None:
    """Teams go on without them: the one who has been in a team for longest leads it then. Their team of one loses its name."""
    for place in TeamMember.objects.filter(user=user).select_related("team"):
        if place.team.slug == solo_slug(user):
            place.team.name = free_team_name(f"Team {name}", owner=name)
            place.team.institution = ""
            place.team.save()
            continue
        next_one = place.team.memberships.exclude(user=user).order_by("joined_at", "pk").first()
        if next_one is None:
            continue  # the last member of a team with submissions: the team stays, under its name
        if place.is_captain:
            TeamMember.objects.filter(pk=next_one.pk).update(is_captain=True)
            record_event(
                actor=user, actor_label=name, verb="team.handed_over", subject=place.team, now=now,
                person=next_one.user.username,
            )  # fmt: skip
        place.delete()
