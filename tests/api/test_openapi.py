"""The committed description of the API is the API."""

import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from django.test import Client
from pydantic import BaseModel

from assay.api import v1
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


def test_no_two_documents_have_one_name():
    """The description has one place per name: the second document would be described as the first one is."""
    modules = [importlib.import_module(f"assay.api.v1.{found.name}") for found in pkgutil.iter_modules(v1.__path__)]
    documents = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    own = Counter(kind.__name__ for kind in documents if kind.__module__.startswith(v1.__name__))
    assert own.total() > 100
    assert [name for name, times in own.items() if times > 1] == []


def shape_of(schema: dict, schemas: dict) -> dict:
    """The schema itself where another is named."""
    named = schema.get("$ref", "").rpartition("/")[2]
    return schemas[named] if named else schema


def test_no_operation_answers_without_a_schema():
    """A generated client could do nothing with it: neither with no schema, nor with an object of which nothing is said."""
    description = api.get_openapi_schema()
    schemas, loose = description["components"]["schemas"], set()
    for path in description["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                bodies = [shape_of(body.get("schema", {}), schemas) for body in answer.get("content", {}).values()]
                is_empty = not bodies and not (str(status) == "204" or "headers" in answer)
                if is_empty or any(
                    not body or (body.get("type") == "object" and not body.get("properties")) for body in bodies
                ):
                    loose.add((operation["operationId"], status))
    assert loose == set()


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
