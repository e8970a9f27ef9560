"""What happens to a submission, on one page.

    submit ─► received ─► checking ─► queued ─► running ─► scoring ─► done
                             │          │          │          │
                             └──────────┴──────────┴──────────┴────► failed | cancelled

    submit            stores it and rings the checker
    finish_check      image accepted: a run with its case runs (a canary first), and the run pool is rung
                      predictions accepted: straight to scoring · refused: failed, in the participant's words
    claim             a node takes the next case run, in fair order, under a lease and a fence
    record            the node says how it ended; `advance_run` asks the failure policy what is next
    finish_scoring    the scores are in: the evaluation becomes the one that ranks, the leaderboard is asked to rebuild

Every step is one transaction of conditional updates; "nothing updated" means somebody was there first and is normal. Doorbells
ring when the transaction commits. All steps may be repeated, in any order, by any number of processes.
"""

import random
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import log_event, record_event
from assay.accounts.errors import ConflictError
from assay.accounts.models import User
from assay.challenges import services as challenges
from assay.challenges.models import Phase
from assay.evaluations import services as evaluations
from assay.evaluations.models import Evaluation
from assay.evaluations.services import EvaluationLease, Results
from assay.leaderboards import published
from assay.leaderboards.models import Snapshot
from assay.leaderboards.published import PublishedTable
from assay.leaderboards.services import ask_for_rebuild, take_snapshot
from assay.runs import leases
from assay.runs import services as runs
from assay.runs.intervals import current_intervals
from assay.runs.matching import unfit_phases
from assay.runs.models import CaseRun, Node, Run
from assay.runs.policy import Outcome
from assay.runs.selectors import predictions_digest
from assay.runs.services import Ending
from assay.submissions import choosing, handling, objections
from assay.submissions import services as submissions
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason, Told
from assay.submissions.selectors import has_played, is_over_with_same_image
from assay.submissions.services import Ended, Entry
from assay.workflow.flow import doorbells
from assay.workflow.flow.telling import tell_rejudged
from containers.verdicts import Fault, Verdict

ORGANIZERS_TO_MEND = {
    Verdict.REFERENCE_INVALID: Told(reason=Reason.REFERENCE_INVALID_IN_SCORING),
    Verdict.METRICS_FAILED: Told(reason=Reason.METRICS_FAILED_IN_SCORING),
}
"""What a team is told when scoring fails by the organizers' fault."""

PRESENT_RULES = ("protocol", "testset", "phase__protocol", "phase__chosen_testset__testset")
Status = Submission.Status


def submit(entry: Entry, *, now: datetime) -> Submission:
    """Store a submission and have it checked. Raises what `submissions.services.create_submission` refuses."""
    with transaction.atomic():
        submission = submissions.create_submission(entry, now=now)
        doorbells.ring_check(submission.pk)
    return submission


def finish_check(*, submission_id: UUID, now: datetime) -> bool:
    """The image was accepted: make its run and queue the canary, unless other teams have used up its attempts."""
    with transaction.atomic():
        checked = Submission.objects.select_related("image", "phase__challenge").filter(pk=submission_id).first()
        if checked is not None and checked.phase.counts_same_image:
            Phase.objects.select_for_update(no_key=True).get(pk=checked.phase_id)
            if is_over_with_same_image(checked):
                return refuse(
                    submission_id=submission_id,
                    verdict=Verdict.IMAGE_INVALID,
                    told=Told(reason=Reason.SAME_IMAGE),
                    now=now,
                )
        if not submissions.change_status(
            submission_id=submission_id, to=Status.QUEUED, sources=[Status.CHECKING], now=now, actor_label="checker"
        ):
            return False
        rows = Submission.objects.select_related("phase", "testset", "protocol").defer("testset__report")
        submission = rows.get(pk=submission_id)
        run = runs.create_run(submission=submission, now=now, shuffle=random.Random(submission.pk.int))  # noqa: S311  order, not secrecy
        doorbells.ring_pool(run.pool)
    return True


def refuse(
    *, submission_id: UUID, verdict: Verdict, told: Told, now: datetime, fault: Fault = Fault.PARTICIPANT
) -> bool:
    """End a submission that cannot be run. Nothing ran, so nothing is charged."""
    return submissions.change_status(
        submission_id=submission_id,
        to=Status.FAILED,
        sources=[Status.RECEIVED, Status.CHECKING],
        now=now,
        actor_label="checker",
        ended=Ended(verdict=verdict, told=told, fault=fault, is_charged=False),
    )


