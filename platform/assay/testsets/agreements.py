"""Agreements that are signed before a test set is downloaded, and the log of downloads.

A challenge's file says what is signed for which test set (`agreements`). A text that changes has to be signed again. Who signed may
withdraw it, and may sign again. An organizer may revoke it: then only an organizer lets it hold again. A download that runs at that moment
stops at the next file. Every download is noted, of test sets without an agreement too.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError, NotAllowedError, NotFoundError
from assay.accounts.models import AuditEvent, User
from assay.accounts.names import clean_line
from assay.challenges.access import Person, is_organizer, signed_in
from assay.challenges.models import Challenge
from assay.testsets.models import AgreementText, Download, Signature, TestSet
from assay.testsets.telling import tell_agreement_decision, tell_withdrawal

MOST_ROWS = 5000


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What is signed for a test set, and how it stands for one person."""

    testset: str
    text: str
    sha256: str
    signed_at: datetime | None
    """None: this person has to sign before they download."""
    revoked_at: datetime | None = None
    reason: str = ""
    """Why an organizer revoked it."""


def agreement_of(*, challenge: Challenge, name: str, person: Person) -> Agreement | None:
    """The agreement of a test set, as it stands for this person. None where nothing is signed. One query."""
    text = challenge.agreements.get(name, "")
    if not text:
        return None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if not isinstance(person, User):
        return Agreement(testset=name, text=text, sha256=sha256, signed_at=None)
    rows = list(held_by(challenge=challenge, name=name, user=person).select_related("agreement"))
    revoked = next((row for row in rows if row.end == Signature.End.REVOKED), None)
    signed = next((row for row in rows if row.agreement.sha256 == sha256), None)
    return Agreement(
        testset=name,
        text=text,
        sha256=sha256,
        signed_at=signed.at if signed and not revoked else None,
        revoked_at=revoked.ended_at if revoked else None,
        reason=revoked.reason if revoked else "",
    )


def agreements_of(*, challenge: Challenge, person: Person) -> list[Agreement]:
    """Every agreement of a challenge, as it stands for this person."""
    listed = (agreement_of(challenge=challenge, name=name, person=person) for name in sorted(challenge.agreements))
    return [agreement for agreement in listed if agreement is not None]


def held_by(*, challenge: Challenge, name: str, user: User) -> QuerySet[Signature]:
    """What somebody signed for a test set, in all its wordings, and did not withdraw."""
    rows = Signature.objects.filter(agreement__challenge=challenge, agreement__testset_name=name, user=user)
    return rows.exclude(end=Signature.End.WITHDRAWN)


def sign(*, challenge: Challenge, name: str, sha256: str, signature: str, user: User, now: datetime) -> None:
    """Sign the agreement of a test set with one's name. `sha256`: of the text that was read."""
    agreement = agreement_of(challenge=challenge, name=name, person=user)
    if agreement is None:
        raise NotFoundError(_("Nothing is signed for this test set."), found=name)
    if agreement.revoked_at is not None:
        raise revoked_error(agreement)
    if agreement.sha256 != sha256:
        raise InvalidError(
            _("The text has changed since you opened the page."), what_to_do=_("Read it again, then sign.")
        )
    written = clean_line(signature, what=_("The signature"), longest=160, field="signature")
    if not written:
        raise InvalidError(
            _("An agreement is signed with your name."), what_to_do=_("Write your name."), field="signature"
        )
    with transaction.atomic():
        text, _is_new = AgreementText.objects.get_or_create(
            challenge=challenge, testset_name=name, sha256=sha256, defaults={"text": agreement.text, "at": now}
        )
        row, is_new = Signature.objects.exclude(end=Signature.End.WITHDRAWN).get_or_create(
            agreement=text, user=user, defaults={"name": written, "at": now}
        )
        if row.end:  # an organizer was faster
            raise revoked_error(agreement)
        if is_new:
            note(verb="signed", text=text, person=user, by=user, now=now)


def note(*, verb: str, text: AgreementText, person: User, by: User, now: datetime, reason: str = "") -> None:
    """Write down what became of somebody's agreement."""
    record_event(
        actor=by,
        verb=f"agreement.{verb}",
        subject=text,
        challenge_slug=text.challenge.slug,
        now=now,
        testset=text.testset_name,
        sha256=text.sha256,
        person=person.username,
        **({"reason": reason} if reason else {}),
    )


def withdraw(*, challenge: Challenge, name: str, user: User, now: datetime) -> None:
    """Take back what one signed for a test set. Downloads end at once. The organizers hear of it."""
    end = {"end": Signature.End.WITHDRAWN, "ended_at": now}
    with transaction.atomic():
        (newest, *_older) = _changed(challenge=challenge, name=name, user=user, before="", values=end)
        note(verb="withdrawn", text=newest.agreement, person=user, by=user, now=now)
        tell_withdrawal(signature=newest, now=now)


def revoke(*, challenge: Challenge, name: str, person: User, reason: str, by: User, now: datetime) -> None:
    """End somebody's agreement as an organizer. They read the reason, and cannot sign again before it is given back."""
    written = clean_line(reason, what=_("The reason"), longest=300, field="reason")
    if not written:
        raise InvalidError(
            _("An agreement is revoked with a reason."), what_to_do=_("Write what they should read."), field="reason"
        )
    end = {"end": Signature.End.REVOKED, "ended_at": now, "reason": written}
    with transaction.atomic():
        (newest, *_older) = _changed(challenge=challenge, name=name, user=person, before="", values=end)
        note(verb="revoked", text=newest.agreement, person=person, by=by, now=now, reason=written)
        tell_agreement_decision(signature=newest, event="agreement_revoked", now=now)


