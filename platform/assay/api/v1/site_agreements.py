"""Agreements with sites, recalls, and the public log of a phase's sites."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Schema, Status

from assay.accounts.errors import NotFoundError
from assay.api.auth import EVERYBODY, person_of
from assay.api.v1 import site_answers
from assay.api.v1.site import ended, phase_router, router, working_site
from assay.challenges.access import get_organized_phase, get_phase, is_organizer
from assay.evaluation_sites import agreements, work
from assay.evaluation_sites.joining import find_site_of
from assay.evaluation_sites.log import log_of
from assay.evaluation_sites.models import SiteAgreement
from assay.evaluation_sites.selectors import shows_documents

__all__ = ["phase_router", "router"]


class TermsIn(Schema):
    """What an organizer offers about a data set: the newest of the site when no root is given."""

    root_sha256: str = Field("", max_length=64)
    days: int = Field(agreements.USUAL_DAYS, ge=1, le=agreements.LONGEST_DAYS)
    most_releases: int = Field(agreements.USUAL_RELEASES, ge=1, le=agreements.MOST_RELEASES)
    teams: list[str] = Field([], max_length=agreements.MOST_TEAMS)
    reviewers: int = Field(1, ge=1, le=agreements.MOST_REVIEWERS)
    automatic_after: int = Field(0, ge=0, le=agreements.MOST_CLEAN)


class AgreementOut(Schema):
    """Terms, signed by this installation, and the site's signature once it has accepted them."""

    number: int
    terms: dict[str, Any]
    acceptance: dict[str, Any] | None
    accepted_at: datetime | None


class StandingOut(Schema):
    """The newest terms for a site, and why no work is ordered: empty when it is."""

    agreement: AgreementOut | None
    code: str
    words: str
    releases_left: int | None


class Acceptance(Schema):
    """`{"kind": "assay-site-acceptance", "terms_sha256", "public_key", "signature"}`."""

    said: dict[str, Any] = Field(max_length=10)


class Recall(Schema):
    """Which released result is taken back, and why. `again`: run it again, as a new record."""

    evaluation_id: UUID
    reason: str = Field(max_length=2000)
    again: bool = False
    said: dict[str, Any] | None = Field(None, max_length=10)


@router.get("/agreement", response=StandingOut, summary="The newest terms, and whether work is ordered under them")
def agreement(request: HttpRequest) -> dict[str, Any]:
    standing = agreements.standing_of(working_site(request), now=timezone.now())
    found = standing.agreement
    return {
        "agreement": shown(found) if found else None,
        "code": standing.code,
        "words": standing.words,
        "releases_left": agreements.releases_left(found) if found else None,
    }


@router.post("/agreement", response=AgreementOut, summary="Sign the newest terms")
def accept(request: HttpRequest, given: Acceptance) -> dict[str, Any]:
    return shown(agreements.accept_agreement(working_site(request), said=given.said, now=timezone.now()))


@router.post("/recall", response=site_answers.SiteEnded, summary="Take a released result back")
def recall(request: HttpRequest, given: Recall) -> dict[str, Any]:
    return ended(work.recall_evaluation(site=working_site(request), now=timezone.now(), **given.dict()))


@phase_router.post(
    "/{slug}/phases/{phase}/sites/{name}/agreements",
    response={201: AgreementOut},
    summary="Accept a site's data and offer terms",
)
def offer(request: HttpRequest, slug: str, phase: str, name: str, body: TermsIn) -> Status[dict[str, Any]]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    site = find_site_of(row, name)
    known = site.datasets.filter(root_sha256=body.root_sha256) if body.root_sha256 else site.datasets.all()
    dataset = known.order_by("-registered_at").first()
    if dataset is None:
        raise NotFoundError(_("This site has registered no such data."), found=body.root_sha256)
    options = agreements.TermOptions(
        teams=tuple(body.teams), reviewers=body.reviewers, automatic_after=body.automatic_after
    )
    made = agreements.offer_agreement(
        site,
        dataset=dataset,
        by=user,
        now=timezone.now(),
        days=body.days,
        most_releases=body.most_releases,
        options=options,
    )
    return Status(201, shown(made))


@phase_router.get(
    "/{slug}/phases/{phase}/sites/log",
    auth=EVERYBODY,
    response=site_answers.SiteLogOut,
    summary="The public log of a phase's sites",
)
def log(request: HttpRequest, slug: str, phase: str) -> dict[str, Any]:
    person, now = person_of(request), timezone.now()
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    shows = is_organizer(person=person, challenge=row.challenge) or shows_documents(row, now=now)
    return log_of(row, shows_results=shows, now=now)


def shown(made: SiteAgreement) -> dict[str, Any]:
    """Terms and signature."""
    return {
        "number": made.number,
        "terms": made.terms,
        "acceptance": made.acceptance,
        "accepted_at": made.accepted_at,
    }
