"""What an operator may do to what is stuck (`stuck.py`): one table of acts, each a conditional change that a second press leaves alone.

An act is about a thing as it was seen. A key names it, with the fence of its lease where there is one: when the reaper, a node or
another operator was faster, nothing happens and the operator is told so. Each act that changed or rang something leaves one line
of history with its operator. Where the service below writes that line already, it is the one.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.evaluations.models import Evaluation
from assay.evaluations.services import EvaluationLease, release_evaluation
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.reports import let_report_go_on
from assay.leaderboards.services import let_go_on
from assay.leases import LeaseLost, not_leased
from assay.runs.models import CaseRun, Node, PromptRound
from assay.runs.nodes import set_node_status
from assay.submissions.models import Submission
from assay.workflow import flow
from assay.workflow.flow import doorbells, resuming

Act = Callable[[str, User, datetime], bool]
REASON = "by an operator, from the list of what is stuck"
WORDS: Mapping[str, str | Promise] = {
    "wake": _("Wake"),
    "requeue": _("Requeue"),
    "release": _("Release its lease"),
    "cancel": _("Cancel and refund"),
    "drain": _("Drain the node"),
    "quarantine": _("Quarantine the node"),
    "activate": _("Take its nodes back"),
    "settle": _("Carry it out now"),
    "resume": _("Take it up again"),
}
"""What each act is called on its button."""


def act(*, kind: str, key: str, name: str, by: User, now: datetime) -> bool:
    """Do one act to one stuck thing; False when it is not as it was seen any more."""
    do = ACTS.get((kind, name))
    if do is None:
        known = ", ".join(sorted(f"{act} ({of})" for of, act in ACTS))
        raise InvalidError(
            gettext("There is no such act."),
            found=f"{name} ({kind})",
            expected=known,
            what_to_do=gettext("Use the buttons."),
        )
    try:
        done = do(key, by, now)
    except (ValueError, LookupError, LeaseLost):  # a key that names nothing, or a lease that has moved on
        return False
    if done and name in WRITTEN_HERE:
        record_event(verb=f"operator.{name}", subject=(kind, key), now=now, actor=by)
    return done


def requeue(key: str, by: User, now: datetime) -> bool:
    """Take a case run from its node, uncounted: it is claimed anew, and the node kills its container at the next heartbeat."""
    case_run_id, fence = fenced(key)
    label = f"operator {by.username}"
    flow.release(case_run_id=case_run_id, fence=fence, reason="operator", now=now, actor_label=label, counts=False)
    return True


def cancel_case_run(key: str, by: User, now: datetime) -> bool:
    """Cancel the submission of a case run."""
    return cancel(str(held(key).run.submission_id), by, now)


def cancel_evaluation(key: str, by: User, now: datetime) -> bool:
    """Cancel the submission of an evaluation."""
    evaluation_id, fence = fenced(key)
    evaluation = Evaluation.objects.filter(id=evaluation_id, fence=fence).first()
    return evaluation is not None and cancel(str(evaluation.submission_id), by, now)


def cancel(key: str, by: User, now: datetime) -> bool:
    """Cancel a submission that is not getting on, and give its attempt back: it was not its team's doing."""
    return flow.cancel(submission_id=UUID(key), by=by, now=now, refunds=True)


def change_node(status: Node.Status) -> Act:
    """Take the node of a case run out of service."""

    def do(key: str, by: User, now: datetime) -> bool:
        node = held(key).node
        return node is not None and set_node_status(node=node, status=status, reason=REASON, by=by, now=now)

    return do


def activate_nodes(key: str, by: User, now: datetime) -> bool:
    """Let the nodes of a pool that were held back take work again."""
    nodes = Node.objects.filter(pool=key, status__in=[Node.Status.DRAINING, Node.Status.QUARANTINED])
    changed = [set_node_status(node=node, status=Node.Status.ACTIVE, reason="", by=by, now=now) for node in nodes]
    return any(changed)


