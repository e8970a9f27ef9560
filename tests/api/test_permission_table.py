"""One table: method, address, and what each person is answered. A new operation without a row fails the last test.

`401` sign in first · `403` you may see it but not do it · `404` does not exist, or is not visible to you.
"""

import hashlib
import uuid
from typing import Any

import pytest
from django.test import Client

import factories
from assay.api.v1.router import api
from assay.challenges.registration import make_invite
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.notices.webhooks import make_hook
from assay.runs.nodes import enrol_node

PEOPLE = ("nobody", "otto", "pia", "olga", "stan")
PUSH = {"source": "slug: brains\ntitle: B\nphases: []"}
AGREEMENT = "I publish nothing."
SIGNED = {"sha256": hashlib.sha256(AGREEMENT.encode()).hexdigest(), "signature": "A. Person"}
REVOKE_PIA = {"username": "pia", "status": "revoked", "reason": "published"}
ACCEPT_PIA = {"usernames": ["pia"], "status": "accepted"}
SITE_RESULT = {
    "site_result": 1,
    "evaluation_id": "00000000-0000-4000-8000-000000000000",
    "fence": 1,
    "action": "release",
    "said": {},
}
WAKE = {"kind": "check", "key": "{unknown}", "act": "wake"}
TABLE_OF_CASES = {
    "name": "Published",
    "source_url": "https://example.org/table",
    "layout": "kits",
    "files": {"evaluation.csv": "caseID,Dice_core,Dice_rim\na,1,1\nb,1,1\n"},
}

