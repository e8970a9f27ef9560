"""The history: one line per change, written in the transaction of the change."""

from datetime import datetime
from typing import Any

from assay.accounts.models import AuditEvent, User


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
    object_type, object_id = subject if isinstance(subject, tuple) else (subject._meta.model_name, subject.pk)
    return AuditEvent.objects.create(
        at=now,
        actor=actor,
        actor_label=actor_label or (actor.username if actor else "assay"),
        verb=verb,
        object_type=object_type,
        object_id=str(object_id),
        challenge_slug=challenge_slug,
        details=details,
    )
