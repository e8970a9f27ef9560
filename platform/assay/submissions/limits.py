"""May this team submit to this phase now? Pure: rules and usage in, an answer in sentences out.

A limit counts *charged* submissions in a rolling window. A submission is charged when it is accepted and refunded when it ends
by no fault of its team, so a fault of ours never costs an attempt. The answer here is shown to people. The same function decides
inside the transaction that accepts a submission, where the phase's row is locked (see `services.create_submission`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

ATTEMPTS_USED = "attempts_used"
"""Code of the condition that fails when the submission limit is reached."""
CLOSING_GRACE = timedelta(hours=1)
"""An upload that began before closing counts if it is finished within this time."""


@dataclass(frozen=True, kw_only=True)
class PhaseRules:
    """What a phase allows one team."""

    opens_at: datetime
    closes_at: datetime
    is_paused: bool = False
    is_archived: bool = False
    late_until: datetime | None = None
    """Until when submissions after closing are taken, unranked."""
    is_ready: bool = True
    may_use_pool: bool = True
    limit: int | None = None
    window: timedelta = timedelta(days=1)
    total_limit: int | None = None
    concurrent_limit: int = 1


@dataclass(frozen=True, kw_only=True)
class TeamUsage:
    """What the team has used so far: when each charged submission was made, and how many have not ended."""

    charged_at: Sequence[datetime] = ()
    unfinished: int = 0
    same_image: int = 0
    """How many of those charged are other teams' submissions of the same image, where the phase counts them."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that must hold; `cure` says what to do where it does not."""

    ok: bool
    text: str
    cure: str = ""
    code: str = ""
    """For programs, where a failure is told apart from others."""


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """The answer: `text` in one line, and every condition with its cure."""

    can_submit: bool
    text: str
    conditions: tuple[Condition, ...] = field(default=())
    remaining: int | None = None
    next_at: datetime | None = None

    @property
    def failing(self) -> Condition | None:
        """The first condition that does not hold."""
        return next((condition for condition in self.conditions if not condition.ok), None)


def judge(
    *,
    rules: PhaseRules,
    usage: TeamUsage,
    membership: Condition,
    now: datetime,
    started_at: datetime | None = None,
    others: Sequence[Condition] = (),
    others_next_at: datetime | None = None,
) -> Eligibility:
    """Whether a team may submit at `now`. `started_at`: when the upload began, for the grace after closing.

    `others`: conditions that were found elsewhere, and `others_next_at` when those that are a matter of time will hold again.
    """
    remaining, next_at = remaining_attempts(rules=rules, usage=usage, now=now)
    conditions = (
        membership,
        ready_condition(rules),
        window_condition(rules=rules, now=now, started_at=started_at),
        pause_condition(rules),
        attempts_condition(rules=rules, remaining=remaining, next_at=next_at, same_image=usage.same_image),
        concurrency_condition(rules=rules, usage=usage),
        *others,
    )
    failing = next((condition for condition in conditions if not condition.ok), None)
    left = attempts_left(rules=rules, remaining=remaining, next_at=next_at)
    text = _("no: %(reason)s") % {"reason": failing.text} if failing else _("yes") + left
    if failing in others:
        next_at = others_next_at
    return Eligibility(
        can_submit=failing is None, text=text, conditions=conditions, remaining=remaining, next_at=next_at
    )


def remaining_attempts(*, rules: PhaseRules, usage: TeamUsage, now: datetime) -> tuple[int | None, datetime | None]:
    """How many attempts are left (`None`: no limit) and when the next one comes back (`None`: none is used, or none ever will).

    An attempt made exactly one window ago no longer counts. The total limit never comes back, so where it is the tighter one
    there is no next time.
    """
    in_window = sorted(moment for moment in usage.charged_at if moment > now - rules.window)
    left = [] if rules.limit is None else [rules.limit - len(in_window)]
    left_in_total = None if rules.total_limit is None else rules.total_limit - len(usage.charged_at)
    if left_in_total is not None:
        left.append(left_in_total)
    remaining = max(0, min(left)) if left else None
    comes_back = bool(rules.limit) and bool(in_window) and (left_in_total is None or left_in_total > 0)
    if not comes_back:
        return remaining, None
    surplus = max(0, len(in_window) - (rules.limit or 0))
    return remaining, in_window[min(surplus, len(in_window) - 1)] + rules.window


def ready_condition(rules: PhaseRules) -> Condition:
    """There must be cases to be judged on, and machines to run them."""
    if not rules.may_use_pool:
        return Condition(
            ok=False,
            text=_("the phase names machines that it may not use any more"),
            cure=_("The organizers have to name another pool. Ask them."),
        )
    if rules.is_ready:
        return Condition(ok=True, text=_("the phase is ready"))
    return Condition(
        ok=False, text=_("the phase has no test set yet"), cure=_("The organizers have to push one; ask them when.")
    )