# method, address, body, then what nobody, Otto, Pia, Olga and Stan are answered
TABLE: list[tuple[str, str, Any, int, int, int, int, int]] = [
    ("POST", "/users", {}, 422, 422, 422, 422, 422),
    ("POST", "/tokens", {"username": "x", "password": "y"}, 401, 401, 401, 401, 401),
    ("GET", "/tokens", None, 401, 200, 200, 200, 200),
    ("DELETE", "/tokens/{token_of_pia}", None, 401, 404, 204, 404, 404),
    ("GET", "/me", None, 401, 200, 200, 200, 200),
    ("GET", "/me/use", None, 401, 200, 200, 200, 200),
    ("GET", "/teams", None, 401, 200, 200, 200, 200),
    ("POST", "/teams", {"name": "New Lab"}, 401, 201, 201, 201, 201),
    ("POST", "/teams/{team}/invites", {"email": "a@example.org"}, 401, 404, 201, 404, 404),
    ("POST", "/invites/accept", {"token": "assayinvite_x"}, 401, 404, 404, 404, 404),
    ("POST", "/invites/open", {"token": "assayjoin_x"}, 401, 404, 404, 404, 404),
    ("GET", "/notices", None, 401, 200, 200, 200, 200),
    ("POST", "/notices/read", None, 401, 204, 204, 204, 204),
    ("POST", "/notices/{notice_of_pia}/read", None, 401, 404, 204, 404, 404),
    ("GET", "/notices/choices", None, 401, 200, 200, 200, 200),
    ("PUT", "/notices/choices", [{"kind": "verdict", "by_mail": "never"}], 401, 200, 200, 200, 200),
    ("GET", "/teams/{team}/hooks", None, 401, 404, 200, 404, 404),
    ("POST", "/teams/{team}/hooks", {"url": "https://example.org/x"}, 401, 404, 201, 404, 404),
    ("DELETE", "/teams/{team}/hooks/{hook_of_team}", None, 401, 404, 204, 404, 404),
    ("GET", "/teams/{team}/hooks/{hook_of_team}/deliveries", None, 401, 404, 200, 404, 404),
    ("GET", "/teams/{team}/hooks/{hook_of_brains}/deliveries", None, 401, 404, 404, 404, 404),
    ("POST", "/teams/{team}/hooks/{hook_of_team}/deliveries/{ping_of_team}/replay", None, 401, 404, 201, 404, 404),
    ("POST", "/teams/{team}/hooks/{hook_of_team}/deliveries/{ping_of_brains}/replay", None, 401, 404, 404, 404, 404),
    ("GET", "/challenges/brains/hooks", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/draft/hooks", None, 401, 404, 404, 200, 200),
    ("POST", "/challenges/brains/hooks", {"url": "https://example.org/x"}, 401, 403, 403, 201, 201),
    ("DELETE", "/challenges/brains/hooks/{hook_of_brains}", None, 401, 403, 403, 204, 204),
    ("DELETE", "/challenges/brains/hooks/{hook_of_team}", None, 401, 403, 403, 404, 404),
    ("GET", "/challenges/brains/hooks/{hook_of_brains}/deliveries", None, 401, 403, 403, 200, 200),
    (
        "POST",
        "/challenges/brains/hooks/{hook_of_brains}/deliveries/{ping_of_brains}/replay",
        None,
        401,
        403,
        403,
        201,
        201,
    ),
    ("GET", "/challenges/brains/invites", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/invites", {"addresses": ["a@example.org"]}, 401, 403, 403, 201, 201),
    ("DELETE", "/challenges/brains/invites/{invite}", None, 401, 403, 403, 204, 204),
    ("DELETE", "/challenges/draft/invites/{invite}", None, 401, 404, 404, 404, 404),
    ("GET", "/challenges", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/brains", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/draft", None, 404, 404, 404, 200, 200),
    ("PUT", "/challenges/brains", PUSH, 401, 422, 422, 422, 422),
    ("GET", "/challenges/brains/file", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/draft/file", None, 401, 404, 404, 200, 200),
    ("POST", "/challenges/brains/publish", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/draft/publish", None, 401, 404, 404, 409, 409),
    ("POST", "/challenges/brains/join", {}, 401, 200, 200, 200, 200),
    ("POST", "/challenges/draft/join", {}, 401, 404, 404, 200, 200),
    ("POST", "/challenges/brains/rules/accept", {"rules_version": 1}, 401, 403, 200, 200, 403),
    ("POST", "/challenges/draft/rules/accept", {"rules_version": 1}, 401, 404, 404, 200, 403),
    ("GET", "/challenges/brains/phases/final", None, 200, 200, 200, 200, 200),
    ("POST", "/challenges/brains/phases/final/publish", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/phases/final/embargo", {}, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/phases/final/release", None, 401, 403, 403, 409, 409),
    ("DELETE", "/challenges/brains/phases/final/release", None, 401, 403, 403, 200, 200),
    (
        "POST",
        "/challenges/brains/phases/final/rerun",
        {"challenge": "brains", "phase": "final"},
        401,
        403,
        403,
        200,
        200,
    ),
    ("GET", "/challenges/brains/phases/final/objections", None, 401, 200, 200, 200, 200),
    ("POST", "/challenges/brains/phases/final/objections", {"text": "a b c d e f g"}, 401, 403, 409, 403, 403),
    (
        "POST",
        "/challenges/brains/phases/final/objections/{snapshot}",
        {"uphold": True, "answer": "x"},
        401,
        403,
        403,
        404,
        404,
    ),
    ("POST", "/challenges/brains/phases/final/finalize", None, 401, 403, 403, 409, 409),
    ("POST", "/challenges/brains/rename", {"slug": "brains"}, 401, 403, 403, 200, 200),
    ("DELETE", "/challenges/brains?confirm=brains", None, 401, 403, 403, 409, 409),
    ("POST", "/challenges/brains/phases/final/rename", {"slug": "final"}, 401, 403, 403, 200, 200),
    ("DELETE", "/challenges/brains/phases/final?confirm=final", None, 401, 403, 403, 409, 409),
    ("POST", "/challenges/brains/phases/final/pause", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/phases/final/resume", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/brains/phases/final/leaderboard", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/brains/phases/final/leaderboard/export?layout=kits", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/brains/phases/final/leaderboard/history", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/brains/phases/final/leaderboard/history/{snapshot}", None, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/leaderboard/imports", TABLE_OF_CASES, 401, 403, 403, 201, 201),
    ("GET", "/challenges/brains/combined", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/draft/combined", None, 404, 404, 404, 200, 200),
    ("GET", "/challenges/brains/combined/{unknown}", None, 404, 404, 404, 404, 404),
    ("GET", "/challenges/brains/tasks", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/tasks", {"act": "usual", "made_from": "old"}, 401, 403, 403, 409, 409),
    ("GET", "/challenges/brains/estimate", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/brains/participants", None, 401, 403, 403, 200, 200),
    ("GET", "/challenges/brains/hints", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/participants/pia", {"status": "accepted"}, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/participants", ACCEPT_PIA, 401, 403, 403, 200, 200),
    ("POST", "/challenges/draft/participants/pia", {"status": "accepted"}, 401, 404, 404, 404, 404),
    ("POST", "/challenges/brains/organizers", {"username": "otto"}, 401, 403, 403, 201, 201),
    ("GET", "/challenges/brains/testsets", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/testsets", {"name": "x", "upload_id": "{unknown}"}, 401, 403, 403, 404, 404),
    ("GET", "/challenges/brains/metric-images", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/metric-images", {"upload_id": "{unknown}"}, 401, 403, 403, 404, 404),
    ("GET", "/challenges/brains/code-parts", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/code-parts", {"kind": "base", "upload_id": "{unknown}"}, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/submissions", {"upload_id": "{upload_of_pia}"}, 401, 404, 201, 404, 404),
    ("GET", "/challenges/brains/phases/final/twin?sha256=0", None, 401, 200, 200, 200, 200),
    ("GET", "/challenges/brains/phases/final/kept", None, 401, 200, 200, 200, 200),
    ("GET", "/challenges/brains/testsets/{public}/1/archive", None, 401, 403, 200, 200, 200),
    ("GET", "/challenges/brains/testsets/{hidden}/1/archive", None, 404, 404, 404, 404, 404),
    ("GET", "/submissions", None, 401, 200, 200, 200, 200),
    ("GET", "/submissions/{submission}", None, 401, 404, 200, 200, 200),
    ("GET", "/submissions/{submission}/cases", None, 401, 404, 200, 200, 200),
    ("GET", "/submissions/{submission}/receipt", None, 401, 404, 404, 404, 404),
    ("GET", "/submissions/{submission}/logs", None, 401, 404, 403, 200, 200),
    ("POST", "/submissions/cancel", {"submission_ids": ["{submission}"]}, 401, 404, 200, 200, 200),
    ("POST", "/submissions/{submission}/cancel", None, 401, 404, 200, 200, 200),
    ("POST", "/submissions/{submission}/choose", None, 401, 404, 409, 403, 403),
    ("POST", "/submissions/{submission}/withdraw", None, 401, 404, 200, 403, 403),
    ("POST", "/submissions/{submission}/restore", None, 401, 404, 200, 403, 403),
    ("POST", "/submissions/{submission}/ask-deletion", None, 401, 404, 202, 403, 403),
    ("POST", "/submissions/delete-files", {"submission_ids": ["{submission}"]}, 401, 404, 403, 200, 200),
    ("POST", "/submissions/{submission}/disqualify", {"reason": "copied"}, 401, 404, 403, 200, 200),
    ("POST", "/submissions/{submission}/rejudge", None, 401, 404, 403, 409, 409),
    ("POST", "/submissions/resume", {"submission_ids": ["{submission}"]}, 401, 404, 403, 200, 200),
    ("POST", "/submissions/{submission}/resume", None, 401, 404, 403, 409, 409),
    ("POST", "/submissions/{submission}/cases/{case}/rerun", None, 401, 404, 403, 409, 409),
    ("GET", "/challenges/brains/agreements", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/draft/agreements", None, 404, 404, 404, 200, 200),
    ("GET", "/challenges/brains/agreements/log", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/agreements/{public}/sign", SIGNED, 401, 201, 201, 201, 201),
    ("POST", "/challenges/brains/agreements/{public}/withdraw", None, 401, 404, 204, 404, 404),
    ("POST", "/challenges/brains/agreements/{public}/decision", REVOKE_PIA, 401, 403, 403, 204, 204),
    ("GET", "/uploads", None, 401, 200, 200, 200, 200),
    ("POST", "/uploads", None, 401, 422, 422, 422, 422),
    ("PATCH", "/uploads/{upload_of_pia}", {}, 401, 404, 422, 404, 404),
    ("DELETE", "/uploads/{unfinished_of_pia}", None, 401, 404, 204, 404, 404),
    ("GET", "/nodes", None, 401, 403, 403, 403, 200),
    ("POST", "/nodes", {"name": "gpu-1"}, 401, 403, 403, 403, 201),
    ("POST", "/nodes/{node}/cost", {"hourly_cost": 2.5}, 401, 403, 403, 403, 200),
    ("GET", "/nodes/costs", None, 401, 403, 403, 403, 200),
    ("POST", "/nodes/{node}/status", {"status": "draining"}, 401, 403, 403, 403, 200),
    ("GET", "/operations/stuck", None, 401, 403, 403, 403, 200),
    ("POST", "/operations/stuck/act", WAKE, 401, 403, 403, 403, 409),
    ("GET", "/operations/publications", None, 401, 403, 403, 403, 200),
    ("POST", "/operations/publications/draft", {"approve": True}, 401, 403, 403, 403, 409),
    ("GET", "/operations/pools", None, 401, 403, 403, 403, 200),
    ("GET", "/operations/quotas", None, 401, 403, 403, 403, 200),
    ("PUT", "/operations/quotas/people/{person}", {"drafts": 3}, 401, 403, 403, 403, 200),
    ("PUT", "/operations/quotas/challenges/brains", {"run_hours": 3}, 401, 403, 403, 403, 200),
    ("PUT", "/operations/pools/{pool}", {"people": ["olga"]}, 401, 403, 403, 403, 200),
    ("POST", "/challenges/brains/phases/final/sites", {"name": "h", "title": "H"}, 401, 403, 403, 201, 201),
    ("GET", "/challenges/brains/phases/final/sites", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/phases/final/sites/codes", {"name": "h", "title": "H"}, 401, 403, 403, 201, 201),
    ("POST", "/challenges/brains/phases/final/sites/{unknown}/approve", {"words": "a b"}, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/sites/{unknown}/revoke", {}, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/sites/{unknown}/agreements", {}, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/sites/{unknown}/bundle", {}, 401, 403, 403, 404, 404),
    ("POST", "/challenges/brains/phases/final/sites/{unknown}/results", SITE_RESULT, 401, 403, 403, 404, 404),
    ("GET", "/challenges/brains/phases/final/sites/log", None, 200, 200, 200, 200, 200),
    ("GET", "/challenges/brains/phases/final/sites/board", None, 200, 200, 200, 200, 200),
    ("POST", "/challenges/brains/phases/final/rejudge", None, 401, 403, 403, 202, 202),
    ("GET", "/challenges/brains/phases/final/rejudgement", None, 401, 403, 403, 200, 200),
    ("POST", "/challenges/brains/phases/final/rejudgement/activate", None, 401, 403, 403, 409, 409),
    ("GET", "/keys", None, 200, 200, 200, 200, 200),
]
ROWS = [(person, row) for row in TABLE for person in PEOPLE]
GUARDED_ELSEWHERE = (
    "/api/v1/node/",
    "/api/v1/site/",
)  # nodes and sites have tokens of their own kind: tests/runs, tests/evaluation_sites


@pytest.fixture
def names(scene, now) -> dict[str, str]:
    """What the addresses and bodies of the table stand for."""
    factories.challenge(slug="draft", organizer=scene.olga, status="draft")
    submission = factories.submission(phase=scene.phase, team=scene.team, status="queued")
    node, _ = enrol_node(name="gpu-0", pool="default", slots=1, by=None, now=now)
    scene.phase.concurrent_limit = 5
    scene.phase.opens_at = scene.phase.opens_at.replace(year=2000)
    scene.phase.closes_at = scene.phase.closes_at.replace(year=2100)
    scene.phase.save()
    hook, _ = make_hook(url="https://example.org/x", by=scene.pia, team=scene.team, now=now)
    theirs, _ = make_hook(url="https://example.org/x", by=scene.olga, challenge_slug=scene.challenge.slug, now=now)
    invite, _ = make_invite(challenge=scene.challenge, uses=3, by=scene.olga, now=now)
    news = News(kind=Kind.VERDICT, event="scored", key="1", path="/", facts={})
    notify(people=[scene.pia], news=news, now=now)
    scene.challenge.agreements = {"training": AGREEMENT}
    scene.challenge.save()
    factories.signature(challenge=scene.challenge, user=scene.pia)
    return {
        "hook_of_team": str(hook.pk),
        "hook_of_brains": str(theirs.pk),
        "ping_of_team": str(hook.deliveries.get().pk),
        "ping_of_brains": str(theirs.deliveries.get().pk),
        "invite": str(invite.pk),
        "notice_of_pia": str(scene.pia.notices.get().pk),
        "node": node.name,
        "team": scene.team.slug,
        "submission": str(submission.pk),
        "case": "a",
        "snapshot": "0",
        "upload_of_pia": str(factories.complete_upload(user=scene.pia).pk),
        "unfinished_of_pia": str(factories.upload(user=scene.pia).pk),
        "public": factories.testset(challenge=scene.challenge, name="training", case_ids=[], is_public=True).name,
        "hidden": scene.phase.chosen_testset.testset.name,
        "pool": "a100",
        "person": "pia",
        "unknown": str(uuid.uuid4()),
    }


@pytest.mark.parametrize(("person", "row"), ROWS, ids=[f"{row[0]} {row[1]} as {person}" for person, row in ROWS])
def test_everybody_is_answered_as_the_table_says(person, row, scene, names, as_nobody, calling_as):
    method, address, body = row[:3]
    call = as_nobody if person == "nobody" else calling_as(getattr(scene, person))
    names["token_of_pia"] = str(scene.pia.api_tokens.last().pk) if person == "pia" else str(uuid.uuid4())
    filled = fill(body or {}, names)
    answer = call(method, address.format(**names), filled if body is not None else None)
    assert answer.status_code == row[3 + PEOPLE.index(person)], answer.content.decode()
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) >= {"code", "message", "found", "expected", "what_to_do", "whose_fault"}


def fill(value: Any, names: dict[str, str]) -> Any:
    """The body with every placeholder replaced, in lists too."""
    if isinstance(value, dict):
        return {key: fill(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, names) for inner in value]
    return value.format(**names) if isinstance(value, str) else value


def test_every_operation_has_its_rows():
    in_table = {(method, shape(address)) for method, address, *_ in TABLE}
    operations = {
        (method.upper(), shape(path.removeprefix("/api/v1")))
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method in methods
        if not path.startswith(GUARDED_ELSEWHERE)
    }
    assert len(operations) > 30
    assert operations - in_table == set()


def test_every_refusal_of_the_table_is_in_the_description():
    described = {
        (method.upper(), shape(path.removeprefix("/api/v1"))): set(operation["responses"])
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method, operation in methods.items()
    }
    missing = [
        (method, address, status)
        for method, address, _, *statuses in TABLE
        for status in statuses
        if 400 <= status < 500 and status not in described.get((method, shape(address)), set())
    ]
    assert missing == []


def shape(address: str) -> str:
    """An address with its variable parts left out."""
    address = address.partition("?")[0]
    fixed = {"pia": "*", "brains": "*", "draft": "*", "final": "*", "1": "*"}
    return "/".join("*" if part.startswith("{") else fixed.get(part, part) for part in address.split("/"))


@pytest.mark.parametrize("path", ["/challenges", "/me", "/submissions"])
def test_a_token_that_is_not_good_never_becomes_nobody(db, path):
    answer = Client().get(f"/api/v1{path}", headers={"Authorization": "Bearer assay_wrong"})
    assert answer.status_code == 401
    assert answer.json()["error"]["what_to_do"]