def claim(*, node: Node, now: datetime, gpus: int | None = None) -> CaseRun | None:
    """The next case run for the node, with everything its work order needs; None when there is nothing to do.

    `gpus`: how many the node has free; None where that does not limit what it may take.
    """
    lease_seconds = current_intervals().lease_seconds
    lease = leases.claim_case_run(
        node_id=node.pk, pool=node.pool, lease_seconds=lease_seconds, gpus=gpus, unfit=unfit_phases(node)
    )
    if lease is None:
        return None
    needed = CaseRun.objects.select_related("case", "run__submission__image", "run__submission__protocol")
    case_run = needed.get(id=lease.case_run_id)
    if case_run.run.status == Run.Status.QUEUED:
        mark_started(run=case_run.run, now=now, actor_label=f"node {node.name}")
    log_event(verb="case_run.running", subject=case_run, run=case_run.run_id, node=node.name, fence=lease.fence)
    return case_run


def mark_started(*, run: Run, now: datetime, actor_label: str) -> None:
    """Note that a case run of the run was claimed. A claim that died before this is made good when the ending is recorded."""
    with transaction.atomic():
        if runs.start_run(run_id=run.id):
            submissions.change_status(
                submission_id=run.submission_id,
                to=Status.RUNNING,
                sources=[Status.QUEUED],
                now=now,
                actor_label=actor_label,
            )


def record(*, node: Node, case_run_id: UUID, fence: int, ending: Ending, now: datetime) -> CaseRun:
    """A node says how its case run ended. Raises LeaseLost."""
    with transaction.atomic():
        run = runs.lock_run(case_run_id=case_run_id)
        mark_started(run=run, now=now, actor_label=f"node {node.name}")
        case_run = runs.record_ending(case_run_id=case_run_id, fence=fence, node=node, ending=ending, now=now)
        if not runs.simply_goes_on(case_run):
            advance_run(run_id=run.id, now=now)
    return case_run


def release(
    *,
    case_run_id: UUID,
    fence: int,
    reason: str,
    now: datetime,
    actor_label: str,
    counts: bool,
    is_delayed: bool = False,
) -> CaseRun:
    """A lease ends without a result, by no fault of the algorithm: back in the line. Raises LeaseLost."""
    with transaction.atomic():
        run = runs.lock_run(case_run_id=case_run_id)
        mark_started(run=run, now=now, actor_label=actor_label)
        case_run = runs.requeue(
            case_run_id=case_run_id,
            fence=fence,
            reason=reason,
            now=now,
            actor_label=actor_label,
            counts=counts,
            is_delayed=is_delayed,
        )
        advance_run(run_id=run.id, now=now)
        doorbells.ring_pool(case_run.pool)
    return case_run


def advance_run(*, run_id: UUID, now: datetime) -> None:
    """Do what the failure policy says is next for the run.

    A transaction that changes a run takes the run's row first, then its case runs, then the team's share, then the submission: in this
    order always, so that two who meet wait for one another and never for each other.
    """
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).select_related("submission__protocol").get(id=run_id)
        if run.submission.cancel_requested_at is not None:
            runs.cancel_unstarted(run=run, now=now)
        decision = runs.decide_run(run=run)
        if decision.unrun_reason is not None:
            runs.give_up_unrun(run=run, reason=decision.unrun_reason, now=now)
            decision = runs.decide_run(run=run)
        if decision.opens_waiting:
            waiting = run.case_runs.filter(status=CaseRun.Status.WAITING)
            opened = runs.queue_case_runs(run=run, case_runs=waiting, now=now)
            doorbells.ring_pool(run.pool, case_runs=opened)
        if decision.outcome is not None:
            end_run(run=run, outcome=decision.outcome, now=now)