def wake_pool(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Ring for whatever the pool has to claim."""
    case_runs = CaseRun.objects.filter(pool=key, status=CaseRun.Status.QUEUED).count()
    doorbells.ring_pool(key, case_runs=case_runs)
    return case_runs > 0


def wake_check(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Ring the checker."""
    waiting = [Submission.Status.RECEIVED, Submission.Status.CHECKING]
    return ring_if(Submission.objects.filter(pk=UUID(key), status__in=waiting), doorbells.ring_check, UUID(key))


def wake_evaluation(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Ring the scoring pool."""
    evaluation_id, fence = fenced(key)
    waiting = Evaluation.objects.filter(id=evaluation_id, fence=fence, status=Evaluation.Status.QUEUED)
    return ring_if(waiting, doorbells.ring_scoring, evaluation_id)


def release(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Take an evaluation from its worker. Another goes on with the cases that have no scores yet."""
    evaluation_id, fence = fenced(key)
    lease = EvaluationLease(evaluation_id=evaluation_id, fence=fence)
    return release_evaluation(lease, error=f"released by {by.username}")


def wake_prompts(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Ring for a round of prompts."""
    return ring_if(PromptRound.objects.filter(pk=int(key), made_at=None), doorbells.ring_prompts, int(key))


def wake_leaderboard(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Ring for a ranking, also for one that was set aside."""
    let_go_on(phase_id=int(key))
    behind = Leaderboard.objects.filter(phase_id=int(key), asked__gt=F("answered"))
    return ring_if(behind, doorbells.ring_leaderboard, int(key))


def wake_report(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Have a report that was set aside made once more."""
    if not let_report_go_on(phase_id=int(key)):
        return False
    doorbells.ring_report(int(key))
    return True


def settle(key: str, by: User, now: datetime) -> bool:  # noqa: ARG001  an act's signature
    """Carry a cancel out as far as it can be now. What runs has its lease taken: its node finds out at its next heartbeat."""
    waiting = flow.unfinished_submissions().filter(pk=UUID(key), cancel_requested_at__isnull=False)
    if not waiting.exists():
        return False
    flow.settle_cancel(submission_id=UUID(key), now=now)
    return True


def resume(key: str, by: User, now: datetime) -> bool:
    """Take up again what failed by no fault of its team."""
    return resuming.resume(submission_id=UUID(key), by=by, now=now)


def held(key: str) -> CaseRun:
    """The case run under the very lease that was seen. Raises LeaseLost."""
    case_run_id, fence = fenced(key)
    found = CaseRun.objects.filter(id=case_run_id, fence=fence, status=CaseRun.Status.RUNNING)
    case_run = found.select_related("node", "run").first()
    if case_run is None:
        raise not_leased(f"Case run {case_run_id}", fence=fence)
    return case_run


def fenced(key: str) -> tuple[UUID, int]:
    """What a key with a fence names. Raises ValueError."""
    name, _, fence = key.partition("/")
    return UUID(name), int(fence)


def ring_if(waiting: QuerySet[Any], ring: Callable[[Any], None], key: Any) -> bool:
    """Ring for what still waits."""
    if not waiting.exists():
        return False
    ring(key)
    return True


ACTS: Mapping[tuple[str, str], Act] = {
    ("case run", "requeue"): requeue,
    ("case run", "cancel"): cancel_case_run,
    ("case run", "drain"): change_node(Node.Status.DRAINING),
    ("case run", "quarantine"): change_node(Node.Status.QUARANTINED),
    ("pool", "wake"): wake_pool,
    ("pool", "activate"): activate_nodes,
    ("check", "wake"): wake_check,
    ("check", "cancel"): cancel,
    ("evaluation", "wake"): wake_evaluation,
    ("evaluation", "release"): release,
    ("evaluation", "cancel"): cancel_evaluation,
    ("prompts", "wake"): wake_prompts,
    ("cancel", "settle"): settle,
    ("leaderboard", "wake"): wake_leaderboard,
    ("report", "wake"): wake_report,
    ("failure", "resume"): resume,
}
WRITTEN_HERE = ("wake", "requeue", "release", "settle")
