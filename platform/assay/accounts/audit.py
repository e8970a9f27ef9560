"""The history: one row per change, written in the transaction of the change, and one line of the log once it has committed."""

import logging
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from assay.accounts.models import AuditEvent, User

log = logging.getLogger("assay.events")
NOT_LOGGED = frozenset({"error"})
"""Details that may hold words of a test set: rows are for organizers and operators, logs travel."""
LONGEST_LABEL = 120


def record_event(
    *,
    verb: str,
    subject: Any,
    now: datetime,
    actor: User | None = None,
    actor_label: str = "",
    challenge_slug: str = "",
    **details: Any,
) -> AuditEvent:
    """Write one line of history about a model instance, or about `(type, id)` where none was loaded."""
    object_type, object_id = named(subject)
    label = actor_label or (actor.username if actor else "assay")
    log_event(verb=verb, subject=subject, by=label, **details)
    return AuditEvent.objects.create(
        at=now,
        actor=actor,
        actor_label=label[:LONGEST_LABEL],
        verb=verb,
        object_type=object_type,
        object_id=str(object_id),
        challenge_slug=challenge_slug,
        details=details,
    )


def log_event(*, verb: str, subject: Any, **details: Any) -> None:
    """One line of the log, when the transaction commits: what is rolled back never happened. For changes without a row of history."""
    object_type, object_id = named(subject)
    told = {name: value for name, value in details.items() if name not in NOT_LOGGED}
    keys = {"object": object_type, "id": object_id, **told}
    transaction.on_commit(partial(log.info, verb, extra={"keys": keys}))


def named(subject: Any) -> tuple[str, Any]:
    """What a subject is, and which."""
    return subject if isinstance(subject, tuple) else (subject._meta.model_name, subject.pk)
