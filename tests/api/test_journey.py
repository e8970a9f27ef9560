"""From an empty installation to a submission in the queue, through the public API alone."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

import factories
import testset_folders as folders


class Person:
    """Somebody with a browser-less connection."""

    def __init__(self, name: str) -> None:
        self.client, self.name = Client(), name
        account = {
            "username": name,
            "email": f"{name}@example.org",
            "password": f"{name} likes brains",
            "display_name": name.title(),
        }
        assert self.call("POST", "/users", account).status_code == 201
        token = self.call("POST", "/tokens", {"username": name, "password": f"{name} likes brains"}).json()["token"]
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def call(self, method: str, path: str, body=None, **more):
        data = {} if body is None else {"data": body, "content_type": "application/json"}
        return getattr(self.client, method.lower())(f"/api/v1{path}", **data, **more)

    def upload(self, content: bytes, *, purpose: str) -> str:
        headers = {"Upload-Length": str(len(content)), "Upload-Metadata": f"purpose {folders.base64_of(purpose)}"}
        path = self.call("POST", "/uploads", headers=headers)["Location"]
        answer = self.client.patch(
            path, data=content, content_type="application/offset+octet-stream", headers={"Upload-Offset": "0"}
        )
        assert answer.status_code == 204, answer.content
        return path.rsplit("/", 1)[1]


@pytest.fixture
def source() -> str:
    now = timezone.now()
    return f"""
slug: brains
title: Brains
protocol: {factories.PROTOCOL_TEXT}
phases:
  - slug: final
    opens_at: "{(now - timedelta(days=1)).isoformat()}"
    closes_at: "{(now + timedelta(days=1)).isoformat()}"
    submission_limit: 2
    testset: hidden
"""


@pytest.mark.django_db
def test_two_people_get_from_nothing_to_a_queued_submission(source, tmp_path):
    olga, pia = Person("olga"), Person("pia")
    pushed = olga.call("PUT", "/challenges/brains", {"source": source}).json()
    first, second = (change["text"] for change in pushed["changes"])
    assert first == "challenge: new: brains"
    assert re.fullmatch(r"phases\.final: new \(opens \S+ \S+ UTC, closes \S+ \S+ UTC\)", second)
    assert pia.call("GET", "/challenges/brains").status_code == 404, "a draft is nobody else's business"

    upload_id = olga.upload(folders.packed(folders.good_folder(tmp_path)), purpose="testset")
    testset = olga.call("POST", "/challenges/brains/testsets", {"name": "hidden", "upload_id": upload_id})
    assert testset.status_code == 201, testset.content
    assert (testset.json()["case_count"], testset.json()["phases"]) == (2, ["final"])
    assert olga.call("POST", "/challenges/brains/publish").json()["status"] == "published"

    phase = pia.call("GET", "/challenges/brains/phases/final").json()
    assert phase["eligibility"]["text"] == "no: you have not joined this challenge"
    assert phase["testset"]["case_count"] == 2
    joined = pia.call("POST", "/challenges/brains/join", {}).json()
    assert joined["status"] == "accepted"
    phase = pia.call("GET", "/challenges/brains/phases/final").json()
    assert phase["eligibility"]["text"] == "yes, 2 of 2 left today"

    upload_id = pia.upload(b"an image archive, once it is checked", purpose="image")
    answer = pia.call(
        "POST", "/challenges/brains/phases/final/submissions", {"upload_id": upload_id, "name": "Threshold"}
    )
    assert answer.status_code == 201, answer.content
    submission = answer.json()
    assert (submission["number"], submission["status"], submission["team"]) == (1, "received", "Pia")
    assert [step["state"] for step in submission["stepper"]] == ["current", *["ahead"] * 5]

    page = pia.call("GET", "/submissions?challenge=brains&mine=true").json()
    assert (page["count"], page["items"][0]["id"]) == (1, submission["id"])
    assert olga.call("GET", f"/submissions/{submission['id']}").status_code == 200
    again = pia.call("POST", "/challenges/brains/phases/final/submissions", {"upload_id": upload_id}).json()["error"]
    assert again["code"] == "cannot_submit"
    assert again["message"] == "Your team has 1 submission under way, 1 may be at once."
    cancelled = pia.call("POST", f"/submissions/{submission['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert pia.call("POST", f"/submissions/{submission['id']}/cancel").status_code == 409


@pytest.mark.django_db
def test_a_dry_run_of_a_bad_file_names_the_line(source):
    olga = Person("olga")
    bad = source.replace("submission_limit: 2", "submission_limit: two")
    error = olga.call("PUT", "/challenges/brains", {"source": bad, "dry_run": True}).json()["error"]
    assert (error["line"], error["found"]) == (9, "two")