def end_run(*, run: Run, outcome: Outcome, now: datetime) -> None:
    """The run has ended: score what it produced, or say why there is nothing to score."""
    if not runs.finish_run(run=run, status=outcome.status, now=now):
        return
    target = {"done": Status.SCORING, "failed": Status.FAILED, "cancelled": Status.CANCELLED}[outcome.status]
    has_run = run.case_runs.filter(attempt__gt=0).exists()
    changed = submissions.change_status(
        submission_id=run.submission_id,
        to=target,
        now=now,
        actor_label="workflow",
        ended=Ended(
            verdict=outcome.verdict,
            told=outcome.told if has_run else Told(reason=Reason.CANCELLED_UNRUN),
            fault=outcome.fault,
            is_charged=has_run and outcome.fault not in (Fault.PLATFORM, Fault.ORGANIZER),
        ),
    )
    submission = Submission.objects.select_related(*PRESENT_RULES).get(pk=run.submission_id)
    if changed and target == Status.SCORING:
        evaluation = evaluations.ask_for_evaluation(submission=submission, run=run, now=now)
        doorbells.ring_scoring(evaluation.id)
    elif (
        target == Status.SCORING and submission.status == Status.DONE
    ):  # a case was run again: nothing ranks until `activate`
        score_again(submission=submission, run=run, now=now)


def finish_scoring(*, lease: EvaluationLease, results: Results, now: datetime) -> bool:
    """The scores are in. A first evaluation ranks at once. A rejudgement waits to be activated."""
    with transaction.atomic():
        if not evaluations.finish_evaluation(lease, results=results, now=now):
            return False
        evaluation = Evaluation.objects.select_related("submission").get(id=lease.evaluation_id)
        Submission.objects.filter(pk=evaluation.submission_id).update(
            predictions_sha256=predictions_digest(evaluation.run_id)
        )
        submissions.change_status(
            submission_id=evaluation.submission_id,
            to=Status.DONE,
            sources=[Status.SCORING],
            now=now,
            actor_label="scorer",
        )
        if evaluation.activates_when_done:
            evaluations.activate(evaluation=evaluation, now=now, actor_label="scorer")
            ask_for_rebuild(phase_id=evaluation.submission.phase_id, now=now)
            doorbells.ring_leaderboard(evaluation.submission.phase_id)
    return True


def fail_as_organizers_fault(*, lease: EvaluationLease, verdict: Verdict, error: str, now: datetime) -> bool:
    """A reference, or the organizers' metric image, cannot be used. No team is charged, and no further attempt is made."""
    with transaction.atomic():
        if not evaluations.fail_at_once(lease, error=error, now=now):
            return False
        evaluation = Evaluation.objects.get(id=lease.evaluation_id)
        _end_unscored(evaluation, verdict=verdict, told=ORGANIZERS_TO_MEND[verdict], now=now)
    return True


def fail_as_reference_fault(*, case_run_id: UUID, fence: int, now: datetime) -> bool:
    """A reference of an interactive case cannot be used. The node learns on its next request that the lease is gone."""
    with transaction.atomic():
        run = runs.lock_run(case_run_id=case_run_id)
        if not runs.end_held(case_run_id=case_run_id, fence=fence, verdict=Verdict.REFERENCE_INVALID, now=now):
            return False
        advance_run(run_id=run.id, now=now)
    return True


def give_up_scoring(*, evaluation_id: UUID, now: datetime) -> bool:
    """Scoring failed too often, which is the platform's fault. The attempt is not charged, and rejudging needs no new run."""
    with transaction.atomic():
        if not evaluations.fail_exhausted(evaluation_id=evaluation_id, now=now):
            return False
        evaluation = Evaluation.objects.get(id=evaluation_id)
        _end_unscored(
            evaluation,
            verdict=Verdict.INFRASTRUCTURE,
            told=Told(reason=Reason.SCORING_FAULT),
            now=now,
        )
    return True


def _end_unscored(evaluation: Evaluation, *, verdict: Verdict, told: Told, now: datetime) -> None:
    """An evaluation has failed: its submission ends with it, unless it was scored before."""
    if evaluation.activates_when_done:
        submissions.change_status(
            submission_id=evaluation.submission_id,
            to=Status.FAILED,
            sources=[Status.SCORING],
            now=now,
            actor_label="scorer",
            ended=Ended(verdict=verdict, told=told, fault=verdict.fault, is_charged=False),
        )
    record_event(verb="evaluation.failed", subject=evaluation, now=now, actor_label="scorer", error=evaluation.error)


