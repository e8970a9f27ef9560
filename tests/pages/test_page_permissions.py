"""One table of the pages about people: method, address, and what each person is answered. Its twin for the API is in tests/api.

`401` sent to the page that signs in · `403` you may see it but not do it · `404` does not exist, or is not visible to you · `302` done.
"""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

import factories
from assay.accounts.services import invite_to_team
from assay.challenges.registration import make_invite
from assay.notices.choices import unsubscribe_token
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.notices.webhooks import make_hook
from assay.workflow.operations.merging import ask_to_merge

pytestmark = pytest.mark.django_db
PEOPLE = ("nobody", "otto", "pia", "olga", "stan")
HOOK = {"url": "https://example.org/x"}
REVOKED = {"action": "revoke", "reason": "published"}
MANAGE = "/c/brains/manage"
DRAFT = "/c/draft/manage"

# method, address, form, then what nobody, Otto, Pia, Olga and Stan are answered
TABLE: list[tuple[str, str, Any, int, int, int, int, int]] = [
    ("GET", "/notices/", None, 401, 200, 200, 200, 200),
    ("POST", "/notices/", {}, 401, 302, 302, 302, 302),
    ("GET", "/notices/{notice_of_pia}/", None, 401, 404, 302, 404, 404),
    ("GET", "/notices/choices/", None, 401, 200, 200, 200, 200),
    ("POST", "/notices/choices/", {"verdict-mail": "never"}, 401, 302, 302, 302, 302),
    ("GET", "/notices/unsubscribe/{token}/", None, 200, 200, 200, 200, 200),  # the link is the permission
    ("POST", "/notices/unsubscribe/{token}/", {}, 200, 200, 200, 200, 200),
    ("GET", "/notices/unsubscribe/x/", None, 404, 404, 404, 404, 404),
    ("GET", "/teams/", None, 401, 200, 200, 200, 200),
    ("POST", "/teams/", {"name": "New Lab"}, 401, 302, 302, 302, 302),
    ("POST", "/teams/{team}/invite/", {"email": "a@example.org"}, 401, 404, 302, 404, 404),
    ("POST", "/teams/{team}/change/", {"action": "rename", "name": "Engines"}, 401, 404, 302, 404, 404),
    ("GET", "/teams/{team}/hooks/", None, 401, 404, 200, 404, 404),
    ("POST", "/teams/{team}/hooks/", HOOK, 401, 404, 302, 404, 404),
    ("POST", "/teams/{team}/hooks/", {"hook": "{hook_of_brains}"}, 401, 404, 404, 404, 404),
    ("POST", "/merges/{merge}/", {"answer": "no"}, 401, 404, 302, 404, 404),
    ("GET", "/invites/{team_invite}/", None, 401, 200, 200, 200, 200),
    ("POST", "/invites/{team_invite}/", {}, 401, 302, 302, 302, 302),
    ("GET", "/invites/assayinvite_x/", None, 401, 404, 404, 404, 404),
    ("GET", "/join/{link}/", None, 401, 200, 200, 200, 200),
    ("POST", "/join/{link}/", {}, 401, 302, 302, 302, 302),
    ("GET", "/join/assayjoin_x/", None, 401, 404, 404, 404, 404),
    ("GET", "/account/", None, 401, 200, 200, 200, 200),
    ("GET", "/account/profile/", None, 401, 200, 200, 200, 200),
    ("POST", "/account/export/", {}, 401, 200, 200, 200, 200),
    ("GET", "/account/delete/", None, 401, 200, 200, 200, 200),
    ("POST", "/account/delete/", {"username": "pia", "password": "wrong"}, 401, 400, 400, 400, 400),
    ("POST", "/account/sessions/0/end/", {}, 401, 404, 404, 404, 404),
    ("POST", "/account/tokens/{unknown}/revoke/", {}, 401, 404, 404, 404, 404),
    ("POST", "/c/brains/join/", {}, 401, 302, 302, 302, 302),
    ("POST", "/c/draft/join/", {}, 404, 404, 404, 302, 302),
    ("POST", "/c/secret/join/", {}, 404, 404, 404, 302, 302),
    ("GET", "/c/secret/", None, 404, 404, 404, 200, 200),
    ("GET", "/c/secret/news/", None, 404, 404, 404, 200, 200),
    ("POST", "/c/brains/rules/accept/", {"rules_version": "0"}, 401, 403, 302, 302, 403),
    ("POST", "/c/brains/data/hidden/sign/", {"signature": "P"}, 401, 404, 404, 404, 404),
    ("POST", "/c/brains/data/training/withdraw/", {}, 401, 404, 302, 404, 404),
    ("GET", "/c/brains/news/", None, 200, 200, 200, 200, 200),
    ("GET", "/c/draft/news/", None, 404, 404, 404, 200, 200),
    ("GET", "/c/brains/news.atom", None, 200, 200, 200, 200, 200),
    ("GET", "/c/draft/news.atom", None, 404, 404, 404, 404, 404),  # a feed shows what everybody may see
    ("GET", "/c/secret/news.atom", None, 404, 404, 404, 404, 404),
    ("GET", "/challenges.atom", None, 200, 200, 200, 200, 200),
    *(
        row
        for page in ("people", "people/invites", "people/downloads", "messages", "news", "hooks")
        for row in (
            ("GET", f"{MANAGE}/{page}/", None, 401, 403, 403, 200, 200),
            ("GET", f"{DRAFT}/{page}/", None, 404, 404, 404, 200, 200),
        )
    ),
    ("POST", f"{MANAGE}/people/", {"membership": "{membership}", "status": "accepted"}, 401, 403, 403, 302, 302),
    ("POST", f"{MANAGE}/people/invites/", {"addresses": "a@example.org"}, 401, 403, 403, 302, 302),
    ("POST", f"{MANAGE}/people/downloads/", {"signature": "{signature}"} | REVOKED, 401, 403, 403, 302, 302),
    ("POST", f"{MANAGE}/news/", {"title": "Late", "text": "A week later."}, 401, 403, 403, 302, 302),
    ("POST", f"{MANAGE}/hooks/", HOOK, 401, 403, 403, 302, 302),
    ("POST", f"{MANAGE}/hooks/", {"hook": "{hook_of_team}"}, 401, 403, 403, 404, 404),
]


