"""The quick look at a document's form agrees with jsonschema: on every shipped protocol, and on what is wrong with it in many ways."""

import copy
import json
import random

import pytest
from jsonschema import Draft202012Validator

from evaluator.documents import read_document
from evaluator.protocol import PROTOCOLS_FOLDER, named_protocols
from evaluator.protocol.form import has_form
from evaluator.protocol.source import SCHEMA_PATH

SCHEMA = json.loads(SCHEMA_PATH.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
STRANGE = [
    None, True, False, 0, 1, -1, 1.0, 0.5, -0.0, 1e300, float("inf"), float("nan"), 2**70, "", "a", "x" * 300, "none", "auto", "../x",
    "a/../b", "/dev", "sha256:" + "0" * 64, [], [1], [1, 1], [1, 1.0], [True, 1], ["a", "a"], [[]], [{}], {}, {"a": 1}, {"name": "liver"},
    {"values": [1]},
]  # fmt: skip
CHANGES_PER_PROTOCOL = 40


def places_in(document, path=()):
    """The path of every value."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from places_in(value, (*path, key))


def changed(document, chance):
    """A copy with one value replaced, taken away, given twice, or with a stranger beside it."""
    document = copy.deepcopy(document)
    *path, last = chance.choice([path for path in places_in(document) if path])
    around = document
    for step in path:
        around = around[step]
    match chance.randrange(5):
        case 0:
            del around[last]
        case 1 if isinstance(around, dict):
            around[chance.choice(["stranger", "labels", "metrics", "name", "kind", "values"])] = chance.choice(STRANGE)
        case 1 | 2 if isinstance(around, list):
            around.append(around[last])
        case _:
            around[last] = chance.choice(STRANGE)
    return document


@pytest.mark.parametrize("name", named_protocols())
def test_it_says_of_protocols_and_of_their_faults_what_jsonschema_says(name):
    document = read_document((PROTOCOLS_FOLDER / f"{name}.yaml").read_text("utf-8")).value
    assert has_form(document, SCHEMA) is True
    chance, answers = random.Random(name), set()
    for _ in range(CHANGES_PER_PROTOCOL):
        wrong = changed(document, chance)
        answer = has_form(wrong, SCHEMA)
        answers.add(answer)
        assert answer in (None, VALIDATOR.is_valid(wrong)), json.dumps(wrong)
    assert {True, False} <= answers


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"const": True}), (True, {"const": 1}), (1.0, {"const": 1}), (1.0, {"type": "integer"}), (True, {"type": "integer"}),
        (True, {"type": "number"}), (0, {"enum": [False]}), (float("nan"), {"minimum": 0}), (0, {"exclusiveMinimum": 0}),
        ("a", {"minimum": 5}), ([1, 1], {"uniqueItems": True}), ([1, 2], {"uniqueItems": True}), ({"a": 1}, {"additionalProperties": False}),
        ({"a": 1}, {"properties": {"a": {}}, "additionalProperties": False}), (3, {"oneOf": [{"minimum": 1}, {"minimum": 2}]}),
        (1, {"oneOf": [{"minimum": 1}, {"minimum": 2}]}), ("ab\n", {"pattern": "^ab$"}), ("é" * 3, {"maxLength": 3}),
    ],
)  # fmt: skip
def test_it_reads_each_rule_as_the_standard_does(value, schema):
    assert has_form(value, schema) is Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("value", "schema"),
    [(1, {"not": {}}), (1, {"anyOf": [{}]}), ([1, 1.0], {"uniqueItems": True}), ({}, {"const": {}}), (1, {"$ref": "elsewhere.json"})],
)  # fmt: skip
def test_it_does_not_know_what_it_was_not_taught(value, schema):
    assert has_form(value, schema) is None
