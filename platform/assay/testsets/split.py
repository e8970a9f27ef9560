"""Which cases of a test set are public in a phase that shows its board on a part of them.

The organizers may say it themselves: an attribute `split` of the cases, with the values `public` and `private`. Else the cases are
taken in an order that their names and the test set's hash decide, so that everybody who has the test set finds the same part, and
nobody who has not.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from assay.testsets.models import TestSet

ATTRIBUTE = "split"


def public_cases(
    *, testset_sha256: str, cases: Sequence[tuple[str, Mapping[str, Any]]], percent: int
) -> frozenset[str]:
    """The public ones of (case_id, attributes). At least one, and of two or more never all.

    >>> sorted(public_cases(testset_sha256="", cases=[("a", {"split": "public"}), ("b", {"split": "private"})], percent=90))
    ['a']
    """
    marked = {case_id: attributes.get(ATTRIBUTE) for case_id, attributes in cases}
    if set(marked.values()) == {"public", "private"}:
        return frozenset(case_id for case_id, mark in marked.items() if mark == "public")
    shuffled = sorted(marked, key=lambda case_id: hashlib.sha256(f"{testset_sha256}/{case_id}".encode()).digest())
    wanted = -(-len(shuffled) * percent // 100)
    return frozenset(shuffled[: max(1, min(wanted, len(shuffled) - 1))])


def public_cases_of(testset: TestSet, *, percent: int) -> frozenset[str]:
    """The same, of a stored test set. One query."""
    cases = list(testset.cases.values_list("case_id", "attributes"))
    return public_cases(testset_sha256=testset.sha256, cases=cases, percent=percent)
