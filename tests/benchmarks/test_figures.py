"""Figures go where their marks are, and say when they miss their bar."""

import pytest

from benchmarks.figures import README, beside_bar, keep

BEGIN, END = "<!-- written by tests/benchmarks/pages.py --write -->", "<!-- pages ends -->"


def test_new_figures_take_the_place_of_the_old_ones(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    for _ in range(2):
        keep(["| a |", "| b |"], program="pages", readme=page)
    assert page.read_text() == f"before\n\n{BEGIN}\n\n| a |\n| b |\n\n{END}\n\nafter\n"


def test_without_a_place_nothing_is_written(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nafter")
    with pytest.raises(SystemExit, match=r"found no place for the figures in .*, expected the lines"):
        keep(["| a |"], program="pages", readme=page)
    assert page.read_text() == f"before\n{BEGIN}\nafter"


def test_every_benchmark_of_the_server_has_its_place():
    text = README.read_text()
    for program in ("pages", "claims", "latency"):
        assert text.count(f"<!-- written by tests/benchmarks/{program}.py --write -->") == 1
        assert text.count(f"<!-- {program} ends -->") == 1


def test_a_figure_that_misses_its_bar_is_bold():
    assert (beside_bar(99.6, bar=100), beside_bar(101, bar=100)) == ("100", "**101**")
    assert (beside_bar(149, bar=150, is_least=True), beside_bar(151, bar=150, is_least=True)) == ("**149**", "151")
