"""The memory curves of a submission's case runs as one chart: the hungriest cases over time, and the limit they ran under."""

from typing import Any

from assay.runs.models import CaseRun
from assay.submissions.models import Submission

MOST_CURVES = 5
MIB = 2**20


def memory_chart(submission: Submission) -> dict[str, Any] | None:
    """What `data-chart` draws: aligned columns over the union of all moments; None when nothing was measured. One query."""
    rows = CaseRun.objects.filter(run__submission=submission).select_related("case").order_by("-run__number")
    measured = [row for row in rows if (row.usage.get("memory_curve") or {}).get("seconds")]
    measured.sort(key=lambda row: -int(row.usage.get("peak_memory_bytes") or 0))
    curves = {_name(row): row.usage["memory_curve"] for row in reversed(measured[:MOST_CURVES])}
    if not curves:
        return None
    seconds = sorted({moment for curve in curves.values() for moment in curve["seconds"]})
    columns: list[list[float | None]] = [list(seconds)]
    for curve in curves.values():
        known = dict(zip(curve["seconds"], curve["values"], strict=True))
        columns.append([known[at] / MIB if at in known else None for at in seconds])
    names = list(curves)
    if (limit_mb := submission.limits.get("memory_mb")) is not None:
        names.append("limit")
        columns.append([float(limit_mb)] * len(seconds))
    limits = [len(names) - 1] if names[-1] == "limit" else []
    return {"x_label": "seconds", "y_label": "MiB", "series": names, "data": columns, "limits": limits}


def _name(row: CaseRun) -> str:
    return row.case.case_id if row.case else f"case run {row.position + 1}"
