"""The state of the machinery in numbers, for Prometheus: what waits where, since when, and who is there to do it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Min

from assay.evaluations.models import Evaluation
from assay.leaderboards.models import Leaderboard
from assay.runs.models import CaseRun, Node
from assay.runs.selectors import live_nodes
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One gauge with its labels."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def measure(*, now: datetime) -> Iterator[Measurement]:
    """Every gauge, in seven queries."""
    statuses = Submission.objects.exclude(status__in=FINAL).values("status").annotate(count=Count("pk"))
    for row in statuses:
        yield _gauge("assay_submissions_unfinished", "Submissions by status", row["count"], status=row["status"])
    oldest = Submission.objects.exclude(status__in=FINAL).aggregate(at=Min("status_changed_at"))["at"]
    seconds = (now - oldest).total_seconds() if oldest else 0.0
    yield _gauge("assay_submission_oldest_seconds", "Longest time in one unfinished status", seconds)
    queued = CaseRun.objects.filter(status="queued").values("pool").annotate(count=Count("pk"), since=Min("queued_at"))
    for line in queued:
        yield _gauge("assay_case_runs_queued", "Case runs waiting for a node", line["count"], pool=line["pool"])
        waited = (now - line["since"]).total_seconds() if line["since"] else 0.0
        yield _gauge("assay_case_run_oldest_wait_seconds", "Longest wait for a node", waited, pool=line["pool"])
    for place in CaseRun.objects.filter(status="running").values("pool").annotate(count=Count("pk")):
        yield _gauge("assay_case_runs_running", "Case runs on nodes", place["count"], pool=place["pool"])
    nodes = list(Node.objects.exclude(status=Node.Status.REMOVED))
    live = live_nodes(nodes, now=now)
    for pool in sorted({node.pool for node in nodes}):
        yield _gauge("assay_nodes_live", "Nodes that take work", sum(n.pool == pool for n in live), pool=pool)
        yield _gauge("assay_nodes_known", "Nodes not removed", sum(n.pool == pool for n in nodes), pool=pool)
    waiting = Evaluation.objects.filter(status=Evaluation.Status.QUEUED).count()
    yield _gauge("assay_evaluations_queued", "Evaluations waiting for a scorer", waiting)
    behind = Leaderboard.objects.filter(asked__gt=F("answered")).count()
    yield _gauge("assay_leaderboards_behind", "Leaderboards asked to rebuild and not rebuilt", behind)


def exposition(*, now: datetime) -> str:
    """All of it in Prometheus' text format."""
    lines: list[str] = []
    described: set[str] = set()
    for one in sorted(measure(now=now), key=lambda one: (one.name, one.labels)):
        if one.name not in described:
            described.add(one.name)
            lines += [f"# HELP {one.name} {one.help}", f"# TYPE {one.name} gauge"]
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in one.labels)
        lines.append(f"{one.name}{{{labels}}} {one.value:g}" if labels else f"{one.name} {one.value:g}")
    return "\n".join(lines) + "\n"


def _gauge(name: str, text: str, value: float, **labels: str) -> Measurement:
    return Measurement(name=name, help=text, value=float(value), labels=tuple(sorted(labels.items())))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
