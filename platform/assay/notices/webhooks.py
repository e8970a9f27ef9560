"""Webhooks: signed POSTs to a team or to the organizers of a challenge, tried again until they arrive, and replayed on demand.

A delivery is a row, written in the transaction of what it tells. It holds what a notice says and no more: no score, no rank, no case.
The signature is GitHub's: `X-Hub-Signature-256: sha256=…`, an HMAC of the body under the hook's secret.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import Team, User
from assay.accounts.tokens import new_secret
from assay.notices.models import Delivery, Hook
from assay.notices.outbound import NotReachedError, checked_url, post
from assay.notices.outbox import WAITS, one_round, take

log = logging.getLogger(__name__)
SECRET_PREFIX = "assayhook_"  # noqa: S105  no secret: what each begins with
MOST_HOOKS = 5
MOST_AT_ONCE = 10
GIVEN_UP_IN_A_ROW = 5
"""After so many the hook is switched off, until its owner replays a delivery that arrives."""
SHOWN = 50


def hooks_of(*, team: Team | None = None, challenge_slug: str = "") -> QuerySet[Hook]:
    """The hooks of a team, or of a challenge's organizers."""
    return Hook.objects.filter(team=team, challenge_slug=challenge_slug).order_by("created_at", "pk")


def make_hook(
    *, url: str, by: User, now: datetime, team: Team | None = None, challenge_slug: str = ""
) -> tuple[Hook, str]:
    """A new hook. The second value is the secret that signs, shown this once."""
    address, secret = checked_url(url), new_secret(prefix=SECRET_PREFIX)
    if hooks_of(team=team, challenge_slug=challenge_slug).count() >= MOST_HOOKS:
        raise ConflictError(
            _("There are as many webhooks as there may be."),
            expected=_("at most %(most)s") % {"most": MOST_HOOKS},
            what_to_do=_("Remove one first."),
        )
    with transaction.atomic():
        hook = Hook.objects.create(
            team=team, challenge_slug=challenge_slug, url=address, secret=secret, created_by=by, created_at=now
        )
        record_event(actor=by, verb="hook.made", subject=hook, challenge_slug=challenge_slug, now=now)
        Delivery.objects.create(hook=hook, event="ping", payload={"hello": str(hook.pk)}, at=now, due_at=now)
    return hook, secret


def get_hook(*, hook_id: UUID, team: Team | None = None, challenge_slug: str = "") -> Hook:
    """One of these owners' hooks."""
    hook = hooks_of(team=team, challenge_slug=challenge_slug).filter(pk=hook_id).first()
    if hook is None:
        raise NotFoundError(_("There is no such webhook."))
    return hook


def remove_hook(*, hook: Hook, by: User, now: datetime) -> None:
    """End a hook, with its log."""
    with transaction.atomic():
        record_event(actor=by, verb="hook.removed", subject=hook, challenge_slug=hook.challenge_slug, now=now)
        hook.delete()


def replay(*, hook: Hook, delivery_id: UUID, by: User, now: datetime) -> Delivery:
    """Send a delivery again: the same content under a new number, at once. It also wakes a hook that was switched off."""
    first = hook.deliveries.filter(pk=delivery_id).first()
    if first is None:
        raise NotFoundError(_("There is no such delivery."))
    with transaction.atomic():
        Hook.objects.filter(pk=hook.pk).update(disabled_at=None, failures=0)
        record_event(
            actor=by, verb="hook.replayed", subject=hook, challenge_slug=hook.challenge_slug, now=now, event=first.event
        )
        return Delivery.objects.create(
            hook=hook, event=first.event, payload=first.payload, replay_of=first, at=now, due_at=now
        )


def emit(*, event: str, payload: Mapping[str, Any], now: datetime, team_id: int | None, challenge_slug: str) -> None:
    """Tell every hook of the team and of the challenge's organizers. Called in the transaction of what it tells. Two queries."""
    owners = Q(challenge_slug=challenge_slug) if challenge_slug else Q(pk__in=[])
    if team_id is not None:
        owners |= Q(team=team_id)
    hooks = list(Hook.objects.filter(owners, disabled_at=None))
    Delivery.objects.bulk_create(
        Delivery(hook=hook, event=event, payload=dict(payload), at=now, due_at=now) for hook in hooks
    )


def body_of(delivery: Delivery) -> bytes:
    """What is sent: the same bytes each time, so that the signature of a retry is the same."""
    document = {
        "delivery": str(delivery.pk),
        "event": delivery.event,
        "replay_of": str(delivery.replay_of_id) if delivery.replay_of_id else None,
        **delivery.payload,
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False).encode()


def signature_of(body: bytes, *, secret: str) -> str:
    """GitHub's form of a signature.

    >>> signature_of(b"{}", secret="s")[:13]
    'sha256=143ca8'
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def waiting_deliveries(*, now: datetime) -> QuerySet[Delivery]:
    """What is due."""
    return Delivery.objects.filter(done_at=None, gave_up_at=None, due_at__lte=now, hook__disabled_at=None)


def deliver(*, now: datetime) -> int:
    """One round. Answers how many arrived. Any number of workers may do it at once."""
    taken = take(waiting_deliveries(now=now).select_related("hook"), most=MOST_AT_ONCE, now=now)
    return sum(deliver_one(delivery, now=now) for delivery in one_round(taken, now=now))


def deliver_one(delivery: Delivery, *, now: datetime) -> bool:
    """Send one, and note what came of it."""
    body = body_of(delivery)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Assay-Hook/1",
        "X-Assay-Event": delivery.event,
        "X-Assay-Delivery": str(delivery.pk),
        "X-Hub-Signature-256": signature_of(body, secret=delivery.hook.secret),
    }
    code, error = None, ""
    try:
        code = post(delivery.hook.url, body=body, headers=headers)
    except NotReachedError as reason:
        error = str(reason)[:300]
    has_arrived = code is not None and 200 <= code < 300
    rows = Delivery.objects.filter(pk=delivery.pk)
    values = {"attempts": delivery.attempts + 1, "status_code": code, "error": error}
    if has_arrived:
        rows.update(done_at=now, **values)
        Hook.objects.filter(pk=delivery.hook_id).update(failures=0)
    elif delivery.attempts >= len(WAITS):
        rows.update(gave_up_at=now, **values)
        Hook.objects.filter(pk=delivery.hook_id).update(failures=F("failures") + 1)
        Hook.objects.filter(pk=delivery.hook_id, failures__gte=GIVEN_UP_IN_A_ROW).update(disabled_at=now)
    else:
        rows.update(due_at=now + WAITS[delivery.attempts], **values)
    log.info("hook.tried", extra={"delivery": str(delivery.pk), "status": code, "error": error})
    return has_arrived
