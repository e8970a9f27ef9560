"""Archived images that run again: in the next phase, in next year's phase, or on a new test set. One act, nothing charged.

A submission made here says whose it is a re-run of. The same act again enters nothing twice, which a constraint of the database holds:
one re-run for each submission, phase and test set. In its own phase a re-run takes the place of the submission it came from.

Where the budget of the phase does not reach for all, those that come first are entered, the best at the front where there are ranks. The
plan names the others. Once the organizers have raised the budget, the same act enters them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import User
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.challenges.services import change_phase
from assay.leaderboards.models import LeaderboardEntry
from assay.submissions.budgets import Room
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.run_time import longest_run
from assay.submissions.selectors import eligibility_of
from assay.submissions.services import (
    command_of,
    freeze_testset,
    frozen_limits,
    lock_person,
    lock_phase,
    next_number,
    refuse_ineligible,
)
from assay.workflow.flow import doorbells

WHICH = ("best", "chosen", "all")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One submission that may run again. `why_not` is empty where it can."""

    submission: Submission
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class RerunPlan:
    """What the act would enter, and the longest that may take on nodes."""

    candidates: tuple[Candidate, ...]
    seconds_each: float

    @property
    def ready(self) -> list[Submission]:
        """Those that can run."""
        return [found.submission for found in self.candidates if not found.why_not]

    @property
    def hours(self) -> float:
        """The longest all of them may run, one after the other."""
        return len(self.ready) * self.seconds_each / 3600


def plan_rerun(*, source: Phase, target: Phase, which: str) -> RerunPlan:
    """Which archived images of `source` would be entered in `target`. A constant number of queries."""
    if which not in WHICH:
        raise InvalidError(_("There is no such choice."), found=which, expected=", ".join(WHICH))
    if target.kind != Phase.Kind.CONTAINER or source.kind != Phase.Kind.CONTAINER:
        raise ConflictError(
            _("Only container images can run again."),
            code="no_images",
            found=_("%(source)s takes %(kind)s") % {"source": source.title, "kind": source.kind},
            what_to_do=_("Finished predictions are about the cases they were made for. Score them again instead."),
        )
    if not hasattr(target, "chosen_testset"):
        raise ConflictError(
            _("The phase has no test set to run on."),
            code="no_testset",
            found=target.title,
            what_to_do=_("Push one first."),
        )
    rows = (
        source.submissions.filter(
            status=Submission.Status.DONE,
            is_disqualified=False,
            is_withdrawn=False,
            is_hidden=False,
            image__isnull=False,
        )
        .select_related("team", "image", "submitted_by", "testset")
        .defer("testset__report")
    )
    chosen = _chosen(list(rows.order_by("number")), source=source, which=which)
    before, room = _entered_before(target), Room(target)
    seconds = longest_run(phase=target, testset=target.chosen_testset.testset)
    found = []
    for row in chosen:
        why_not = _why_not(row, target=target, before=before)
        if not why_not and not room.take(team_id=row.team_id, image=row.image, seconds=seconds):
            why_not = _("the budget of the phase leaves no room for it")
        found.append(Candidate(submission=row, why_not=why_not))
    return RerunPlan(candidates=tuple(found), seconds_each=seconds)


def _chosen(rows: Sequence[Submission], *, source: Phase, which: str) -> list[Submission]:
    if which == "all":
        return list(rows)
    if which == "chosen":
        chosen = {row.team_id: row for row in rows if row.is_chosen}
        return sorted(({row.team_id: row for row in rows} | chosen).values(), key=lambda row: row.number)
    entries = LeaderboardEntry.objects.filter(phase=source, part=LeaderboardEntry.Part.WHOLE, rank__isnull=False)
    rank = dict(entries.values_list("submission_id", "rank"))
    best: dict[int, Submission] = {}
    for row in sorted((row for row in rows if row.pk in rank), key=lambda row: (rank[row.pk], row.number)):
        best.setdefault(row.team_id, row)
    return list(best.values())


def _entered_before(target: Phase) -> set[UUID | None]:
    """Of which submissions there are re-runs in this phase, on the test set that it has now."""
    return set(target.submissions.filter(testset=target.chosen_testset.testset).values_list("rerun_of", flat=True))


def _why_not(row: Submission, *, target: Phase, before: Collection[UUID | None]) -> str:
    if row.pk in before:
        return _("entered already")
    if row.image is None or row.image.status != AlgorithmImage.Status.ACCEPTED or not row.image.rewritten_key:
        return _("its image is not kept any more")
    if row.phase_id == target.pk and row.testset_id == target.chosen_testset.testset_id:
        return _("it ran on this test set")
    return ""


