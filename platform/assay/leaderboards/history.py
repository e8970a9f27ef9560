"""A ranking as it stood before: its signed snapshots. For organizers, who decide what of them is published: a snapshot has exact
scores, also of a phase whose board shows rounded ones. `assay verify` checks one anywhere, with the public key alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.challenges.models import Phase
from assay.evaluations.receipts import signing_key
from assay.leaderboards.models import Snapshot
from assay.signatures import public_key_text

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class PastRanking:
    """One line of the history."""

    id: int
    taken_at: datetime
    cause: str
    sha256: str
    rows: int
    first: str
    """The slug of the team on the first rank. Empty when nobody was ranked."""


def history_of(phase: Phase) -> list[PastRanking]:
    """The newest snapshots, newest first. One query."""
    return [past_ranking(snapshot) for snapshot in phase.snapshots.order_by("-taken_at", "-pk")[:SHOWN]]


def past_ranking(snapshot: Snapshot) -> PastRanking:
    """A snapshot as a line."""
    entries: list[Mapping[str, Any]] = snapshot.document["entries"]
    return PastRanking(
        id=snapshot.pk,
        taken_at=snapshot.taken_at,
        cause=snapshot.get_cause_display(),
        sha256=snapshot.sha256,
        rows=len(entries),
        first=next((entry["team"] for entry in entries if entry["rank"] is not None), ""),
    )


def signed_snapshot(*, phase: Phase, snapshot_id: int) -> dict[str, Any]:
    """The whole document with its key and signature: what `assay verify` reads."""
    snapshot = phase.snapshots.filter(pk=snapshot_id).first()
    if snapshot is None:
        raise NotFoundError(
            _("There is no such snapshot."), found=str(snapshot_id), what_to_do=_("Look at the history.")
        )
    key = public_key_text(signing_key(folder=Path(settings.KEY_FOLDER)))
    return {**snapshot.document, "public_key": key, "signature": snapshot.signature}
