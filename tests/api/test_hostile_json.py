"""Catalogue item 83: a JSON body that some readers accept and others choke on is refused at the door, with a reason."""

import pytest

from assay.api.parsing import MAX_DEPTH

HOSTILE = {
    "NaN": (b'{"name": NaN}', "NaN"),
    "infinity": (b'{"name": -Infinity}', "-Infinity"),
    "a number beyond floating point": (b'{"name": 1e999}', "1e999"),
    "a million digits": (b'{"name": ' + b"9" * 1_000_000 + b"}", "4300"),
    "the same key twice": (b'{"name": "a", "name": "b"}', "twice"),
    "200 000 brackets": (b"[" * 200_000, "nesting"),
    "one level too deep": (b'{"name": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", "nesting"),
    "NUL in a text": (b'{"name": "a\\u0000b"}', "NUL"),
    "NUL in a key": (b'{"na\\u0000me": "a"}', "NUL"),
    "half a surrogate pair": (b'{"name": "\\ud800"}', "surrogates"),
    "not UTF-8": (b'{"name": "\xff"}', "utf-8"),
    "not JSON": (b"name=x", "Expecting value"),
}


@pytest.mark.catalogue(
    83,
    attack="JSON with NaN, 1e999, duplicate keys, 200 000 brackets, a million digits",
    verdict="422",
    guard="one strict parser for every body",
)
@pytest.mark.parametrize("body", HOSTILE)
def test_a_body_that_is_no_honest_json_is_refused_with_what_was_found(body, as_pia):
    raw, found = HOSTILE[body]
    answer = as_pia.client.post("/api/v1/teams", data=raw, content_type="application/json", headers=as_pia.headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["whose_fault"]) == (422, "invalid", "participant")
    assert found in error["found"]


def test_an_honest_body_passes(as_pia):
    assert as_pia("POST", "/teams", {"name": "Tea 日本 🍵"}).status_code == 201
