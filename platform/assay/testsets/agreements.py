"""Agreements that are signed before a test set is downloaded, and the log of downloads.

A challenge's file says what is signed for which test set (`agreements`). A text that changes has to be signed again. Every download is
noted, of test sets without an agreement too.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError, NotAllowedError, NotFoundError
from assay.accounts.models import User
from assay.accounts.names import clean_line
from assay.challenges.access import Person, is_organizer, signed_in
from assay.challenges.models import Challenge
from assay.testsets.models import AgreementText, Download, Signature, TestSet

MOST_ROWS = 5000


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What is signed for a test set, and when this person signed it (None: not yet)."""

    text: str
    sha256: str
    signed_at: datetime | None


def agreement_of(*, challenge: Challenge, name: str, person: Person) -> Agreement | None:
    """The agreement of a test set, as it stands for this person. None where nothing is signed."""
    text = challenge.agreements.get(name, "")
    if not text:
        return None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    signed_at = None
    if isinstance(person, User):
        signed = Signature.objects.filter(
            agreement__challenge=challenge, agreement__testset_name=name, agreement__sha256=sha256, user=person
        )
        signed_at = signed.values_list("at", flat=True).first()
    return Agreement(text=text, sha256=sha256, signed_at=signed_at)


def sign(*, challenge: Challenge, name: str, sha256: str, signature: str, user: User, now: datetime) -> None:
    """Sign the agreement of a test set with one's name. `sha256`: of the text that was read."""
    agreement = agreement_of(challenge=challenge, name=name, person=user)
    if agreement is None:
        raise NotFoundError(_("Nothing is signed for this test set."), found=name)
    if agreement.sha256 != sha256:
        raise InvalidError(
            _("The text has changed since you opened the page."), what_to_do=_("Read it again, then sign.")
        )
    written = clean_line(signature, what="The signature", longest=160)
    if not written:
        raise InvalidError(_("An agreement is signed with your name."), what_to_do=_("Write your name."))
    with transaction.atomic():
        text, _is_new = AgreementText.objects.get_or_create(
            challenge=challenge, testset_name=name, sha256=sha256, defaults={"text": agreement.text, "at": now}
        )
        _row, is_new = Signature.objects.get_or_create(agreement=text, user=user, defaults={"name": written, "at": now})
        if is_new:
            record_event(
                actor=user,
                verb="agreement.signed",
                subject=text,
                challenge_slug=challenge.slug,
                now=now,
                testset=name,
                sha256=sha256,
            )


def note_download(*, testset: TestSet, person: Person, now: datetime) -> None:
    """Write down who downloads a public test set. Raises NotAllowedError where an agreement is not signed."""
    challenge = testset.challenge
    agreement = agreement_of(challenge=challenge, name=testset.name, person=person)
    if agreement is not None and not is_organizer(person=person, challenge=challenge):
        signed_in(person)
        if agreement.signed_at is None:
            raise NotAllowedError(
                _("These data are downloaded once their agreement is signed."),
                code="agreement_not_signed",
                what_to_do=_("Sign it on the challenge's page of rules and data."),
            )
    Download.objects.create(testset=testset, user=person if isinstance(person, User) else None, at=now)


def signatures_of(challenge: Challenge) -> list[Signature]:
    """Who signed what, the newest first. One query."""
    rows = Signature.objects.filter(agreement__challenge=challenge).select_related("agreement", "user")
    return list(rows.order_by("-at", "-pk")[:MOST_ROWS])


def downloads_of(challenge: Challenge) -> list[Download]:
    """Who downloaded what, the newest first. One query."""
    rows = Download.objects.filter(testset__challenge=challenge).select_related("testset", "user")
    return list(rows.order_by("-at", "-pk")[:MOST_ROWS])
