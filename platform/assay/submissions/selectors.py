"""Questions about submissions and attempts."""

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from assay.accounts.models import Team, User
from assay.challenges.access import Person, membership_of
from assay.challenges.models import Membership, Phase
from assay.submissions.access import visible_submissions
from assay.submissions.lifecycle import FINAL
from assay.submissions.limits import Condition, Eligibility, PhaseRules, TeamUsage, judge
from assay.submissions.models import Submission, Upload


def eligibility_of(*, person: Person, phase: Phase, now: datetime, started_at: datetime | None = None) -> Eligibility:
    """May this person submit to this phase now, and if not, what is missing. Three queries."""
    membership = membership_of(person=person, challenge=phase.challenge)
    team = membership.team if membership else None
    return judge(
        rules=rules_of(phase),
        usage=usage_of(phase=phase, team=team) if team else TeamUsage(),
        membership=membership_condition(person=person, membership=membership),
        now=now,
        started_at=started_at,
    )


def rules_of(phase: Phase) -> PhaseRules:
    """The phase's limits as plain values."""
    return PhaseRules(
        opens_at=phase.opens_at,
        closes_at=phase.closes_at,
        is_paused=phase.is_paused,
        is_ready=hasattr(phase, "chosen_testset"),
        limit=phase.submission_limit,
        window=timedelta(days=phase.submission_window_days),
        total_limit=phase.submission_limit_total,
        concurrent_limit=phase.concurrent_limit,
    )


def usage_of(*, phase: Phase, team: Team) -> TeamUsage:
    """What a team has used of a phase's limits. One query."""
    rows = phase.submissions.filter(team=team).filter(Q(is_charged=True) | ~Q(status__in=FINAL))
    used = list(rows.values_list("created_at", "is_charged", "status"))
    return TeamUsage(
        charged_at=[created_at for created_at, is_charged, _ in used if is_charged],
        unfinished=sum(status not in FINAL for _, _, status in used),
    )


def membership_condition(*, person: Person, membership: Membership | None) -> Condition:
    """Whether this person takes part."""
    if not isinstance(person, User):
        return Condition(ok=False, text="you are not signed in", cure="Sign in.")
    if membership is None or (membership.team is None and membership.status == Membership.Status.ACCEPTED):
        return Condition(ok=False, text="you have not joined this challenge", cure="Join it, alone or with a team.")
    if membership.status == Membership.Status.ACCEPTED:
        return Condition(ok=True, text=f"you compete as {membership.team}")
    why = f": {membership.reason}" if membership.reason else ""
    return {
        Membership.Status.PENDING: Condition(
            ok=False, text="the organizers have not accepted you yet", cure="Wait for their answer."
        ),
        Membership.Status.REJECTED: Condition(
            ok=False, text=f"the organizers have not accepted you{why}", cure="Ask the organizers."
        ),
        Membership.Status.BANNED: Condition(
            ok=False, text=f"you are excluded from this challenge{why}", cure="Ask the organizers."
        ),
    }[Membership.Status(membership.status)]


def submission_list(
    *, person: Person, challenge: str = "", phase: str = "", status: str = "", is_mine: bool = False
) -> QuerySet[Submission]:
    """Submissions this person may see, newest first (one query)."""
    rows = visible_submissions(person=person)
    if challenge:
        rows = rows.filter(challenge__slug=challenge)
    if phase:
        rows = rows.filter(phase__slug=phase)
    if status:
        rows = rows.filter(status=status)
    if is_mine and isinstance(person, User):
        rows = rows.filter(team__in=Team.objects.filter(members=person))
    return rows.order_by("-created_at", "-number")


def unfinished_uploads(*, user: User, now: datetime) -> QuerySet[Upload]:
    """What somebody may go on with, newest first."""
    return Upload.objects.filter(user=user, completed_at=None, expires_at__gt=now).order_by("-created_at")
