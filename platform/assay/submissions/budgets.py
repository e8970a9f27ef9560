"""What a phase may cost: hours on nodes and stored gigabytes, for all teams together and for each team, over the whole phase.

Quotas (`run_time.py`) protect an installation within a period. A budget is the organizers' own: it is written in the challenge file, counts
from the first submission to the last, and when it is used up nothing more is accepted. What is under way counts with the longest it may
run, so a budget is overrun by at most one submission. A team is told that a budget is reached, never how much of it was used: the figure
would say how long hidden cases took.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from assay.accounts.models import Team
from assay.accounts.quotas import GIB, HOUR
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.submissions.lifecycle import FINAL
from assay.submissions.limits import ATTEMPTS_USED, Condition
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.run_time import longest_seconds

WARN_FROM = 0.7
KEYS = ("budget_hours", "team_budget_hours", "budget_gib", "team_budget_gib")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One budget and what is used of it: in hours or GiB."""

    used: float
    held: float
    allowed: float | None

    @property
    def share(self) -> float | None:
        """From 0 to 1, with what is held. None without a limit."""
        if self.allowed is None:
            return None
        return min(1.0, (self.used + self.held) / self.allowed) if self.allowed else 1.0

    @property
    def is_reached(self) -> bool:
        """Whether nothing more is accepted."""
        return self.share is not None and self.share >= 1.0

    @property
    def warns(self) -> bool:
        """Whether its organizers should look."""
        return self.share is not None and self.share >= WARN_FROM


@dataclass(frozen=True, kw_only=True)
class TeamCost:
    """What one team has used of a phase."""

    team: Team
    submissions: int
    hours: Budget
    gib: Budget


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a phase has used, and what it will have used when it closes if it goes on as until now."""

    phase: Phase
    hours: Budget
    gib: Budget
    gpus: float
    forecast_hours: float | None
    reached_at: datetime | None
    teams: tuple[TeamCost, ...]

    @property
    def gpu_hours(self) -> float:
        """Hours times the GPUs that each case has."""
        return self.hours.used * self.gpus


def budget_condition(*, phase: Phase, team: Team) -> Condition | None:
    """Whether the budgets of the phase leave room for this team. None without budgets. At most four queries."""
    if all(getattr(phase, key) is None for key in KEYS):
        return None
    for rows, hours, gib, whose in (
        (phase.submissions.filter(team=team), phase.team_budget_hours, phase.team_budget_gib, _("your team")),
        (phase.submissions.all(), phase.budget_hours, phase.budget_gib, _("the phase")),
    ):
        if hours is not None and hours_of(rows, allowed=hours).is_reached:
            text = _("%(whose)s has used its computing time") % {"whose": whose}
        elif gib is not None and gib_of(rows, allowed=gib).is_reached:
            text = _("%(whose)s has used its space for images and predictions") % {"whose": whose}
        else:
            continue
        return Condition(ok=False, text=text, cure=_("Ask the organizers."), code=ATTEMPTS_USED)
    return Condition(ok=True, text=_("the budget leaves room"))


def hours_of(rows: QuerySet[Submission], *, allowed: float | None) -> Budget:
    """Hours on nodes. One query."""
    sums = rows.aggregate(used=Sum("run_seconds"), held=Sum("reserved_seconds", filter=~Q(status__in=FINAL)))
    return Budget(used=(sums["used"] or 0.0) / HOUR, held=(sums["held"] or 0.0) / HOUR, allowed=allowed)


def gib_of(rows: QuerySet[Submission], *, allowed: float | None) -> Budget:
    """What is kept of images and predictions, each once. Two queries."""
    kept = rows.order_by()
    images = AlgorithmImage.objects.filter(pk__in=kept.values("image")).aggregate(total=Sum("rewritten_bytes"))
    uploads = (
        Upload.objects.filter(pk__in=kept.values("predictions")).exclude(key="").aggregate(total=Sum("total_bytes"))
    )
    return Budget(used=((images["total"] or 0) + (uploads["total"] or 0)) / GIB, held=0.0, allowed=allowed)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a phase would take if every team submitted so often."""

    phase: Phase
    cases: int
    hours: float
    gpu_hours: float
    longest_hours: float
    """The same where every case took its time limit."""
    price: float


def estimate_of(
    phase: Phase, *, cases: int, teams: int, each: int, minutes: float, price_per_hour: float = 0.0
) -> Estimate:
    """`each`: submissions of one team. `minutes`: of one case on a node. No query."""
    resources = rules_of(phase.protocol).document.get("resources", {})
    submissions = teams * each
    hours = submissions * cases * minutes / 60
    return Estimate(
        phase=phase,
        cases=cases,
        hours=hours,
        gpu_hours=hours * float(resources.get("gpus") or 0),
        longest_hours=submissions * longest_seconds(resources, cases=cases) / HOUR,
        price=hours * price_per_hour,
    )


def estimates_of(
    challenge: Challenge, *, teams: int, each: int, minutes: float, price_per_hour: float = 0.0
) -> list[Estimate]:
    """What each phase with a test set would take. One query."""
    phases = challenge.phases.select_related("protocol").annotate(cases=Count("chosen_testset__testset__cases"))
    return [
        estimate_of(phase, cases=phase.cases, teams=teams, each=each, minutes=minutes, price_per_hour=price_per_hour)
        for phase in phases
        if phase.cases
    ]


