"""What has been in one state for longer than its owner should need, and which acts are right for it.

The reaper repairs most of what goes wrong in its next round. What is listed here has outlasted that, or needs a person: a node that
stays away, a pool nobody serves, a submission that failed by a fault of ours. `operating.py` carries the acts out.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Max, Min, OuterRef, Q, Subquery

from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.evaluations.services import ATTEMPTS
from assay.leaderboards.models import MOST_TRIES, REPORT_SET_ASIDE, Leaderboard
from assay.leaderboards.services import behind
from assay.leaderboards.words import sentence
from assay.runs.matching import needs_of, serving
from assay.runs.models import CaseRun, Node, PromptRound
from assay.runs.selectors import gpus_of, live_nodes, most_gpus
from assay.submissions.models import Submission
from assay.submissions.services import NOT_THE_TEAMS
from assay.workflow import flow

AFTER = timedelta(minutes=10)
"""How long a state may last before it is called stuck."""
SOON = timedelta(minutes=1)
"""The same of what should take seconds: a cancel, a round of prompts."""
LIMITS_PASSED = 3.0
"""A case that has run for so many times its time limit is not coming back, whatever its node says."""
RECENT = timedelta(days=1)
UNCAPPED = Q(run__submission__phase__running_limit=None, run__submission__phase__running_limit_per_team=None)
"""Case runs that no cap may hold back on purpose."""
MOST = 20
"""Lines of one kind; more of the same tell an operator nothing new."""


@dataclass(frozen=True, kw_only=True)
class Stuck:
    """One line. `kind` and `key` name what it is about as it was seen (a lease with its fence); `acts` what may be done. Where a
    submission is stuck, `text` goes on from its name.
    """

    kind: str
    key: str
    text: str
    since: datetime
    acts: tuple[str, ...]
    submission: Submission | None = None


def find_stuck(*, now: datetime) -> list[Stuck]:
    """Everything that is stuck, in fourteen queries whatever the load."""
    return [line for find in FINDERS for line in find(now)]


def lost_leases(now: datetime) -> Iterator[Stuck]:
    """Case runs whose node is silent, or runs them far beyond their time limit."""
    running = CaseRun.objects.filter(status=CaseRun.Status.RUNNING).select_related("node", "run__submission__challenge")
    shown = 0
    for row in running.order_by("lease_until").iterator():
        since, what = None, ""
        if row.lease_until is not None and row.lease_until < now:
            since, what = row.lease_until, "its lease has ended"
        elif row.started_at is not None and now - row.started_at > max(AFTER, longest(row)):
            since, what = row.started_at, f"runs beyond {LIMITS_PASSED:g} times its limit of {row.expected_seconds:g} s"
        if since is not None and shown < MOST:
            shown += 1
            node = ("drain", "quarantine") if row.node else ()
            where = row.node.name if row.node else "a node that is gone"
            yield Stuck(
                kind="case run",
                key=f"{row.id}/{row.fence}",
                text=f"case run {row.position} on {where}: {what}",
                submission=row.run.submission,
                since=since,
                acts=("requeue", "cancel", *node),
            )


def longest(case_run: CaseRun) -> timedelta:
    """How long a case run may take at most. No limit for protocols whose time limit is per label."""
    is_whole = case_run.case_id and case_run.run.submission.limits.get("wall_seconds_per", "run") == "run"
    return timedelta(seconds=LIMITS_PASSED * case_run.expected_seconds) if is_whole else timedelta(days=365)


def unserved_needs(pool: str, *, live: Collection[Node]) -> str:
    """What waits in the pool for something that no live node of it has. Empty where everything can be served."""
    waiting = Phase.objects.exclude(needs=[]).filter(
        pool=pool, is_paused=False, submissions__runs__case_runs__status=CaseRun.Status.QUEUED
    )
    for phase in waiting.distinct().select_related("challenge", "protocol"):
        gpus = gpus_of(phase)
        if not any(most_gpus(node) >= gpus for node in serving(live, phase=phase)):
            needs = needs_of(phase).in_words(gpus=gpus)
            return f"no live node has what {phase.challenge.slug}/{phase.slug} needs: {needs}"
    return ""


def unserved_pools(now: datetime) -> Iterator[Stuck]:
    """Pools with work that nobody takes: no live node, or nobody heard the doorbell although a slot is free."""
    queued = (
        CaseRun.objects.filter(status=CaseRun.Status.QUEUED, run__submission__phase__is_paused=False)
        .exclude(not_before__gt=now)
        .values("pool")
        .annotate(
            case_runs=Count("id"),
            gpus=Max("gpus"),
            since=Min("queued_at"),
            free_since=Min("queued_at", filter=UNCAPPED),
        )
    )
    running = dict(
        CaseRun.objects.filter(status=CaseRun.Status.RUNNING).values_list("pool").annotate(case_runs=Count("id"))
    )
    nodes = list(Node.objects.exclude(status=Node.Status.REMOVED))
    for row in queued[:MOST]:
        known = [node for node in nodes if node.pool == row["pool"]]
        live = live_nodes(known, now=now)
        since = row["since"] or now
        waits = f"pool {row['pool']}: {row['case_runs']} case run{'s wait' if row['case_runs'] > 1 else ' waits'}"
        if not live:
            held = any(node.status != Node.Status.ACTIVE for node in known)
            what = "every node is held back or silent" if held else "no node is live" if known else "it has no node"
            acts = ("wake", "activate") if held else ("wake",)
            yield Stuck(kind="pool", key=row["pool"], text=f"{waits}, {what}", since=since, acts=acts)
        elif not any(most_gpus(node) >= row["gpus"] for node in live):
            gpus = f"{row['gpus']} GPU{'s' if row['gpus'] > 1 else ''}"
            yield Stuck(
                kind="pool",
                key=row["pool"],
                text=f"{waits}, no live node has the {gpus} needed",
                since=since,
                acts=("wake",),
            )
        elif lacking := unserved_needs(row["pool"], live=live):
            yield Stuck(kind="pool", key=row["pool"], text=f"{waits}, {lacking}", since=since, acts=("wake",))
        elif running.get(row["pool"], 0) < sum(node.slots for node in live) and _is_old(row["free_since"], now=now):
            text = f"{waits} although slots are free"
            yield Stuck(kind="pool", key=row["pool"], text=text, since=row["free_since"], acts=("wake",))


def _is_old(moment: datetime | None, *, now: datetime) -> bool:
    return moment is not None and now - moment > AFTER


def unchecked(now: datetime) -> Iterator[Stuck]:
    """Uploads that no checker has dealt with."""
    rows = Submission.objects.filter(
        status__in=[Submission.Status.RECEIVED, Submission.Status.CHECKING], status_changed_at__lt=now - AFTER
    )
    for row in rows.select_related("challenge").order_by("status_changed_at")[:MOST]:
        since, text = row.status_changed_at, f"is {row.status}"
        yield Stuck(kind="check", key=str(row.pk), text=text, since=since, acts=("wake", "cancel"), submission=row)


def unscored(now: datetime) -> Iterator[Stuck]:
    """Evaluations whose worker is silent, or that nobody has taken."""
    rows = Evaluation.objects.filter(status__in=[Evaluation.Status.QUEUED, Evaluation.Status.RUNNING])
    for row in rows.select_related("submission__challenge").order_by("created_at")[: 10 * MOST]:
        cancel = ("cancel",) if row.submission.finished_at is None else ()
        waits_since = max(row.created_at, row.not_before or row.created_at)
        if row.status == Evaluation.Status.RUNNING and row.lease_until is not None and row.lease_until < now:
            since, act, text = row.lease_until, "release", f"the lease of {row.worker} has ended"
        elif row.status == Evaluation.Status.QUEUED and waits_since < now - AFTER:
            error = f" (last error: {row.error})" if row.error else ""
            since, act, text = row.created_at, "wake", f"nobody scores it{error}"
        else:
            continue
        yield Stuck(
            kind="evaluation",
            key=f"{row.id}/{row.fence}",
            text=f"evaluation {row.number}: {text}",
            since=since,
            acts=(act, *cancel),
            submission=row.submission,
        )


def unprompted(now: datetime) -> Iterator[Stuck]:
    """Containers that wait for prompts."""
    rows = PromptRound.objects.filter(
        made_at=None, asked_at__lt=now - SOON, case_run__status=CaseRun.Status.RUNNING, case_run__fence=F("fence")
    )
    for row in rows.select_related("case_run__run__submission__challenge").order_by("asked_at")[:MOST]:
        text, submission = f"a container waits for the prompts of round {row.number}", row.case_run.run.submission
        yield Stuck(
            kind="prompts", key=str(row.pk), text=text, since=row.asked_at, acts=("wake",), submission=submission
        )


def unsettled_cancels(now: datetime) -> Iterator[Stuck]:
    """Cancels that were asked for and have not been carried out."""
    rows = flow.unfinished_submissions().filter(cancel_requested_at__lt=now - SOON)
    for row in rows.select_related("challenge").order_by("cancel_requested_at")[:MOST]:
        since, text = row.cancel_requested_at or now, "is to be cancelled"
        yield Stuck(kind="cancel", key=str(row.pk), text=text, since=since, acts=("settle",), submission=row)


def stale_leaderboards(now: datetime) -> Iterator[Stuck]:
    """Rankings that are behind."""
    rows = behind().filter(asked_at__lt=now - AFTER)
    for row in rows.select_related("phase__challenge").order_by("asked_at")[:MOST]:
        text = f"the leaderboard of {row.phase.challenge.slug}/{row.phase.slug} is behind"
        yield Stuck(kind="leaderboard", key=str(row.phase_id), text=text, since=row.asked_at, acts=("wake",))


def set_aside_leaderboards(now: datetime) -> Iterator[Stuck]:  # noqa: ARG001  a finder's signature
    """Rankings whose rebuild did not end twice: their protocol asks for too much, or we have a fault."""
    rows = Leaderboard.objects.filter(tries__gte=MOST_TRIES, tried_protocol=F("phase__protocol"))
    for row in rows.select_related("phase__challenge").order_by("asked_at")[:MOST]:
        text = f"the leaderboard of {row.phase.challenge.slug}/{row.phase.slug} is set aside: {sentence(row.trouble)}"
        yield Stuck(kind="leaderboard", key=str(row.phase_id), text=text, since=row.asked_at, acts=("wake",))


def set_aside_reports(now: datetime) -> Iterator[Stuck]:  # noqa: ARG001  a finder's signature
    """Reports of the ranking as it stands that failed, or ended their worker twice."""
    rows = Leaderboard.objects.filter(REPORT_SET_ASIDE)
    for row in rows.select_related("phase__challenge").order_by("asked_at")[:MOST]:
        text = f"the report of {row.phase.challenge.slug}/{row.phase.slug} is set aside: {sentence(row.report_trouble)}"
        yield Stuck(kind="report", key=str(row.phase_id), text=text, since=row.asked_at, acts=("wake",))


def failed_by_others(now: datetime) -> Iterator[Stuck]:
    """What failed lately by a fault of ours or the organizers', and has not been taken up again."""
    rows = Submission.objects.filter(
        status=Submission.Status.FAILED, fault__in=NOT_THE_TEAMS, finished_at__gt=now - RECENT
    )
    latest = Evaluation.objects.filter(submission=OuterRef("pk")).order_by("-number").values("error")[:1]
    rows = rows.annotate(error=Subquery(latest)).select_related("challenge").order_by("finished_at")
    for row in rows[:MOST]:
        since, text = row.finished_at or now, f"failed: {row.verdict_text}{f' ({row.error})' if row.error else ''}"
        yield Stuck(kind="failure", key=str(row.pk), text=text, since=since, acts=("resume",), submission=row)


def failed_rejudgements(now: datetime) -> Iterator[Stuck]:
    """Evaluations of scored submissions that failed lately by a fault of ours: the old scores stand, and nobody else would see it."""
    rows = Evaluation.objects.filter(
        status=Evaluation.Status.FAILED,
        attempt__gte=ATTEMPTS,
        finished_at__gt=now - RECENT,
        submission__status=Submission.Status.DONE,
    )
    for row in rows.select_related("submission__challenge").order_by("finished_at")[:MOST]:
        since, text = row.finished_at or now, f"evaluation {row.number} failed: {row.error}"
        yield Stuck(kind="rejudgement", key=str(row.pk), text=text, since=since, acts=(), submission=row.submission)


FINDERS = (
    lost_leases,
    unserved_pools,
    unchecked,
    unscored,
    unprompted,
    unsettled_cancels,
    stale_leaderboards,
    set_aside_leaderboards,
    set_aside_reports,
    failed_by_others,
    failed_rejudgements,
)