@pytest.fixture
def names(scene, now) -> dict[str, str]:
    """What the addresses and forms of the table stand for."""
    for person in (scene.otto, scene.pia, scene.olga, scene.stan):
        person.set_password("a long enough one")
        person.save()
    factories.challenge(slug="draft", organizer=scene.olga, status="draft")
    secret = factories.challenge(slug="secret", organizer=scene.olga)
    secret.is_private = True
    secret.save()
    scene.challenge.merge_until = now + timedelta(days=1)
    scene.challenge.save()
    nina = factories.user(username="nina")
    rivals = factories.team(name="Rivals", members=[nina])
    factories.membership(challenge=scene.challenge, user=nina, team=rivals)
    merge = ask_to_merge(challenge=scene.challenge, team=rivals, into_slug=scene.team.slug, by=nina, now=now)
    _, team_invite = invite_to_team(user=scene.pia, team=scene.team, email="a@example.org", now=now)
    _, link = make_invite(challenge=scene.challenge, uses=9, by=scene.olga, now=now)
    hook, _ = make_hook(url="https://example.org/x", by=scene.pia, team=scene.team, now=now)
    theirs, _ = make_hook(url="https://example.org/x", by=scene.olga, challenge_slug="brains", now=now)
    news = News(kind=Kind.ACCEPTANCE, event="accepted", key="1", path="/c/brains/", facts={"challenge": "Brains"})
    scene.pia.notices.all().delete()
    notify(people=[scene.pia], news=news, now=now)
    scene.challenge.agreements = {"training": "I publish nothing."}
    scene.challenge.save()
    signature = factories.signature(challenge=scene.challenge, user=scene.pia)
    return {
        "signature": str(signature.pk),
        "notice_of_pia": str(scene.pia.notices.get().pk),
        "token": unsubscribe_token(person=scene.pia, kind="verdict"),
        "team": scene.team.slug,
        "hook_of_team": str(hook.pk),
        "hook_of_brains": str(theirs.pk),
        "merge": str(merge.pk),
        "team_invite": team_invite,
        "link": link,
        "membership": str(scene.challenge.memberships.get(user=scene.pia).pk),
        "unknown": str(uuid.uuid4()),
    }


@pytest.mark.parametrize("person", PEOPLE)
def test_everybody_is_answered_as_the_table_says(person, scene, names):
    """Every row begins from the same state: what one row has changed is rolled back before the next."""
    client, wrong = Client(), {}
    if person != "nobody":
        client.force_login(getattr(scene, person))
    for method, address, form, *expected in TABLE:
        with transaction.atomic():
            filled = {key: value.format(**names) for key, value in (form or {}).items()}
            answer = (client.get if method == "GET" else client.post)(address.format(**names), filled)
            transaction.set_rollback(True)
        asks_to_sign_in = answer.status_code == 302 and answer["Location"].startswith("/login/")
        status = 401 if asks_to_sign_in else answer.status_code
        if status != expected[PEOPLE.index(person)]:
            wrong[method, address] = status
    assert wrong == {}
