"""What nodes cost: hours of each machine by phase, times what an hour of it costs.

A node is paid for by the hour, and runs as many cases at once as it has slots. So a case run counts for its part of them: an hour on a node
of four slots is a quarter of that node's hour. What counts is the attempt that ended last. Nodes whose cost is unknown are left out, and so
is the time in which a node has nothing to do.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.db.models import Count, DurationField, ExpressionWrapper, F, Sum

from assay.runs.models import CaseRun

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """One node's part in one phase."""

    node: str
    challenge: str
    phase: str
    case_runs: int
    hours: float
    cost: Decimal


def costs_by_phase() -> list[NodeCost]:
    """For every node with a known cost and every phase that it ran cases of. One query."""
    took = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    phase = "run__submission__phase"
    rows = (
        CaseRun.objects.filter(node__hourly_cost__isnull=False, started_at__isnull=False, finished_at__isnull=False)
        .values(
            "node__name",
            "node__slots",
            "node__hourly_cost",
            f"{phase}__slug",
            f"{phase}__challenge__slug",
        )
        .annotate(case_runs=Count("id"), took=Sum(took))
        .order_by("node__name", f"{phase}__challenge__slug", f"{phase}__slug")
    )
    return [
        NodeCost(
            node=row["node__name"],
            challenge=row[f"{phase}__challenge__slug"],
            phase=row[f"{phase}__slug"],
            case_runs=row["case_runs"],
            hours=row["took"] / HOUR / max(1, row["node__slots"]),
            cost=cost_of(row["took"], hourly_cost=row["node__hourly_cost"], slots=row["node__slots"]),
        )
        for row in rows
    ]


def cost_of(took: timedelta, *, hourly_cost: Decimal, slots: int) -> Decimal:
    """Of so much time in one of the node's slots, to four places."""
    seconds = Decimal(took // timedelta(microseconds=1)) / 1_000_000
    return (seconds / 3600 * hourly_cost / max(1, slots)).quantize(Decimal("0.0001"))
