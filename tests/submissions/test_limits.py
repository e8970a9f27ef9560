"""May this team submit now: every rule by hand, at its edges."""

from datetime import UTC, datetime, timedelta

import pytest

from assay.submissions.limits import CLOSING_GRACE, Condition, PhaseRules, TeamUsage, judge

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)  # a Tuesday
MEMBER = Condition(ok=True, text="you compete as Blue Lab")


def rules(**changes) -> PhaseRules:
    values = {"opens_at": NOW - timedelta(days=30), "closes_at": NOW + timedelta(days=30)} | changes
    return PhaseRules(**values)


def ask(*, rules: PhaseRules, charged_at=(), unfinished=0, membership=MEMBER, now=NOW, started_at=None):
    usage = TeamUsage(charged_at=charged_at, unfinished=unfinished)
    return judge(rules=rules, usage=usage, membership=membership, now=now, started_at=started_at)


def ago(**units) -> datetime:
    return NOW - timedelta(**units)


def test_two_of_three_left_this_week_and_when_the_next_comes_back():
    answer = ask(
        rules=rules(limit=3, window=timedelta(days=7)), charged_at=[NOW - timedelta(days=7) + timedelta(minutes=12)]
    )
    assert answer.can_submit
    assert answer.text == "yes, 2 of 3 left this week, next at Tue 24 Nov 2026 09:12 UTC"
    assert answer.remaining == 2


def test_without_a_limit_the_answer_is_a_plain_yes():
    answer = ask(rules=rules())
    assert (answer.can_submit, answer.text, answer.remaining, answer.next_at) == (True, "yes", None, None)


def test_the_last_attempt_used_says_when_the_next_comes_back():
    answer = ask(rules=rules(limit=2), charged_at=[ago(hours=20), ago(hours=3)])
    assert not answer.can_submit
    assert answer.text == "no: all 2 submissions today are used, next at Tue 24 Nov 2026 13:00 UTC"
    assert answer.failing.cure == "Submit again from Tue 24 Nov 2026 13:00 UTC on."


def test_an_attempt_made_exactly_one_window_ago_no_longer_counts():
    assert ask(rules=rules(limit=1), charged_at=[ago(days=1)]).can_submit
    assert not ask(rules=rules(limit=1), charged_at=[ago(days=1) + timedelta(seconds=1)]).can_submit


def test_a_lowered_limit_waits_for_as_many_attempts_as_are_too_many():
    answer = ask(rules=rules(limit=1), charged_at=[ago(hours=20), ago(hours=10), ago(hours=1)])
    assert answer.next_at == ago(hours=1) + timedelta(days=1)


def test_a_limit_of_zero_never_comes_back():
    answer = ask(rules=rules(limit=0), charged_at=[ago(hours=1)])
    assert (answer.can_submit, answer.next_at) == (False, None)
    assert answer.text == "no: all 0 submissions are used"


def test_the_total_limit_counts_everything_and_never_comes_back():
    answer = ask(rules=rules(total_limit=2), charged_at=[ago(days=20), ago(days=10)])
    assert answer.text == "no: all 2 submissions are used"
    assert answer.next_at is None


def test_the_total_limit_may_leave_less_than_the_window_does():
    answer = ask(rules=rules(limit=5, total_limit=3), charged_at=[ago(days=20), ago(days=10)])
    assert answer.remaining == 1
    assert answer.text == "yes, 1 of 3 left in this phase"


def test_the_window_limit_counts_before_a_larger_total():
    answer = ask(rules=rules(limit=2, window=timedelta(days=3), total_limit=10), charged_at=[ago(days=2)])
    assert answer.text == "yes, 1 of 2 left in 3 days, next at Wed 25 Nov 2026 09:00 UTC"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"opens_at": NOW + timedelta(minutes=1)}, "no: the phase opens at Tue 24 Nov 2026 09:01 UTC"),
        ({"closes_at": NOW}, "no: the phase closed at Tue 24 Nov 2026 09:00 UTC"),
        ({"is_paused": True}, "no: the organizers have paused submissions"),
        ({"is_ready": False}, "no: the phase has no test set yet"),
    ],
)
def test_a_phase_that_takes_nothing_says_why_and_what_to_do(changes, text):
    answer = ask(rules=rules(**changes))
    assert answer.text == text
    assert answer.failing.cure


def test_a_phase_is_open_at_the_very_moment_it_opens():
    assert ask(rules=rules(opens_at=NOW)).can_submit


def test_an_upload_that_began_before_closing_counts_within_the_grace():
    closed = rules(closes_at=NOW)
    began = NOW - timedelta(minutes=5)
    in_time = NOW + CLOSING_GRACE - timedelta(seconds=1)
    assert ask(rules=closed, now=in_time, started_at=began).can_submit
    assert not ask(rules=closed, now=NOW + CLOSING_GRACE, started_at=began).can_submit
    assert not ask(rules=closed, now=in_time, started_at=NOW).can_submit


def test_submissions_under_way_hold_the_next_one_back():
    answer = ask(rules=rules(concurrent_limit=1), unfinished=1)
    assert answer.text == "no: your team has 1 submission under way, 1 may be at once"
    assert ask(rules=rules(concurrent_limit=2), unfinished=1).can_submit
    assert "2 submissions under way" in ask(rules=rules(concurrent_limit=2), unfinished=2).text


def test_who_has_not_joined_is_told_so_first():
    stranger = Condition(ok=False, text="you have not joined this challenge", cure="Join it.")
    answer = ask(rules=rules(is_paused=True), membership=stranger)
    assert answer.text == "no: you have not joined this challenge"
    assert [condition.ok for condition in answer.conditions].count(False) == 2


def test_an_eligible_team_has_no_failing_condition():
    assert ask(rules=rules()).failing is None
