"""What changes runs and case runs. Every change is one conditional update; "nothing updated" means somebody was there first."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, Max, Value
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from assay.accounts.audit import log_event, record_event
from assay.accounts.errors import InvalidError
from assay.challenges.protocols import rules_of
from assay.leases import not_leased
from assay.runs import fairness, lifecycle, policy, specs
from assay.runs.intervals import current_intervals
from assay.runs.leases import database_now, held
from assay.runs.models import CaseRun, Node, Run
from assay.submissions.models import Submission
from assay.submissions.run_time import add_run_time
from assay.testsets.models import Case
from containers.spec import Usage
from containers.verdicts import Reason, Verdict
from evaluator.scoring import lost_to_gaps

RETRIES_OF_OUR_FAULTS = 3
SLACK_SECONDS = 60.0
SEEN_EVERY = timedelta(seconds=5)
KEPT_FIELDS = (
    "status",
    "attempt",
    "node_id",
    "queued_at",
    "started_at",
    "finished_at",
    "verdict",
    "reason",
    "fault",
    "exit_code",
    "infrastructure_failures",
    "usage",
    "outputs",
    "log_key",
)
"""What a case run takes over from the one it stands for."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a node says that a case run ended."""

    verdict: Verdict
    reason: str = ""
    exit_code: int | None = None
    usage: Usage
    outputs: list[dict[str, Any]]


def create_run(
    *, submission: Submission, now: datetime, shuffle: random.Random, keeps: Mapping[str, CaseRun] | None = None
) -> Run:
    """A run of the submission with its case runs in random order: the first is the canary and queued, the others wait.

    `keeps`: by case, what earlier case runs came to. Those cases do not run again.
    """
    number = (submission.runs.aggregate(last=Max("number"))["last"] or 0) + 1
    phase, resources = submission.phase, specs.resources_of(submission)
    run = Run.objects.create(submission=submission, number=number, pool=phase.pool, created_at=now)
    log_event(verb="run.queued", subject=run, submission=submission.pk, number=number, kept=len(keeps or {}))
    cases: list[Case | None] = list(submission.testset.cases.all())
    if resources.get("run_mode", "case") == "cohort":
        cases = [None]
    shuffle.shuffle(cases)
    kept = keeps or {}
    cases.sort(key=lambda case: case is not None and case.case_id in kept)  # what has to run comes first
    limits = specs.limits_of(resources)
    made = CaseRun.objects.bulk_create(
        CaseRun(
            run=run,
            case=case,
            position=position,
            is_canary=position == 0,
            pool=run.pool,
            priority=phase.priority,
            gpus=limits.gpus,
            expected_seconds=limits.wall_seconds,
            **_kept_fields(kept.get(case.case_id) if case else None),
        )
        for position, case in enumerate(cases)
    )
    queue_case_runs(run=run, case_runs=[row for row in made if row.is_canary and row.kept_from_id is None], now=now)
    return run


def kept_case_runs(run: Run, *, without: str = "") -> dict[str, CaseRun]:
    """By case, what stands of a run that is taken up again; `without` a case that is to run once more."""
    ended = run.case_runs.exclude(case=None).exclude(case__case_id=without).select_related("case")
    return {
        row.case.case_id: row for row in ended if row.case and policy.is_kept(status=row.status, verdict=row.verdict)
    }


def _kept_fields(case_run: CaseRun | None) -> dict[str, Any]:
    if case_run is None:
        return {}
    return {
        "kept_from_id": case_run.kept_from_id or case_run.id,
        **{name: getattr(case_run, name) for name in KEPT_FIELDS},
    }


def queue_case_runs(*, run: Run, case_runs: Iterable[CaseRun], now: datetime) -> int:
    """Open waiting case runs, each with its place in the pool's line."""
    waiting = list(case_runs)
    if not waiting:
        return 0
    turns = fairness.charge_turns(
        pool=run.pool,
        team_id=run.submission.team_id,
        expected_seconds=waiting[0].expected_seconds,
        count=len(waiting),
    )
    for case_run, turn in zip(waiting, turns, strict=True):
        case_run.status, case_run.turn, case_run.queued_at = CaseRun.Status.QUEUED, turn, now
    for case_run in waiting:
        log_event(verb="case_run.queued", subject=case_run, run=run.id, pool=run.pool)
    still_waiting = CaseRun.objects.filter(status=CaseRun.Status.WAITING)
    return still_waiting.bulk_update(waiting, ["status", "turn", "queued_at"], batch_size=500)


