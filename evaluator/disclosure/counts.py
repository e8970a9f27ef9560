"""The part of the rule that can be checked from a release alone: no count and no remainder under the smallest group."""

from collections.abc import Mapping
from typing import Any

from evaluator.disclosure.release import SMALLEST_GROUP, SPREAD_GROUP


class CountProblem(Exception):
    """A release that would let out a number about too few patients."""

    def __init__(self, where: str, *, found: str, expected: str) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}")
        self.where = where
        self.found = found
        self.expected = expected


def check_counts(numbers: Mapping[str, Any], *, where: str, smallest: int = SMALLEST_GROUP) -> None:
    """Check one metric of a release. Raises `CountProblem` naming the first number that may not be there."""
    _check_cell(numbers, where=where, smallest=smallest)
    for name, groups in numbers.items():
        if not name.startswith("per_"):
            continue
        for group, cell in groups.items():
            _check_cell(cell, where=f"{where}.{name}.{group}", smallest=smallest)
        counts = [cell["n"] for cell in groups.values()]
        if name == "per_label" or numbers["n"] is None or None in counts:
            continue
        hidden = numbers["n"] - sum(counts)
        if hidden < 0 or 0 < hidden < smallest:
            raise CountProblem(
                f"{where}.{name}",
                found=f"{hidden} cases outside the groups shown",
                expected=f"none, or at least {smallest}",
            )


def _check_cell(cell: Mapping[str, Any], *, where: str, smallest: int) -> None:
    count = cell.get("n")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < smallest):
        raise CountProblem(f"{where}.n", found=repr(count)[:40], expected=f"null, or a count of at least {smallest}")
    if cell.get("sd") is not None and (count is None or count < SPREAD_GROUP):
        raise CountProblem(f"{where}.sd", found="a spread", expected=f"a spread of at least {SPREAD_GROUP} cases")
