"""Cells of tables that people open in a spreadsheet: no text of a stranger becomes a formula there.

A spreadsheet runs a cell that starts with `=`, `+`, `-` or `@`, and some drop a leading tab or line break first. An apostrophe in
front makes it text. Numbers such as -0.5 stay numbers. Tables that only programs read (inputs and outputs of an algorithm, answers)
are written as they are: there an apostrophe would change the answer.
"""

import re
from collections.abc import Iterable

__all__ = ["as_written", "harmless", "harmless_row"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def harmless(value: object) -> object:
    """The cell, with a leading apostrophe where a spreadsheet would take it for a formula. Only text is ever changed."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def harmless_row(values: Iterable[object]) -> list[object]:
    """A whole line of such cells. Nothing where there is no value."""
    return ["" if value is None else harmless(value) for value in values]


def as_written(cell: str) -> str:
    """The text that `harmless` was given: what one command wrote, another one reads."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
