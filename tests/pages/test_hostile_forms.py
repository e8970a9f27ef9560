"""Every form's fields with values that no browser sends: pages refuse them, they never break."""

import pytest
from django.test import Client

LONG = "a" * 5000
VALUES = ("", "²", "9" * 30, "-1", LONG, "\u202ea", "1e400", "0001-01-01T00:00:00+14:00", "0x" + "f" * 40)
FORMS = {
    "/signup/": ("username", "email", "password", "display_name"),
    "/login/": ("username", "password", "next"),
    "/account/": ("display_name", "name", "days"),
    "/teams/": ("name", "institution"),
    "/c/brains/join/": ("team",),
    "/c/brains/p/final/submit/": ("upload_id", "name", "description", "url", "team"),
    "/organize/": ("source", "slug", "title", "example"),
    "/c/brains/manage/document/": ("source", "base"),
    "/c/brains/manage/p/final/": ("action", "until", "testset"),
    "/c/brains/manage/testsets/": ("name", "upload_id", "phases"),
    "/c/brains/manage/submissions/": ("chosen", "action", "act"),
    "/c/brains/manage/people/": ("action", "username", "status", "reason"),
    "/c/brains/manage/sites/": ("name", "title", "phase"),
    "/ops/": ("kind", "key", "act", "node", "status", "reason"),
    "/theme/": ("theme", "next"),
}
ADDRESSES = (
    "/?q={}&page={}", "/submissions/?page={}&before={}", "/c/brains/manage/audit/?before={}", "/c/brains/manage/submissions/?page={}",
    "/c/brains/p/final/leaderboard/?page={}&sort={}&q={}", "/c/brains/p/final/compare/?s={}&s=1",
)  # fmt: skip


@pytest.fixture
def as_stan(scene) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(scene.stan)
    return client


@pytest.mark.parametrize("address", FORMS)
def test_no_value_of_a_form_breaks_its_page(as_stan, scene, address):
    good = {"phase": "final", "name": "x", "title": "X"}
    for field in FORMS[address]:
        for value in VALUES:
            as_stan.force_login(scene.stan)
            answer = as_stan.post(address, good | {field: value})
            assert answer.status_code < 500, (field, value[:40])


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_value_in_an_address_breaks_its_page(as_stan, address):
    for value in VALUES:
        answer = as_stan.get(address.replace("{}", value))
        assert answer.status_code < 500, value[:40]
