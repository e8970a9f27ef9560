"""How sites join, change their key and leave. How organizers invite, approve and revoke them.

The operations hang on the routers of `site`: an address that has two methods must not be split over two routers.
"""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Schema, Status

from assay.api.auth import person_of
from assay.api.throttling import AddressThrottle
from assay.api.v1 import site_answers
from assay.api.v1.site import SiteIn, phase_router, router, site_of
from assay.challenges.access import get_organized_phase
from assay.evaluation_sites import joining
from assay.evaluation_sites.models import Site

__all__ = ["phase_router", "router"]


class Joining(Schema):
    """A code, and the site's first words: `{"joins_with": hash of the code, "public_key", "signature"}`."""

    code: str = Field(max_length=80)
    said: dict[str, Any] = Field(max_length=10)


class KeyChange(Schema):
    """The next key, signed by the key that it replaces, with a proof signed by itself."""

    said: dict[str, Any] = Field(max_length=10)


class Leaving(Schema):
    """Why, in a few words."""

    reason: str = Field("", max_length=2000)


class Code(Schema):
    """A code that lets one machine join as this site, once. It is shown this once."""

    name: str
    code: str
    expires_at: datetime


class Words(Schema):
    """The six words that a person at the site read to the organizer."""

    words: str = Field(max_length=200)


class SiteOut(Schema):
    """A site as its organizers see it. The six words are not here: they are heard from the site."""

    name: str
    title: str
    status: str
    public_key: str
    joined_at: datetime | None
    approved_at: datetime | None
    revoked_at: datetime | None
    revoked_because: str
    last_seen_at: datetime | None


@router.post(
    "/join", auth=None, throttle=[AddressThrottle()], response={201: site_answers.Joined}, summary="Join with a code"
)
def join(request: HttpRequest, given: Joining) -> Status[dict[str, str]]:
    site, token = joining.join(code=given.code, said=given.said, now=timezone.now())
    return Status(
        201,
        {
            "name": site.name,
            "title": site.title,
            "challenge": site.phase.challenge.slug,
            "phase": site.phase.slug,
            "token": token,
            "server_key": joining.server_key(),
        },
    )


@router.post("/key", response=site_answers.KeyChanged, summary="Change the site's key")
def change_key(request: HttpRequest, given: KeyChange) -> dict[str, str]:
    site = site_of(request)
    joining.rotate_key(site, said=given.said, now=timezone.now())
    return {"public_key": site.public_key}


@router.post("/leave", response=site_answers.SiteLeft, summary="Leave: the token is void from now on")
def leave(request: HttpRequest, given: Leaving) -> dict[str, str]:
    site = site_of(request)
    joining.revoke_site(site, reason=given.reason, by=None, now=timezone.now())
    return {"name": site.name, "status": status_of(site)}


@phase_router.get("/{slug}/phases/{phase}/sites", response=list[SiteOut], summary="The sites of a phase")
def list_sites(request: HttpRequest, slug: str, phase: str) -> list[dict[str, Any]]:
    row, _ = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    return [shown(site) for site in Site.objects.filter(phase=row).order_by("name")]


@phase_router.post(
    "/{slug}/phases/{phase}/sites/codes", response={201: Code}, summary="Make a one-time code for a site"
)
def make_code(request: HttpRequest, slug: str, phase: str, body: SiteIn) -> Status[dict[str, Any]]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    code, text = joining.make_code(phase=row, name=body.name, title=body.title, by=user, now=timezone.now())
    return Status(201, {"name": code.name, "code": text, "expires_at": code.expires_at})


@phase_router.post("/{slug}/phases/{phase}/sites/{name}/approve", response=SiteOut, summary="Approve a site's key")
def approve(request: HttpRequest, slug: str, phase: str, name: str, body: Words) -> dict[str, Any]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    site = joining.find_site_of(row, name)
    joining.approve_site(site, words=body.words, by=user, now=timezone.now())
    return shown(site)


@phase_router.post("/{slug}/phases/{phase}/sites/{name}/revoke", response=SiteOut, summary="End what a site may do")
def revoke(request: HttpRequest, slug: str, phase: str, name: str, body: Leaving) -> dict[str, Any]:
    row, user = get_organized_phase(person=person_of(request), challenge_slug=slug, phase_slug=phase)
    site = joining.find_site_of(row, name)
    joining.revoke_site(site, reason=body.reason, by=user, now=timezone.now())
    site.refresh_from_db()
    return shown(site)


def status_of(site: Site) -> str:
    """Where the site is: revoked, waiting for approval, or approved; `token` for one that has no key."""
    if site.revoked_at is not None:
        return "revoked"
    if not site.public_key:
        return "token"
    return "waiting" if site.is_waiting else "approved"


def shown(site: Site) -> dict[str, Any]:
    """One site as its organizers see it."""
    names = ("name", "title", "public_key", "joined_at", "approved_at", "revoked_at", "revoked_because", "last_seen_at")
    return {**{name: getattr(site, name) for name in names}, "status": status_of(site)}
