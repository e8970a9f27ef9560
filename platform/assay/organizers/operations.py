"""The operators' page: is anything wrong, and which button fixes it. A constant number of queries, whatever the load."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib import messages
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.accounts.models import AuditEvent
from assay.challenges.access import require_staff
from assay.challenges.publication import waiting_publications
from assay.evaluations.models import Evaluation
from assay.pages.templatetags.assay import duration, in_bytes
from assay.runs.intervals import current_intervals
from assay.runs.models import CaseRun, Node
from assay.runs.nodes import set_node_status
from assay.runs.selectors import live_nodes
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission
from assay.workflow.operations import operating
from assay.workflow.operations.stuck import Stuck, find_stuck

ACTIONS = {
    "drain": Node.Status.DRAINING,
    "activate": Node.Status.ACTIVE,
    "quarantine": Node.Status.QUARANTINED,
    "remove": Node.Status.REMOVED,
}
EVENTS = 30


class NodeRow(NamedTuple):
    """One node: whether it was heard of lately, and what it says of itself."""

    node: Node
    is_heard: bool
    about: str


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What the page says."""

    word: str
    numbers: tuple[tuple[str, Any], ...]
    nodes: tuple[NodeRow, ...]
    stuck: tuple[Stuck, ...]
    failures: tuple[dict[str, Any], ...]
    events: tuple[AuditEvent, ...]


def operations(request: HttpRequest) -> HttpResponse:
    """Queue, nodes, what is stuck and why, failures of the last day, what operators and organizers did."""
    user = require_staff(person=request.user)
    now = timezone.now()
    if request.method == "POST" and "kind" in request.POST:
        wanted = {field: request.POST.get(field, "") for field in ("kind", "key", "name")}
        if operating.act(**wanted, by=user, now=now):
            messages.success(request, _("Done: %(lower)s.") % {"lower": str(operating.WORDS[wanted["name"]]).lower()})
        else:
            messages.warning(
                request, _("It was not as you saw it any more: nothing was done. Here is how it stands now.")
            )
        return redirect("organizers:operations")
    if request.method == "POST":
        node = get_object_or_404(Node, name=request.POST.get("node", ""))
        status = ACTIONS.get(request.POST.get("action", ""))
        if status is None:
            raise InvalidError(
                _("There is no such action."), expected=", ".join(ACTIONS), what_to_do=_("Use the buttons.")
            )
        set_node_status(node=node, status=status, reason=request.POST.get("reason", ""), by=user, now=now)
        return redirect("organizers:operations")
    facts = operations_of(now=now)
    page = {
        "facts": facts,
        "stuck": [(line, [(name, operating.WORDS[name]) for name in line.acts]) for line in facts.stuck],
        "origin": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "organizers/operations.html", page)


def operations_of(*, now: datetime) -> Operations:
    """The state of the installation."""
    queued = CaseRun.objects.filter(status=CaseRun.Status.QUEUED)
    queue = queued.aggregate(queued=Count("id"), oldest=Min("queued_at"))
    running = CaseRun.objects.filter(status=CaseRun.Status.RUNNING).count()
    nodes = _nodes(now=now)
    stuck = find_stuck(now=now)
    recent = CaseRun.objects.filter(
        finished_at__gte=now - timedelta(hours=24), status=CaseRun.Status.FAILED, kept_from=None
    )
    failures = recent.values("verdict", "fault").annotate(total=Count("id")).order_by("-total")
    live = len(live_nodes([row.node for row in nodes], now=now))
    waiting = waiting_publications().count()
    word = _("look here") if stuck or waiting or (queue["queued"] and not live) else _("all well")
    numbers = (
        (_("Waiting case runs"), queue["queued"]),
        (_("Running"), running),
        (_("Oldest wait"), duration(now - queue["oldest"]) if queue["oldest"] else _("none")),
        (_("Live nodes"), _("%(live)s of %(nodes)s") % {"live": live, "nodes": len(nodes)}),
        (_("Unfinished submissions"), Submission.objects.exclude(status__in=FINAL).count()),
        (_("Drafts that wait to be published"), waiting),
        (_("Scoring"), Evaluation.objects.filter(status__in=["queued", "running"]).count()),
    )
    return Operations(
        word=word,
        numbers=numbers,
        nodes=tuple(nodes),
        stuck=tuple(stuck),
        failures=tuple(dict(row) for row in failures),
        events=tuple(AuditEvent.objects.filter(actor__isnull=False).order_by("-pk")[:EVENTS]),
    )


def _nodes(*, now: datetime) -> list[NodeRow]:
    running = Count("case_runs", filter=Q(case_runs__status=CaseRun.Status.RUNNING))
    nodes = list(
        Node.objects.exclude(status=Node.Status.REMOVED).annotate(running_total=running).order_by("pool", "name")
    )
    oldest = now - timedelta(seconds=current_intervals().node_alive_seconds)
    return [
        NodeRow(
            node=node,
            is_heard=bool(node.last_seen_at and node.last_seen_at >= oldest),
            about=_about(node.inventory),
        )
        for node in nodes
    ]


def _about(inventory: dict[str, Any]) -> str:
    parts = [f"Assay {inventory['assay']}" if inventory.get("assay") else "", str(inventory.get("engine", ""))]
    parts += [str(gpu.get("name", gpu)) if isinstance(gpu, dict) else str(gpu) for gpu in inventory.get("gpus", [])]
    if images := inventory.get("cached_images"):
        parts.append(f"{len(images)} images")
    if inventory.get("disk_free_bytes") is not None:
        parts.append(f"{in_bytes(inventory['disk_free_bytes'])} free")
    return ", ".join(part for part in parts if part)
