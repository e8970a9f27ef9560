"""Questions about submissions and attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.addresses import can_verify, is_verified, page_to_verify
from assay.accounts.models import Team, User
from assay.challenges.access import Person, membership_of
from assay.challenges.models import Challenge, Membership, Phase
from assay.challenges.pools import may_use
from assay.challenges.registration import needs_acceptance
from assay.submissions.access import own_submissions, visible_submissions
from assay.submissions.budgets import budget_condition
from assay.submissions.gates import gate_condition
from assay.submissions.lifecycle import FINAL
from assay.submissions.limits import Condition, Eligibility, PhaseRules, TeamUsage, judge, remaining_attempts
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.run_time import run_time_condition
from assay.testsets.fitness import never_played
from assay.testsets.models import TestSet
from containers.verdicts import Verdict


def eligibility_of(
    *, person: Person, phase: Phase, now: datetime, started_at: datetime | None = None, sha256: str = ""
) -> Eligibility:
    """May this person submit to this phase now, and if not, what is missing. Five queries.

    `sha256`: of the file, where it is known, for phases that count the same image by other teams.
    """
    membership = membership_of(person=person, challenge=phase.challenge)
    team = membership.team if membership else None
    others: list[Condition] = []
    others_next_at = None
    if isinstance(person, User) and team:
        if phase.requires_id is not None:
            others.append(gate_condition(phase=phase, team=team, now=now))
        if membership is not None and needs_acceptance(membership):
            others.append(rules_condition(membership))
        if can_verify():
            others.append(address_condition(person))
        if phase.kind == Phase.Kind.CONTAINER:
            condition, others_next_at = run_time_condition(challenge=phase.challenge, person=person, now=now)
            others.append(condition)
        if (room := budget_condition(phase=phase, team=team)) is not None:
            others.append(room)
    return judge(
        rules=rules_of(phase),
        usage=usage_of(phase=phase, team=team, sha256=sha256) if team else TeamUsage(),
        membership=membership_condition(person=person, membership=membership),
        now=now,
        started_at=started_at,
        others=others,
        others_next_at=others_next_at,
    )


def address_condition(person: User) -> Condition:
    """Whether this person has shown that their mail address is theirs. One query."""
    if is_verified(person):
        return Condition(ok=True, text="your mail address is verified")
    return Condition(
        ok=False,
        text="your mail address is not verified yet",
        cure=f"Open {page_to_verify()} and have the link sent to you. Submissions count once you have opened it.",
    )


def rules_condition(membership: Membership) -> Condition:
    """The rules have changed materially, and this person has not accepted them yet."""
    version = membership.challenge.rules_version
    return Condition(
        ok=False,
        text=_("you have not accepted version %(version)s of the rules") % {"version": version},
        cure=_("Read and accept them on the challenge's page."),
    )


def rules_of(phase: Phase) -> PhaseRules:
    """The phase's limits as plain values."""
    return PhaseRules(
        opens_at=phase.opens_at,
        closes_at=phase.closes_at,
        is_paused=phase.is_paused,
        is_archived=phase.is_archived or phase.challenge.status == Challenge.Status.ARCHIVED,
        late_until=phase.late_until,
        is_ready=hasattr(phase, "chosen_testset"),
        may_use_pool=phase.kind != Phase.Kind.CONTAINER or may_use(phase.pool, challenge=phase.challenge),
        limit=phase.submission_limit,
        window=timedelta(days=phase.submission_window_days),
        total_limit=phase.submission_limit_total,
        concurrent_limit=phase.concurrent_limit,
    )


def usage_of(*, phase: Phase, team: Team, sha256: str = "") -> TeamUsage:
    """What a team has used of a phase's limits. One query. One more where the phase counts the same image by other teams."""
    rows = phase.submissions.filter(team=team).filter(Q(is_charged=True) | ~Q(status__in=FINAL))
    used = list(rows.values_list("created_at", "is_charged", "status"))
    same = same_image_moments(phase=phase, team=team, sha256=sha256) if phase.counts_same_image and sha256 else []
    return TeamUsage(
        charged_at=[created_at for created_at, is_charged, _ in used if is_charged] + same,
        unfinished=sum(status not in FINAL for _, _, status in used),
        same_image=len(same),
    )


