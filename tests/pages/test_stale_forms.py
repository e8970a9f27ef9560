"""A form that was open while somebody signed in or out: a page of ours, in words, with what was typed."""

import pytest
from django.test import Client

from markup import markup

pytestmark = pytest.mark.django_db
TYPED = {"name": "A name that took long to find", "password": "never shown", "csrfmiddlewaretoken": "x" * 64}


@pytest.fixture
def strict(scene):
    """A browser that is held to its secret, as in production."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(scene.pia)
    client.get("/teams/")
    return client


def test_a_stale_form_gets_a_page_of_ours_with_what_was_typed(strict):
    answer = strict.post("/teams/", TYPED)
    page = markup(answer)
    assert (answer.status_code, "older than your sign-in" in page) == (403, True)
    assert ("took long to find" in page, "never shown" in page) == (True, False)
    assert 'href="/teams/"' in page
    assert "CSRF" not in page


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_a_form_of_another_site_gets_nothing_back(strict, headers):
    answer = strict.post("/teams/", TYPED, headers=headers)
    assert (answer.status_code, "took long to find" in markup(answer)) == (403, False)


def test_a_browser_without_cookies_is_told_so():
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "pia", "password": "x"})
    assert (answer.status_code, "keeps no cookies" in markup(answer)) == (403, True)


def test_it_speaks_german(strict):
    page = markup(strict.post("/teams/", TYPED, headers={"Accept-Language": "de"}))
    assert "older than" not in page
    assert 'lang="de"' in page


def test_a_stale_page_that_uploads_is_told_to_be_loaded_again(strict):
    answer = strict.post("/api/v1/uploads", headers={"Upload-Length": "5", "X-CSRFToken": "x" * 64})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "stale_page")
    assert "Reload" in error["what_to_do"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 81])
def test_what_is_wrong_with_the_name_of_a_new_team_is_said(client, scene, name):
    client.force_login(scene.pia)
    answer = client.post("/teams/", {"name": name})
    assert (answer.status_code, 'role="alert"' in markup(answer)) == (400, True)


def test_a_second_click_founds_no_second_team_and_is_no_error(client, scene):
    client.force_login(scene.pia)
    assert [client.post("/teams/", {"name": "Engines"}).status_code for _ in range(2)] == [302, 302]
    page = markup(client.get("/teams/"))
    assert (page.count("<h2>Engines</h2>"), page.count("Team Engines is yours.")) == (1, 1)
    client.force_login(scene.otto)
    assert client.post("/teams/", {"name": "Engines"}).status_code == 409


def test_a_refused_name_of_a_team_stays_in_its_form(client, scene):
    client.force_login(scene.otto)
    answer = client.post("/teams/", {"name": "Pia and Friends", "institution": "Charité"})
    page = markup(answer)
    assert answer.status_code == 409
    assert ('value="Pia and Friends"' in page, 'value="Charité"' in page) == (True, True)
    client.force_login(scene.pia)
    answer = client.post(f"/teams/{scene.team.slug}/invite/", {"email": "no address"})
    assert (answer.status_code, 'value="no address"' in markup(answer)) == (400, True)
    answer = client.post(f"/teams/{scene.team.slug}/change/", {"action": "leave"})
    assert (answer.status_code, "last member" in markup(answer)) == (409, True)


def test_a_refused_request_to_join_keeps_the_answers(client, scene):
    scene.challenge.questions, scene.challenge.rules_version = ["Which data?", "Why?"], 2
    scene.challenge.save()
    client.force_login(scene.otto)
    said = {"answer": ["scans of our own", "because"], "rules_version": "1"}
    answer = client.post("/c/brains/join/", said)
    page = markup(answer)
    assert (answer.status_code, "rules of this challenge" in page) == (409, True)
    assert "scans of our own" in page
    assert not scene.challenge.memberships.filter(user=scene.otto).exists()
    assert client.post("/c/brains/join/", said | {"rules_version": "2"}).status_code == 302


@pytest.mark.parametrize(
    ("status", "words"), [("pending", "waits for approval"), ("banned", "excluded"), ("accepted", "you take part")]
)
def test_ones_part_in_a_challenge_is_a_chip(client, scene, status, words):
    scene.challenge.memberships.filter(user=scene.pia).update(status=status)
    client.force_login(scene.pia)
    assert words in markup(client.get("/"))
    challenge = markup(client.get("/c/brains/"))
    assert (words in challenge) == (status != "accepted")
    assert ("participant</span>" in challenge) == (status == "accepted")
