"""The door of an evaluation site's work: register data by its hash, claim an image, release approved numbers. No input, no
reference and no prediction ever passes here: they stay at the site. Beside it stand `site_joining.py`, `site_agreements.py` and
`site_bundles.py`.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Router, Schema, Status
from ninja.security import HttpBearer

from assay.accounts.errors import NotFoundError
from assay.api.auth import EVERYBODY, person_of
from assay.api.files import no_such_file, read_ticket, send_file, send_sealed
from assay.api.throttling import SiteThrottle
from assay.api.v1 import schemas, site_answers
from assay.api.v1.schemas import Fence
from assay.challenges.access import get_organized_phase, get_phase, is_organizer
from assay.evaluation_sites import services, work
from assay.evaluation_sites.boards import SiteRow, Weighting
from assay.evaluation_sites.joining import server_key
from assay.evaluation_sites.models import Site, SiteDataset, SiteEvaluation
from assay.evaluation_sites.selectors import site_board, why_board_is_hidden
from assay.evaluation_sites.waiting import COME_AGAIN_SECONDS, LONGEST_SECONDS, RoomIsFull, wait_for_work
from evaluator import __version__ as evaluator_version

SIGNING_SALT = "assay.site.files"
ADDRESS_SECONDS = 86_400


class SiteToken(HttpBearer):
    """Recognises a site by its token."""

    def authenticate(self, request: HttpRequest, token: str) -> Site | None:  # noqa: ARG002  ninja's signature
        return services.find_site(token)


THROTTLE = SiteThrottle()
router = Router(tags=["sites"], auth=SiteToken(), throttle=[THROTTLE])
phase_router = Router(tags=["sites"])


class SiteIn(Schema):
    """A site as its organizer names it."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,60}$")
    title: str = Field(min_length=1, max_length=120)


class Dataset(Schema):
    """What a site says of its data: the root of a hash tree, and counts."""

    root_sha256: str
    case_count: int = Field(ge=0, le=10_000_000)
    summary: dict[str, Any] = Field({}, max_length=100)
    said: dict[str, Any] | None = Field(None, max_length=10)
    """The same, signed by a site that has a key."""


class Wish(Schema):
    """A site with time: the root of the data it would evaluate on."""

    root_sha256: str
    agent: str = Field("", max_length=64)
    """Which installation of the site's program asks. It gets back at once what it held before it was killed."""
    skip: list[UUID] = Field([], max_length=1000)
    """Evaluations that the site could not do a moment ago: others go first."""
    wait_seconds: int = Field(0, ge=0, le=LONGEST_SECONDS)
    """How long the answer may wait for work. Where many wait already it comes at once, with Retry-After."""


class Lease(Schema):
    """What every word about an evaluation names."""

    evaluation_id: UUID
    fence: Fence


class Held(Lease):
    """It goes on. `is_in_review`: the result waits for a person at the site."""

    is_in_review: bool = False


class Release(Lease):
    """The approved numbers."""

    aggregates: dict[str, Any]
    failures: dict[str, Any] = Field({}, max_length=20)
    """Verdict → cases that ended so, null for 1 to 4."""
    said: dict[str, Any] | None = Field(None, max_length=20)
    """All of it, signed by a site that has a key."""


class Decline(Lease):
    """No numbers, and why, in a few words."""

    reason: str = Field(max_length=2000)


def site_of(request: HttpRequest) -> Site:
    """The site that is asking."""
    site: Site = request.auth  # type: ignore[attr-defined]  # ninja puts there what SiteToken returned
    return site


def working_site(request: HttpRequest) -> Site:
    """The site that is asking, once it is approved."""
    return services.require_approved(site_of(request))


@router.get("/about", response=site_answers.AboutSite, summary="Who we are to the server, and the rules")
def about(request: HttpRequest) -> dict[str, Any]:
    site = site_of(request)
    return {
        "name": site.name,
        "title": site.title,
        "challenge": site.phase.challenge.slug,
        "phase": site.phase.slug,
        "protocol": site.phase.protocol.document,
        "evaluator_version": evaluator_version,
        "is_waiting": site.is_waiting,
        "public_key": site.public_key,
        "server_key": server_key(),
    }


@router.post("/datasets", response=site_answers.DatasetOut, summary="Register data by its hash")
def register_dataset(request: HttpRequest, said: Dataset) -> dict[str, Any]:
    dataset = services.register_dataset(site=working_site(request), now=timezone.now(), **said.dict())
    return {"root_sha256": dataset.root_sha256, "case_count": dataset.case_count}


@router.post(
    "/claim", response={200: site_answers.SiteOrder, 204: None}, summary="The next submission to evaluate, or 204"
)
def claim(request: HttpRequest, wish: Wish) -> Any:
    site = working_site(request)
    dataset = SiteDataset.objects.filter(site=site, root_sha256=wish.root_sha256).first()
    if dataset is None:
        raise NotFoundError(
            _("This data is not registered."), found=wish.root_sha256, what_to_do=_("Register it, then claim.")
        )
    try:
        evaluation = wait_for_work(
            site=site,
            dataset=dataset,
            agent=wish.agent,
            skip=wish.skip,
            seconds=wish.wait_seconds,
            now=timezone.now,
        )
    except RoomIsFull:
        return HttpResponse(status=204, headers={"Retry-After": str(COME_AGAIN_SECONDS)})
    return HttpResponse(status=204) if evaluation is None else order(request, evaluation)


