"""Phases that come after others, late submissions and divisions, as `challenge.yaml` says them."""

import pytest
from django.db import IntegrityError, transaction

import factories
from assay.accounts.errors import InvalidError
from assay.challenges import services
from assay.challenges.models import Phase
from assay.challenges.writing import current_file

HEAD = f"slug: lungs\ntitle: Lungs\nprotocol: {factories.PROTOCOL_TEXT}\nphases:\n"
FIRST = "  - {slug: first, opens_at: 2026-01-01, closes_at: 2026-02-01}\n"
SECOND = (
    "  - {slug: second, opens_at: 2026-02-01, closes_at: 2026-03-01, requires_phase: first, requires_rank: 10, "
    "late_until: 2026-04-01, divisions: [open, closed], leaderboard_shows: chosen}\n"
)


def push(scene, now, *phases, head=HEAD, is_dry_run=False):
    source = head + "".join(phases)
    return services.push_challenge(user=scene.olga, slug="lungs", source=source, is_dry_run=is_dry_run, now=now)


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
def test_a_phase_may_come_after_another_in_whichever_order_they_are_written(scene, now, order):
    _, challenge = push(scene, now, *order)
    second = challenge.phases.get(slug="second")
    assert (second.requires_phase, second.requires_rank, second.divisions) == ("first", 10, ["open", "closed"])
    assert current_file(challenge) == HEAD + "".join(order)
    assert push(scene, now, *order)[0] == []


def test_a_gate_is_opened_and_said_in_the_plan(scene, now):
    push(scene, now, FIRST, SECOND)
    opened = SECOND.replace(", requires_phase: first, requires_rank: 10", "").replace("[open, closed]", "[a, b]")
    changes, challenge = push(scene, now, FIRST, opened)
    assert [change.text for change in changes] == [
        "phases.second.requires_phase: first → –",
        "phases.second.requires_rank: 10 → –",
        "phases.second.divisions: open, closed → a, b",
    ]
    assert challenge.phases.get(slug="second").requires is None


def test_the_file_written_from_the_rows_says_all_of_it(scene, now):
    _, challenge = push(scene, now, FIRST, SECOND)
    challenge.source = ""
    challenge.save()
    assert push(scene, now, current_file(challenge).split("phases:\n")[1], is_dry_run=True)[0] == []


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (FIRST, SECOND.replace("requires_phase: first", "requires_phase: other"), "names a phase that is not there"),
        (FIRST, SECOND.replace("requires_phase: first", "requires_phase: second"), "cannot come after itself"),
        (FIRST.replace("}", ", requires_phase: second}"), SECOND, "wait for each other"),
        (FIRST, SECOND.replace("requires_phase: first, ", ""), "is a rank in the phase before"),
        (FIRST, SECOND.replace("late_until: 2026-04-01", "late_until: 2026-02-01"), "end before the phase closes"),
        (FIRST, SECOND.replace("[open, closed]", "[open]"), "ranked apart"),
        (FIRST, SECOND.replace("[open, closed]", f"[open, {'x' * 41}]"), "ranked apart"),
    ],
)
def test_what_cannot_be_is_refused(scene, now, first, second, says):
    with pytest.raises(InvalidError, match=says):
        push(scene, now, first, second)


@pytest.mark.parametrize(
    "values",
    [
        {"requires_rank": 3},
        {"late_until": factories.NOW},
    ],
)
def test_the_database_refuses_it_too(scene, values):
    with pytest.raises(IntegrityError), transaction.atomic():
        Phase.objects.filter(pk=scene.phase.pk).update(**values)


def test_the_database_refuses_a_phase_after_itself(scene):
    with pytest.raises(IntegrityError), transaction.atomic():
        Phase.objects.filter(pk=scene.phase.pk).update(requires=scene.phase.pk)


RELEASE = (
    "  - {slug: last, opens_at: 2026-02-01, closes_at: 2026-03-01, freeze_hours: 24, public_percent: 30, "
    "releases_at: 2026-04-01, release_after: [boards, cases]}\n"
)


def test_what_is_shown_until_the_release_stands_in_the_file(scene, now):
    _, challenge = push(scene, now, RELEASE)
    last = challenge.phases.get()
    assert (last.freeze_hours, last.public_percent, last.release_after) == (24, 30, ["boards", "cases"])
    assert current_file(challenge) == HEAD + RELEASE
    assert push(scene, now, RELEASE)[0] == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("releases_at: 2026-04-01", "releases_at: 2026-02-15", "released before the phase closes"),
        ("freeze_hours: 24", "freeze_hours: 24000", "frozen before the phase opens"),
        ("[boards, cases]", "[boards, secrets]", "not one of the choices"),
        ("public_percent: 30", "public_percent: 100", "whole number"),
        ("public_percent: 30", "public_percent: 30, protocol: {use: flare22, release: verdict_only}", "public cases"),
    ],
)
def test_a_release_that_cannot_be_is_refused(scene, now, before, after, says):
    with pytest.raises(InvalidError, match=says):
        push(scene, now, RELEASE.replace(before, after))


@pytest.mark.parametrize(
    "values",
    [{"public_percent": 100}, {"freeze_hours": 0}, {"release_after": ["secrets"]}, {"releases_at": factories.NOW}],
)
def test_the_database_refuses_such_a_release_too(scene, values):
    with pytest.raises(IntegrityError), transaction.atomic():
        Phase.objects.filter(pk=scene.phase.pk).update(**values)


def test_a_phase_that_is_prolonged_has_nothing_released_any_more(scene, now):
    _, challenge = push(scene, now, RELEASE)
    challenge.phases.update(released_at="2026-04-01T00:00Z")
    _, challenge = push(scene, now, RELEASE.replace("closes_at: 2026-03-01", "closes_at: 2026-03-20"))
    assert challenge.phases.get().released_at is not None
    later = RELEASE.replace("closes_at: 2026-03-01", "closes_at: 2026-05-01").replace("2026-04-01", "2026-06-01")
    assert push(scene, now, later)[1].phases.get().released_at is None
