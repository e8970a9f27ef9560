"""The state of the machinery in numbers, for Prometheus: what waits where, since when, who is there to do it, what is stuck.

All are gauges read from the database at the moment of the scrape, so any web server answers for the whole installation and a
restart loses nothing. `GAUGES` is the list of names: a measurement without a row there is a KeyError, the README's table is
written from it, and alert rules and the dashboard in `deploy/monitoring/` are tested against it. Every name is described in every
answer, measured or not, so that a rule on a name that has gone missing can tell.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Min

from assay.evaluations.models import Evaluation
from assay.leaderboards.models import Leaderboard
from assay.runs.models import CaseRun, Node
from assay.runs.selectors import live_nodes
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission
from assay.testsets.storage import free_bytes
from assay.workflow.operations.stuck import find_stuck
from evaluator import __version__

LATELY = timedelta(hours=1)
GAUGES: Mapping[str, str] = {
    "assay_build_info": "1, with the version of the evaluator as its label",
    "assay_case_run_oldest_wait_seconds": "Longest wait for a node, by pool",
    "assay_case_runs_failed_lately": "Case runs that failed within the last hour, by verdict and whose fault",
    "assay_case_runs_queued": "Case runs waiting for a node, by pool",
    "assay_case_runs_running": "Case runs on nodes, by pool",
    "assay_evaluation_oldest_seconds": "Age of the oldest evaluation that has not ended",
    "assay_evaluations_queued": "Evaluations waiting for a scorer",
    "assay_evaluations_running": "Evaluations being scored",
    "assay_leaderboards_behind": "Leaderboards asked to rebuild and not rebuilt",
    "assay_node_disk_free_bytes": "Free disk of a node, as it last said",
    "assay_node_seen_seconds": "How long ago a node was heard of",
    "assay_nodes_known": "Nodes that are not removed, by pool",
    "assay_nodes_live": "Nodes that take work and were heard of lately, by pool",
    "assay_storage_free_bytes": "Free space for stored files; absent with S3",
    "assay_stuck": "Things that are past their deadline, by kind: what /ops lists",
    "assay_submission_oldest_seconds": "Longest time a submission has been in one unfinished status",
    "assay_submissions_unfinished": "Submissions that have not ended, by status",
}
"""Every gauge, and what it says."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One gauge with its labels."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def measure(*, now: datetime) -> Iterator[Measurement]:
    """Every gauge, in a constant number of queries."""
    yield _gauge("assay_build_info", 1, version=__version__)
    yield from _submissions(now)
    yield from _case_runs(now)
    yield from _nodes(now)
    yield from _evaluations(now)
    behind = Leaderboard.objects.filter(asked__gt=F("answered")).count()
    yield _gauge("assay_leaderboards_behind", behind)
    for kind, count in Counter(line.kind for line in find_stuck(now=now)).items():
        yield _gauge("assay_stuck", count, kind=kind)
    if (free := free_bytes()) is not None:
        yield _gauge("assay_storage_free_bytes", free)


def _submissions(now: datetime) -> Iterator[Measurement]:
    unfinished = Submission.objects.exclude(status__in=FINAL)
    for row in unfinished.values("status").annotate(count=Count("pk")):
        yield _gauge("assay_submissions_unfinished", row["count"], status=row["status"])
    oldest = unfinished.aggregate(at=Min("status_changed_at"))["at"]
    yield _gauge("assay_submission_oldest_seconds", _age(oldest, now=now))


def _case_runs(now: datetime) -> Iterator[Measurement]:
    queued = CaseRun.objects.filter(status="queued").values("pool").annotate(count=Count("pk"), since=Min("queued_at"))
    for line in queued:
        yield _gauge("assay_case_runs_queued", line["count"], pool=line["pool"])
        yield _gauge("assay_case_run_oldest_wait_seconds", _age(line["since"], now=now), pool=line["pool"])
    for place in CaseRun.objects.filter(status="running").values("pool").annotate(count=Count("pk")):
        yield _gauge("assay_case_runs_running", place["count"], pool=place["pool"])
    lately = CaseRun.objects.filter(status="failed", finished_at__gt=now - LATELY, kept_from=None)
    for row in lately.values("verdict", "fault").annotate(count=Count("pk")):
        labels = {"verdict": row["verdict"], "fault": row["fault"] or "nobody"}
        yield _gauge("assay_case_runs_failed_lately", row["count"], **labels)


def _nodes(now: datetime) -> Iterator[Measurement]:
    nodes = list(Node.objects.exclude(status=Node.Status.REMOVED))
    live = live_nodes(nodes, now=now)
    for pool in sorted({node.pool for node in nodes}):
        yield _gauge("assay_nodes_live", sum(n.pool == pool for n in live), pool=pool)
        yield _gauge("assay_nodes_known", sum(n.pool == pool for n in nodes), pool=pool)
    for node in nodes:
        labels = {"node": node.name, "pool": node.pool, "status": node.status}
        if node.last_seen_at is not None:
            yield _gauge("assay_node_seen_seconds", _age(node.last_seen_at, now=now), **labels)
        if (free := node.inventory.get("disk_free_bytes")) is not None:
            yield _gauge("assay_node_disk_free_bytes", free, **labels)


def _evaluations(now: datetime) -> Iterator[Measurement]:
    statuses = [Evaluation.Status.QUEUED, Evaluation.Status.RUNNING]
    rows = Evaluation.objects.filter(status__in=statuses).values("status")
    found = {row["status"]: row for row in rows.annotate(count=Count("pk"), since=Min("created_at"))}
    for status in statuses:
        yield _gauge(f"assay_evaluations_{status}", found[status]["count"] if status in found else 0)
    oldest = min((row["since"] for row in found.values()), default=None)
    yield _gauge("assay_evaluation_oldest_seconds", _age(oldest, now=now))


def exposition(*, now: datetime) -> str:
    """All of it in Prometheus' text format."""
    lines: list[str] = []
    measured = sorted(measure(now=now), key=lambda one: (one.name, one.labels))
    for name, help_text in GAUGES.items():
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
        lines += [_line(one) for one in measured if one.name == name]
    return "\n".join(lines) + "\n"


def table_of_gauges() -> str:
    """The names for people: the README's table."""
    return "\n".join(f"| `{name}` | {help_text} |" for name, help_text in GAUGES.items())


def _line(one: Measurement) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in one.labels)
    return f"{one.name}{{{labels}}} {one.value:.15g}" if labels else f"{one.name} {one.value:.15g}"


def _gauge(name: str, value: float, **labels: str) -> Measurement:
    if name not in GAUGES:
        raise KeyError(f"{name} is not in GAUGES: give it a row that says what it is")
    return Measurement(name=name, value=float(value), labels=tuple(sorted(labels.items())))


def _age(moment: datetime | None, *, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
