"""Questions about runs, for pages and the API. Every one takes a constant number of queries, whatever the size."""

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assay.challenges.models import Phase
from assay.runs.intervals import current_intervals
from assay.runs.leases import MANY_GPUS
from assay.runs.matching import needs_of, serving
from assay.runs.models import CaseRun, Node, Run
from assay.submissions.models import Submission
from containers.spec import Usage

RECENT_ENDINGS = 200
"""How many case runs a measured duration is taken from."""
RECENT_SUBMISSIONS = 20
"""Of how many submissions they are."""

Status = CaseRun.Status


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a submission's case runs are."""

    total: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def has_started(self) -> bool:
        """Whether one of its cases has started."""
        return self.running + self.done + self.failed > 0


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One case run as a page shows it. `case_id` and `log_key` are for people who may see them: the caller decides."""

    position: int
    status: str
    verdict: str
    reason: str
    seconds: float | None
    peak_memory_bytes: int | None
    attempt: int
    case_run_id: UUID
    case_id: str
    log_key: str


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """What a phase's pool is doing."""

    length: int
    running: int
    median_wait_seconds: float | None
    seconds_per_case: float | None
    live_nodes: int
    why_waiting: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """When a submission may expect to end, and what it waits for."""

    position: int | None
    eta_seconds: float | None
    why: str


def progress(submission_ids: Collection[UUID]) -> dict[UUID, Progress]:
    """Progress of each submission's run that counts, in one query."""
    counting = runs_that_count(Run.objects.filter(submission_id__in=submission_ids))
    counts = (
        CaseRun.objects.filter(run__in=counting.values("id"))
        .values("run__submission_id")
        .annotate(
            total=Count("id"),
            done=Count("id", filter=Q(status=Status.DONE)),
            failed=Count("id", filter=Q(status=Status.FAILED)),
            running=Count("id", filter=Q(status=Status.RUNNING)),
            waiting=Count("id", filter=Q(status__in=[Status.WAITING, Status.QUEUED])),
        )
    )
    found = {
        row["run__submission_id"]: Progress(
            total=row["total"], done=row["done"], failed=row["failed"], running=row["running"], waiting=row["waiting"]
        )
        for row in counts
    }
    return {submission_id: found.get(submission_id, Progress()) for submission_id in submission_ids}