def lock_run(*, case_run_id: UUID) -> Run:
    """The case run's run, its row locked until the transaction ends. Raises LeaseLost when there is none."""
    run = Run.objects.select_for_update(of=("self",)).filter(case_runs__id=case_run_id).first()
    if run is None:
        raise not_leased(f"Case run {case_run_id}")
    return run


def record_ending(*, case_run_id: UUID, fence: int, node: Node, ending: Ending, now: datetime) -> CaseRun:
    """Store how a leased case run ended. A fault of ours puts it back in the line until its retries are used up.

    Raises LeaseLost. Saying the same thing twice (an answer was lost on the way) is not an error.
    """
    if ending.verdict == Verdict.INFRASTRUCTURE:
        return requeue(case_run_id=case_run_id, fence=fence, reason=ending.reason, now=now, is_delayed=True)
    if ending.verdict == Verdict.OK and ranks_what_was_lost(case_run_id=case_run_id, usage=ending.usage):
        return requeue(case_run_id=case_run_id, fence=fence, reason=Reason.MEASUREMENT_GAP, now=now)
    is_done = ending.verdict == Verdict.OK
    status = CaseRun.Status.DONE if is_done else CaseRun.Status.FAILED
    if ending.verdict == Verdict.CANCELLED:
        status = CaseRun.Status.CANCELLED
    outputs = _confirmed_outputs(held_or_ended(case_run_id=case_run_id, fence=fence, node=node), ending.outputs)
    changed = CaseRun.objects.filter(
        id=case_run_id, fence=fence, node=node, status__in=lifecycle.sources(lifecycle.CASE_RUN_TRANSITIONS, to=status)
    ).update(
        status=status,
        verdict=ending.verdict,
        reason=ending.reason,
        fault=ending.verdict.fault,
        exit_code=ending.exit_code,
        usage=ending.usage,
        outputs=outputs,
        lease_until=None,
        finished_at=now,
    )
    case_run = CaseRun.objects.select_related("run__submission").get(id=case_run_id)
    if changed:
        used_seconds = believable_seconds(case_run, said=ending.usage.wall_seconds or 0.0)
        fairness.settle(
            pool=case_run.pool,
            team_id=case_run.run.submission.team_id,
            expected_seconds=case_run.expected_seconds,
            used_seconds=used_seconds,
        )
        add_run_time(submission=case_run.run.submission, seconds=used_seconds, now=now)
        record_event(
            verb=f"case_run.{status}",
            subject=case_run,
            now=now,
            actor_label=f"node {node.name}",
            verdict=ending.verdict,
            reason=ending.reason,
            attempt=case_run.attempt,
        )
    return case_run


def believable_seconds(case_run: CaseRun, *, said: float) -> float:
    """What is charged to the team's share: what the node says, but no more than the lease lasted by the database's clock.

    What was expected is always believed, and a minute more: a container is stopped a little after its limit.
    """
    lasted = (database_now() - case_run.started_at).total_seconds() if case_run.started_at else 0.0
    return min(said, max(lasted, case_run.expected_seconds) + SLACK_SECONDS)


def ranks_what_was_lost(*, case_run_id: UUID, usage: Usage) -> bool:
    """Whether our sampling had a gap in something that the submission's protocol scores: the case is run and measured again."""
    lost = lost_to_gaps(usage)
    if not lost:
        return False
    submission = Submission.objects.select_related("protocol").get(runs__case_runs=case_run_id)
    return any(spec.metric.name in lost for spec in rules_of(submission.protocol).metrics)


def held_or_ended(*, case_run_id: UUID, fence: int, node: Node) -> CaseRun:
    """The case run under this very fence, running or already ended by this node. Raises LeaseLost."""
    case_run = (
        CaseRun.objects.filter(id=case_run_id, fence=fence, node=node).exclude(status=CaseRun.Status.QUEUED).first()
    )
    if case_run is None:
        raise not_leased(f"Case run {case_run_id}", fence=fence)
    return case_run


