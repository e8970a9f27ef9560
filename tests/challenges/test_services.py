"""Pushing, publishing, joining, embargo: what changes, what is planned, and what is written into history."""

from datetime import timedelta

import pytest

import factories
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import AuditEvent
from assay.challenges import services
from assay.challenges.access import is_organizer
from assay.challenges.models import Challenge, Membership
from assay.challenges.publication import publish_challenge
from assay.challenges.registration import Application
from assay.challenges.selectors import challenge_list

SOURCE = f"""
slug: lungs
title: Lungs
protocol: {factories.PROTOCOL_TEXT}
phases:
  - {{slug: final, opens_at: 2026-01-01, closes_at: 2199-01-01, submission_limit: 3}}
"""


NEW_PHASE = "phases.final: new (opens 2026-01-01 00:00 UTC, closes 2199-01-01 24:00 UTC)"


@pytest.fixture
def push(scene, now):
    def push(source: str = SOURCE, *, user=None, slug="lungs", is_dry_run=False):
        return services.push_challenge(
            user=user or scene.olga, slug=slug, source=source, is_dry_run=is_dry_run, now=now
        )

    return push


def texts(changes) -> list[str]:
    return [change.text for change in changes]


def test_a_first_push_makes_a_draft_with_its_pusher_as_organizer(push, scene):
    changes, challenge = push()
    assert texts(changes) == ["challenge: new: lungs", NEW_PHASE]
    assert challenge.status == Challenge.Status.DRAFT
    assert challenge.memberships.get().user == scene.olga
    assert challenge.phases.get().protocol.version == 1
    assert AuditEvent.objects.get(verb="challenge.pushed").details["changes"] == texts(changes)


def test_a_dry_run_plans_and_changes_nothing(push):
    changes, challenge = push(is_dry_run=True)
    assert texts(changes) == ["challenge: new: lungs", NEW_PHASE]
    assert challenge is None
    assert not Challenge.objects.filter(slug="lungs").exists()
    assert not AuditEvent.objects.filter(verb="challenge.pushed").exists()


def test_the_same_file_again_changes_nothing(push):
    push()
    changes, _ = push()
    assert changes == []
    assert AuditEvent.objects.filter(verb="challenge.pushed").count() == 1


def test_a_changed_file_says_what_changes_from_what_to_what(push):
    push()
    changed = SOURCE.replace("title: Lungs", "title: Both lungs").replace("submission_limit: 3", "submission_limit: 5")
    changes, challenge = push(changed, is_dry_run=True)
    assert texts(changes) == ["title: Lungs → Both lungs", "phases.final.submission_limit: 3 → 5"]
    assert challenge.title == "Lungs"
    push(changed)
    challenge.refresh_from_db()
    assert (challenge.title, challenge.phases.get().submission_limit) == ("Both lungs", 5)


def test_a_new_protocol_is_a_new_version_and_says_what_it_leaves_behind(push, scene):
    _, challenge = push()
    phase = challenge.phases.get()
    factories.submission(phase=factories.with_testset(phase), team=scene.team)
    changes, _ = push(SOURCE.replace('"wall_seconds": 30', '"wall_seconds": 60'))
    (change,) = changes
    assert change.path == "phases.final.protocol"
    assert change.note == "1 submissions keep the old one; rejudge them to compare"
    assert [row.version for row in challenge.protocols.order_by("version")] == [1, 2]
    assert phase.submissions.get().protocol.version == 1
    push()
    assert challenge.protocols.count() == 2, "an old document is the old version, not a third one"


def test_a_phase_that_is_left_out_stays_as_it_is(push):
    push()
    changes, challenge = push(SOURCE.replace("slug: final", "slug: second"))
    assert "phases.final: not in the file (it stays as it is)" in texts(changes)
    assert challenge.phases.count() == 2


def test_a_name_that_is_taken_is_refused_to_strangers(push, scene):
    push()
    with pytest.raises(NotAllowedError) as refusal:
        push(user=scene.otto)
    assert refusal.value.code == "name_taken"


def test_a_file_for_another_challenge_is_refused(push):
    with pytest.raises(InvalidError) as refusal:
        push(slug="livers")
    assert (refusal.value.found, refusal.value.expected) == ("slug: lungs", "slug: livers")


def test_publishing_needs_a_phase_and_happens_once(scene, now):
    empty = factories.challenge(status=Challenge.Status.DRAFT, organizer=scene.olga)
    with pytest.raises(ConflictError, match="no phase"):
        publish_challenge(challenge=empty, user=scene.olga, now=now)
    factories.phase(challenge=empty)
    for _ in range(2):
        assert publish_challenge(challenge=empty, user=scene.olga, now=now).status == Challenge.Status.PUBLISHED
    assert AuditEvent.objects.filter(verb="challenge.published").count() == 1