def cancel(*, submission_id: UUID, by: User, now: datetime, refunds: bool = False) -> bool:
    """Stop a submission wherever it is. Running containers are killed at their node's next heartbeat.

    The refund rule: an attempt of which no case was started is given back. One that ran is charged, unless `refunds` (an operator
    stops what is stuck: not its team's doing).
    """
    refunded = {"is_refunded": True, "is_charged": False} if refunds else {}
    with transaction.atomic():
        wanted = unfinished_submissions().filter(pk=submission_id, cancel_requested_at=None)
        if not wanted.update(cancel_requested_at=now, **refunded):
            return False
        record_event(
            verb="submission.cancel_requested",
            subject=("submission", submission_id),
            now=now,
            actor=by,
            is_refunded=refunds,
        )
    settle_cancel(submission_id=submission_id, now=now)
    return True


def unfinished_submissions() -> QuerySet[Submission]:
    """Those that have not ended, and those of which a case is being run again."""
    return Submission.objects.filter(
        Q(finished_at=None) | Exists(Run.objects.filter(submission=OuterRef("pk"), finished_at=None))
    )


def cancel_all(*, submission_ids: Collection[UUID], by: User, now: datetime) -> list[UUID]:
    """Stop these submissions. The ones that will stop, without those that had ended or are being cancelled already."""
    return [submission_id for submission_id in submission_ids if cancel(submission_id=submission_id, by=by, now=now)]


def settle_cancel(*, submission_id: UUID, now: datetime) -> None:
    """Carry out a requested cancel as far as it can be now. The reaper repeats it until the submission has ended."""
    for run in Run.objects.filter(submission_id=submission_id, finished_at=None).only("id"):
        advance_run(run_id=run.id, now=now)
    for sources, is_charged, reason in (
        ([Status.RECEIVED, Status.CHECKING], False, Reason.CANCELLED_UNRUN),
        ([Status.SCORING], True, Reason.CANCELLED),
    ):
        submissions.change_status(
            submission_id=submission_id,
            to=Status.CANCELLED,
            sources=sources,
            now=now,
            actor_label="workflow",
            ended=Ended(verdict=Verdict.CANCELLED, told=Told(reason=reason), is_charged=is_charged),
        )


def disqualify(*, submission_id: UUID, reason: str, by: User, now: datetime) -> bool:
    """Take a submission out of the ranking, with a reason. Its scores stay."""
    with transaction.atomic():
        if not submissions.disqualify_submission(submission_id=submission_id, reason=reason, user=by, now=now):
            return False
        phase_id = Submission.objects.values_list("phase_id", flat=True).get(pk=submission_id)
        ask_for_rebuild(phase_id=phase_id, now=now)
        doorbells.ring_leaderboard(phase_id)
    return True


def reinstate(*, submission_id: UUID, by: User, now: datetime) -> bool:
    """Undo a disqualification: the submission ranks again by the scores it has."""
    with transaction.atomic():
        if not submissions.reinstate_submission(submission_id=submission_id, user=by, now=now):
            return False
        phase_id = Submission.objects.values_list("phase_id", flat=True).get(pk=submission_id)
        ask_for_rebuild(phase_id=phase_id, now=now)
        doorbells.ring_leaderboard(phase_id)
    return True


def mark(*, submission_ids: Collection[UUID], verb: str, note: str, by: User, now: datetime) -> list[Submission]:
    """Organizers note something about submissions by hand; boards that it changes are ranked again."""
    with transaction.atomic():
        marked = handling.mark_submissions(submission_ids=submission_ids, verb=verb, note=note, user=by, now=now)
        if handling.MARKS[verb].changes_board:
            for phase_id in sorted({row.phase_id for row in marked}):
                _ask_for_ranking(phase_id, now=now)
    return marked


def choose(*, submission: Submission, by: User, now: datetime) -> bool:
    """A team says which of its submissions stands for it. Raises what `submissions.choosing` refuses."""
    with transaction.atomic():
        changed = choosing.choose_submission(submission=submission, user=by, now=now)
        _ask_for_ranking(submission.phase_id, now=now)
    return changed


def withdraw(*, submission: Submission, by: User, now: datetime) -> bool:
    """A team takes a submission back: it is not ranked, and its attempt stays used."""
    with transaction.atomic():
        changed = choosing.withdraw(submission=submission, user=by, now=now)
        _ask_for_ranking(submission.phase_id, now=now)
    return changed


