"""Which counts may stand beside the means: no combination of counts depends on 1 to `k - 1` patients.

A count is a sum of ones, so the counts follow the same rule as the sums. Patients with the same blocks and the same defined labels form
one kind. A column says, per kind, whether a number counts it. The reader knows the number of all cases, and knows the sizes of shown
groups from other releases, where all cases may have had a value. Both are therefore columns too.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations

import numpy as np

MOST_SMALL_KINDS = 12
"""With more kinds of fewer than `k` patients than this, the counts are withheld without searching."""


class CountAudit:
    """Adds columns one after the other, and refuses those that would single out fewer than `smallest` patients."""

    def __init__(self, marks: Sequence[AbstractSet[Hashable]], *, smallest: int) -> None:
        """`marks[i]` is what is known of case i: the marks that a column may count."""
        kinds = Counter(frozenset(found) for found in marks)
        self._kinds = list(kinds)
        self._sizes = list(kinds.values())
        self._smallest = smallest
        self._columns = [[1.0] * len(self._kinds)]

    def admits(self, columns: Sequence[AbstractSet[Hashable]]) -> bool:
        """Whether these counts may be shown together with those before. They are kept if so. A column counts cases with all its marks."""
        fresh = [[float(wanted <= kind) for kind in self._kinds] for wanted in columns]
        if self._reveals([*self._columns, *fresh]):
            return False
        self._columns += fresh
        return True

    def _reveals(self, columns: Sequence[Sequence[float]]) -> bool:
        matrix = np.array(columns).T
        small = [place for place, size in enumerate(self._sizes) if size < self._smallest]
        if not small:
            return False
        if len(small) > MOST_SMALL_KINDS:
            return True
        rank = np.linalg.matrix_rank(matrix)
        for count in range(1, self._smallest):
            for chosen in combinations(small, count):
                if sum(self._sizes[place] for place in chosen) >= self._smallest:
                    continue
                rest = np.delete(matrix, chosen, axis=0)
                if (np.linalg.matrix_rank(rest) if len(rest) else 0) < rank:
                    return True
        return False


def hide_unsafe_counts(
    numbers: dict[str, object],
    *,
    labels: Mapping[str, AbstractSet[str]],
    blocks: Mapping[str, Mapping[str, Hashable]],
    smallest: int,
) -> None:
    """Withhold counts (`n` becomes null) in the numbers of one metric: first the headline's, then a partition's all together.

    `labels`: case → labels with a value, for every case. `blocks`: shown partition → case → block.
    """
    cases = list(labels)
    marks: list[set[Hashable]] = []
    for case in cases:
        found: set[Hashable] = {("label", label) for label in labels[case]} | ({"defined"} if labels[case] else set())
        found |= {(name, of.get(case)) for name, of in blocks.items()}
        marks.append(found)
    audit = CountAudit(marks, smallest=smallest)
    if not audit.admits([{"defined"}]):
        numbers["n"] = None
    shown_labels = numbers.get("per_label", {})
    if isinstance(shown_labels, dict) and not audit.admits([{("label", label)} for label in shown_labels]):
        _hide(shown_labels)
    for name in blocks:
        groups = numbers[name]
        if not isinstance(groups, dict):
            continue
        columns: list[set[Hashable]] = []
        for group in groups:
            columns += [{(name, group)}, {(name, group), "defined"}]
        if not audit.admits(columns):
            _hide(groups)


def _hide(cells: Mapping[str, dict[str, object]]) -> None:
    for cell in cells.values():
        cell["n"] = None