def window_condition(*, rules: PhaseRules, now: datetime, started_at: datetime | None) -> Condition:
    """The phase is open, or was when the upload began and that is not long ago."""
    if now < rules.opens_at:
        return Condition(
            ok=False,
            text=_("the phase opens at %(moment)s") % {"moment": moment(rules.opens_at)},
            cure=_("Come back then; nothing is lost by waiting."),
        )
    if now < rules.closes_at:
        return Condition(ok=True, text=_("open until %(moment)s") % {"moment": moment(rules.closes_at)})
    began_in_time = started_at is not None and started_at < rules.closes_at
    if began_in_time and now < rules.closes_at + CLOSING_GRACE:
        return Condition(ok=True, text=_("closed, but your upload began in time"))
    if rules.late_until is not None and now < rules.late_until:
        return Condition(
            ok=True,
            text=_("closed; until %(moment)s late submissions are scored and not ranked")
            % {"moment": moment(rules.late_until)},
        )
    return Condition(
        ok=False,
        text=_("the phase closed at %(moment)s") % {"moment": moment(rules.closes_at)},
        cure=_("Look for another phase that is open."),
    )


def is_late(*, rules: PhaseRules, now: datetime, started_at: datetime | None) -> bool:
    """Whether a submission at `now` comes after closing, and its upload did not begin in time either."""
    if now < rules.closes_at:
        return False
    return not (started_at is not None and started_at < rules.closes_at and now < rules.closes_at + CLOSING_GRACE)


def pause_condition(rules: PhaseRules) -> Condition:
    """Organizers may pause a phase, or put it away for good."""
    if rules.is_archived:
        return Condition(ok=False, text=_("the phase is archived"), cure=_("Look for another phase that is open."))
    if not rules.is_paused:
        return Condition(ok=True, text=_("submissions are being taken"))
    return Condition(
        ok=False, text=_("the organizers have paused submissions"), cure=_("See the challenge's news, or ask them.")
    )


def attempts_condition(
    *, rules: PhaseRules, remaining: int | None, next_at: datetime | None, same_image: int = 0
) -> Condition:
    """The submission limit."""
    others = (
        _(" (the same image by other teams counts, %(count)d of them)") % {"count": same_image} if same_image else ""
    )
    if remaining is None:
        return Condition(ok=True, text=_("no submission limit"))
    if remaining > 0:
        return Condition(ok=True, text=_left(rules=rules, remaining=remaining))
    if next_at is None:
        return Condition(
            ok=False,
            text=_("all %(limit)d submissions are used") % {"limit": tightest(rules)} + others,
            cure=_("No more can be made in this phase."),
            code=ATTEMPTS_USED,
        )
    return Condition(
        ok=False,
        text=_("all %(limit)d submissions %(window)s are used, next at %(moment)s")
        % {"limit": tightest(rules), "window": window_words(rules), "moment": moment(next_at)}
        + others,
        cure=_("Submit again from %(moment)s on.") % {"moment": moment(next_at)},
        code=ATTEMPTS_USED,
    )


def concurrency_condition(*, rules: PhaseRules, usage: TeamUsage) -> Condition:
    """How many submissions of a team may be on their way at once."""
    if usage.unfinished < rules.concurrent_limit:
        return Condition(
            ok=True,
            text=_("%(count)d of %(limit)d submissions under way")
            % {"count": usage.unfinished, "limit": rules.concurrent_limit},
        )
    return Condition(
        ok=False,
        text=ngettext(
            "your team has %(count)d submission under way, %(limit)d may be at once",
            "your team has %(count)d submissions under way, %(limit)d may be at once",
            usage.unfinished,
        )
        % {"count": usage.unfinished, "limit": rules.concurrent_limit},
        cure=_("Wait until it has finished, or cancel it."),
    )


def attempts_left(*, rules: PhaseRules, remaining: int | None, next_at: datetime | None) -> str:
    """`, 2 of 3 left this week, next at Tue 24 Nov 2026 09:12 UTC`. Empty where there is no limit."""
    if remaining is None:
        return ""
    back = ", " + _("next at %(moment)s") % {"moment": moment(next_at)} if next_at else ""
    return ", " + _left(rules=rules, remaining=remaining) + back


def _left(*, rules: PhaseRules, remaining: int) -> str:
    words = {"remaining": remaining, "limit": tightest(rules), "window": window_words(rules)}
    return _("%(remaining)d of %(limit)d left %(window)s") % words


def tightest(rules: PhaseRules) -> int:
    """The smaller of the two limits; 0 when there is none (and then nobody asks)."""
    return min([limit for limit in (rules.limit, rules.total_limit) if limit is not None], default=0)


def window_words(rules: PhaseRules) -> str:
    """The window in words. It rolls: `today` is the last 24 hours."""
    if rules.limit is None or (rules.total_limit is not None and rules.total_limit < rules.limit):
        return _("in this phase")
    days = rules.window.days
    return {1: _("today"), 7: _("this week")}.get(days) or _("in %(days)d days") % {"days": days}


def moment(at: datetime) -> str:
    """A time as people read it: `Tue 24 Nov 2026 09:12 UTC`. Phases run over new years, so the year is said."""
    return f"{date_format(at, 'D d M Y H:i')} UTC"