def test_joining_alone_makes_a_team_of_one(scene, now):
    membership = services.join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)
    assert membership.status == Membership.Status.ACCEPTED
    assert list(membership.team.members.all()) == [scene.otto]
    again = services.join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)
    assert again == membership


def test_joining_may_need_approval(scene, now):
    scene.challenge.requires_approval = True
    membership = services.join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)
    assert membership.status == Membership.Status.PENDING
    services.decide_membership(
        membership=membership, status=Membership.Status.REJECTED, reason="late", user=scene.olga, now=now
    )
    membership.refresh_from_db()
    assert (membership.status, membership.reason) == ("rejected", "late")


@pytest.mark.catalogue(
    91,
    attack="one person in many teams",
    verdict="refused",
    guard="one membership per person and challenge; limits per team",
)
def test_nobody_joins_with_a_team_they_are_not_in(scene, now):
    with pytest.raises(NotAllowedError, match="not in this team"):
        services.join_challenge(
            challenge=scene.challenge, user=scene.otto, application=Application(team=scene.team), now=now
        )


def test_a_team_can_be_changed_before_the_first_submission_and_not_after(scene, now):
    other = factories.team(name="Other", members=[scene.pia])
    changed = services.join_challenge(
        challenge=scene.challenge, user=scene.pia, application=Application(team=other), now=now
    )
    assert changed.team == other
    factories.submission(phase=scene.phase, team=other, user=scene.pia)
    with pytest.raises(ConflictError) as refusal:
        services.join_challenge(
            challenge=scene.challenge, user=scene.pia, application=Application(team=scene.team), now=now
        )
    assert refusal.value.code == "team_is_fixed"


def test_an_embargo_hides_results_until_its_time_or_until_somebody_lifts_it(scene, now):
    phase = scene.phase
    assert phase.shows_results(now)
    phase = services.embargo_results(phase=phase, until=now + timedelta(days=1), user=scene.olga, now=now)
    assert not phase.shows_results(now)
    assert phase.shows_results(now + timedelta(days=1))
    phase = services.embargo_results(phase=phase, until=None, user=scene.olga, now=now)
    assert not phase.shows_results(now + timedelta(days=999))
    phase = services.publish_results(phase=phase, user=scene.olga, now=now)
    assert phase.shows_results(now)
    assert phase.published_at == now


def test_a_pause_and_its_end_are_written_into_history(scene, now):
    assert services.pause_phase(phase=scene.phase, user=scene.olga, now=now).is_paused
    assert not services.resume_phase(phase=scene.phase, user=scene.olga, now=now).is_paused
    verbs = AuditEvent.objects.filter(object_type="phase").values_list("verb", flat=True)
    assert list(verbs) == ["phase.paused", "phase.resumed"]


@pytest.mark.parametrize("size", [1, 5])
def test_the_list_takes_two_queries_however_long_it_is(scene, size, django_assert_num_queries):
    for _ in range(size):
        factories.phase(challenge=factories.challenge())
    with django_assert_num_queries(2):
        rows = [
            (row.slug, [phase.protocol.version for phase in row.phases.all()])
            for row in challenge_list(person=scene.pia)
        ]
    assert len(rows) == size + 1


def test_the_list_can_be_searched(scene):
    factories.challenge(slug="kidneys", title="Kidneys")
    assert [row.slug for row in challenge_list(person=scene.otto, search="kidn")] == ["kidneys"]


def test_a_second_organizer_organizes_and_keeps_their_team(scene, now):
    services.add_organizer(challenge=scene.challenge, user=scene.pia, by=scene.olga, now=now)
    services.add_organizer(challenge=scene.challenge, user=scene.otto, by=scene.olga, now=now)
    assert is_organizer(person=scene.pia, challenge=scene.challenge)
    assert is_organizer(person=scene.otto, challenge=scene.challenge)
    assert scene.challenge.memberships.get(user=scene.pia).team == scene.team
    assert AuditEvent.objects.filter(verb="challenge.organizer_added", actor=scene.olga).count() == 2


def test_every_time_in_a_plan_says_its_zone(push):
    push()
    moved = SOURCE.replace("title: Lungs", "title: Lungs\ntimezone: Europe/Berlin").replace(
        "closes_at: 2199-01-01", "closes_at: 2026-07-01 12:00, embargo_until: 2026-08-01"
    )
    changes, _ = push(moved, is_dry_run=True)
    assert texts(changes) == [
        "timezone: UTC → Europe/Berlin",
        "phases.final.opens_at: 2026-01-01 01:00 CET → 2026-01-01 00:00 CET",
        "phases.final.closes_at: 2199-01-02 01:00 CET → 2026-07-01 12:00 CEST",
        "phases.final.embargo_until: 2026-08-01 24:00 CEST",
        "phases.final.is_embargoed: False → True",
    ]