@router.post(
    "/heartbeat", response=site_answers.SiteLeaseKept, summary="Keep the lease, or say that the result is under review"
)
def heartbeat(request: HttpRequest, held: Held) -> dict[str, float]:
    work.keep_evaluation(site=working_site(request), now=timezone.now(), **held.dict())
    return {"lease_seconds": work.LEASE_SECONDS}


@router.post("/release", response=site_answers.SiteEnded, summary="Release approved numbers")
def release(request: HttpRequest, given: Release) -> dict[str, Any]:
    return ended(work.release_evaluation(site=working_site(request), now=timezone.now(), **given.dict()))


@router.post("/decline", response=site_answers.SiteEnded, summary="Release nothing, and say why")
def decline(request: HttpRequest, given: Decline) -> dict[str, Any]:
    return ended(work.decline_evaluation(site=working_site(request), now=timezone.now(), **given.dict()))


def ended(evaluation: SiteEvaluation) -> dict[str, Any]:
    """Where it is now, with our receipt for a signed release."""
    return {"evaluation_id": str(evaluation.pk), "status": evaluation.status, "receipt": evaluation.receipt}


@router.get(
    "/files/{signed}",
    auth=None,
    summary="The image of the evaluation that is held",
    openapi_extra=schemas.file_of("application/x-tar"),
)
def get_file(request: HttpRequest, signed: str, sealed: bool = False) -> Any:
    ticket = read_ticket(signed, salt=SIGNING_SALT, good_for=timedelta(seconds=ADDRESS_SECONDS))
    evaluation = (
        SiteEvaluation.objects.select_related("submission__image", "agreement")
        .filter(id=ticket["evaluation"], fence=ticket["fence"], status=SiteEvaluation.Status.RUNNING)
        .first()
    )
    if evaluation is None or evaluation.submission.image is None or not evaluation.submission.image.rewritten_key:
        raise no_such_file()
    image, wanted = evaluation.submission.image, request.headers.get("Range", "")
    if not sealed:
        return send_file(key=image.rewritten_key, wanted=wanted)
    receiver = work.receiver_of(evaluation)
    if receiver is None:
        raise no_such_file()
    own = work.file_key_of(evaluation, sha256=image.rewritten_sha256)
    return send_sealed(key=image.rewritten_key, wanted=wanted, receiver=receiver, own=own)


@phase_router.post("/{slug}/phases/{phase}/sites", response={201: site_answers.SiteEnrolled}, summary="Enrol a site")
def enrol(request: HttpRequest, slug: str, phase: str, body: SiteIn) -> Status[dict[str, str]]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    site, token = services.enrol_site(phase=row, name=body.name, title=body.title, by=user, now=timezone.now())
    return Status(201, {"name": site.name, "title": site.title, "token": token})


@phase_router.get(
    "/{slug}/phases/{phase}/sites/board",
    auth=EVERYBODY,
    response=site_answers.SiteBoardOut,
    summary="What the sites released",
)
def board(
    request: HttpRequest, slug: str, phase: str, metric: str = "", weighting: Weighting = Weighting.SITES
) -> dict[str, Any]:
    person, now = person_of(request), timezone.now()
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    sees_all = is_organizer(person=person, challenge=row.challenge)
    if not sees_all and why_board_is_hidden(row, now=now):
        return {"phase": row.slug, "metric": "", "weighting": weighting, "is_visible": False}
    found = site_board(row, metric=metric, weighting=weighting, sees_all=sees_all)
    return {
        "phase": row.slug,
        "metric": found.metric,
        "weighting": found.weighting,
        "is_provisional": found.is_provisional,
        "sites": found.columns,
        "entries": [entry(line, metric=found.metric) for line in found.rows],
        "duels": found.matrix,
        "is_visible": True,
    }


def entry(line: SiteRow, *, metric: str) -> dict[str, Any]:
    """One line of the sites' board."""
    return {
        "rank": line.rank,
        "team": line.team,
        "name": line.name,
        "number": line.number,
        "submission_id": str(line.submission_id),
        "mean": line.mean,
        "worst": line.worst,
        "worst_site": line.worst_site,
        "best": line.best,
        "heterogeneity": line.heterogeneity,
        "sites": {name: {metric: cell.mean} for name, cell in line.cells.items() if not cell.is_recalled},
        "cells": {name: {**asdict(cell), "interval": cell.interval} for name, cell in line.cells.items()},
    }


def order(request: HttpRequest, evaluation: SiteEvaluation) -> dict[str, Any]:
    """What a site needs to evaluate one submission, with a signed address of the image."""
    ticket = {"evaluation": str(evaluation.pk), "fence": evaluation.fence}
    address = f"{request.path.removesuffix('/claim')}/files/{signing.dumps(ticket, salt=SIGNING_SALT)}"
    return work.order_body(evaluation, image_at=address)
