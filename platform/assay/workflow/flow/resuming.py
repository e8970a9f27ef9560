"""Doing again what did not come to a good end: a submission that failed by no fault of its team, or one case of any submission.

Nothing is run twice without need. A submission is taken up where it stopped (unchecked, unrun, unscored). A new run keeps the
cases that stand (`runs.policy.is_kept`) and runs the others. What failed is taken up by the phase's present protocol and test set,
because a broken reference or a protocol's mistake is mended by a new version, unless that version has other scans than those
that were played. Nobody is charged. Each is one transaction that begins with a conditional update, so pressing twice does it once.
"""

import random
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, NotFoundError
from assay.accounts.models import User
from assay.challenges.models import ProtocolVersion
from assay.evaluations import services as evaluations
from assay.runs import services as runs
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from assay.submissions.selectors import has_played
from assay.submissions.services import NOT_THE_TEAMS, Ended, resume_submission
from assay.testsets.models import TestSet
from assay.workflow import flow
from assay.workflow.flow import doorbells
from containers.verdicts import Fault

Status = Submission.Status
ANY_FAULT = tuple(Fault)


def resume_all(*, submission_ids: Collection[UUID], by: User, now: datetime) -> list[UUID]:
    """Take these submissions up again. The ones that go on, without those that had not failed or failed by their team's doing."""
    return [submission_id for submission_id in submission_ids if resume(submission_id=submission_id, by=by, now=now)]


def resume(*, submission_id: UUID, by: User, now: datetime) -> bool:
    """Take up a submission that failed by no fault of its team, where it stopped."""
    submission = Submission.objects.select_related(*flow.PRESENT_RULES).get(pk=submission_id)
    if submission.predictions_deleted_at is not None:
        return False
    run = submission.runs.order_by("-number").first()
    to = stopped_at(run)
    protocol, testset = rules_to_resume_by(submission)
    with transaction.atomic():
        if not resume_submission(
            submission_id=submission_id, to=to, protocol=protocol, testset=testset, by=by, now=now, ended=ending_of(run)
        ):
            return False
        if run is None:
            doorbells.ring_check(submission_id)
        elif to == Status.SCORING:
            submission.protocol, submission.testset = protocol, testset
            evaluation = evaluations.ask_for_evaluation(submission=submission, run=run, now=now)
            doorbells.ring_scoring(evaluation.id)
        else:
            submission.protocol, submission.testset = protocol, testset
            start_run(submission=submission, keeps=runs.kept_case_runs(run), now=now)
    return True


def rerun_case(*, submission_id: UUID, case_id: str, by: User, now: datetime) -> Run:
    """Run one case again and keep the others. A finished submission keeps its rank until the new scores are activated."""
    with transaction.atomic():
        submission = (
            Submission.objects.select_for_update(of=("self",)).select_related(*flow.PRESENT_RULES).get(pk=submission_id)
        )
        earlier = submission.runs.order_by("-number").first()
        refuse_rerun(submission, run=earlier, case_id=case_id)
        if submission.status == Status.FAILED:
            resume_submission(
                submission_id=submission_id,
                to=Status.QUEUED,
                protocol=submission.protocol,
                testset=submission.testset,
                by=by,
                now=now,
                faults=ANY_FAULT,
            )
        Submission.objects.filter(pk=submission_id).update(cancel_requested_at=None)  # of an earlier run
        keeps = runs.kept_case_runs(earlier, without=case_id) if earlier else {}
        run = start_run(submission=submission, keeps=keeps, now=now)
        record_event(
            verb="submission.case_rerun", subject=submission, now=now, actor=by, case=case_id, run=run.number,
            challenge_slug=submission.challenge.slug,
        )  # fmt: skip
    return run


def refuse_rerun(submission: Submission, *, run: Run | None, case_id: str) -> None:
    """Say why a case of the submission cannot be run again now."""
    if submission.status not in (Status.DONE, Status.FAILED) or (run is not None and run.finished_at is None):
        raise ConflictError(
            _("Its cases are being run already, or it was cancelled."),
            found=str(submission.status),
            expected=_("a submission that is done or failed"),
            what_to_do=_("Wait until it has ended."),
        )
    if submission.predictions_deleted_at is not None:
        raise ConflictError(
            _("What it wrote is deleted, so its other cases could not be scored again."),
            found=_("deleted at %(moment)s UTC") % {"moment": f"{submission.predictions_deleted_at:%Y-%m-%d %H:%M}"},
            what_to_do=_("Run its image again on the page of what comes after a phase, if it is kept."),
        )
    if run is None or submission.image_id is None:
        raise ConflictError(
            _("Nothing of it was ever run."), found=str(submission.status), what_to_do=_("Resume it instead.")
        )
    if CaseRun.objects.filter(run=run, case=None).exists():
        raise ConflictError(
            _("All its cases ran in one container, so no single one can be run again."),
            found=_("run mode cohort"),
            expected=_("run mode case"),
            what_to_do=_("Ask its team to submit again."),
        )
    if not submission.testset.cases.filter(case_id=case_id).exists():
        raise NotFoundError(_("There is no such case."), found=case_id)


def start_run(*, submission: Submission, keeps: dict[str, CaseRun], now: datetime) -> Run:
    """A run of what is missing, in an order of its own."""
    shuffle = random.Random(f"{submission.pk} {len(keeps)}")  # noqa: S311  order, not secrecy
    run = runs.create_run(submission=submission, now=now, shuffle=shuffle, keeps=keeps)
    doorbells.ring_pool(run.pool)
    flow.advance_run(run_id=run.id, now=now)
    return run


def stopped_at(run: Run | None) -> Submission.Status:
    """Where a failed submission stopped, by its newest run: before it was checked, before every case ran, or before it was scored."""
    if run is None:
        return Status.RECEIVED
    return Status.SCORING if run.status == Run.Status.DONE else Status.QUEUED


def ending_of(run: Run | None) -> Ended | None:
    """How a run ended whose scores alone are missing: what its submission says from now on."""
    outcome = runs.decide_run(run=run).outcome if run is not None and run.status == Run.Status.DONE else None
    if outcome is None:
        return None
    return Ended(verdict=outcome.verdict, told=outcome.told, fault=outcome.fault)


def rules_to_resume_by(submission: Submission) -> tuple[ProtocolVersion, TestSet]:
    """The phase's present protocol and test set. The submission's own where its scans were others."""
    testset = submission.phase.chosen_testset.testset
    if has_played(submission, testset=testset):
        return submission.phase.protocol, testset
    return submission.protocol, submission.testset


def is_resumable(submission: Submission) -> bool:
    """Whether `resume` would do something."""
    return submission.status == Status.FAILED and submission.fault in NOT_THE_TEAMS