class Room:
    """What the budgets of a phase leave, counted down as archived images are entered. Eight queries, none without budgets.

    As with submissions, the last one that is entered may overrun a budget.
    """

    def __init__(self, phase: Phase) -> None:
        self.is_limited = any(getattr(phase, key) is not None for key in KEYS)
        if not self.is_limited:
            return
        rows = phase.submissions.all()
        self.phase = phase
        self.whole = [hours_of(rows, allowed=phase.budget_hours), gib_of(rows, allowed=phase.budget_gib)]
        self.by_team = {cost.team.pk: [cost.hours, cost.gib] for cost in team_costs(phase)}
        self.images: set[UUID | None] = set(rows.values_list("image_id", flat=True))

    def take(self, *, team_id: int, image: AlgorithmImage | None, seconds: float) -> bool:
        """Whether there is room for one more. Where there is, it is held from now on."""
        if not self.is_limited:
            return True
        limits = (self.phase.team_budget_hours, self.phase.team_budget_gib)
        own = self.by_team.get(team_id, [Budget(used=0.0, held=0.0, allowed=allowed) for allowed in limits])
        if any(budget.is_reached for budget in (*self.whole, *own)):
            return False
        is_new = image is not None and image.pk not in self.images
        more = (seconds / HOUR, image.rewritten_bytes / GIB if image is not None and is_new else 0.0)
        self.whole = [replace(budget, held=budget.held + held) for budget, held in zip(self.whole, more, strict=True)]
        self.by_team[team_id] = [replace(b, held=b.held + held) for b, held in zip(own, more, strict=True)]
        self.images.add(image.pk if image is not None else None)
        return True


def cost_of(phase: Phase, *, now: datetime) -> Cost:
    """For organizers. A constant number of queries."""
    rows = phase.submissions.all()
    hours = hours_of(rows, allowed=phase.budget_hours)
    forecast, reached_at = forecast_of(
        hours, opens_at=phase.opens_at, closes_at=phase.late_until or phase.closes_at, now=now
    )
    resources = rules_of(phase.protocol).document.get("resources", {})
    return Cost(
        phase=phase,
        hours=hours,
        gib=gib_of(rows, allowed=phase.budget_gib),
        gpus=float(resources.get("gpus") or 0),
        forecast_hours=forecast,
        reached_at=reached_at,
        teams=tuple(team_costs(phase)),
    )


def forecast_of(
    hours: Budget, *, opens_at: datetime, closes_at: datetime, now: datetime
) -> tuple[float | None, datetime | None]:
    """Hours at the close, and when the budget is reached, at the pace from the opening until now. None where it cannot be said."""
    passed = (min(now, closes_at) - opens_at) / timedelta(hours=1)
    if passed <= 0 or now >= closes_at:
        return None, None
    pace = hours.used / passed
    forecast = hours.used + pace * ((closes_at - now) / timedelta(hours=1))
    if hours.allowed is None or forecast < hours.allowed or not pace:
        return forecast, None
    return forecast, now + timedelta(hours=max(0.0, hours.allowed - hours.used) / pace)


def team_costs(phase: Phase) -> list[TeamCost]:
    """Those who used most first. Four queries."""
    rows = phase.submissions.order_by()
    sums = rows.values("team").annotate(
        count=Count("pk"), used=Sum("run_seconds"), held=Sum("reserved_seconds", filter=~Q(status__in=FINAL))
    )
    teams = Team.objects.in_bulk([row["team"] for row in sums])
    stored = _bytes_by_team(rows)
    found = [
        TeamCost(
            team=teams[row["team"]],
            submissions=row["count"],
            hours=Budget(
                used=(row["used"] or 0.0) / HOUR, held=(row["held"] or 0.0) / HOUR, allowed=phase.team_budget_hours
            ),
            gib=Budget(used=stored.get(row["team"], 0) / GIB, held=0.0, allowed=phase.team_budget_gib),
        )
        for row in sums
    ]
    return sorted(found, key=lambda cost: (-cost.hours.used, -cost.gib.used, cost.team.name))


def _bytes_by_team(rows: QuerySet[Submission]) -> Mapping[int, int]:
    """Each image and each archive of predictions once. Two queries."""
    found: dict[int, int] = {}
    images = rows.filter(image__isnull=False).values_list("team", "image", "image__rewritten_bytes").distinct()
    uploads = (
        rows.filter(predictions__isnull=False)
        .exclude(predictions__key="")
        .values_list("team", "predictions", F("predictions__total_bytes"))
    )
    for team, _key, size in [*images, *uploads.distinct()]:
        found[team] = found.get(team, 0) + (size or 0)
    return found


def nearly_spent(challenge: Challenge) -> list[tuple[Phase, float]]:
    """Phases whose budget for all teams is used from `WARN_FROM` on, with the larger share. Three queries for each that has one."""
    limited = challenge.phases.filter(Q(budget_hours__isnull=False) | Q(budget_gib__isnull=False))
    found = []
    for phase in limited:
        rows = phase.submissions.all()
        budgets = (hours_of(rows, allowed=phase.budget_hours), gib_of(rows, allowed=phase.budget_gib))
        share = max((budget.share or 0.0 for budget in budgets), default=0.0)
        if share >= WARN_FROM:
            found.append((phase, share))
    return found
