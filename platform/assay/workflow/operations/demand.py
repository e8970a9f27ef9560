"""Telling a program that can start machines how many case runs wait, and for what: scaling up from nothing, and down to it.

Every minute the operators' command, or an address of theirs, is told all that waits. Nothing is told while nothing waits, except once
when that begins. The message is a state and no order, so one that is lost does no harm.
"""

import json
import logging
import shlex
import subprocess
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, F, Min, Q

from assay.challenges.needs import Needs
from assay.runs.models import CaseRun, Node
from assay.runs.selectors import live_nodes

log = logging.getLogger(__name__)
HOOK_SECONDS = 30
TOLD = "assay.demand.told"
MOST = 200


def demand(*, now: datetime) -> dict[str, Any]:
    """What waits, by pool and by what a case needs, and what is there to serve it. Two queries."""
    rows = (
        CaseRun.objects.filter(Q(not_before=None) | Q(not_before__lte=now), status=CaseRun.Status.QUEUED)
        .filter(run__submission__phase__is_paused=False)
        .values("pool", "gpus", needs=F("run__submission__phase__needs"))
        .annotate(case_runs=Count("id"), since=Min("queued_at"))
        .order_by("since")
    )
    live = live_nodes(Node.objects.exclude(status=Node.Status.REMOVED), now=now)
    waiting = [_line(row) for row in rows[:MOST]]
    pools = sorted({line["pool"] for line in waiting} | {node.pool for node in live})
    slots = {pool: sum(node.slots for node in live if node.pool == pool) for pool in pools}
    return {"at": now.isoformat(), "waiting": waiting, "live_slots": slots}


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    words = Needs.of(row["needs"]).in_words(gpus=row["gpus"]) or "any node"
    since = row["since"]
    count = row["case_runs"]
    text = f"{count} case run{'s wait' if count > 1 else ' waits'} for {words} in pool {row['pool']}"
    return {
        "pool": row["pool"],
        "gpus": row["gpus"],
        "needs": list(row["needs"]),
        "case_runs": count,
        "since": since.isoformat() if since else None,
        "text": f"{text} since {since:%Y-%m-%d %H:%M} UTC" if since else text,
    }


def tell_demand(*, now: datetime) -> bool:
    """Tell the operators' hook. False where there is none, or nothing to tell. A hook that fails is logged and asked again."""
    if not (settings.DEMAND_COMMAND or settings.DEMAND_URL):
        return False
    found = demand(now=now)
    is_wanted = bool(found["waiting"])
    if not is_wanted and not cache.get(TOLD):
        return False
    try:
        _run(found) if settings.DEMAND_COMMAND else _post(found)
    except (OSError, subprocess.SubprocessError, httpx.HTTPError) as error:
        log.warning("demand.not_told", extra={"why": f"{type(error).__name__}: {error}"[:300]})
        return False
    cache.set(TOLD, is_wanted, timeout=None)
    return True


def _run(found: Mapping[str, Any]) -> None:
    """No shell: words are the operators' own, and what waits comes as JSON on standard input."""
    command = shlex.split(settings.DEMAND_COMMAND)
    subprocess.run(command, input=json.dumps(found), text=True, check=True, capture_output=True, timeout=HOOK_SECONDS)


def _post(found: Mapping[str, Any]) -> None:
    httpx.post(settings.DEMAND_URL, json=found, timeout=HOOK_SECONDS).raise_for_status()
