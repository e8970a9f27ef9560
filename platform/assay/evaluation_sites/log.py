"""Writing and reading the public log of a phase's sites. `assay/site_log.py` says how its lines are chained and checked."""

from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from assay.challenges.models import Phase
from assay.evaluation_sites.models import Site, SiteLogEntry
from assay.evaluations.receipts import signing_key
from assay.signatures import document_hash, signed
from assay.site_log import HEAD_KIND, line_hash

SHOWN_ALWAYS = frozenset({"approved", "key_changed", "revoked", "agreement"})
"""Kinds whose documents hold no result, so that everybody may read them before results are out."""


def sign_here(document: dict[str, Any]) -> dict[str, Any]:
    """The document, signed by this installation."""
    return signed(document, key=signing_key(folder=Path(settings.KEY_FOLDER)))


def append_line(*, site: Site, kind: str, document: dict[str, Any], now: datetime) -> SiteLogEntry:
    """Add a line. Belongs into the transaction of what it tells. Two at once wait for each other: the phase's row is the lock."""
    with transaction.atomic():
        Phase.objects.select_for_update(no_key=True).get(pk=site.phase_id)
        last = SiteLogEntry.objects.filter(phase=site.phase_id).order_by("-number").first()
        entry = SiteLogEntry(
            phase_id=site.phase_id,
            number=last.number + 1 if last else 1,
            at=now,
            kind=kind,
            site_name=site.name,
            document=document,
            document_sha256=document_hash(document),
            previous=last.sha256 if last else "",
        )
        entry.sha256 = line_hash(line_of(entry, shows_results=True))
        entry.save()
    return entry


def line_of(entry: SiteLogEntry, *, shows_results: bool) -> dict[str, Any]:
    """A line as everybody reads it. Documents with results are left out while results are hidden. Their hashes stay."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "site": entry.site_name,
        "document_sha256": entry.document_sha256,
        "previous": entry.previous,
        "sha256": entry.sha256,
        "document": entry.document if shows_results or entry.kind in SHOWN_ALWAYS else None,
    }


def log_of(phase: Phase, *, shows_results: bool, now: datetime) -> dict[str, Any]:
    """The whole log of a phase, with a signed head."""
    lines = [
        line_of(entry, shows_results=shows_results)
        for entry in SiteLogEntry.objects.filter(phase=phase).order_by("number")
    ]
    head = sign_here(
        {
            "kind": HEAD_KIND,
            "challenge": phase.challenge.slug,
            "phase": phase.slug,
            "number": len(lines),
            "sha256": lines[-1]["sha256"] if lines else "",
            "at": now.isoformat(),
        }
    )
    return {"site_log": 1, "entries": lines, "head": head}
