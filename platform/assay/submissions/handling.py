"""What organizers note about a submission by hand: off the board and back, flagged for themselves, its attempt given back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from assay.accounts.audit import record_event
from assay.accounts.models import User
from assay.submissions.models import Submission


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One thing to note. `applies`: to which submissions it is news. `columns`: from the note to what is written."""

    applies: Q
    columns: Callable[[str], Mapping[str, Any]]
    changes_board: bool = False


MARKS: Mapping[str, Mark] = {
    "hidden": Mark(applies=Q(is_hidden=False), columns=lambda _note: {"is_hidden": True}, changes_board=True),
    "shown": Mark(applies=Q(is_hidden=True), columns=lambda _note: {"is_hidden": False}, changes_board=True),
    "flagged": Mark(applies=Q(), columns=lambda note: {"flag": note[:200] or "!"}),
    "unflagged": Mark(applies=~Q(flag=""), columns=lambda _note: {"flag": ""}),
    "refunded": Mark(applies=Q(is_charged=True), columns=lambda _note: {"is_charged": False, "is_refunded": True}),
    "charged": Mark(
        applies=Q(is_charged=False, is_baseline=False, rerun_of=None),
        columns=lambda _note: {"is_charged": True, "is_refunded": False},
    ),
}
"""Verb of the audit log → what is noted."""


def mark_submissions(
    *, submission_ids: Collection[UUID], verb: str, note: str, user: User, now: datetime
) -> list[Submission]:
    """Note it about these submissions. Answers those that it was news to."""
    mark = MARKS[verb]
    with transaction.atomic():
        rows = Submission.objects.select_for_update(of=("self",)).select_related("challenge")
        found = list(rows.filter(mark.applies, pk__in=submission_ids).order_by("pk"))
        Submission.objects.filter(pk__in=[row.pk for row in found]).update(**mark.columns(note.strip()))
        for row in found:
            record_event(
                actor=user,
                verb=f"submission.{verb}",
                subject=row,
                challenge_slug=row.challenge.slug,
                now=now,
                **({"note": note.strip()[:200]} if note.strip() else {}),
            )
    return found
