"""What people do with their own account: profile, sessions, scopes of tokens, a copy of everything, the end."""

import json
import re

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

import factories
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import ApiToken, AuditEvent, User
from assay.accounts.profile import Profile, change_profile, checked_orcid
from assay.accounts.scopes import SCOPES, scope_needed
from assay.accounts.tokens import issue_token
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.workflow.operations.leaving import delete_account, export_account
from markup import markup

pytestmark = pytest.mark.django_db
PASSWORD = "engines of 1843"


@pytest.fixture
def ada(scene):
    person = factories.user(username="ada", display_name="Ada L.", institution="Analytical Society", password=PASSWORD)
    factories.membership(challenge=scene.challenge, user=person, team=factories.team(name="Engines", members=[person]))
    return person


def signed_in_client() -> Client:
    client = Client(headers={"user-agent": "Firefox on a laptop"})
    client.post("/login/", {"username": "ada", "password": PASSWORD})
    return client


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("0000-0002-1825-0097", "0000-0002-1825-0097"),
        ("https://orcid.org/0000-0002-1694-233X", "0000-0002-1694-233X"),
        ("", ""),
        ("0000-0002-1825-0098", None),
        ("0000000218250097", None),
    ],
)
def test_an_orcid_is_checked_by_its_last_character(typed, kept):
    if kept is None:
        with pytest.raises(InvalidError):
            checked_orcid(typed)
    else:
        assert checked_orcid(typed) == kept


def test_a_profile_is_kept_and_what_is_wrong_is_said(ada, client):
    client.force_login(ada)
    entry = {"display_name": "Ada", "institution": "", "country": "gb", "orcid": "", "language": "de"}
    assert client.post("/account/profile/", entry | {"orcid": "1"}).status_code == 400
    assert client.post("/account/profile/", entry | {"country": "England"}).status_code == 400
    assert client.post("/account/profile/", entry)["Location"] == "/account/"
    ada.refresh_from_db()
    assert (ada.display_name, ada.institution, ada.country, ada.language) == ("Ada", "", "GB", "de")
    event = AuditEvent.objects.get(verb="user.profile_changed")
    assert set(event.details["changed"]) == {"display_name", "institution", "country", "language"}


def test_a_profile_that_stays_the_same_writes_no_history(ada, now):
    change_profile(user=ada, profile=Profile(display_name="Ada L.", institution="Analytical Society"), now=now)
    assert not AuditEvent.objects.filter(verb="user.profile_changed").exists()


def test_people_see_where_they_are_signed_in_and_end_a_session(ada):
    here, there = signed_in_client(), signed_in_client()
    page = markup(here.get("/account/"))
    assert page.count("Firefox on a laptop") == 2
    (other,) = re.findall(r"/account/sessions/(\d+)/end/", page)
    assert here.post(f"/account/sessions/{other}/end/")["Location"] == "/account/"
    assert there.get("/account/").status_code in (302, 401)
    assert here.get("/account/").status_code == 200
    stranger = Client()
    stranger.force_login(factories.user())
    assert stranger.post(f"/account/sessions/{UserSession.objects.get().pk}/end/").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "operations/stuck", "read"),
        ("POST", "challenges/brains/join", "submit"),
        ("POST", "challenges/brains/rules/accept", "submit"),
        ("POST", "challenges/brains/phases/final/submissions", "submit"),
        ("POST", "challenges/brains/agreements/training/sign", "submit"),
        ("POST", "challenges/brains/agreements/training/withdraw", "submit"),
        ("POST", "challenges/brains/agreements/training/decision", "organize"),
        ("POST", "submissions/1/cancel", "submit"),
        ("POST", "submissions/cancel", "organize"),
        ("POST", "submissions/1/disqualify", "organize"),
        ("POST", "challenges/brains/phases/final/sites/x/approve", "organize"),
        ("PUT", "challenges/brains", "organize"),
        ("POST", "challenges/brains/testsets", "organize"),
        ("POST", "submissions/1/restore", "submit"),
        ("POST", "submissions/resume", "organize"),
        ("PATCH", "uploads/1", "submit"),
        ("POST", "nodes", "operate"),
        ("PUT", "operations/pools/gpu", "operate"),
    ],
)
def test_each_request_needs_one_scope(method, path, scope):
    assert scope_needed(method=method, path=path) == scope


@pytest.mark.parametrize(
    ("scopes", "codes"),
    [
        (["read"], [200, 403, 403]),
        (["submit"], [403, 200, 403]),
        (["read", "organize"], [200, 403, 200]),
        ([], [200, 200, 200]),
        (list(SCOPES), [200, 200, 200]),
    ],
)
def test_a_token_does_what_its_scopes_say(scopes, codes, scene, client, now):
    _, secret = issue_token(user=scene.olga, name="t", days=1, scopes=scopes, now=now)
    as_token = {"headers": {"Authorization": f"Bearer {secret}"}, "content_type": "application/json"}
    answers = [
        client.get("/api/v1/me", headers=as_token["headers"]),
        client.post("/api/v1/challenges/brains/join", "{}", **as_token),
        client.post("/api/v1/challenges/brains/phases/final/pause", "{}", **as_token),
    ]
    assert [answer.status_code for answer in answers] == codes


