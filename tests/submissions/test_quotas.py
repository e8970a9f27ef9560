"""What one person and one challenge may use: how it is counted, what a refusal says, and that nobody gets past it by hurrying."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

import factories
import people
from assay.accounts.errors import AssayError, ConflictError, InvalidError, LimitReachedError, NotFoundError
from assay.accounts.models import AuditEvent, User
from assay.challenges.models import Challenge
from assay.challenges.publication import decide_publication, publish_challenge
from assay.challenges.services import push_challenge
from assay.submissions.models import RunTime, Submission, Upload
from assay.submissions.run_time import add_run_time, longest_seconds, run_time_uses
from assay.submissions.services import Entry, create_submission
from assay.submissions.space import bytes_by_person, refuse_over_quota, used_bytes
from assay.submissions.testset_pushing import push_testset
from assay.submissions.use import largest_challenges, largest_users, set_challenge_limit, set_person_limits, use_of
from assay.testsets.models import TestSet
from markup import markup

HOUR = 3600
GIB = 2**30
SOURCE = """
slug: {slug}
title: Lungs
protocol: {protocol}
phases:
  - {{slug: final, opens_at: 2026-01-01, closes_at: 2199-01-01}}
"""


def push(slug: str, *, user: User, is_dry_run: bool = False):
    source = SOURCE.format(slug=slug, protocol=factories.PROTOCOL_TEXT)
    return push_challenge(user=user, slug=slug, source=source, is_dry_run=is_dry_run, now=factories.NOW)


def submit(scene: people.Scene, **values) -> Submission:
    upload = factories.complete_upload(user=scene.pia)
    now = values.pop("now", timezone.now())
    entry = Entry(user=scene.pia, phase=scene.phase, team=scene.team, upload=upload, name="x")
    return create_submission(entry, now=now)


def limit(scene: people.Scene, name: str = "olga", **limits: int | None) -> User:
    return set_person_limits(username=name, limits=limits, by=scene.stan, now=factories.NOW)


# ---- challenges ------------------------------------------------------------------------------------------------------


def test_a_draft_too_many_is_refused_with_what_is_used_and_whom_to_ask(scene, settings):
    settings.OPERATORS_CONTACT = "ops@example.org"
    limit(scene, drafts=1)
    push("lungs", user=scene.olga)
    push("lungs", user=scene.olga)  # the same again is no second one
    for is_dry_run in (True, False):
        with pytest.raises(ConflictError) as refusal:
            push("livers", user=scene.olga, is_dry_run=is_dry_run)
        assert refusal.value.code == "quota_reached"
        assert refusal.value.message == "Olga has 1 of 1 drafts, so one more is refused."
        assert refusal.value.what_to_do.endswith("An operator can raise the limit: ops@example.org.")
    assert not Challenge.objects.filter(slug="livers").exists()


def test_publishing_counts_against_whoever_made_the_challenge(scene, settings, now):
    draft = factories.challenge(slug="lungs", organizer=scene.olga, status=Challenge.Status.DRAFT)
    factories.phase(challenge=draft)
    limit(scene, published=1)  # `brains` is published
    for person in (scene.olga, scene.stan):
        with pytest.raises(ConflictError, match="of 1 published"):
            publish_challenge(challenge=draft, user=person, now=now)
    limit(scene, published=2)
    settings.PUBLICATION_NEEDS_APPROVAL = True
    publish_challenge(challenge=draft, user=scene.olga, now=now)
    limit(scene, published=1)
    with pytest.raises(ConflictError, match="of 1 published"):
        decide_publication(slug="lungs", approves=True, reason="", by=scene.stan, now=now)
    Challenge.objects.filter(slug="brains").update(status=Challenge.Status.ARCHIVED)
    decide_publication(slug="lungs", approves=True, reason="", by=scene.stan, now=now)
    draft.refresh_from_db()
    assert draft.status == Challenge.Status.PUBLISHED


def test_an_archived_challenge_is_taken_up_again_only_within_the_limit(scene):
    push("lungs", user=scene.olga)
    Challenge.objects.filter(slug="lungs").update(status=Challenge.Status.ARCHIVED)
    limit(scene, published=1)
    with pytest.raises(ConflictError, match="of 1 published"):
        push("lungs", user=scene.olga)


def test_the_installations_numbers_do_not_bind_operators_and_zero_is_no_limit(scene, settings):
    settings.QUOTA_DRAFTS = 1
    for slug in ("a", "b"):
        push(slug, user=scene.stan)
    push("c", user=scene.olga)
    with pytest.raises(ConflictError):
        push("d", user=scene.olga)
    settings.QUOTA_DRAFTS = 0
    push("d", user=scene.olga)
    limit(scene, "stan", drafts=0)
    with pytest.raises(ConflictError, match="2 of 0 drafts"):
        push("e", user=scene.stan)


# ---- hours on nodes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"run_mode": "case", "wall_seconds": 30}, 120.0),
        ({"run_mode": "cohort", "wall_seconds": 30, "wall_seconds_per": "run"}, 30.0),
        ({"run_mode": "cohort", "wall_seconds": 30, "wall_seconds_per": "case"}, 120.0),
        ({"run_mode": "case", "wall_seconds": 30, "total_seconds": 50}, 50.0),
        ({}, 0.0),
    ],
)
def test_a_submission_holds_the_longest_it_may_run(resources, expected):
    assert longest_seconds(resources, cases=4) == expected


def test_a_person_who_has_used_their_hours_is_told_when_some_come_back(scene, now):
    limit(scene, "pia", run_hours=2)
    first = submit(scene)
    assert first.reserved_seconds == 60.0  # two cases of 30 seconds
    Submission.objects.update(status="done")
    for days, hours in ((40, 9), (5, 1), (2, 1.5)):
        add_run_time(submission=first, seconds=hours * HOUR, now=now - timedelta(days=days))
    with pytest.raises(LimitReachedError) as refusal:
        submit(scene)
    back = (now - timedelta(days=5) + timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert refusal.value.message == "Your submissions have used your 2 hours of computing in 30 days."
    assert refusal.value.retry_at == back
    assert f"Time comes back at {back:%a %d %b %Y} 00:00 UTC." in refusal.value.expected
    limit(scene, "pia", run_hours=3)
    submit(scene)


def test_a_challenge_that_has_used_its_hours_takes_no_more_from_anybody(scene, now):
    set_challenge_limit(slug="brains", run_hours=1, by=scene.stan, now=now)
    add_run_time(submission=submit(scene), seconds=HOUR, now=now)
    Submission.objects.update(status="done")
    with pytest.raises(LimitReachedError, match="The challenge has used its 1 hour of") as refusal:
        submit(scene)
    assert "Ask its organizers." in refusal.value.expected


def test_what_is_under_way_counts_until_it_has_ended(scene):
    scene.phase.concurrent_limit = 10
    scene.phase.save()
    limit(scene, "pia", run_hours=1)
    Submission.objects.filter(pk=submit(scene).pk).update(reserved_seconds=HOUR)
    with pytest.raises(LimitReachedError, match="some of it held for what is under way") as refusal:
        submit(scene)
    assert refusal.value.retry_at is None
    assert "when what is under way has ended" in refusal.value.expected
    Submission.objects.update(status="failed")
    submit(scene)


def test_predictions_use_no_node_and_are_not_refused_for_it(scene, now):
    limit(scene, "pia", run_hours=0)
    scene.phase.kind = "predictions"
    scene.phase.save()
    upload = factories.complete_upload(user=scene.pia, purpose=Upload.Purpose.PREDICTIONS)
    entry = Entry(user=scene.pia, phase=scene.phase, team=scene.team, upload=upload, name="x")
    assert create_submission(entry, now=now).reserved_seconds == 0.0


def test_reports_that_arrive_at_once_are_all_added(scene, now):
    row = factories.submission(phase=scene.phase, team=scene.team)
    for seconds in (1.0, 2.5, -4.0):
        add_run_time(submission=row, seconds=seconds, now=now)
    assert RunTime.objects.get().seconds == 3.5
    challenge_use, person_use = run_time_uses(challenge=scene.challenge, person=scene.pia, now=now)
    assert (challenge_use.used, person_use.used) == (3.5, 3.5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whose", ["person", "challenge"])
def test_no_race_gets_past_the_hours(whose):
    """Two phases, so that it is not the lock of the phase that counts."""
    scene, now = people.scene(), timezone.now()
    other = factories.phase(
        challenge=scene.challenge, slug="other", testset=factories.testset(challenge=scene.challenge)
    )
    for phase in (scene.phase, other):
        phase.concurrent_limit = 100
        phase.protocol.document["resources"]["wall_seconds"] = HOUR / 2  # two cases: an hour
        factories.rewrite_protocol(phase.protocol, phase.protocol.document)
        phase.save()
    if whose == "person":
        limit(scene, "pia", run_hours=2)
    else:
        set_challenge_limit(slug="brains", run_hours=2, by=None, now=now)
    uploads = [factories.complete_upload(user=scene.pia) for _ in range(24)]

    def enter(number: int) -> int:
        phase = (scene.phase, other)[number % 2]
        entry = Entry(user=scene.pia, phase=phase, team=scene.team, upload=uploads[number], name="race")
        try:
            create_submission(entry, now=now)
        except AssayError:
            return 0
        finally:
            connection.close()
        return 1

    with ThreadPoolExecutor(max_workers=8) as pool:
        assert sum(pool.map(enter, range(24))) == 2


@pytest.mark.django_db(transaction=True)
def test_no_race_gets_past_the_number_of_drafts():
    scene = people.scene()
    limit(scene, drafts=2)

    def draft(number: int) -> int:
        try:
            push(f"draft-{number}", user=scene.olga)
        except AssayError:
            return 0
        finally:
            connection.close()
        return 1

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert sum(pool.map(draft, range(12))) == 2


# ---- bytes -----------------------------------------------------------------------------------------------------------


def test_everything_kept_counts_once_for_whose_it_is(scene, now):
    TestSet.objects.update(stored_bytes=7)
    scene.challenge.metric_images.create(
        archive_sha256="0" * 64, image_id="sha256:1", rewritten_key="k", rewritten_bytes=30, created_by=scene.stan,
        created_at=now,
    )  # fmt: skip
    image = factories.image(team=scene.team, rewritten_bytes=100)
    for _ in range(2):
        factories.submission(phase=scene.phase, team=scene.team, image=image)
    factories.complete_upload(user=scene.pia, total_bytes=1000, offset_bytes=1000)
    factories.upload(user=scene.pia, total_bytes=10_000)
    factories.upload(user=scene.pia, total_bytes=99, expires_at=now - timedelta(days=1))
    found = bytes_by_person(now=now)
    assert {user: found.get(user.pk, 0) for user in (scene.olga, scene.pia, scene.otto)} == {
        scene.olga: 37,
        scene.pia: 11_100,
        scene.otto: 0,
    }
    assert (used_bytes(user=scene.olga, now=now), used_bytes(user=scene.pia, now=now)) == (37, 11_100)


def test_a_refusal_of_bytes_says_used_allowed_and_when_it_frees_up(scene, now):
    limit(scene, "pia", storage_gib=1)
    waiting = factories.upload(user=scene.pia, total_bytes=GIB // 2)
    with pytest.raises(ConflictError) as refusal:
        refuse_over_quota(user=scene.pia, total_bytes=GIB, now=now)
    assert refusal.value.message == (
        "This would take Pia over their share of the disk: 0.50 GiB are kept or announced, 1.00 GiB are allowed, and this adds 1.00 GiB."
    )
    assert f"thrown away at {waiting.expires_at:%a %d %b %Y %H:%M} UTC" in refusal.value.what_to_do


@pytest.mark.parametrize("is_owners", [True, False])
def test_a_test_set_counts_for_whoever_made_the_challenge_and_nothing_is_kept_of_one_too_large(
    is_owners, scene, now, monkeypatch
):
    """The files are written before anybody knows their size, so a refusal takes them away again."""
    kept, upload = {"file"}, factories.complete_upload(user=scene.olga if is_owners else scene.stan, total_bytes=GIB)

    def ingest(*, refuse_bytes, **_):
        refuse_bytes(2 * GIB)
        return scene.phase.chosen_testset.testset

    monkeypatch.setattr("assay.submissions.testset_pushing.ingest_testset", ingest)
    values = {"challenge": scene.challenge, "user": upload.user, "upload": upload, "name": "hidden", "now": now}
    limit(scene, storage_gib=1)
    with pytest.raises(ConflictError, match="take Olga over"):
        push_testset(**values, is_public=False, phase_slugs=[])
    limit(scene, storage_gib=2)
    push_testset(**values, is_public=False, phase_slugs=[])
    upload.refresh_from_db()
    assert (upload.key, kept) == ("", {"file"})


# ---- looking at it and setting it ------------------------------------------------------------------------------------


def test_everybody_sees_their_own_use_and_their_hours_in_tenths_only(scene, now):
    """The very figure would say how long a hidden case took; see evaluations/disclosure.py."""
    pia = limit(scene, "pia", run_hours=10)
    row = factories.submission(phase=scene.phase, team=scene.team, status="done")
    looks = set()
    for seconds in (100.0, 17.0, 800.0):
        add_run_time(submission=row, seconds=seconds, now=now)
        looks.add(str(use_of(pia, now=now)))
    assert len(looks) == 1
    assert "at most 10%" in looks.pop()
    add_run_time(submission=row, seconds=3 * HOUR, now=now)
    assert "at most 40%" in str(use_of(pia, now=now))


def test_organizers_see_the_hours_of_their_challenges(scene, now, client):
    row = factories.submission(phase=scene.phase, team=scene.team, status="done")
    add_run_time(submission=row, seconds=1.5 * HOUR, now=now)
    set_challenge_limit(slug="brains", run_hours=1, by=None, now=now)
    client.force_login(scene.olga)
    page = markup(client.get(reverse("organizers:new")))
    assert "Computing for Brains in 30 days" in page
    assert "1.5 hours" in page
    assert "used up" in page
    assert "Time comes back on" in page


@pytest.mark.parametrize("challenges", [1, 6])
def test_the_use_costs_the_same_however_many_challenges(challenges, scene, now, django_assert_num_queries):
    for _ in range(challenges - 1):
        factories.challenge(organizer=scene.olga)
    with django_assert_num_queries(14):
        use_of(scene.olga, now=now)


def test_operators_see_the_largest_users(scene, now, client, django_assert_num_queries):
    factories.complete_upload(user=scene.otto, total_bytes=5 * GIB, offset_bytes=5 * GIB)
    row = factories.submission(phase=scene.phase, team=scene.team, status="done")
    add_run_time(submission=row, seconds=2 * HOUR, now=now)
    with django_assert_num_queries(9):
        rows = largest_users(now=now)
    assert [(found.person, found.stored_bytes, found.run_seconds) for found in rows[:2]] == [
        (scene.otto, 5 * GIB, 0.0),
        (scene.pia, 10, 2 * HOUR),
    ]
    (computing,) = largest_challenges(now=now)
    assert (computing.challenge, computing.run_seconds, computing.allowed_seconds) == (
        scene.challenge,
        2 * HOUR,
        2000 * HOUR,
    )
    client.force_login(scene.stan)
    page = markup(client.get(reverse("organizers:rights")))
    assert "5.0 GiB" in page
    assert "2 h" in page


def test_operators_set_limits_on_their_page_and_it_is_written_down(scene, client):
    client.force_login(scene.stan)
    url = reverse("organizers:rights")
    client.post(url, {"act": "person", "person": "olga", "drafts": "3", "run_hours": "default", "published": ""})
    scene.olga.refresh_from_db()
    assert (scene.olga.quota_drafts, scene.olga.quota_run_hours, scene.olga.quota_published) == (3, None, None)
    event = AuditEvent.objects.get(verb="user.limits_set")
    assert (event.actor, event.details) == (scene.stan, {"limits": {"drafts": 3, "run_hours": "the installation's"}})
    client.post(url, {"act": "challenge", "challenge": "brains", "run_hours": "7"})
    scene.challenge.refresh_from_db()
    assert scene.challenge.quota_run_hours == 7
    told = markup(client.post(url, {"act": "person", "person": "olga", "drafts": "many"}, follow=True))
    assert "A limit is a whole number" in told


def test_limits_that_cannot_be_are_refused(scene, now):
    with pytest.raises(InvalidError):
        limit(scene, drafts=-1)
    with pytest.raises(NotFoundError):
        limit(scene, "nobody", drafts=1)
    with pytest.raises(NotFoundError):
        limit(scene)
    with pytest.raises(NotFoundError):
        set_challenge_limit(slug="livers", run_hours=1, by=None, now=now)