def same_image_moments(*, phase: Phase, team: Team, sha256: str) -> list[datetime]:
    """When other teams made charged submissions of this file, or of the image that it turned out to hold. One query."""
    known = AlgorithmImage.objects.filter(archive_sha256=sha256).exclude(uploaded_image_id="")
    same = (
        Q(image__archive_sha256=sha256)
        | Q(predictions__sha256=sha256)
        | Q(image__uploaded_image_id__in=known.values("uploaded_image_id"))
    )
    others = phase.submissions.exclude(team=team).filter(same, is_charged=True)
    return list(others.order_by("created_at").values_list("created_at", flat=True))


def is_over_with_same_image(submission: Submission) -> bool:
    """Whether the submission, whose image is known by now, came when all attempts were used, by its team and by others with this image.

    The phase's row is locked by the caller. Others count once their check has passed, so of two that are checked at the same time one
    gets the last attempt.
    """
    phase, image = submission.phase, submission.image
    if image is None or not phase.counts_same_image:
        return False
    others = phase.submissions.exclude(pk=submission.pk).filter(is_charged=True)
    mine = Q(team=submission.team_id, number__lt=submission.number)
    same = ~Q(team=submission.team_id) & ~Q(status__in=UNCHECKED)
    same &= Q(image__uploaded_image_id=image.uploaded_image_id) | Q(image__archive_sha256=image.archive_sha256)
    moments = list(others.filter(mine | same).values_list("created_at", flat=True))
    usage = TeamUsage(charged_at=[min(moment, submission.created_at) for moment in moments])
    remaining, _ = remaining_attempts(rules=rules_of(phase), usage=usage, now=submission.created_at)
    return remaining == 0


UNCHECKED = (Submission.Status.RECEIVED, Submission.Status.CHECKING)


def membership_condition(*, person: Person, membership: Membership | None) -> Condition:
    """Whether this person takes part."""
    if not isinstance(person, User):
        return Condition(ok=False, text=_("you are not signed in"), cure=_("Sign in."))
    if membership is None or (membership.team is None and membership.status == Membership.Status.ACCEPTED):
        return Condition(
            ok=False, text=_("you have not joined this challenge"), cure=_("Join it, alone or with a team.")
        )
    if membership.status == Membership.Status.ACCEPTED:
        return Condition(ok=True, text=_("you compete as %(team)s") % {"team": membership.team})
    why = f": {membership.reason}" if membership.reason else ""
    return {
        Membership.Status.PENDING: Condition(
            ok=False, text=_("the organizers have not accepted you yet"), cure=_("Wait for their answer.")
        ),
        Membership.Status.REJECTED: Condition(
            ok=False, text=_("the organizers have not accepted you") + why, cure=_("Ask the organizers.")
        ),
        Membership.Status.BANNED: Condition(
            ok=False, text=_("you are excluded from this challenge") + why, cure=_("Ask the organizers.")
        ),
    }[Membership.Status(membership.status)]


def submission_list(
    *, person: Person, challenge: str = "", phase: str = "", status: str = "", is_mine: bool = False
) -> QuerySet[Submission]:
    """Submissions this person may see, newest first. Five queries: many rows share few challenges, phases and protocols."""
    rows = own_submissions(person=person) if is_mine else visible_submissions(person=person).select_related(None)
    if challenge:
        rows = rows.filter(challenge__slug=challenge)
    if phase:
        rows = rows.filter(phase__slug=phase)
    if status:
        rows = rows.filter(status=status)
    shared = rows.select_related("team", "image").prefetch_related("challenge", "phase", "protocol", "testset")
    return shared.order_by("-created_at", "-number")


