"""What an organizer is told of the bits that results can carry out of hidden cases."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.urls import reverse

import factories
from assay.evaluations.leaks import attempts_in, in_bits, leak_of, leaks_of, leaks_of_source
from evaluator.protocol import load_named_protocol
from markup import markup

FLARE = load_named_protocol("flare22")
AGGREGATE = replace(FLARE, release=replace(FLARE.release, mode="aggregate"))
SOURCE = """
slug: brains
title: Brains
protocol: {protocol}
phases:
  - {{slug: final, opens_at: 2026-01-01, closes_at: 2026-01-30, submission_limit: 3, submission_window_days: 7}}
"""


def limits(**values):
    opens_at = factories.NOW
    days = values.pop("days", 30)
    limit = {"submission_limit": None, "submission_window_days": 1, "submission_limit_total": None}
    return SimpleNamespace(opens_at=opens_at, closes_at=opens_at + timedelta(days=days), **limit | values)


def leak(rules=AGGREGATE, *, teams=12, is_public=False, **values):
    return leak_of(rules=rules, limits=limits(**values), phase="final", title="Final", is_public=is_public, teams=teams)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"submission_limit": 2}, 60),
        ({"submission_limit": 3, "submission_window_days": 7}, 15),
        ({"submission_limit": 3, "submission_window_days": 7, "submission_limit_total": 4}, 4),
        ({"submission_limit_total": 2}, 2),
        ({"submission_limit": 0}, 0),
    ],
)
def test_attempts_are_counted_over_the_whole_phase(values, expected):
    assert attempts_in(limits(**values)) == expected


def test_bits_are_multiplied_by_attempts_and_teams():
    found = leak(submission_limit_total=3)
    assert round(found.bits) == 705
    assert (round(found.bits_per_team), round(found.bits_in_total)) == (2115, 25386)
    assert found.text == (
        "One submission can carry out about 705 bits of hidden data. With 3 attempts a team can carry out 2,115 bits, "
        "and the 12 teams that take part 25,386 bits."
    )


def test_an_organizer_is_told_the_setting_for_a_hidden_test_set():
    advice = leak(submission_limit_total=3).advice
    assert "release: {mode: ladder, delta: 0.01}" in advice
    assert "14.1 bits per submission" in advice
    assert "7.5 bits" in advice
    assert "submission_limit_total" not in advice
    assert "submission_limit_total: 2" in leak().advice


def test_who_has_the_setting_already_is_told_nothing():
    ladder = replace(FLARE, release=replace(FLARE.release, mode="ladder"))
    assert leak(ladder, submission_limit_total=3).advice == ""


@pytest.mark.parametrize("attempts", [{}, {"submission_limit_total": 3}])
def test_single_cases_have_no_limit_in_bits(attempts):
    found = leak(FLARE, **attempts)
    assert found.bits is found.bits_in_total is None
    assert "no limit in bits" in found.text


def test_without_a_limit_of_attempts_there_is_no_sum():
    found = leak()
    assert found.bits_in_total is None
    assert "Attempts have no limit" in found.text


def test_a_public_test_set_gives_nothing_away():
    found = leak(is_public=True)
    assert found.text == "The test set is public, so nothing can leak."
    assert found.advice == ""


@pytest.mark.parametrize(("mode", "shown"), [("aggregate", "about 705"), ("ladder", "14.1"), ("verdict_only", "7.5")])
def test_the_documentation_says_the_figures_of_the_code(mode, shown):
    page = Path("docs/organizers/release-and-embargo.md").read_text()
    row = next(
        line for line in page.splitlines() if line.startswith(f"| `{mode}`") and "bits" not in line and shown in line
    )
    bits = leak(replace(FLARE, release=replace(FLARE.release, mode=mode))).bits
    assert in_bits(bits) == f"{shown.removeprefix('about ')} bits", row


@pytest.fixture
def phase(scene):
    document = factories.PROTOCOL | {"release": {"mode": "aggregate", "rounding": 2}}
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    scene.phase.submission_limit_total = 2
    scene.phase.save()
    return scene.phase


@pytest.mark.django_db
def test_the_phases_of_a_challenge_count_its_teams_once(scene, phase, django_assert_num_queries):
    factories.membership(challenge=scene.challenge, user=factories.user(), team=scene.team)
    rows = list(scene.challenge.phases.select_related("protocol", "chosen_testset__testset"))
    with django_assert_num_queries(1):
        (found,) = leaks_of(scene.challenge, phases=rows)
    assert (found.teams, found.attempts, round(found.bits, 2)) == (1, 2, 27.43)


@pytest.mark.django_db
def test_a_file_says_what_it_would_give_away_before_it_is_applied(scene):
    source = SOURCE.format(protocol=json.dumps(factories.PROTOCOL | {"release": "verdict_only"}))
    (new,) = leaks_of_source(source, challenge=None)
    (known,) = leaks_of_source(source, challenge=scene.challenge)
    assert (new.teams, known.teams) == (0, 1)
    assert (new.attempts, round(new.bits, 1)) == (15, 7.5)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["overview", "document"])
def test_the_organizers_pages_show_bits_beside_the_setting(name, client, scene, phase):
    client.force_login(scene.olga)
    text = markup(client.get(reverse(f"organizers:{name}", args=[scene.challenge.slug])))
    assert "aggregate" in text
    assert "27.4" in text
    assert "<code>release: {mode: ladder, delta: 0.01}</code>" in text
