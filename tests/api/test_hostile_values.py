"""Every field that the API describes, with values nobody should send, as everybody who may send them.

The rule: no value is answered by a server error, and no refusal leaves a trace in the database. The fields are read from
`openapi.json`, so that a new field is tried without a new test. Each field gets a sample of the values, drawn with a fixed seed.
`ASSAY_HOSTILE=all` tries every value as every role.
"""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

import factories
from assay.accounts.tokens import issue_token
from assay.evaluation_sites.services import enrol_site, register_dataset
from assay.evaluation_sites.work import claim_evaluation
from assay.runs import leases
from assay.runs.nodes import enrol_node
from assay.runs.services import create_run

DESCRIPTION = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
PREFIX = "/api/v1"
ROLES = ("outsider", "participant", "organizer", "operator", "node", "site")
TRIES_ALL = os.environ.get("ASSAY_HOSTILE") == "all"
SAMPLE = 1
"""Values per field and role, unless all are tried. `ALWAYS` comes on top."""
ALWAYS = {"path": ["a%00b"], "query": ["%00", "9" * 20, "%C2%B2"], "header": ["²"], "body": []}

TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\u202etxt", "\ufeff", "e\u0301" * 40, "²", "٣", "½", "Ⅷ",
    "9" * 20, "-" + "9" * 20, "9" * 5000, "0x" + "f" * 32, "190:20:30", "1_000", "1e400", "NaN", "null", "true", "-1",
    "a" * 151, "a" * 300, "a" * 70_000, "../../etc/passwd", "%00", "%s%(x)s{0.a}", "a,b;c\r\nd: e", "*", "[", "'\"<&>",
    "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-02-30", "00000000-0000-0000-0000-000000000000",
    "slug: &a [*a]", "? [a]\n: b", "!!python/object:os.system x",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**15, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**20, -(10**20), 10**4000,
    0.5, -0.0, 1e-320, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), True, False,
)  # fmt: skip
DEEP: Any = "x"
for _ in range(70):
    DEEP = [DEEP]