def rerun(*, source: Phase, target: Phase, which: str, by: User | None, now: datetime) -> list[Submission]:
    """Enter the archived images of `source` in `target`, each for its own team, all or none."""
    with transaction.atomic():
        locked = lock_phase(target)
        found = plan_rerun(source=source, target=locked, which=which)
        made = [enter_again(submission=row, phase=locked, by=by, now=now) for row in found.ready]
        record_event(
            actor=by,
            actor_label="" if by else "workflow",
            verb="phase.rerun",
            subject=locked,
            challenge_slug=locked.challenge.slug,
            now=now,
            source=f"{source.challenge.slug}/{source.slug}",
            which=which,
            entered=len(made),
        )
    return made


def enter_again(
    *, submission: Submission, phase: Phase, by: User | None, now: datetime, is_charged: bool = False
) -> Submission:
    """A submission of the same image by the same team in `phase`, whose row is locked by the caller."""
    testset = freeze_testset(testset=phase.chosen_testset.testset, user=by or submission.submitted_by, now=now)
    divisions = phase.divisions
    command = command_of(submission) if rules_of(phase.protocol).resources.takes_command else ""
    division = submission.division if submission.division in divisions else divisions[0] if divisions else ""
    made = Submission.objects.create(
        phase=phase,
        challenge=phase.challenge,
        number=next_number(phase),
        protocol=phase.protocol,
        testset=testset,
        created_at=now,
        status_changed_at=now,
        team=submission.team,
        submitted_by=submission.submitted_by,
        image=submission.image,
        name=submission.name,
        description=submission.description,
        url=submission.url,
        is_baseline=submission.is_baseline,
        limits=frozen_limits(phase=phase, command=command),
        reserved_seconds=longest_run(phase=phase, testset=testset),
        is_charged=is_charged,
        is_refunded=not is_charged,
        rerun_of=submission,
        division=division,
    )
    record_event(
        actor=by,
        actor_label="" if by else "workflow",
        verb="submission.received",
        subject=made,
        challenge_slug=phase.challenge.slug,
        now=now,
        phase=phase.slug,
        team=made.team.slug,
        rerun_of=str(submission.pk),
    )
    doorbells.ring_check(made.pk)
    return made


def carry_by_team(*, submission: Submission, phase: Phase, by: User, now: datetime) -> Submission:
    """A team enters a submission of the phase before in this one. It costs an attempt, like one that is uploaded."""
    if phase.carry_over != "team" or submission.phase_id != phase.requires_id:
        raise ConflictError(
            _("Submissions of that phase are not carried over here by their teams."),
            found=_("carry_over: %(rule)s") % {"rule": phase.carry_over},
        )
    with transaction.atomic():
        locked, by = lock_phase(phase), lock_person(by)
        refuse_ineligible(eligibility_of(person=by, phase=locked, now=now))
        if why := _why_not(submission, target=locked, before=_entered_before(locked)):
            raise ConflictError(_("This submission cannot be carried over."), found=why)
        return enter_again(submission=submission, phase=locked, by=by, now=now, is_charged=True)


def due_carries(*, now: datetime) -> list[Phase]:
    """Phases that are open, whose phase before is over, and whose images have not been entered by themselves yet."""
    waiting = (
        Phase.objects.filter(
            carry_over__in=("best", "chosen"),
            carried_at=None,
            opens_at__lte=now,
            closes_at__gt=now,
            is_paused=False,
            is_archived=False,
            chosen_testset__isnull=False,
        )
        .select_related("challenge", "protocol", "requires__challenge", "chosen_testset__testset")
        .defer("chosen_testset__testset__report")
    )
    return [phase for phase in waiting if phase.requires is not None and phase.requires.is_over(now)]


def carry(*, phase: Phase, now: datetime) -> list[Submission]:
    """Enter each team's best or chosen submission of the phase before, once. Where the gate asks for a rank, theirs alone."""
    assert phase.requires is not None  # noqa: S101  # due_carries looks at it
    with transaction.atomic():
        locked = lock_phase(phase)
        if locked.carried_at is not None:  # another process was first
            return []
        found = plan_rerun(source=phase.requires, target=locked, which=phase.carry_over).ready
        if phase.requires_rank is not None:
            good = LeaderboardEntry.objects.filter(
                phase=phase.requires, part=LeaderboardEntry.Part.WHOLE, rank__lte=phase.requires_rank
            )
            teams = set(good.values_list("submission__team", flat=True))
            found = [row for row in found if row.team_id in teams]
        made = [enter_again(submission=row, phase=locked, by=None, now=now) for row in found]
        change_phase(phase=locked, user=None, now=now, verb="carried", carried_at=now)
    return made
