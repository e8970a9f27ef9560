"""Times at the ends of the calendar: refused at every door, by the database too, and no row takes a page with it."""

from datetime import UTC, datetime
from importlib import import_module
from unittest import mock

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

import factories
from assay.accounts.errors import InvalidError
from assay.accounts.models import AuditEvent, User
from assay.api.v1 import challenges as challenges_api
from assay.challenges.definition import parse_definition
from assay.challenges.models import Phase
from assay.portal import cards

pytestmark = pytest.mark.django_db
MOMENTS = (
    *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "0001-01-01", "1969-12-30"),
    *("2200-01-01T00:00:01Z", "2200-01-01T01:00:00-12:00"),
)
FILE = """
slug: brains
title: Brains
protocol: {{use: flare22}}
phases:
  - {{slug: final, title: Final, opens_at: {opens_at}, closes_at: {closes_at}, embargo_until: {embargo_until}}}
"""
GOOD = {"opens_at": "2026-11-01", "closes_at": "2027-01-01", "embargo_until": "2027-02-01"}


@pytest.fixture
def as_olga(scene):
    client = Client(raise_request_exception=False)
    client.force_login(scene.olga)
    return client


def test_a_good_file_is_read():
    assert parse_definition(FILE.format(**GOOD)).phases[0].opens_at == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("value", MOMENTS)
@pytest.mark.parametrize("key", GOOD)
def test_a_file_with_such_a_time_is_refused_with_its_line(key, value, quote):
    with pytest.raises(InvalidError) as refused:
        parse_definition(FILE.format(**GOOD | {key: f"{quote}{value}{quote}"}))
    assert refused.value.line is not None


@pytest.mark.parametrize("value", MOMENTS)
def test_an_embargo_until_then_is_refused_by_the_api_and_nothing_changes(scene, as_olga, value):
    body = {"until": value if "T" in value else f"{value}T00:00:00Z"}
    answer = as_olga.post("/api/v1/challenges/brains/phases/final/embargo", body, content_type="application/json")
    assert answer.status_code in (403, 422)
    assert_untouched(scene)


@pytest.mark.parametrize("value", [*MOMENTS, "2026-13-45T99:00", "tomorrow", "2026-01-01T00:00:00+99:99"])
def test_an_embargo_until_then_is_refused_by_the_form_and_nothing_changes(scene, as_olga, value):
    address = reverse("organizers:phase-action", args=["brains", "final"])
    answer = as_olga.post(address, {"action": "embargo", "until": value})
    assert answer.status_code == 400
    assert_untouched(scene)


def assert_untouched(scene):
    scene.phase.refresh_from_db()
    assert not scene.phase.is_embargoed
    assert Client().get("/").status_code == 200
    assert Client().get("/api/v1/challenges").status_code == 200


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0001-01-01 BC", "12000-01-01", "1969-12-31", "2200-01-02"])
@pytest.mark.parametrize("field", ["opens_at", "closes_at", "embargo_until", "published_at"])
def test_the_database_refuses_it_too(scene, field, value):
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE challenges_phase SET {field} = %s::timestamptz WHERE id = %s", [value, scene.phase.pk])


def test_a_row_that_was_there_before_is_mended_by_the_migration(scene):
    migration = import_module("assay.challenges.migrations.0003_times_in_range")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the rows of the scene wait for their checks until the commit
        cursor.execute("ALTER TABLE challenges_phase DROP CONSTRAINT challenges_phase_times")
        cursor.execute("UPDATE challenges_phase SET opens_at = '0001-01-01 BC', closes_at = 'infinity'")
        with pytest.raises(DataError), transaction.atomic():
            list(Phase.objects.all())
        cursor.execute(migration.MEND)
    scene.phase.refresh_from_db()
    assert (scene.phase.opens_at.year, scene.phase.closes_at.year) == (1970, 2200)
    assert scene.phase.embargo_until is None


def test_an_answer_that_cannot_be_built_leaves_nothing_behind(scene, as_olga):
    with mock.patch.object(challenges_api, "phase_document", side_effect=OverflowError("date value out of range")):
        answer = as_olga.post("/api/v1/challenges/brains/phases/final/pause")
    assert answer.status_code == 500
    scene.phase.refresh_from_db()
    assert not scene.phase.is_paused
    assert not AuditEvent.objects.filter(verb="phase.paused").exists()


def test_a_page_that_cannot_be_built_leaves_nothing_behind(scene, as_olga):
    with mock.patch("assay.organizers.views.redirect", side_effect=OverflowError("date value out of range")):
        answer = as_olga.post(reverse("organizers:phase-action", args=["brains", "final"]), {"action": "pause"})
    assert answer.status_code == 500
    scene.phase.refresh_from_db()
    assert not scene.phase.is_paused


def test_a_refusal_after_the_first_write_leaves_nothing_behind(scene, as_olga):
    with mock.patch.object(challenges_api, "phase_document", side_effect=InvalidError("no")):
        answer = as_olga.post("/api/v1/challenges/brains/phases/final/pause")
    assert answer.status_code == 422
    scene.phase.refresh_from_db()
    assert not scene.phase.is_paused


def test_a_row_that_cannot_be_counted_is_named_and_the_others_are_shown(scene, client, caplog):
    factories.challenge(slug="good", organizer=scene.olga)
    real = cards.challenge_status

    def fails_for_brains(challenge, phases, *, now):
        if challenge.slug == "brains":
            raise OverflowError("date value out of range")
        return real(challenge, phases, now=now)

    with mock.patch.object(cards, "challenge_status", fails_for_brains):
        page = client.get("/").content.decode()
    assert "cannot be read" in page
    assert "Good" in page
    assert "row.unreadable" in caplog.text


def test_a_row_that_cannot_be_rendered_is_named_and_the_others_are_shown(scene, client, caplog):
    for number in range(2):
        factories.submission(phase=scene.phase, team=scene.team, name=f"Entry {number}")
    client.force_login(scene.pia)
    with mock.patch("assay.pages.templatetags.assay.relative", side_effect=[OverflowError("date"), *["now"] * 40]):
        page = client.get(reverse("portal:my-submissions")).content.decode()
    assert page.count("cannot be read") == 1
    assert "Entry 0" in page
    assert "row.unreadable" in caplog.text


def test_the_api_lists_the_others_too(scene, client, caplog):
    factories.challenge(slug="good", organizer=scene.olga)
    real = challenges_api.phases_of

    def fails_for_brains(challenge):
        return real(challenge) if challenge.slug != "brains" else [{"slug": "broken"}]

    with mock.patch.object(challenges_api, "phases_of", fails_for_brains):
        listed = client.get("/api/v1/challenges").json()
    assert [row["slug"] for row in listed] == ["good"]
    assert "row.unreadable" in caplog.text


def test_an_operator_cannot_give_a_person_such_a_time(scene):
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=scene.pia.pk).update(date_joined=datetime(9999, 1, 1, tzinfo=UTC))
