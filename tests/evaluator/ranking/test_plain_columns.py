"""Columns found by NumPy hold what the csv module would have found, cell by cell."""

import csv
import gc
import io
import random

import numpy as np
import pytest

from evaluator.ranking import parse_ranking, read_scores
from evaluator.ranking.score_files.plain_columns import plain_columns

CELLS = (
    "a",
    "a ",
    "team 7",
    "exactly8",
    "nine char",
    "längs der Achse",
    "病例一",
    "x" * 63,
    "x" * 64,
    "",
    "0.5",
    "-1e-3",
    "a;b",
)


@pytest.mark.parametrize("seed", range(40))
def test_cells_and_distinct_names_are_those_of_the_csv_module(seed: int) -> None:
    draw = random.Random(seed)
    width, end = draw.randint(1, 4), draw.choice(["\n", "\r\n"])
    cells = [*CELLS, "y" * 65] if seed % 4 == 0 else CELLS
    rows = [["k", *(draw.choice(cells) for _ in range(width))] for _ in range(draw.randint(0, 30))]
    lines = [",".join(row) for row in [["case", *(f"column {place}" for place in range(width))], *rows]]
    text = end.join(lines) + end * draw.randint(0, 2)
    header, columns = plain_columns(text.encode(), ",")  # type: ignore[misc]  # there is nothing odd in it
    expected = list(csv.reader(io.StringIO("\n".join(lines), newline="")))
    assert [list(header), *map(list, zip(*columns, strict=True))] == expected
    for place, column in enumerate(columns):
        names, numbers = column.distinct
        assert [names[number] for number in numbers] == list(column) == [row[place] for row in rows]
        assert names == list(dict.fromkeys(column))
        assert [column[row] for row in range(len(column))] == list(column)


@pytest.mark.parametrize(
    "cells",
    [
        ["a", "b", "c"] * 4,
        ["a", "a", "b", "b"] * 3,
        ["a", "b", "a", "c"] * 3,
        ["a", "b", "c"] * 3 + ["a", "b"],
        ["a", "b", "c"] * 3 + ["a", "b", "d"],
        ["a", "b"] + ["c", "a", "b"] * 3,
        ["a long name, part 1", "a long name, part 2"] * 5,
        ["a"] * 6,
    ],
)
def test_rows_that_come_again_in_the_same_order_keep_their_names(cells: list[str]) -> None:
    text = "case;x\n" + "".join(f"k;{cell}\n" for cell in cells)
    (_, columns) = plain_columns(text.encode(), ";")  # type: ignore[misc]
    names, numbers = columns[1].distinct
    assert names == list(dict.fromkeys(cells))
    assert [names[number] for number in numbers] == cells


@pytest.mark.parametrize(
    "cell", ["0.1", " 7 ", "1e400", "-0.0", "nan", "4.9e-324", "0.30000000000000004", "9007199254740993"]
)
def test_numbers_are_pythons_to_the_last_bit(cell: str) -> None:
    (_, columns) = plain_columns(f"case,x\na,{cell}\nb,{'0' * 70}1\n".encode(), ",")  # type: ignore[misc]
    (_, short) = plain_columns(f"case,x\na,{cell}\n".encode(), ",")  # type: ignore[misc]
    for found in (columns[1].numbers()[:1], short[1].numbers()):
        assert found.view(np.uint64)[0] == np.array([float(cell)]).view(np.uint64)[0]


@pytest.mark.parametrize(
    "text", ['case,x\n"a",1\n', "case,x\na\n", "case,x\n\na,1\n", "case,x\na,1,2\nb\n", "case,\na,1\n", "case\na\n", "c,x\r\ra,1\n", "c,x\n\0,1\n"]
)  # fmt: skip
def test_what_is_odd_is_left_to_the_csv_module(text: str) -> None:
    assert plain_columns(text.encode(), ",") is None


def test_reading_leaves_the_search_for_cycles_alone(tmp_path, monkeypatch) -> None:
    """It belongs to the whole process: other threads of a server would go without it."""
    monkeypatch.setattr(gc, "disable", lambda: pytest.fail("the search for cycles was switched off"))
    for name, quote in (("plain.csv", ""), ("quoted.csv", '"')):
        rows = [f"{quote}{team}{quote},c{case},0.{case}{team}" for team in (1, 2) for case in range(9)]
        (tmp_path / name).write_text("algorithm,case,dice\n" + "\n".join(rows) + "\n")
        assert read_scores(tmp_path / name, parse_ranking({"metrics": ["dice"]})).table.algorithms == ("1", "2")
