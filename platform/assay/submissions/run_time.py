"""How long algorithms ran on nodes, and what is left of it: for a challenge, and for the person who submits.

Theory of operation. What ended is in `RunTime`, one row per day, challenge and person, added to in the transaction that records the
ending. What is under way counts with the longest it may take. A submission is accepted while both together are below the limit. It is not
counted itself, so a limit smaller than one submission still lets one through. The next one sees it. `create_submission` locks the rows of
the challenge and of the person before it asks, so submissions that arrive at once are counted one after the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.utils.translation import gettext, ngettext

from assay.accounts.models import User
from assay.accounts.quotas import HOUR, run_quota_seconds, whom_to_ask
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.challenges.quotas import run_quota_of
from assay.submissions.lifecycle import FINAL
from assay.submissions.limits import ATTEMPTS_USED, Condition, moment
from assay.submissions.models import RunTime, Submission
from assay.testsets.models import TestSet

ADD = """
INSERT INTO submissions_runtime (day, challenge_id, person_id, seconds) VALUES (%s, %s, %s, %s)
ON CONFLICT (challenge_id, person_id, day) DO UPDATE SET seconds = submissions_runtime.seconds + excluded.seconds
"""
STEPS = 10
"""Parts of a limit in which people see their own use. Finer, the figure would say how long a hidden case took."""


@dataclass(frozen=True, kw_only=True)
class RunTimeUse:
    """One limit and what is used of it, in seconds on nodes."""

    used: float
    reserved: float
    allowed: float | None

    @property
    def is_reached(self) -> bool:
        """Whether nothing more is accepted."""
        return self.allowed is not None and self.used + self.reserved >= self.allowed


def longest_seconds(resources: Mapping[str, Any], *, cases: int) -> float:
    """The longest a submission may run: its limit, once or for each case."""
    wall = float(resources.get("wall_seconds") or 0.0)
    is_once = resources.get("run_mode") == "cohort" and resources.get("wall_seconds_per") != "case"
    longest = wall if is_once else wall * cases
    total = resources.get("total_seconds")
    return longest if total is None else min(longest, float(total))


def longest_run(*, phase: Phase, testset: TestSet) -> float:
    """The longest that one submission to the phase may run on this test set, in seconds. One query."""
    return longest_seconds(rules_of(phase.protocol).document["resources"], cases=testset.cases.count())


def add_run_time(*, submission: Submission, seconds: float, now: datetime) -> None:
    """Count what a case run took. Each row in one statement, so that nodes that report at once lose nothing."""
    values = (now.astimezone(UTC).date(), submission.challenge_id, submission.submitted_by_id, max(0.0, seconds))
    with connection.cursor() as cursor:
        cursor.execute(ADD, values)
    Submission.objects.filter(pk=submission.pk).update(run_seconds=F("run_seconds") + values[-1])


def run_time_uses(*, challenge: Challenge, person: User, now: datetime) -> tuple[RunTimeUse, RunTimeUse]:
    """Of a challenge and of a person. Two queries. None where neither has a limit."""
    allowed = run_quota_of(challenge), run_quota_seconds(person)
    if allowed == (None, None):
        return RunTimeUse(used=0, reserved=0, allowed=None), RunTimeUse(used=0, reserved=0, allowed=None)
    of_challenge, of_person = Q(challenge=challenge), Q(person=person)
    used = RunTime.objects.filter(of_challenge | of_person, day__gte=first_day(now)).aggregate(
        challenge=Sum("seconds", filter=of_challenge), person=Sum("seconds", filter=of_person)
    )
    mine = Q(submitted_by=person)
    reserved = (
        Submission.objects.filter(of_challenge | mine)
        .exclude(status__in=FINAL)
        .aggregate(challenge=Sum("reserved_seconds", filter=of_challenge), person=Sum("reserved_seconds", filter=mine))
    )
    challenge_use, person_use = (
        RunTimeUse(used=used[of] or 0.0, reserved=reserved[of] or 0.0, allowed=limit)
        for of, limit in zip(("challenge", "person"), allowed, strict=True)
    )
    return challenge_use, person_use


def run_time_condition(*, challenge: Challenge, person: User, now: datetime) -> tuple[Condition, datetime | None]:
    """Whether there is time on nodes left, as one of the conditions of a submission. It says when there will be some again."""
    of_challenge, of_person = run_time_uses(challenge=challenge, person=person, now=now)
    days = settings.QUOTA_PERIOD_DAYS
    if of_person.is_reached:
        text = f"your submissions have used your {in_hours(of_person.allowed)} of computing in {days} days"
        return _reached(text, of_person, rows=RunTime.objects.filter(person=person), now=now, ask=whom_to_ask())
    if of_challenge.is_reached:
        text = f"the challenge has used its {in_hours(of_challenge.allowed)} of computing in {days} days"
        ask = f"Ask its organizers. {whom_to_ask()}"
        return _reached(text, of_challenge, rows=RunTime.objects.filter(challenge=challenge), now=now, ask=ask)
    return Condition(ok=True, text="there is time on nodes left"), None


def _reached(
    text: str, use: RunTimeUse, *, rows: QuerySet[RunTime], now: datetime, ask: str
) -> tuple[Condition, datetime | None]:
    frees_at = frees(use, rows=rows, now=now)
    under_way = ", some of it held for what is under way" if use.reserved else ""
    when = (
        f"Time comes back at {moment(frees_at)}." if frees_at else "Time comes back when what is under way has ended."
    )
    return Condition(ok=False, text=text + under_way, cure=f"{when} {ask}", code=ATTEMPTS_USED), frees_at


def frees(use: RunTimeUse, *, rows: QuerySet[RunTime], now: datetime) -> datetime | None:
    """When days have left the period so that the rest is below the limit. One query. `None`: no day is to blame, or none will help."""
    if use.allowed is None or use.reserved >= use.allowed:
        return None
    left = use.used + use.reserved
    by_day = rows.filter(day__gte=first_day(now)).values("day").annotate(total=Sum("seconds")).order_by("day")
    for row in by_day:
        left -= row["total"]
        if left < use.allowed:
            end = row["day"] + timedelta(days=settings.QUOTA_PERIOD_DAYS)
            return datetime.combine(end, time(), tzinfo=UTC)
    return None


def in_hours(seconds: float | None) -> str:
    """`12.5 hours`."""
    if seconds is None:
        return gettext("no limit")
    hours = f"{seconds / HOUR:,.10g}"
    return ngettext("%(hours)s hour", "%(hours)s hours", 1 if hours == "1" else 2) % {"hours": hours}


def in_steps(use: RunTimeUse) -> float:
    """A person's own use as a share of the limit from 0 to 1, rounded up to the next of `STEPS`."""
    if not use.allowed:
        return 0.0
    share = min(1.0, (use.used + use.reserved) / use.allowed)
    return -(-share * STEPS // 1) / STEPS


def first_day(now: datetime) -> date:
    """The first day that counts."""
    return now.astimezone(UTC).date() - timedelta(days=settings.QUOTA_PERIOD_DAYS - 1)