def requeue(
    *,
    case_run_id: UUID,
    fence: int,
    reason: str,
    now: datetime,
    actor_label: str = "node",
    counts: bool = True,
    is_delayed: bool = False,
) -> CaseRun:
    """Put a leased case run back in the line after a fault of ours. End it once such faults have used up its retries.

    `counts=False` for a node that gives a lease back in good order (it is being shut down). `is_delayed` when a node that lives
    says what was wrong: the next try would meet the same outage, so it waits. Raises LeaseLost.
    """
    running = CaseRun.objects.filter(id=case_run_id, fence=fence, status=CaseRun.Status.RUNNING)
    failures = F("infrastructure_failures") + int(counts)
    common = {"infrastructure_failures": failures, "lease_until": None, "node": None}
    case_run = CaseRun.objects.select_related("run__submission", "node").filter(id=case_run_id).first()
    if case_run is None:
        raise not_leased(f"Case run {case_run_id}")
    is_last = counts and case_run.infrastructure_failures + 1 >= RETRIES_OF_OUR_FAULTS
    if is_last:
        verdict = Verdict.INFRASTRUCTURE
        ended = {"status": CaseRun.Status.FAILED, "verdict": verdict, "fault": verdict.fault, "finished_at": now}
        changed = running.update(**common, **ended, reason=reason[:60])
    else:
        delay = current_intervals().retry_delay(failures=case_run.infrastructure_failures + 1)
        not_before = Now() + delay if counts and is_delayed else None
        changed = running.update(**common, status=CaseRun.Status.QUEUED, reason=reason[:60], not_before=not_before)
    if not changed:
        raise not_leased(f"Case run {case_run_id}", fence=fence)
    verb = "case_run.failed" if is_last else "case_run.requeued"
    record_event(
        verb=verb,
        subject=case_run,
        now=now,
        actor_label=actor_label,
        reason=reason,
        attempt=case_run.attempt,
        node=case_run.node.name if case_run.node else "",
    )
    case_run.refresh_from_db()
    return case_run


def end_held(*, case_run_id: UUID, fence: int, verdict: Verdict, now: datetime) -> bool:
    """End a case run under somebody's lease, by no doing of its algorithm; False when that lease is gone."""
    changed = CaseRun.objects.filter(id=case_run_id, fence=fence, status=CaseRun.Status.RUNNING).update(
        status=CaseRun.Status.FAILED, verdict=verdict, fault=verdict.fault, lease_until=None, finished_at=now
    )
    if changed:
        case_run = CaseRun.objects.get(id=case_run_id)
        record_event(verb="case_run.failed", subject=case_run, now=now, actor_label="scorer", verdict=verdict)
    return bool(changed)


def add_output(*, case_run_id: UUID, fence: int, node: Node, output: dict[str, Any]) -> None:
    """Note an output file that has been stored, under the lease. Raises LeaseLost."""
    case_run = held(case_run_id=case_run_id, fence=fence, node_id=node.pk)
    outputs = [known for known in case_run.outputs if known["name"] != output["name"]] + [output]
    changed = CaseRun.objects.filter(id=case_run_id, fence=fence, node=node, status=CaseRun.Status.RUNNING).update(
        outputs=outputs
    )
    if not changed:
        raise not_leased(f"Case run {case_run_id}", fence=fence)


def set_log(*, case_run_id: UUID, fence: int, node: Node, key: str) -> None:
    """Note where the log was stored, under the lease. Raises LeaseLost."""
    changed = CaseRun.objects.filter(id=case_run_id, fence=fence, node=node, status=CaseRun.Status.RUNNING).update(
        log_key=key
    )
    if not changed:
        raise not_leased(f"Case run {case_run_id}", fence=fence)


def simply_goes_on(case_run: CaseRun) -> bool:
    """Whether a case run that ended well changes nothing for its run, because others are still open or running.

    Most endings are of this kind. Reading all case runs of the run at each would be n² rows for n cases, so this asks for one unfinished
    row of each kind by the index of unfinished case runs. Call it under the run's lock. A failure, a case that waits for the canary, and a
    cancellation are for the policy.
    """
    if case_run.status != CaseRun.Status.DONE or case_run.usage.failed_cases:
        return False
    others = CaseRun.objects.filter(run_id=case_run.run_id)
    goes_on = Exists(others.filter(status__in=(CaseRun.Status.QUEUED, CaseRun.Status.RUNNING)))
    waits = Exists(others.filter(status=CaseRun.Status.WAITING))
    is_going_on, is_waiting = Run.objects.values_list(goes_on, waits).get(pk=case_run.run_id)
    is_cancelled = case_run.run.submission.cancel_requested_at is not None
    return is_going_on and not is_waiting and not is_cancelled


def decide_run(*, run: Run) -> policy.Decision:
    """What the failure policy says about the run as it stands."""
    rows = list(run.case_runs.all())
    ended = sorted(
        (row for row in rows if row.finished_at is not None), key=lambda row: (row.finished_at, row.position)
    )
    order = {row.id: place for place, row in enumerate(ended)}
    states = [
        policy.CaseState(
            position=row.position,
            status=row.status,
            verdict=row.verdict,
            reason=row.reason,
            is_canary=row.is_canary,
            finished_order=order.get(row.id),
            cases=1 if row.case_id else run.submission.testset.cases.count(),
            failed_in_cohort=tuple((row.usage.failed_cases or {}).values()),
        )
        for row in rows
    ]
    resources = specs.resources_of(run.submission)
    return policy.decide(states, on_case_failure=resources.get("on_case_failure", "continue"), resources=resources)


