"""Agreements for data: people sign and withdraw theirs, organizers see all of them, revoke them and give them back."""

from datetime import datetime
from typing import Literal

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Router, Schema, Status

from assay.accounts.selectors import get_person
from assay.api.auth import EVERYBODY, person_of, user_of
from assay.challenges.access import get_challenge, get_organized_challenge
from assay.testsets import agreements
from assay.testsets.agreements import Agreement, LogLine

router = Router()


class DataAgreementOut(Schema):
    testset: str
    text: str
    sha256: str
    signed_at: datetime | None
    revoked_at: datetime | None
    reason: str


class SignatureIn(Schema):
    sha256: str = Field(min_length=64, max_length=64, description="of the text that you read")
    signature: str = Field(min_length=1, max_length=160, description="your full name")


class AgreementDecisionIn(Schema):
    username: str = Field(min_length=1, max_length=150)
    status: Literal["revoked", "given_back"]
    reason: str = Field("", max_length=300)


class DataLogLine(Schema):
    at: datetime
    what: Literal["signed", "withdrawn", "revoked", "given_back", "downloaded"]
    data: str
    version: str
    username: str
    email: str
    says: str


@router.get("/{slug}/agreements", auth=EVERYBODY, response=list[DataAgreementOut], operation_id="list_data_agreements")
def list_agreements(request: HttpRequest, slug: str) -> list[Agreement]:
    """What is signed before which data are downloaded, and how it stands for you."""
    person = person_of(request)
    return agreements.agreements_of(challenge=get_challenge(person=person, slug=slug), person=person)


@router.get("/{slug}/agreements/log", response=list[DataLogLine], operation_id="log_of_data")
def log(request: HttpRequest, slug: str) -> list[LogLine]:
    """Who signed, withdrew, lost and downloaded what, the newest first. For organizers."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return agreements.log_of(challenge)


@router.post(
    "/{slug}/agreements/{name}/sign", response={201: list[DataAgreementOut]}, operation_id="sign_data_agreement"
)
def sign(request: HttpRequest, slug: str, name: str, body: SignatureIn) -> Status[list[Agreement]]:
    """Sign with your name. The hash says which text you read: another one is refused."""
    user = user_of(request)
    challenge = get_challenge(person=user, slug=slug)
    agreements.sign(
        challenge=challenge, name=name, sha256=body.sha256, signature=body.signature, user=user, now=timezone.now()
    )
    return Status(201, agreements.agreements_of(challenge=challenge, person=user))


@router.post("/{slug}/agreements/{name}/withdraw", response={204: None}, operation_id="withdraw_data_agreement")
def withdraw(request: HttpRequest, slug: str, name: str) -> Status[None]:
    """Take back what you signed. Your downloads of these data end at once."""
    user = user_of(request)
    challenge = get_challenge(person=user, slug=slug)
    agreements.withdraw(challenge=challenge, name=name, user=user, now=timezone.now())
    return Status(204, None)


@router.post("/{slug}/agreements/{name}/decision", response={204: None}, operation_id="decide_data_agreement")
def decide(request: HttpRequest, slug: str, name: str, body: AgreementDecisionIn) -> Status[None]:
    """Revoke somebody's agreement, or give it back. They read the reason. For organizers."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    person, now = get_person(username=body.username), timezone.now()
    if body.status == "revoked":
        agreements.revoke(challenge=challenge, name=name, person=person, reason=body.reason, by=user, now=now)
    else:
        agreements.give_back(challenge=challenge, name=name, person=person, by=user, now=now)
    return Status(204, None)