def newest_of(
    rows: QuerySet[Submission], *, length: int, before: UUID | None = None
) -> tuple[list[Submission], UUID | None]:
    """A page of a list that is newest first, after the row `before`, and what the next page comes after, where there is one.

    It costs the same however far down the list it is, and what is handed in meanwhile moves nothing.
    """
    last = rows.filter(pk=before).values_list("created_at", "number").first() if before else None
    if last is not None:
        rows = rows.filter(created_at__lte=last[0]).exclude(created_at=last[0], number__gte=last[1])
    listed = list(rows[: length + 1])
    return listed[:length], listed[length - 1].pk if len(listed) > length else None


FAILED_IN_SCORING = (Verdict.REFERENCE_INVALID, Verdict.METRICS_FAILED)
STEPS = (
    ("Received", Submission.Status.RECEIVED),
    ("Verified", Submission.Status.CHECKING),
    ("Queued", Submission.Status.QUEUED),
    ("Running", Submission.Status.RUNNING),
    ("Scoring", Submission.Status.SCORING),
    ("Ranked", Submission.Status.DONE),
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a submission's life as the API and the pages show it: `state` is done, current, failed or ahead."""

    name: str
    state: str
    at: datetime | None = None


def stepper(submission: Submission, *, has_started: bool) -> list[Step]:
    """Received → Verified → Queued → Running → Scoring → Ranked, each done, current, ahead or failed.

    Predictions are neither queued nor run. One that ended without success failed in its scoring if the verdict says so, at its
    check unless its image was accepted, in the queue unless one of its cases has started, and in its run otherwise.
    """
    steps = [step for step in STEPS if submission.image is not None or step[0] not in ("Queued", "Running")]
    names = [name for name, _ in steps]
    status = Submission.Status(submission.status)
    if status == Submission.Status.DONE:
        return _steps(submission, names=names, states=["done"] * len(names))
    if submission.verdict in FAILED_IN_SCORING:
        reached = names.index("Scoring")
    elif status in FINAL:
        is_accepted = submission.image is not None and submission.image.status == AlgorithmImage.Status.ACCEPTED
        reached = names.index("Verified") if not is_accepted else names.index("Running" if has_started else "Queued")
    else:
        reached = [value for _, value in steps].index(status)
    at = "failed" if status in FINAL else "current"
    states = ["done"] * reached + [at] + ["ahead"] * (len(names) - reached - 1)
    return _steps(submission, names=names, states=states)


def _steps(submission: Submission, *, names: Sequence[str], states: Sequence[str]) -> list[Step]:
    """The steps with the two moments that are known: the beginning, and the end at the step where it ended."""
    last = max((place for place, state in enumerate(states) if state in ("done", "failed")), default=None)
    moments = {0: submission.created_at}
    if submission.finished_at is not None and last:
        moments[last] = submission.finished_at
    return [
        Step(name=name, state=state, at=moments.get(place))
        for place, (name, state) in enumerate(zip(names, states, strict=True))
    ]


def case_aliases(*, submission: Submission, is_insider: bool) -> dict[str, str]:
    """The name of each case this person may know: its own where cases are public or they organize, a number otherwise.

    Numbers follow the test set, so a team may compare its submissions case by case. One query.
    """
    case_ids = submission.testset.cases.order_by("position").values_list("case_id", flat=True)
    shows_names = is_insider or submission.testset.is_public
    return {case_id: case_id if shows_names else f"case {number}" for number, case_id in enumerate(case_ids, start=1)}


def unfinished_uploads(*, user: User, now: datetime) -> QuerySet[Upload]:
    """What somebody may go on with, newest first."""
    return Upload.objects.filter(user=user, completed_at=None, expires_at__gt=now).order_by("-created_at")


def has_played(submission: Submission, *, testset: TestSet) -> bool:
    """Whether the submission's answers are answers to this test set: every case of it with the very inputs it was played on."""
    if testset.pk == submission.testset_id:
        return True
    return not never_played(played=submission.testset.cases.all(), wanted=testset.cases.all())