def runs_that_count(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Of every submission the run whose scores rank, or else the newest: a case run again counts once its scores do."""
    ranks = Coalesce(F("evaluations__is_active"), False)
    return runs.order_by("submission_id", ranks.desc(), "-number").distinct("submission_id")


def case_progress(submission_id: UUID) -> list[CaseRow]:
    """The case runs of the submission's run that counts, in the order they run."""
    run = runs_that_count(Run.objects.filter(submission_id=submission_id)).first()
    if run is None:
        return []
    parts = ("wall_seconds", "peak_memory_bytes")  # alone: a usage holds curves of thousands of moments
    rows = run.case_runs.values_list(
        *("position", "status", "verdict", "reason", "attempt", "log_key", "id", "case__case_id"),
        *(f"usage__{part}" for part in parts),
    )
    return [
        CaseRow(
            position=position,
            status=status,
            verdict=verdict,
            reason=reason,
            seconds=used.wall_seconds,
            peak_memory_bytes=used.peak_memory_bytes,
            attempt=attempt,
            case_run_id=case_run_id,
            case_id=case_id or "",
            log_key=log_key,
        )
        for position, status, verdict, reason, attempt, log_key, case_run_id, case_id, *stored in rows
        for used in (Usage.salvaged(dict(zip(parts, stored, strict=True))),)
    ]


def queue_facts(phase: Phase, *, now: datetime) -> QueueFacts:
    """The state of the pool that serves the phase."""
    of_pool = CaseRun.objects.filter(pool=phase.pool)
    recent = (
        recent_case_runs(phase).filter(started_at__isnull=False, queued_at__isnull=False).order_by("-started_at")
    )[:RECENT_ENDINGS]
    waits, seconds = [], []
    for queued_at, started_at, wall_seconds in recent.values_list("queued_at", "started_at", "usage__wall_seconds"):
        if queued_at is not None and started_at is not None:
            waits.append((started_at - queued_at).total_seconds())
        used = Usage.salvaged({"wall_seconds": wall_seconds})
        if used.wall_seconds is not None:
            seconds.append(used.wall_seconds)
    nodes = nodes_of(phase.pool)
    live = live_nodes(nodes, now=now)
    return QueueFacts(
        length=of_pool.filter(status=Status.QUEUED).count(),  # one query each: each has an index of its own
        running=of_pool.filter(status=Status.RUNNING).count(),
        median_wait_seconds=roughly(_median(waits)),
        seconds_per_case=roughly(_median(seconds)),
        live_nodes=len(live),
        why_waiting=why_waiting(phase=phase, nodes=nodes, now=now),
    )


def waiting(submission: Submission, *, now: datetime) -> Waiting:
    """Where an unfinished submission stands in line, and a measured estimate of when it ends."""
    if submission.finished_at is not None:
        return Waiting(position=None, eta_seconds=None, why="")
    phase = submission.phase
    nodes = nodes_of(phase.pool)
    mine = CaseRun.objects.filter(run__submission=submission)
    left = mine.filter(status__in=[Status.WAITING, Status.QUEUED, Status.RUNNING]).count()
    first = mine.filter(status=Status.QUEUED).order_by("turn").values("priority", "turn").first()
    ahead = 0
    if first is not None:
        ahead = (
            CaseRun.objects.filter(
                Q(priority__gt=first["priority"]) | Q(priority=first["priority"], turn__lt=first["turn"]),
                pool=phase.pool,
                status=Status.QUEUED,
            )
            .exclude(run__submission=submission)
            .count()
        )
    seconds = seconds_per_case(phase)
    slots = min([sum(node.slots for node in live_nodes(nodes, now=now)), *running_limits(phase)])
    nobody_can = why_waiting(phase=phase, nodes=nodes, now=now)
    eta = (ahead + left) * seconds / slots if seconds is not None and slots and left and not nobody_can else None
    is_waiting = submission.status in (Submission.Status.QUEUED, Submission.Status.RUNNING)
    return Waiting(
        position=ahead + 1 if first is not None else None,
        eta_seconds=eta,
        why=nobody_can or why_held_back(submission, now=now) if is_waiting else "",
    )


def running_limits(phase: Phase) -> list[int]:
    """The phase's caps on cases running at once, of those it has."""
    return [limit for limit in (phase.running_limit, phase.running_limit_per_team) if limit is not None]


def why_held_back(submission: Submission, *, now: datetime) -> str:
    """Why a submission's next case would not start now although there are nodes, in words. Empty when it would."""
    phase = submission.phase
    queued = CaseRun.objects.filter(run__submission=submission, status=Status.QUEUED)
    facts = queued.aggregate(
        case_runs=Count("id"),
        ready=Count("id", filter=Q(not_before=None) | Q(not_before__lte=now)),
        at=Min("not_before"),
    )
    if facts["case_runs"] and not facts["ready"]:
        words = _("a fault of ours is being waited out; it is tried again at %(time)s UTC")
        return words % {"time": f"{facts['at']:%H:%M:%S}"}
    if not facts["case_runs"] or not running_limits(phase):
        return ""
    running = CaseRun.objects.filter(run__submission__phase=phase, status=Status.RUNNING).aggregate(
        phase=Count("id"), team=Count("id", filter=Q(run__submission__team=submission.team_id))
    )
    if phase.running_limit is not None and running["phase"] >= phase.running_limit:
        words = _("%(limit)d of this phase's cases may run at once, and so many do")
        return words % {"limit": phase.running_limit}
    if phase.running_limit_per_team is not None and running["team"] >= phase.running_limit_per_team:
        words = _("%(limit)d of a team's cases may run at once in this phase, and so many of yours do")
        return words % {"limit": phase.running_limit_per_team}
    return ""


def seconds_per_case(phase: Phase) -> float | None:
    """How long a case of the phase takes: the median of recent ones; None before there is any."""
    recent = recent_case_runs(phase).filter(status=Status.DONE).order_by("-finished_at")
    seconds = recent.values_list("usage__wall_seconds", flat=True)[:RECENT_ENDINGS]
    used = (Usage.salvaged({"wall_seconds": stored}).wall_seconds for stored in seconds)
    return _median([number for number in used if number is not None])


def recent_case_runs(phase: Phase) -> QuerySet[CaseRun]:
    """Those of the phase's newest submissions that have got as far as running: a bounded number, however old the phase is."""
    started = Submission.objects.filter(phase=phase).exclude(
        status__in=[Submission.Status.RECEIVED, Submission.Status.CHECKING, Submission.Status.QUEUED]
    )
    newest = started.order_by("-number").values("pk")[:RECENT_SUBMISSIONS]
    return CaseRun.objects.filter(run__submission__in=newest)


def nodes_of(pool: str) -> list[Node]:
    """The pool's nodes, except removed ones."""
    return list(Node.objects.filter(pool=pool).exclude(status=Node.Status.REMOVED).order_by("name"))


def live_nodes(nodes: Iterable[Node], *, now: datetime) -> list[Node]:
    """Those that take work and were heard of lately."""
    oldest = now - timedelta(seconds=current_intervals().node_alive_seconds)
    return [
        n for n in nodes if n.status == Node.Status.ACTIVE and n.last_seen_at is not None and n.last_seen_at >= oldest
    ]


def gpus_of(phase: Phase) -> int:
    """How many GPUs a case of the phase needs."""
    return int(phase.protocol.document.get("resources", {}).get("gpus") or 0)


def most_gpus(node: Node) -> int:
    """How many GPUs one case may be given on the node, as far as it has said so. A batch system gives what it is asked for."""
    gpus = node.inventory.get("gpus")
    return MANY_GPUS if node.inventory.get("is_batch") or not isinstance(gpus, list) else len(gpus)


def unserved_by(node: Node) -> list[tuple[Phase, str]]:
    """Phases of its pool that the node gets no case of, each with what a case of it needs, in words. One query."""
    phases = Phase.objects.filter(pool=node.pool).select_related("challenge", "protocol").order_by("pk")
    found = []
    for phase in phases:
        needs, gpus = needs_of(phase), gpus_of(phase)
        if not serving([node], phase=phase) or most_gpus(node) < gpus:
            found.append((phase, needs.in_words(gpus=gpus)))
    return found


def why_waiting(*, phase: Phase, nodes: Collection[Node], now: datetime) -> str:
    """Why nothing of the phase would start now, in words. Empty when it would."""
    if phase.is_paused:
        return _("the organizers have paused this phase; submissions keep their place")
    if live := live_nodes(nodes, now=now):
        gpus = gpus_of(phase)
        fitting = serving(live, phase=phase)
        if any(most_gpus(node) >= gpus for node in fitting):
            return ""
        if phase.needs:
            words = _("no live node of pool %(pool)s has what a case needs: %(needs)s")
            return words % {"pool": phase.pool, "needs": needs_of(phase).in_words(gpus=gpus)}
        words = ngettext(
            "no live node of pool %(pool)s has the %(count)d GPU that a case needs",
            "no live node of pool %(pool)s has the %(count)d GPUs that a case needs",
            gpus,
        )
        return words % {"pool": phase.pool, "count": gpus}
    if not nodes:
        return _("no node has joined pool %(pool)s yet") % {"pool": phase.pool}
    seen = max((node.last_seen_at for node in nodes if node.last_seen_at is not None), default=None)
    held = [node for node in nodes if node.status != Node.Status.ACTIVE]
    if len(held) == len(nodes):
        words = _("every node of pool %(pool)s is %(status)s")
        return words % {"pool": phase.pool, "status": held[0].get_status_display().lower()}
    if seen is None:
        return _("no live node in pool %(pool)s") % {"pool": phase.pool}
    since = date_format(seen, "d M Y H:i")
    return _("no live node in pool %(pool)s since %(moment)s UTC") % {"pool": phase.pool, "moment": since}


def roughly(seconds: float | None) -> float | None:
    """A duration for everybody's eyes in steps of 1, 2, 5, 10 …: an exact median would carry messages out of hidden cases."""
    if not seconds or seconds <= 0:
        return seconds
    decade = 10.0 ** math.floor(math.log10(seconds))
    return decade * next(step for step in (1, 2, 5, 10) if seconds <= step * decade * (1 + 1e-9))


def _median(values: list[float]) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def predictions_digest(run_id: UUID | None) -> str:
    """One hash of everything a run wrote, case by case, whatever the files were called. Empty where it wrote nothing. One query.

    Two submissions that have the same answered every case with the same values, bit by bit.
    """
    rows = CaseRun.objects.filter(run=run_id).exclude(outputs=[]).order_by("case__case_id", "position")
    lines = [
        f"{case_id or ''} {' '.join(sorted(str(output['sha256']) for output in outputs))}"
        for case_id, outputs in rows.values_list("case__case_id", "outputs")
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""