def give_up_unrun(*, run: Run, reason: str, now: datetime) -> int:
    """Mark the case runs that have not started as never run, and return their share to the team."""
    return _end_unstarted(
        run=run, now=now, status=CaseRun.Status.FAILED, verdict=Verdict.UNRUN, reason=reason, fault=Verdict.UNRUN.fault
    )


def cancel_unstarted(*, run: Run, now: datetime) -> int:
    """Cancel the case runs that have not started. The running ones are told through their heartbeats."""
    return _end_unstarted(run=run, now=now, status=CaseRun.Status.CANCELLED, verdict=Verdict.CANCELLED)


def finish_run(*, run: Run, status: str, now: datetime) -> bool:
    """End the run; False when it had ended before."""
    allowed = lifecycle.sources(lifecycle.RUN_TRANSITIONS, to=status)
    changed = Run.objects.filter(id=run.id, status__in=allowed).update(status=status, finished_at=now)
    if changed:
        log_event(verb=f"run.{status}", subject=run, submission=run.submission_id)
    return bool(changed)


def start_run(*, run_id: UUID) -> bool:
    """Note that the first case run was claimed; False when it had been noted before."""
    changed = Run.objects.filter(id=run_id, status=Run.Status.QUEUED).update(status=Run.Status.RUNNING)
    if changed:
        log_event(verb="run.running", subject=("run", run_id))
    return bool(changed)


def expired_leases(*, now: datetime) -> list[CaseRun]:
    """Case runs whose node has not been heard of for longer than the lease."""
    return list(CaseRun.objects.filter(status=CaseRun.Status.RUNNING, lease_until__lt=now).select_related("node"))


def leases_of(*, node: Node) -> list[CaseRun]:
    """What the node holds now."""
    return list(CaseRun.objects.filter(status=CaseRun.Status.RUNNING, node=node))


def granted_slots(node: Node, *, wanted: int) -> int:
    """How many slots a node has of those it says it has: an operator may have set an upper end."""
    return wanted if node.most_slots is None else min(wanted, node.most_slots)


def see_node(
    *,
    node: Node,
    now: datetime,
    inventory: dict[str, Any] | None = None,
    slots: int | None = None,
    is_urgent: bool = True,
) -> None:
    """Note that the node is alive, and what it says about itself. Being alive is written down every few seconds only, and
    so is what is not urgent.
    """
    changes: dict[str, Any] = {}
    if inventory is not None and inventory != node.inventory:
        changes["inventory"] = inventory
    if slots is not None and (granted := granted_slots(node, wanted=slots)) != node.slots:
        changes["slots"] = granted
    is_due = node.last_seen_at is None or now - node.last_seen_at > SEEN_EVERY
    if is_due or (changes and is_urgent):
        Node.objects.filter(pk=node.pk).update(last_seen_at=now, **changes)


def _end_unstarted(
    *, run: Run, now: datetime, status: CaseRun.Status, verdict: Verdict, reason: str = "", fault: str = ""
) -> int:
    unstarted = run.case_runs.filter(status__in=[CaseRun.Status.WAITING, CaseRun.Status.QUEUED])
    queued = list(unstarted.filter(status=CaseRun.Status.QUEUED).values_list("id", "expected_seconds"))
    for case_run_id in unstarted.values_list("id", flat=True):
        log_event(verb=f"case_run.{status}", subject=("caserun", case_run_id), run=run.id, verdict=verdict)
    ended = unstarted.update(
        finished_at=Coalesce(F("finished_at"), Value(now)), status=status, verdict=verdict, reason=reason, fault=fault
    )
    if queued:
        fairness.give_back(pool=run.pool, team_id=run.submission.team_id, case_runs=queued)
    return ended


def _confirmed_outputs(case_run: CaseRun, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs as stored, checked against what the node says it sent. A node cannot name a file it never sent."""
    stored = {output["name"]: output for output in case_run.outputs}
    for output in said:
        known = stored.get(output["name"])
        if known is None or known["sha256"] != output["sha256"]:
            raise InvalidError(
                _("Output %(name)s is not what was stored.") % {"name": repr(output["name"])},
                found=str(output["sha256"]),
                expected=known["sha256"] if known else _("a file sent before it is recorded"),
                what_to_do=_("Send the file again, then record."),
            )
    return [stored[output["name"]] for output in said]
