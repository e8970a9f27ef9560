"""A test has one clock: either dates it was given, or the machine's. Both together pass only until the date has gone by."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
READS_CLOCK = {"timezone.now", "datetime.now", "datetime.utcnow", "date.today", "time.time"}


def dates_and_clocks(tree: ast.AST) -> tuple[list[int], list[int]]:
    """The lines with `datetime(20…)` or `date(20…)`, and those that read the machine's clock."""
    dates, clocks = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            year = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if (
                name in ("datetime", "date", "datetime.datetime", "datetime.date")
                and isinstance(year, int)
                and year > 2000
            ):
                dates.append(node.lineno)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in READS_CLOCK | {"factories.NOW"}:
            clocks.append(node.lineno)
    return dates, clocks


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_mixes_fixed_dates_with_the_clock(path):
    dates, clocks = dates_and_clocks(ast.parse(path.read_text()))
    assert not (dates and clocks), f"fixed dates in lines {dates}, the machine's clock in lines {clocks}"


def test_a_mixture_is_found():
    source = "NOW = datetime(2026, 11, 21)\ndef test(): reap(now=timezone.now())\n"
    assert dates_and_clocks(ast.parse(source)) == ([1], [2])