def take_up_again(*, submission: Submission, by: User, now: datetime) -> bool:
    """A team undoes a withdrawal."""
    with transaction.atomic():
        changed = choosing.take_up_again(submission=submission, user=by, now=now)
        _ask_for_ranking(submission.phase_id, now=now)
    return changed


def release_results(*, phase: Phase, by: User | None, now: datetime) -> Phase:
    """Release the results of a phase that is over. `by`: None where its time has come."""
    with transaction.atomic():
        released = challenges.release_results(phase=phase, user=by, now=now)
        _ask_for_ranking(phase.pk, now=now)
    return released


def finalize(*, phase: Phase, by: User | None, now: datetime) -> Phase:
    """Make the results of a phase final, and keep a signed snapshot of its board. `by`: None where the review has ended by itself."""
    with transaction.atomic():
        was_final = phase.finalized_at is not None
        final = objections.finalize(phase=phase, user=by, now=now)
        if not was_final:
            take_snapshot(phase=final, cause=Snapshot.Cause.RESULTS_FINAL, now=now)
    return final


def take_back_release(*, phase: Phase, by: User, now: datetime) -> Phase:
    """Undo a release."""
    with transaction.atomic():
        changed = challenges.take_back_release(phase=phase, user=by, now=now)
        _ask_for_ranking(phase.pk, now=now)
    return changed


def _ask_for_ranking(phase_id: int, *, now: datetime) -> None:
    ask_for_rebuild(phase_id=phase_id, now=now)
    doorbells.ring_leaderboard(phase_id)


def import_table(table: PublishedTable, *, now: datetime) -> Submission:
    """Take a published table onto a leaderboard. Raises what `leaderboards.published.import_table` refuses."""
    with transaction.atomic():
        submission = published.import_table(table, now=now)
        doorbells.ring_leaderboard(submission.phase_id)
    return submission


def rejudge(*, submission_ids: Collection[UUID], by: User, now: datetime) -> list[Evaluation]:
    """Score again what finished submissions' runs produced, by the phase's present protocol and test set. Nothing ranks until
    `activate`. Left out is what never ended well, what was deleted, and what was played on other scans than the test set has now.
    """
    asked = []
    with transaction.atomic():
        chosen = Submission.objects.filter(pk__in=submission_ids, status=Status.DONE, predictions_deleted_at=None)
        for submission in chosen.select_related(*PRESENT_RULES):
            run = submission.runs.filter(status=Run.Status.DONE).order_by("-number").first()
            if run is None or not has_played(submission, testset=submission.phase.chosen_testset.testset):
                continue
            evaluation = score_again(submission=submission, run=run, now=now)
            record_event(verb="submission.rejudged", subject=submission, now=now, actor=by, number=evaluation.number)
            asked.append(evaluation)
    return asked


def score_again(*, submission: Submission, run: Run, now: datetime) -> Evaluation:
    """A further evaluation of a submission that has one, by the phase's present rules."""
    evaluation = evaluations.ask_for_evaluation(
        submission=submission,
        run=run,
        now=now,
        protocol=submission.phase.protocol,
        testset=submission.phase.chosen_testset.testset,
        activates_when_done=False,
    )
    doorbells.ring_scoring(evaluation.id)
    return evaluation


def activate(*, evaluation_ids: Collection[UUID], by: User, now: datetime) -> int:
    """Let these evaluations rank, all or none."""
    with transaction.atomic():
        chosen = list(
            Evaluation.objects.select_for_update(of=("self",))
            .filter(id__in=evaluation_ids, status=Evaluation.Status.DONE)
            .select_related("submission__phase", "submission__challenge", "submission__team")
        )
        if len(chosen) != len(set(evaluation_ids)):
            raise ConflictError(
                _("Not every evaluation is done."),
                found=_("%(chosen)s done") % {"chosen": len(chosen)},
                expected=_("%(set)s done") % {"set": len(set(evaluation_ids))},
                what_to_do=_("Wait for the others, or leave them out."),
            )
        for evaluation in chosen:
            evaluations.activate(evaluation=evaluation, now=now, actor_label=by.username, actor=by)
        for phase_id in {evaluation.submission.phase_id for evaluation in chosen}:
            ask_for_rebuild(phase_id=phase_id, now=now)
            doorbells.ring_leaderboard(phase_id)
        tell_rejudged(chosen, now=now)
    return len(chosen)