SHAPES: tuple[Any, ...] = (
    None, [], {}, [[]], [None], [1, "a", {}], {"a": 1}, {"": ""}, {"\0": 1}, {"a": {"b": [{"c": 1e300}]}}, DEEP,
    ["x"] * 5000, [{}] * 1001, {str(n): n for n in range(2000)}, {"a" * 5000: "x"}, {"wall_seconds": 1e300},
    {"wall_seconds": "long"}, {"memory_curve": {"seconds": [1], "values": []}}, {"failed_cases": [1]}, {"failed_cases": {"a": 1}},
)  # fmt: skip
VALUES = (*TEXTS, *NUMBERS, *SHAPES)
IN_ADDRESSES = (
    *(text for text in TEXTS if not any("\ud800" <= sign <= "\udfff" for sign in text)),
    *(str(number) for number in NUMBERS),
)
RAW_IN_ADDRESSES = ("%00", "%FF", "%ED%A0%80", "%E2%80%AE", "%C2%B2", "%", "%zz")
HEADERS = {
    "POST /api/v1/uploads": ("Upload-Length", "Upload-Metadata"),
    "PATCH /api/v1/uploads/{upload_id}": ("Upload-Offset", "Upload-Checksum", "Content-Type", "Content-Length"),
    "GET /api/v1/node/files/{signed}": ("Range",),
    "GET /api/v1/challenges/{slug}/testsets/{name}/{version}/archive": ("Range",),
    "GET /api/v1/me": ("Authorization", "Accept-Language", "X-Forwarded-For", "Cookie"),
}
"""Headers that operations read. The description does not name them."""
GOOD_HEADERS = {
    "Upload-Length": "10",
    "Upload-Metadata": "filename YS50YXI=,purpose aW1hZ2U=",
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
MAY_KEEP_A_NOTE = (401, 429)
"""A failed sign-in and a limit that was reached are counted. See `api/transactions.py`."""
NOTES_OF_PRESENCE = ("accounts_apitoken", "django_session")
"""When a token was last used is no part of what was asked."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value that somebody outside chooses."""

    operation: str
    place: str
    """path, query, body or header."""
    name: str

    def __str__(self) -> str:
        return f"{self.operation} {self.place}:{self.name}"


def fields() -> Iterator[Field]:
    """Every parameter and every field of a body, the whole body, and the headers of `HEADERS`."""
    for operation, described in operations().items():
        for parameter in described.get("parameters", ()):
            yield Field(operation=operation, place=parameter["in"], name=parameter["name"])
        body = body_of(described)
        if body is not None:
            yield Field(operation=operation, place="body", name="")
            for name in body.get("properties", {}):
                yield Field(operation=operation, place="body", name=name)
        for name in HEADERS.get(operation, ()):
            yield Field(operation=operation, place="header", name=name)


@cache
def operations() -> dict[str, dict[str, Any]]:
    """Every operation of the description by its method and address."""
    return {
        f"{method.upper()} {path}": described
        for path, methods in DESCRIPTION["paths"].items()
        for method, described in methods.items()
    }


def body_of(described: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the operation's JSON body."""
    content = described.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else resolved(content["schema"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself where it only names one."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return DESCRIPTION["components"]["schemas"][name] if name else schema


def roles_of(operation: str) -> tuple[str, ...]:
    """Who is worth trying: at the doors of nodes and sites only they get past the token."""
    path = operation.partition(" ")[2]
    for role in ("node", "site"):
        if path.startswith(f"{PREFIX}/{role}/"):
            return (role, "outsider") if TRIES_ALL else (role,)
    return ROLES if TRIES_ALL else ROLES[:4]


class Door:
    """Sends one request in a transaction that is rolled back, whatever came of it."""

    def __init__(self, *, tokens: dict[str, str], known: dict[str, Any]) -> None:
        self.client = Client(raise_request_exception=False)
        self.tokens, self.known = tokens, known
        self.asked = 0

    def try_value(self, field: Field, value: Any, *, role: str) -> str:
        """What is wrong with the answer. Nothing when it is as it should be."""
        with transaction.atomic():
            before = state()
            answer = self.send(field, value, role=role)
            self.asked += 1
            problem = ""
            if answer.status_code >= 500 and answer.status_code != 507:
                problem = f"answered {answer.status_code}"
            elif answer.status_code >= 400 and answer.status_code not in MAY_KEEP_A_NOTE and state() != before:
                problem = f"refused with {answer.status_code}, but written"
            if answer.streaming:
                answer.close()
            transaction.set_rollback(True)
        return f"{problem}: {field} as {role} with {ascii(value)[:120]}" if problem else ""

    def send(self, field: Field, value: Any, *, role: str) -> Any:
        method, _, template = field.operation.partition(" ")
        described = operations()[field.operation]
        path, query = template, []
        for parameter in described.get("parameters", ()):
            name = parameter["name"]
            is_tried = (field.place, field.name) == (parameter["in"], name)
            if is_tried:
                text = value
            elif name in self.known:
                text = quote(str(self.known[name]), safe="")
            else:
                continue
            if parameter["in"] == "path":
                path = path.replace("{" + name + "}", text)
            else:
                query.append(f"{name}={text}")
        headers = {name: GOOD_HEADERS[name] for name in HEADERS.get(field.operation, ()) if name in GOOD_HEADERS}
        headers["Authorization"] = f"Bearer {self.tokens[role]}"
        if field.place == "header":
            headers[field.name] = value
        kind = headers.pop("Content-Type", "application/json")
        schema = body_of(described)
        data = b"" if schema is None else json_text(self.document(schema, field, value))
        return self.client.generic(
            method, path + ("?" + "&".join(query) if query else ""), data, content_type=kind, headers=headers
        )

    def document(self, schema: dict[str, Any], field: Field, value: Any) -> Any:
        """A body that would pass, but for the one value."""
        if field.place == "body" and not field.name:
            return value
        body = {name: self.good(name, inner) for name, inner in schema.get("properties", {}).items()}
        body = {name: inner for name, inner in body.items() if inner is not None}
        return body | {field.name: value} if field.place == "body" else body

    def good(self, name: str, schema: dict[str, Any]) -> Any:
        """A value that the field takes, or None to leave it out."""
        if name in self.known:
            return self.known[name]
        schema = resolved(schema)
        if "default" in schema or "anyOf" in schema:
            return None
        if "enum" in schema:
            return schema["enum"][0]
        kinds = {"string": "x" * max(3, schema.get("minLength", 0)), "integer": 1, "number": 1.0, "boolean": False}
        return kinds.get(schema.get("type", ""), [] if schema.get("type") == "array" else {})


def json_text(value: Any) -> bytes:
    """JSON as Python writes it, with the infinities as numbers that are too large."""
    return json.dumps(value).replace("Infinity", "1e400").encode()


def in_address(value: Any) -> str:
    return quote(value, safe="")


def state() -> list[tuple[Any, ...]]:
    """How many rows each table has and who wrote the newest: any change that is still visible changes it."""
    tables = sorted({model._meta.db_table for model in apps.get_models()} - set(NOTES_OF_PRESENCE))
    parts = [f"SELECT {place}, count(*), max(xmin::text::bigint) FROM {table}" for place, table in enumerate(tables)]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        return sorted(cursor.fetchall())


def values_for(field: Field, *, role: str) -> list[Any]:
    """The values to try, already written as the place wants them."""
    values: list[Any] = list(VALUES)
    if field.place in ("path", "query"):
        values = [*map(in_address, IN_ADDRESSES), *RAW_IN_ADDRESSES]
        if field.place == "path":
            values = [value for value in values if value]
    elif field.place == "header":
        values = [text for text in (*TEXTS, *map(str, NUMBERS)) if text.isascii() or text in ("²", "½")]
        values = [text.replace("\r", "").replace("\n", "") for text in values]
    if TRIES_ALL:
        return values
    return ALWAYS[field.place] + random.Random(f"{field} {role}").sample(values, k=SAMPLE)


@pytest.fixture
def door(scene, now) -> Door:
    """Everybody with a token, and names that exist, so that requests come as far as they can."""
    moment = timezone.now()
    scene.phase.opens_at, scene.phase.closes_at = moment.replace(year=2000), moment.replace(year=2100)
    scene.phase.concurrent_limit = 50
    scene.phase.save()
    done = factories.submission(phase=scene.phase, team=scene.team, status="done")
    queued = factories.submission(phase=scene.phase, team=scene.team, status="queued")
    create_run(submission=queued, now=now, shuffle=random.Random(0))
    node, node_token = enrol_node(name="gpu-0", pool=scene.phase.pool, slots=4, by=None, now=now)
    lease = leases.claim_case_run(node_id=node.pk, pool=scene.phase.pool, lease_seconds=3600)
    site, site_token = enrol_site(phase=scene.phase, name="hospital", title="H", by=scene.olga, now=now)
    root = factories.digest("data")
    dataset = register_dataset(site=site, root_sha256=root, case_count=20, summary={}, now=now)
    evaluation = claim_evaluation(site=site, dataset=dataset, now=now)
    assert lease is not None
    assert evaluation is not None
    people = {
        "outsider": scene.otto, "participant": scene.pia, "organizer": scene.olga, "operator": scene.stan
    }  # fmt: skip
    tokens = {role: issue_token(user=user, name="t", days=1, now=moment)[1] for role, user in people.items()}
    factories.testset(challenge=scene.challenge, name="training", case_ids=[], is_public=True)
    return Door(
        tokens={**tokens, "node": node_token, "site": site_token},
        known={
            "slug": "brains", "phase": "final", "username": "pia", "case": "a", "snapshot": 1, "version": 1,
            "submission_id": str(done.pk), "submission_ids": [str(queued.pk)], "token_id": str(done.pk),
            "upload_id": str(factories.upload(user=scene.pia).pk), "case_run_id": str(lease.case_run_id), "fence": lease.fence,
            "number": 0, "evaluation_id": str(evaluation.pk), "root_sha256": root, "team": scene.team.slug,
            "signed": "x", "email": "a@example.org", "source_url": "https://example.org/t", "layout": "kits",
            "verdict": "out_of_memory", "files": {"evaluation.csv": "caseID,Dice_core,Dice_rim\na,1,1\nb,1,1\n"},
        },
    )  # fmt: skip


def test_no_value_of_any_field_is_a_server_error_and_no_refusal_commits(door):
    found = [
        problem
        for field in fields()
        for role in roles_of(field.operation)
        for value in values_for(field, role=role)
        if (problem := door.try_value(field, value, role=role))
    ]
    assert not found, f"{len(found)} of {door.asked} requests:\n" + "\n".join(found[:200])
    assert door.asked > 1500
