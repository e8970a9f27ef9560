"""The organizers' code run again, where it has been fetched: the golden numbers are what it answers."""

import json

import pytest

from published.run import GOLDEN, answers_of, what_is_missing
from published.scripts import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_published_code_answers_what_the_golden_numbers_say(name):
    missing = what_is_missing(name)
    if missing:
        pytest.skip(missing)
    assert answers_of(name) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_each_published_code_has_golden_numbers_and_each_file_of_numbers_its_code():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(NAMES)
