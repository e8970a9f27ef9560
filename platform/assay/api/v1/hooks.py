"""Webhooks of a team, and of the organizers of a challenge: the same operations at both addresses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.accounts.models import Team, User
from assay.accounts.selectors import get_team
from assay.api.auth import person_of, user_of
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_challenge
from assay.challenges.teams import require_captain
from assay.notices.models import Delivery, Hook
from assay.notices.webhooks import SHOWN, get_hook, hooks_of, make_hook, remove_hook, replay


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who is told, and who asks for them."""

    user: User
    team: Team | None = None
    challenge_slug: str = ""

    def hook(self, hook_id: UUID) -> Hook:
        """One of theirs."""
        return get_hook(hook_id=hook_id, team=self.team, challenge_slug=self.challenge_slug)


def of_team(request: HttpRequest, slug: str) -> Owner:
    """The team, asked for by its captain."""
    user = user_of(request)
    team = get_team(user=user, slug=slug)
    require_captain(team=team, user=user)
    return Owner(user=user, team=team)


def of_challenge(request: HttpRequest, slug: str) -> Owner:
    """The organizers, asked for by one of them."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    return Owner(user=user, challenge_slug=challenge.slug)


def hooks_router(whose: str, owner_of: Callable[[HttpRequest, str], Owner]) -> Router:
    """The operations for one kind of owner."""
    router = Router()

    @router.get("/{slug}/hooks", response=list[schemas.HookOut], operation_id=f"list_hooks_of_{whose}")
    def list_hooks(request: HttpRequest, slug: str) -> Any:
        """The webhooks, without their secrets."""
        owner = owner_of(request, slug)
        return hooks_of(team=owner.team, challenge_slug=owner.challenge_slug)

    @router.post("/{slug}/hooks", response={201: schemas.HookMade}, operation_id=f"make_hook_of_{whose}")
    def make(request: HttpRequest, slug: str, body: schemas.HookIn) -> Status[dict[str, Any]]:
        """A new webhook. Its secret is shown this once. A `ping` is sent at once."""
        owner = owner_of(request, slug)
        hook, secret = make_hook(
            url=body.url,
            by=owner.user,
            team=owner.team,
            challenge_slug=owner.challenge_slug,
            now=timezone.now(),
        )
        return Status(201, {"id": hook.pk, "url": hook.url, "secret": secret})

    @router.delete("/{slug}/hooks/{hook_id}", response={204: None}, operation_id=f"remove_hook_of_{whose}")
    def remove(request: HttpRequest, slug: str, hook_id: UUID) -> Status[None]:
        """End a webhook, with its log."""
        owner = owner_of(request, slug)
        remove_hook(hook=owner.hook(hook_id), by=owner.user, now=timezone.now())
        return Status(204, None)

    @router.get(
        "/{slug}/hooks/{hook_id}/deliveries",
        response=list[schemas.DeliveryOut],
        operation_id=f"list_deliveries_of_{whose}",
    )
    def deliveries(request: HttpRequest, slug: str, hook_id: UUID) -> Any:
        """What was sent, the newest first, with the answers."""
        hook = owner_of(request, slug).hook(hook_id)
        return Delivery.objects.filter(hook=hook).select_related("hook").order_by("-at", "pk")[:SHOWN]

    @router.post(
        "/{slug}/hooks/{hook_id}/deliveries/{delivery_id}/replay",
        response={201: schemas.DeliveryOut},
        operation_id=f"replay_delivery_of_{whose}",
    )
    def send_again(request: HttpRequest, slug: str, hook_id: UUID, delivery_id: UUID) -> Status[Delivery]:
        """Send the same content again, under a new number."""
        owner = owner_of(request, slug)
        again = replay(hook=owner.hook(hook_id), delivery_id=delivery_id, by=owner.user, now=timezone.now())
        return Status(201, again)

    return router


team_router = hooks_router("team", of_team)
challenge_router = hooks_router("challenge", of_challenge)
