"""Who uses how much, for themselves and for operators. And operators setting somebody's limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.utils.formats import date_format
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import InvalidError, NotFoundError
from assay.accounts.models import User
from assay.accounts.quotas import HOUR, draft_quota, published_quota, run_quota_seconds, storage_quota_bytes
from assay.challenges.models import Challenge
from assay.challenges.quotas import challenge_count, run_quota_of
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import RunTime, Submission
from assay.submissions.run_time import RunTimeUse, first_day, frees, in_hours, in_steps
from assay.submissions.space import bytes_by_person, in_gib, space_frees, used_bytes

LARGEST_LIMIT = 1_000_000
OF_PEOPLE = {
    "drafts": "quota_drafts",
    "published": "quota_published",
    "storage_gib": "quota_storage_gib",
    "run_hours": "quota_run_hours",
}
"""What operators may set for a person → the column."""
LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Use:
    """One limit of somebody. `share` is from 0 to 1, or `None` without a limit."""

    name: str
    title: str
    used: str
    allowed: str
    share: float | None
    frees: str = ""


def use_of(user: User, *, now: datetime) -> list[Use]:
    """What a person uses of their limits, and when it frees up."""
    uses = [
        _count("drafts", gettext("Drafts"), challenge_count(user, status=Challenge.Status.DRAFT), draft_quota(user)),
        _count(
            "published",
            gettext("Published challenges"),
            challenge_count(user, status=Challenge.Status.PUBLISHED),
            published_quota(user),
        ),
    ]
    used, quota = used_bytes(user=user, now=now), storage_quota_bytes(user)
    uses.append(
        Use(
            name="storage",
            title=gettext("Disk: uploads, images, test sets"),
            used=in_gib(used),
            allowed=gettext("no limit") if quota is None else in_gib(quota),
            share=share_of(used, quota),
            frees=space_frees(user=user, now=now),
        )
    )
    return [*uses, _own_run_time(user, now=now), *_of_challenges(user, now=now)]


def _count(name: str, title: str, used: int, allowed: int | None) -> Use:
    return Use(
        name=name,
        title=title,
        used=str(used),
        allowed=gettext("no limit") if allowed is None else str(allowed),
        share=share_of(used, allowed),
        frees=gettext("One frees up when you publish a draft.")
        if name == "drafts"
        else gettext("One frees up when you archive one."),
    )


def _own_run_time(user: User, *, now: datetime) -> Use:
    """In steps: the very figure would tell how long hidden cases took."""
    quota = run_quota_seconds(user)
    use = _run_time(Q(person=user), Q(submitted_by=user), allowed=quota, now=now)
    share = None if quota is None else in_steps(use)
    back = frees(use, rows=RunTime.objects.filter(person=user), now=now) if use.is_reached else None
    return Use(
        name="run_hours",
        title=gettext("Computing for your submissions in %(days)s days") % {"days": settings.QUOTA_PERIOD_DAYS},
        used=""
        if share is None
        else gettext("at most %(share)s") % {"share": f"{share:.0%}"}
        if share
        else gettext("nothing"),
        allowed=in_hours(quota),
        share=share,
        frees=comes_back(back) if back else gettext("Each day comes back when it has left the period."),
    )


def _of_challenges(user: User, *, now: datetime) -> list[Use]:
    """The hours of each challenge this person made. Three queries."""
    mine = list(Challenge.objects.filter(created_by=user).exclude(status=Challenge.Status.ARCHIVED).order_by("title"))
    recent = RunTime.objects.filter(challenge__in=mine, day__gte=first_day(now)).order_by()
    used = dict(recent.values_list("challenge").annotate(total=Sum("seconds")))
    under_way = Submission.objects.filter(challenge__in=mine).exclude(status__in=FINAL).order_by()
    held = dict(under_way.values_list("challenge").annotate(total=Sum("reserved_seconds")))
    return [
        _of_challenge(
            challenge,
            RunTimeUse(
                used=used.get(challenge.pk, 0.0), reserved=held.get(challenge.pk, 0.0), allowed=run_quota_of(challenge)
            ),
            now=now,
        )
        for challenge in mine
    ]


def _of_challenge(challenge: Challenge, use: RunTimeUse, *, now: datetime) -> Use:
    back = frees(use, rows=RunTime.objects.filter(challenge=challenge), now=now) if use.is_reached else None
    used = gettext("%(hours)s hours") % {"hours": f"{use.used / HOUR:,.1f}"}
    if use.reserved:
        words = gettext("%(used)s, %(held)s hours held for what is under way")
        used = words % {"used": used, "held": f"{use.reserved / HOUR:,.1f}"}
    return Use(
        name=f"run_hours of {challenge.slug}",
        title=gettext("Computing for %(challenge)s in %(days)s days")
        % {"challenge": challenge.title, "days": settings.QUOTA_PERIOD_DAYS},
        used=used,
        allowed=in_hours(use.allowed),
        share=share_of(use.used + use.reserved, use.allowed),
        frees=comes_back(back) if back else "",
    )


def comes_back(day: date) -> str:
    """When computing time frees up."""
    return gettext("Time comes back on %(day)s.") % {"day": date_format(day, "d M Y")}


def _run_time(ended: Q, under_way: Q, *, allowed: float | None, now: datetime) -> RunTimeUse:
    used = RunTime.objects.filter(ended, day__gte=first_day(now)).aggregate(total=Sum("seconds"))["total"]
    rows = Submission.objects.filter(under_way).exclude(status__in=FINAL)
    held = rows.aggregate(total=Sum("reserved_seconds"))["total"]
    return RunTimeUse(used=used or 0.0, reserved=held or 0.0, allowed=allowed)


def share_of(used: float, allowed: float | None) -> float | None:
    """From 0 to 1. A limit of nothing is used up."""
    if allowed is None:
        return None
    return min(1.0, used / allowed) if allowed else 1.0


@dataclass(frozen=True, kw_only=True)
class PersonUse:
    """One of the largest users, as operators see them."""

    person: User
    drafts: int
    published: int
    stored_bytes: int
    run_seconds: float


@dataclass(frozen=True, kw_only=True)
class ChallengeUse:
    """One of the challenges that computed most, as operators see them."""

    challenge: Challenge
    run_seconds: float
    allowed_seconds: float | None


def largest_users(*, now: datetime, listed: int = LISTED) -> list[PersonUse]:
    """Who keeps most bytes or computed most, those first. Eight queries."""
    stored = bytes_by_person(now=now)
    recent = RunTime.objects.filter(day__gte=first_day(now)).order_by()
    computed = dict(recent.values_list("person").annotate(total=Sum("seconds")))
    largest = {*sorted(stored, key=stored.__getitem__)[-listed:], *sorted(computed, key=computed.__getitem__)[-listed:]}
    is_draft, is_public = Q(status=Challenge.Status.DRAFT), Q(status=Challenge.Status.PUBLISHED)
    made = Challenge.objects.filter(created_by__in=largest).order_by().values_list("created_by")
    counts = {
        key: (drafts, public)
        for key, drafts, public in made.annotate(
            drafts=Count("pk", filter=is_draft), public=Count("pk", filter=is_public)
        )
    }
    rows = [
        PersonUse(
            person=person,
            drafts=counts.get(person.pk, (0, 0))[0],
            published=counts.get(person.pk, (0, 0))[1],
            stored_bytes=stored.get(person.pk, 0),
            run_seconds=computed.get(person.pk, 0.0),
        )
        for person in User.objects.filter(pk__in=largest)
    ]
    most_bytes = max((row.stored_bytes for row in rows), default=0) or 1
    most_seconds = max((row.run_seconds for row in rows), default=0.0) or 1.0
    rows.sort(
        key=lambda row: (max(row.stored_bytes / most_bytes, row.run_seconds / most_seconds), row.stored_bytes),
        reverse=True,
    )
    return rows[:listed]


def largest_challenges(*, now: datetime, listed: int = LISTED) -> list[ChallengeUse]:
    """The challenges whose submissions computed most. One query."""
    is_recent = Q(run_times__day__gte=first_day(now))
    rows = Challenge.objects.annotate(run_seconds=Sum("run_times__seconds", filter=is_recent))
    return [
        ChallengeUse(challenge=row, run_seconds=row.run_seconds, allowed_seconds=run_quota_of(row))
        for row in rows.filter(run_seconds__gt=0).order_by("-run_seconds", "slug")[:listed]
    ]


def challenge_seconds(challenge: Challenge, *, now: datetime) -> float:
    """What its submissions computed in the period."""
    recent = RunTime.objects.filter(challenge=challenge, day__gte=first_day(now))
    return recent.aggregate(total=Sum("seconds"))["total"] or 0.0


def set_person_limits(*, username: str, limits: Mapping[str, int | None], by: User | None, now: datetime) -> User:
    """Give a person limits of their own; `None` takes one back to the installation's. What is not named stays."""
    values = {OF_PEOPLE[name]: checked_limit(name, limit) for name, limit in limits.items() if name in OF_PEOPLE}
    with transaction.atomic():
        if not values or not User.objects.filter(username=username).update(**values):
            raise NotFoundError(
                gettext("There is nobody of this user name, or no limit was named."),
                found=username[:80],
                field="person",
            )
        person = User.objects.get(username=username)
        _record("user.limits_set", person, limits=limits, by=by, now=now)
    return person


