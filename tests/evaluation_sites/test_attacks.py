"""The table of attacks in the room's README is today's, and every test that it stands on exists."""

import importlib.util
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from assay.node.site_data import DATA, SECRET
from assay.node.site_home import KEY, NETWORK_VARIABLES, SETTINGS
from assay.node.site_signing import AGREEMENT

TESTS = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("site_attacks", Path(__file__).with_name("attacks.py"))
attacks = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = attacks  # dataclasses look their module up
SPEC.loader.exec_module(attacks)


def test_the_readme_has_the_table_of_today():
    text = attacks.README.read_text(encoding="utf-8")
    assert attacks.with_table(text) == text, "run python tests/evaluation_sites/attacks.py"


def test_each_attack_has_one_letter_and_tests():
    assert [row.name for row in attacks.ATTACKS] == list("abcdefghijklmnopq")
    assert all(row.tests for row in attacks.ATTACKS)


@pytest.mark.parametrize("test", sorted({test for row in attacks.ATTACKS for test in row.tests}))
def test_every_test_that_the_table_names_exists(test):
    file, _, name = test.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8")


def test_the_page_for_it_shows_the_unit_and_the_findings_that_the_code_has():
    page = (TESTS.parent / "docs" / "hospitals" / "it.md").read_text(encoding="utf-8")
    unit = files("assay.node").joinpath("assay-site.service").read_text(encoding="utf-8")
    service = unit[unit.index("[Service]") : unit.index("[Install]")].strip()
    assert service in page
    for name in (*NETWORK_VARIABLES, SETTINGS, KEY, DATA, SECRET, AGREEMENT):
        assert name.upper() in page.upper()
