"""The committed description of the API is the API."""

from pathlib import Path

from assay.api.openapi import description

COMMITTED = Path(__file__).with_name("openapi.json")


def test_openapi_json_is_up_to_date():
    assert COMMITTED.read_text() == description(), "the API changed: `make openapi` and look at the diff"