def set_challenge_limit(*, slug: str, run_hours: int | None, by: User | None, now: datetime) -> Challenge:
    """Give a challenge its own hours of computing; `None` takes it back to the installation's."""
    limit = checked_limit("run_hours", run_hours)
    with transaction.atomic():
        if not Challenge.objects.filter(slug=slug).update(quota_run_hours=limit):
            raise NotFoundError(gettext("There is no such challenge."), found=slug[:80], field="challenge")
        challenge = Challenge.objects.get(slug=slug)
        _record("challenge.limits_set", challenge, limits={"run_hours": limit}, by=by, now=now)
    return challenge


def _record(
    verb: str, subject: User | Challenge, *, limits: Mapping[str, int | None], by: User | None, now: datetime
) -> None:
    words = {name: "the installation's" if limit is None else limit for name, limit in limits.items()}
    slug = subject.slug if isinstance(subject, Challenge) else ""
    label = "" if by else "command line"
    record_event(verb=verb, subject=subject, actor=by, actor_label=label, challenge_slug=slug, now=now, limits=words)


def checked_limit(name: str, limit: int | None) -> int | None:
    """A limit that can be stored. Raises InvalidError."""
    if limit is not None and not 0 <= limit <= LARGEST_LIMIT:
        raise InvalidError(
            gettext("The limit %(name)s is out of range.") % {"name": f"`{name}`"},
            found=str(limit),
            expected=f"0 to {LARGEST_LIMIT}, or nothing",
            field=name,
        )
    return limit
