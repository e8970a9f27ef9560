"""The report of a large test set is short for each case, and is read only where it is shown."""

import ast
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import factories
import people
from assay.testsets.models import TestSet
from assay.testsets.services import TWINS_NAMED, twins_of

pytestmark = pytest.mark.django_db
PLATFORM = Path(__file__).resolve().parents[2] / "platform"


def documents(count, *, images=("a" * 64,)):
    inputs = [{"name": f"i{at}", "key": f"{at}.nii.gz", "sha256": sha256} for at, sha256 in enumerate(images)]
    return [{"case_id": f"c{number}", "inputs": inputs, "references": []} for number in range(count)]


def test_many_cases_with_the_same_image_name_some_of_each_other_and_count_the_rest():
    found = twins_of(documents(500), challenge=people.scene().challenge, name="own")
    assert len(found) == 500
    assert found["c0"].findings == [
        "the same image as c1", "the same image as c2", "the same image as c3", f"the same image as {499 - TWINS_NAMED} more",
    ]  # fmt: skip
    assert sum(len(twins.named) for twins in found.values()) == 500 * TWINS_NAMED


def test_few_are_all_named_and_a_case_is_no_twin_of_itself():
    challenge = people.scene().challenge
    assert twins_of(documents(2), challenge=challenge, name="own")["c1"].findings == ["the same image as c0"]
    assert twins_of(documents(1, images=("a" * 64, "a" * 64)), challenge=challenge, name="own") == {}
    both = twins_of(documents(2, images=("a" * 64, "b" * 64)), challenge=challenge, name="own")
    assert both["c0"].count == 2


def test_a_test_set_comes_without_its_report_until_it_is_asked_for():
    phase = factories.with_testset(factories.phase(challenge=factories.challenge()))
    TestSet.objects.update(report={"cases": []})
    with CaptureQueriesContext(connection) as queries:
        testset = TestSet.objects.get()
        assert type(phase).objects.get(pk=phase.pk).chosen_testset.testset == testset
    assert not [query["sql"] for query in queries if '"report"' in query["sql"]]
    assert testset.report == {"cases": []}


def test_no_join_reads_reports_along():
    """A join does not ask the manager: each says for itself that it leaves the report out."""
    missing = []
    for path in sorted(PLATFORM.rglob("*.py")):
        source = path.read_text()
        for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
            text = ast.get_source_segment(source, function) or ""
            missing += [
                f"{path.name}: {function.name}: {name.value}"
                for call in ast.walk(function)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "select_related"
                for name in call.args
                if isinstance(name, ast.Constant) and str(name.value).split("__")[-1] == "testset"
                and f"{name.value}__report" not in text and ".only(" not in text
            ]  # fmt: skip
    assert missing == []