def give_back(*, challenge: Challenge, name: str, person: User, by: User, now: datetime) -> None:
    """Let an agreement hold again that an organizer revoked."""
    holds = {"end": "", "ended_at": None, "reason": ""}
    with transaction.atomic():
        (newest, *_older) = _changed(
            challenge=challenge, name=name, user=person, before=Signature.End.REVOKED, values=holds
        )
        note(verb="given_back", text=newest.agreement, person=person, by=by, now=now)
        tell_agreement_decision(signature=newest, event="agreement_given_back", now=now)


def _changed(
    *, challenge: Challenge, name: str, user: User, before: str, values: Mapping[str, object]
) -> list[Signature]:
    """Change how everything stands that somebody signed for a test set. The rows, the newest first, at least one."""
    rows = held_by(challenge=challenge, name=name, user=user).filter(end=before).select_related("agreement__challenge")
    held = list(rows.select_related("agreement__challenge", "user").select_for_update(of=("self",)).order_by("-pk"))
    if not held:
        raise NotFoundError(
            _("There is no such agreement."),
            found=f"{name}: {user.username}"[:200],
            expected=_("an agreement that was revoked") if before else _("an agreement that holds"),
            what_to_do=_("Look at the list again: it may have changed meanwhile."),
        )
    Signature.objects.filter(pk__in=[row.pk for row in held]).update(**values)
    for row in held:
        for field, value in values.items():
            setattr(row, field, value)
    return held


def revoked_error(agreement: Agreement) -> NotAllowedError:
    """What somebody is answered whose agreement an organizer revoked."""
    return NotAllowedError(
        _("The organizers have revoked your agreement for these data."),
        code="agreement_revoked",
        found=agreement.reason,
        what_to_do=_("Ask them."),
    )


def check_agreement(*, testset: TestSet, person: Person) -> None:
    """Raises NotAllowedError where this person may not download a test set because its agreement does not hold for them."""
    challenge = testset.challenge
    agreement = agreement_of(challenge=challenge, name=testset.name, person=person)
    if agreement is None or is_organizer(person=person, challenge=challenge):
        return
    signed_in(person)
    if agreement.revoked_at is not None:
        raise revoked_error(agreement)
    if agreement.signed_at is None:
        raise NotAllowedError(
            _("These data are downloaded once their agreement is signed."),
            code="agreement_not_signed",
            what_to_do=_("Sign it on the challenge's page of rules and data."),
        )


def note_download(*, testset: TestSet, person: Person, now: datetime) -> None:
    """Write down who downloads a public test set. Raises NotAllowedError where an agreement is not signed."""
    check_agreement(testset=testset, person=person)
    Download.objects.create(testset=testset, user=person if isinstance(person, User) else None, at=now)


def still_holds(*, testset: TestSet, person: Person) -> Callable[[], bool]:
    """What a running download asks before each file. Where nothing is signed it asks nobody."""
    if testset.name not in testset.challenge.agreements:
        return lambda: True

    def ask() -> bool:
        try:
            check_agreement(testset=testset, person=person)
        except NotAllowedError:
            return False
        return True

    return ask


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of the log of data: `what` is signed, withdrawn, revoked, given_back or downloaded."""

    at: datetime
    what: str
    data: str
    version: str
    """Of a download its version; of an agreement the first letters of the hash of its text."""
    username: str
    email: str = ""
    says: str = ""
    """The name that was signed with, or the reason."""


def log_of(challenge: Challenge) -> list[LogLine]:
    """Who signed, withdrew, lost and downloaded what, the newest first. Three queries."""
    ended = AuditEvent.objects.filter(
        object_type=AgreementText._meta.model_name,
        object_id__in=[str(pk) for pk in challenge.agreement_texts.values_list("pk", flat=True)],
        verb__in=[f"agreement.{what}" for what in ("withdrawn", "revoked", "given_back")],
    ).order_by("-at", "-pk")[:MOST_ROWS]
    lines = [
        LogLine(
            at=row.at,
            what="downloaded",
            data=row.testset.name,
            version=f"v{row.testset.version}",
            username=row.user.username if row.user else "",
            email=row.user.email if row.user else "",
        )
        for row in downloads_of(challenge)
    ]
    lines += [
        LogLine(
            at=row.at,
            what="signed",
            data=row.agreement.testset_name,
            version=row.agreement.sha256[:8],
            username=row.user.username,
            email=row.user.email,
            says=row.name,
        )
        for row in signatures_of(challenge)
    ]
    lines += [
        LogLine(
            at=event.at,
            what=event.verb.removeprefix("agreement."),
            data=event.details["testset"],
            version=event.details["sha256"][:8],
            username=event.details["person"],
            says=event.details.get("reason", ""),
        )
        for event in ended
    ]
    return sorted(lines, key=lambda line: line.at, reverse=True)


def signatures_of(challenge: Challenge) -> list[Signature]:
    """Who signed what, the newest first. One query."""
    rows = Signature.objects.filter(agreement__challenge=challenge).select_related("agreement", "user")
    return list(rows.order_by("-at", "-pk")[:MOST_ROWS])


def find_signature(*, challenge: Challenge, signature_id: int) -> Signature:
    """One signature of a challenge, as an organizer acts on it. Raises NotFoundError."""
    rows = Signature.objects.filter(pk=signature_id, agreement__challenge=challenge)
    found = rows.select_related("agreement", "user").first()
    if found is None:
        raise NotFoundError(_("There is no such agreement."), found=str(signature_id))
    return found


def downloads_of(challenge: Challenge) -> list[Download]:
    """Who downloaded what, the newest first. One query."""
    rows = Download.objects.filter(testset__challenge=challenge).select_related("testset", "user")
    rows = rows.defer("testset__report")
    return list(rows.order_by("-at", "-pk")[:MOST_ROWS])
