"""Sites without a network: organizers fetch a bundle for a stick, and hand in the result that came back on it."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Field, Schema

from assay.api.auth import person_of
from assay.api.v1 import schemas, site_answers
from assay.api.v1.schemas import Fence
from assay.api.v1.site import ended, phase_router
from assay.api.v1.site_agreements import router
from assay.challenges.access import get_organized_phase
from assay.evaluation_sites import bundles
from assay.evaluation_sites.joining import find_site_of

__all__ = ["phase_router", "router"]


class BundleIn(Schema):
    """How much goes on the stick, and for how long it is good."""

    days: int = Field(bundles.USUAL_DAYS, ge=1, le=bundles.LONGEST_DAYS)
    most: int = Field(bundles.USUAL_ORDERS, ge=1, le=bundles.MOST_ORDERS)


class Result(Schema):
    """What the site's program wrote: a release or a decline, signed by the site."""

    site_result: int
    evaluation_id: UUID
    fence: Fence
    action: str = Field(max_length=20)
    said: dict[str, Any] = Field(max_length=20)


@phase_router.post(
    "/{slug}/phases/{phase}/sites/{name}/bundle",
    response={200: None},
    openapi_extra=schemas.file_of("application/x-tar"),
    summary="Orders and images for a site without a network, as one file",
)
def make_bundle(request: HttpRequest, slug: str, phase: str, name: str, body: BundleIn) -> StreamingHttpResponse:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    site = find_site_of(row, name)
    made = bundles.make_bundle(site, by=user, days=body.days, most=body.most, now=timezone.now())
    headers = {"Content-Disposition": f'attachment; filename="{made.filename}"'}
    return StreamingHttpResponse(made.pieces(), content_type="application/x-tar", headers=headers)


@phase_router.post(
    "/{slug}/phases/{phase}/sites/{name}/results",
    response=site_answers.SiteEnded,
    summary="Hand in what a site wrote for the stick",
)
def take_result(request: HttpRequest, slug: str, phase: str, name: str, given: Result) -> dict[str, Any]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return ended(bundles.take_result(row, name=name, paper=given.dict(), by=user, now=timezone.now()))
