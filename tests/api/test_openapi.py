"""The committed description of the API is the API."""

from pathlib import Path

import jsonschema
import pytest
from django.test import Client

from assay.api.openapi import description
from assay.api.reference import REFUSAL
from assay.api.v1.router import api

COMMITTED = Path(__file__).with_name("openapi.json")


def test_openapi_json_is_up_to_date():
    assert COMMITTED.read_text() == description(), "the API changed: `make openapi` and look at the diff"


def test_every_operation_says_how_it_refuses_and_has_a_short_name_of_its_own():
    paths = api.get_openapi_schema()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 48
    for operation in operations:
        refused = {status: answer for status, answer in operation["responses"].items() if str(status).startswith("4")}
        assert {401, 426, 429} <= set(refused)
        for answer in refused.values():
            assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}


@pytest.mark.parametrize(
    ("method", "address", "body", "status"),
    [
        ("get", "/api/v1/me", None, 401),
        ("get", "/api/v1/challenges/nowhere", None, 404),
        ("post", "/api/v1/users", {}, 422),
        ("post", "/api/v1/challenges/nowhere/join", {}, 401),
    ],
)
def test_a_refusal_has_the_form_that_is_described(db, method, address, body, status):
    answer = getattr(Client(), method)(address, data=body, content_type="application/json")
    assert answer.status_code == status
    jsonschema.validate(answer.json(), REFUSAL)


def test_the_example_of_a_refusal_is_one():
    jsonschema.validate(REFUSAL["example"], REFUSAL)


def test_an_answer_that_is_a_file_says_which_kind():
    """A generated client writes it to disk as bytes. Without a kind it would be read as nothing."""
    files = {
        (operation["operationId"], kind)
        for path in api.get_openapi_schema()["paths"].values()
        for operation in path.values()
        for kind, content in operation["responses"]
        .get(200, operation["responses"].get("200", {}))
        .get("content", {})
        .items()
        if content.get("schema", {}).get("format") == "binary"
    }
    assert files == {
        ("leaderboards_give_out", "application/zip"),
        ("node_get_file", "application/octet-stream"),
        ("site_bundles_make_bundle", "application/x-tar"),
        ("site_get_file", "application/x-tar"),
        ("submissions_logs", "text/plain"),
        ("testsets_download", "application/x-tar"),
    }
