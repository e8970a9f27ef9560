"""What operators decide: who may publish, whose a pool of nodes is, and how much people may use."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.api.v1.challenges import publication_document, texts_of
from assay.challenges.access import require_staff
from assay.challenges.models import Pool
from assay.challenges.pools import owned_pools, set_pool_owners
from assay.challenges.publication import waiting_publications
from assay.challenges.quotas import run_quota_of
from assay.evaluations import pushing
from assay.submissions.use import (
    Use,
    challenge_seconds,
    largest_challenges,
    largest_users,
    set_challenge_limit,
    set_person_limits,
    use_of,
)

router = Router()


@router.get("/publications", response=list[schemas.PublicationOut])
def list_publications(request: HttpRequest) -> list[dict[str, Any]]:
    """Drafts that wait for an operator's consent, oldest first."""
    require_staff(person_of(request))
    return [publication_document(waiting) for waiting in waiting_publications()]


@router.post("/publications/{slug}", response=schemas.PublicationOut)
def decide_publication(request: HttpRequest, slug: str, body: schemas.PublicationDecision) -> dict[str, Any]:
    """Publish a draft, or refuse it with a reason that its organizers read."""
    user, now = require_staff(person_of(request)), timezone.now()
    decided = pushing.decide_publication(slug=slug, approves=body.approve, reason=body.reason, by=user, now=now)
    return publication_document(decided)


@router.get("/pools", response=list[schemas.PoolOut])
def list_pools(request: HttpRequest) -> list[dict[str, Any]]:
    """Pools that belong to somebody. Every other pool is everybody's."""
    require_staff(person_of(request))
    return [pool_document(pool) for pool in owned_pools()]


@router.put("/pools/{name}", response=schemas.PoolOut)
def change_pool(request: HttpRequest, name: str, body: schemas.PoolOwnersIn) -> dict[str, Any]:
    """Give a pool to people and challenges. With nobody named it is everybody's again."""
    user = require_staff(person_of(request))
    pool = set_pool_owners(
        name=name, people=body.people, challenges=body.challenges, note=body.note, by=user, now=timezone.now()
    )
    return pool_document(pool) if pool else {"name": name, "note": "", "people": [], "challenges": []}


def pool_document(pool: Pool) -> dict[str, Any]:
    """A pool with its owners."""
    return {
        "name": pool.name,
        "note": pool.note,
        "people": sorted(person.username for person in pool.people.all()),
        "challenges": sorted(challenge.slug for challenge in pool.challenges.all()),
    }


@router.get("/quotas", response=schemas.LargestOut)
def list_largest(request: HttpRequest) -> dict[str, Any]:
    """The largest users: who keeps most bytes or computed most, and the challenges that computed most."""
    require_staff(person_of(request))
    now = timezone.now()
    people = [
        {**texts_of(row, "drafts published stored_bytes run_seconds"), "username": row.person.username}
        for row in largest_users(now=now)
    ]
    challenges = [
        {"slug": row.challenge.slug, "run_seconds": row.run_seconds, "allowed_seconds": row.allowed_seconds}
        for row in largest_challenges(now=now)
    ]
    return {"people": people, "challenges": challenges}


@router.put("/quotas/people/{username}", response=list[schemas.UseOut])
def limit_person(request: HttpRequest, username: str, body: schemas.PersonLimitsIn) -> list[Use]:
    """Set limits of one person. Answers what they use of them."""
    user, now = require_staff(person_of(request)), timezone.now()
    person = set_person_limits(username=username, limits=body.dict(exclude_unset=True), by=user, now=now)
    return use_of(person, now=now)


@router.put("/quotas/challenges/{slug}", response=schemas.ChallengeUseOut)
def limit_challenge(request: HttpRequest, slug: str, body: schemas.ChallengeLimitsIn) -> dict[str, Any]:
    """Set the hours that submissions to one challenge may compute in a period."""
    user, now = require_staff(person_of(request)), timezone.now()
    challenge = set_challenge_limit(slug=slug, run_hours=body.run_hours, by=user, now=now)
    used = challenge_seconds(challenge, now=now)
    return {"slug": slug, "run_seconds": used, "allowed_seconds": run_quota_of(challenge)}
