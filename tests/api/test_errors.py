"""One envelope for every refusal, and nothing of ours in it."""

import json

import pytest
from django.test import Client, RequestFactory

from assay.accounts import errors
from assay.api.errors import STATUSES, envelope, our_fault, status_of
from assay.api.throttling import AddressThrottle

LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def every_kind(root: type[errors.AssayError]) -> list[type[errors.AssayError]]:
    return [root, *[kind for child in root.__subclasses__() for kind in every_kind(child)]]


def test_every_kind_of_refusal_has_a_status_of_its_own_family():
    kinds = every_kind(errors.AssayError)
    assert len(kinds) > 10
    for kind in kinds:
        assert 400 <= status_of(kind.__new__(kind)) < 600
    for kind in STATUSES:
        assert status_of(kind.__new__(kind)) == STATUSES[kind]


def test_the_envelope_says_what_was_found_expected_and_to_be_done():
    refusal = errors.InvalidError("No.", found="a", expected="b", what_to_do="c", line=3, column=4)
    assert envelope(refusal) == {
        "error": {
            "code": "invalid", "message": "No.", "found": "a", "expected": "b", "what_to_do": "c",
            "whose_fault": "participant", "line": 3, "column": 4,
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/v1/nothing/here", 404),
        ("delete", "/api/v1/challenges", 405),
        ("get", "/api/v1/submissions/not-a-uuid", 422),
        ("post", "/api/v1/users", 422),
    ],
)
def test_what_the_framework_refuses_is_translated_too(scene, calling_as, method, path, status):
    caller = calling_as(scene.pia)
    answer = caller(method, path.removeprefix("/api/v1"))
    assert answer.status_code == status
    if status == 422:
        assert answer.json()["error"]["code"] == "invalid"


def test_a_body_that_is_no_json_is_refused(db):
    answer = Client().post("/api/v1/tokens", data="{not json", content_type="application/json")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


def test_a_bug_of_ours_says_nothing_of_what_it_was(as_nobody, db, monkeypatch):
    def explode(**_: object) -> None:
        raise RuntimeError("/srv/secret/path")

    monkeypatch.setattr("assay.api.v1.challenges.selectors.challenge_list", explode)
    answer = as_nobody("GET", "/challenges")
    assert answer.status_code == 500
    assert answer.json() == envelope(our_fault())
    assert "secret" not in json.dumps(answer.json())


def test_too_many_requests_are_told_when_to_come_back(db, settings, monkeypatch):
    settings.CACHES = {name: LOCAL | {"LOCATION": "throttle"} for name in ("default", "process")}
    monkeypatch.setattr(AddressThrottle, "allow_request", lambda self, request: False)
    monkeypatch.setattr(AddressThrottle, "wait", lambda self: 7)
    answer = Client().get("/api/v1/challenges")
    assert answer.status_code == 429
    assert answer["Retry-After"] == "7"
    assert answer.json()["error"]["code"] == "limit_reached"


def test_requests_are_counted_by_address(settings):
    settings.CACHES = {name: LOCAL | {"LOCATION": "counting"} for name in ("default", "process")}
    settings.API_THROTTLE = {**settings.API_THROTTLE, "anonymous": "2/m"}
    throttle = AddressThrottle()
    requests = [
        RequestFactory().get("/", REMOTE_ADDR=address) for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2")
    ]
    assert [throttle.allow_request(request) for request in requests] == [True, True, False, True]


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
@pytest.mark.parametrize(
    "address", ["/api/v1/nosuch", "/api/v1/challenges/a/b/c/d", "/api/v2/challenges", "/api/nosuch"]
)
def test_an_address_that_is_no_operation_is_answered_as_the_api_answers(client, db, method, address):
    answer = getattr(client, method)(address)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.json()["error"]["found"] == address
