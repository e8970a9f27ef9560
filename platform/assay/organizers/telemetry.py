"""What a submission's case runs used, as charts: the hungriest cases over time, and the limit they ran under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.runs.models import CaseRun
from assay.submissions.models import Submission

MOST_CURVES = 5
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One stored curve: its field in a case run's usage, and how it is shown."""

    key: str
    title: str
    unit: str
    divisor: int
    limit: str
    """The resource limit that bounds it, in the unit shown. Empty where there is none."""


QUANTITIES = (
    Quantity(key="memory_curve", title="Memory while running", unit="MiB", divisor=MIB, limit="memory_mb"),
    Quantity(key="gpu_memory_curve", title="GPU memory", unit="MiB", divisor=MIB, limit="gpu_memory_mb"),
    Quantity(key="gpu_utilisation_curve", title="GPU utilisation", unit="%", divisor=1, limit=""),
)


def usage_charts(submission: Submission) -> list[dict[str, Any]]:
    """What `data-chart` draws, one chart for each quantity that was measured. One query."""
    found = CaseRun.objects.filter(run__submission=submission).select_related("case").order_by("-run__number")
    rows = list(found.only("position", "usage", "case__case_id"))
    charts = [_chart(quantity, rows, limits=submission.limits) for quantity in QUANTITIES]
    return [chart for chart in charts if chart is not None]


def _chart(quantity: Quantity, rows: Sequence[CaseRun], *, limits: dict[str, Any]) -> dict[str, Any] | None:
    """Aligned columns over the union of all moments. None when nothing was measured."""
    measured = [(_name(row), curve) for row in rows if (curve := getattr(row.usage, quantity.key)) and curve.seconds]
    measured.sort(key=lambda named: -max(named[1].values))
    curves = dict(reversed(measured[:MOST_CURVES]))
    if not curves:
        return None
    seconds = sorted({moment for curve in curves.values() for moment in curve.seconds})
    columns: list[list[float | None]] = [list(seconds)]
    for curve in curves.values():
        known = dict(zip(curve.seconds, curve.values, strict=True))
        columns.append([known[at] / quantity.divisor if at in known else None for at in seconds])
    names = list(curves)
    limit = limits.get(quantity.limit)
    if limit is not None:
        names.append("limit")
        columns.append([float(limit)] * len(seconds))
    return {
        "id": quantity.key.replace("_", "-"),
        "title": quantity.title,
        "x_label": "seconds",
        "y_label": quantity.unit,
        "series": names,
        "data": columns,
        "limits": [] if limit is None else [len(names) - 1],
    }


def _name(row: CaseRun) -> str:
    return row.case.case_id if row.case else f"case run {row.position + 1}"
