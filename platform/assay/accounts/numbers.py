"""Whole numbers that arrive as text, in headers and addresses."""

LONGEST = 18
"""Digits: every number of that many fits into a column of 64 bits."""


def whole_number(text: str) -> int | None:
    """The count that `text` writes in ASCII digits, or None.

    `str.isdigit()` alone is no such check: it takes `²`, which `int` refuses, and digits of other scripts.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST else None
