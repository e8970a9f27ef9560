"""The table of attacks is made from the tests and says so truthfully."""

import pytest

from catalogue import (
    BEGIN,
    END,
    GROUPS,
    PAGE,
    REPOSITORY,
    Row,
    missing_items,
    read_rows,
    table,
    with_table,
)

MARKED = """
import pytest
GUARD = "a fence"
@pytest.mark.catalogue(66, attack="link | loop", verdict="invalid", guard=GUARD)
def test_a(): ...
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.catalogue(67, attack="b", verdict="c", guard="d"))])
def test_b(x): ...
"""
PROGRAM = """
items = [31, 57]
attack = "eats"
guard = "memory_limit"
verdict = "out_of_memory"
reason = "memory_limit"
"""


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "test_marked.py").write_text(MARKED)
    (tmp_path / "hog").mkdir()
    (tmp_path / "hog" / "expect.toml").write_text(PROGRAM)
    return read_rows(tests=tmp_path)


def test_markers_and_programs_become_rows_in_the_order_of_the_catalogue(rows):
    assert [row.item for row in rows] == [31, 57, 66, 67]
    assert rows[0] == Row(
        item=31, attack="eats", verdict="out_of_memory (memory_limit)", guard="memory limit", shown_by="hog"
    )
    assert (rows[2].guard, rows[2].shown_by) == ("a fence", "test_marked.py")


def test_an_item_without_a_test_is_named(rows):
    missing = missing_items(rows)
    assert len(missing) == 97 - 4
    assert {31, 57, 66, 67}.isdisjoint(missing)
    assert [item for items in GROUPS.values() for item in items] == list(range(1, 98))


def test_the_table_goes_between_its_marks_and_nowhere_else(rows):
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    fresh = with_table(text=text, rows=rows)
    assert fresh.startswith("before\n")
    assert fresh.endswith("\nafter\n")
    assert "old" not in fresh
    assert "| 66 | link \\| loop | invalid | a fence | `test_marked.py` |" in fresh
    assert with_table(text=fresh, rows=rows) == fresh
    assert table(rows).count("\n| ") == 4 + len(GROUPS)
    with pytest.raises(ValueError, match="no place"):
        with_table(text="nothing", rows=rows)


def test_every_item_has_a_row_and_the_table_is_the_one_the_tests_give():
    rows = read_rows(tests=REPOSITORY / "tests")
    text = PAGE.read_text(encoding="utf-8")
    assert missing_items(rows) == []
    assert with_table(text=text, rows=rows) == text, "run: make catalogue"