def test_a_token_without_operate_is_nobodys_operator(scene, client, now):
    statuses = {}
    for scopes in (["read", "organize"], ["read", "organize", "operate"]):
        _, secret = issue_token(user=scene.stan, name="t", days=1, scopes=scopes, now=now)
        headers = {"Authorization": f"Bearer {secret}"}
        statuses["operate" in scopes] = [
            client.get("/api/v1/nodes", headers=headers).status_code,
            client.post("/api/v1/challenges/brains/phases/final/pause", headers=headers).status_code,
        ]
    assert statuses == {False: [403, 403], True: [200, 200]}
    scene.stan.refresh_from_db()
    assert scene.stan.is_staff


def test_a_page_makes_a_token_with_chosen_scopes(ada, client):
    client.force_login(ada)
    client.post("/account/", {"name": "laptop", "days": "7", "scopes": ["submit", "read"]})
    assert ApiToken.objects.get().scopes == ["read", "submit"]
    assert client.post("/account/", {"name": "x", "days": "7", "scopes": ["everything"]}).status_code == 400
    refused = client.post("/account/", {"name": "a" * 81, "days": "0", "scopes": ["submit"]})
    page = markup(refused)
    assert (refused.status_code, page.count('role="alert"')) == (400, 2), "what is wrong is said at both"
    assert ('value="' + "a" * 81 in page, 'value="0"' in page) == (True, True), "what was typed stays"
    assert re.findall(r'value="(\w+)"\s+checked', page) == ["submit"]
    assert client.post("/account/", {"name": "a\0b", "days": "7"}).status_code == 400
    assert client.post("/account/", {"name": "a\u202eb", "days": "7"}).status_code == 400
    assert ApiToken.objects.count() == 1


def test_a_copy_of_everything_holds_no_secret(ada, scene, client, now):
    issue_token(user=ada, name="laptop", days=1, now=now)
    factories.submission(phase=scene.phase, team=ada.teams.get(), user=ada)
    other = factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, name="secret of Pia")
    client.force_login(ada)
    answer = client.post("/account/export/")
    assert answer["Content-Disposition"].startswith("attachment")
    document = json.loads(answer.content)
    assert document["account"][0]["institution"] == "Analytical Society"
    assert len(document["submissions"]) == len(document["tokens"]) == 1
    text = answer.content.decode()
    assert other.name not in text
    for hidden in (ada.password, ApiToken.objects.get().token_hash, "token_hash", "password"):
        assert hidden not in json.dumps({**document, "history": []})
    assert client.get("/account/export/").status_code == 405


def test_a_deleted_account_leaves_its_submissions_without_a_name(ada, scene, client, now):
    row = factories.submission(phase=scene.phase, team=ada.teams.get(), user=ada, status="done", finished_at=now)
    _, secret = issue_token(user=ada, name="laptop", days=1, now=now)
    notify(
        people=[ada], news=News(kind=Kind.TEAM, event="accepted", key="k", path="/", facts={"challenge": "x"}), now=now
    )
    browser = signed_in_client()
    assert browser.post("/account/delete/", {"username": "ada", "password": "wrong"}).status_code == 400
    assert browser.post("/account/delete/", {"username": "ada", "password": PASSWORD})["Location"] == "/"
    assert browser.get("/account/").status_code in (302, 401)
    row.refresh_from_db()
    gone = row.submitted_by
    assert (gone.pk, gone.is_active, gone.institution, str(gone)) == (ada.pk, False, "", "Deleted account")
    kept = json.dumps(export_account(gone), default=str)
    for word in ("Ada L.", "ada@example.org", "Analytical", '"ada"'):
        assert word not in kept
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    again = {"username": "ada", "display_name": "A", "email": "ada@example.org", "password": "another long one"}
    assert client.post("/api/v1/users", again, content_type="application/json").status_code == 201


def test_somebody_who_is_still_needed_is_told_why(ada, scene, now):
    with pytest.raises(ConflictError) as refused:
        delete_account(user=scene.olga, now=now)
    assert refused.value.found == "Brains"
    factories.membership(challenge=scene.challenge, user=scene.stan, role="organizer")
    delete_account(user=scene.olga, now=now)
    factories.submission(phase=scene.phase, team=ada.teams.get(), user=ada, status="running")
    with pytest.raises(ConflictError):
        delete_account(user=ada, now=now)


def test_a_team_goes_on_with_the_one_who_has_been_in_it_longest(scene, now):
    quin = factories.user(username="quin")
    scene.team.memberships.create(user=quin, joined_at=now)
    delete_account(user=scene.pia, now=now)
    assert [(row.user, row.is_captain) for row in scene.team.memberships.all()] == [(quin, True)]
    assert not User.objects.get(pk=scene.pia.pk).is_active
