"""Labels as the kernel wants them: voxel values become one-byte keys, and every key knows the labels it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evaluator.kernel.library import CLabels, CScan, address, kernel

MOST_KEYS = 254
MOST_LABELS = 1024
_NO_LABELS: tuple[int, ...] = ()


@dataclass(frozen=True)
class LabelTable:
    """The labels one scan tells apart."""

    labels: tuple[tuple[int, ...], ...]
    values: NDArray[np.int64]
    keys: NDArray[np.uint8]
    members: NDArray[np.uint16]
    first: NDArray[np.uint32]
    other_key: int
    outside_key: int

    def pointers(self) -> CLabels:
        """Valid as long as this table lives."""
        return CLabels(
            address(self.values),
            address(self.keys),
            self.values.size,
            len(self.labels),
            address(self.members),
            address(self.first),
            self.other_key,
            self.outside_key,
        )

    def only(self, label: int) -> "LabelTable":
        """The same keys, of which only one label is left."""
        is_member = [label in self.members[self.first[key] : self.first[key + 1]] for key in range(256)]
        return replace(
            self,
            labels=(self.labels[label],),
            members=np.zeros(sum(is_member), np.uint16),
            first=np.cumsum([0, *is_member]).astype(np.uint32),
        )

    def unknown_values(self, scan: CScan) -> frozenset[int] | None:
        """Values of a scanned volume that this table does not hold. None where there are some and the scan does not tell which.

        Where keys are values, the kernel leaves a small value it does not know as it is. Every other one becomes `other_key`.
        """
        present = np.zeros(256, np.uint8)
        kernel().assay_keys_present(scan, address(present))
        unknown = frozenset(np.flatnonzero(present).tolist()) - frozenset(self.keys.tolist())
        are_values = np.array_equal(self.keys, self.values) and self.other_key not in unknown
        return unknown if are_values or not unknown else None


def label_tables(
    labels: Sequence[tuple[int, ...]], known_values: frozenset[int] = frozenset()
) -> tuple[LabelTable, ...]:
    """One table, or several where the labels tell apart more values than a byte can.

    `known_values` may occur without belonging to a label.
    """
    return _label_tables(tuple(tuple(values) for values in labels), known_values)


@lru_cache(maxsize=16)
def _label_tables(labels: tuple[tuple[int, ...], ...], known_values: frozenset[int]) -> tuple[LabelTable, ...]:
    labels_of_value: dict[int, tuple[int, ...]] = dict.fromkeys(known_values, _NO_LABELS)
    for label, values in enumerate(labels):
        for value in set(values):
            labels_of_value[value] = (*labels_of_value.get(value, ()), label)
    key_of_value = _choose_keys(labels_of_value)
    if key_of_value is None or len(labels) > MOST_LABELS:
        middle = len(labels) // 2
        return _label_tables(labels[:middle], known_values) + _label_tables(labels[middle:], known_values)
    labels_of_key = {key_of_value[value]: meant for value, meant in labels_of_value.items() if meant}
    values_in_order = sorted(labels_of_value)
    free_key = max(set(range(256)) - set(key_of_value.values()))
    table = LabelTable(
        labels=labels,
        values=np.array(values_in_order, np.int64),
        keys=np.array([key_of_value[value] for value in values_in_order], np.uint8),
        members=np.array([label for key in range(256) for label in labels_of_key.get(key, ())], np.uint16),
        first=np.cumsum([0, *(len(labels_of_key.get(key, ())) for key in range(256))]).astype(np.uint32),
        other_key=free_key,
        outside_key=free_key if 0 in labels_of_key else 0,
    )
    return (table,)


def _choose_keys(labels_of_value: dict[int, tuple[int, ...]]) -> dict[int, int] | None:
    """Values are their own keys where they fit, which spares a translation. Otherwise values of the same labels share one.

    At least one key is left over, for values nobody knows. None if there are too many to tell apart.
    """
    if all(0 <= value <= 255 for value in labels_of_value) and len(labels_of_value) <= MOST_KEYS:
        return {value: value for value in labels_of_value}
    kinds = {kind: key for key, kind in enumerate(sorted({_NO_LABELS, *labels_of_value.values()}))}
    if len(kinds) > MOST_KEYS:
        return None
    return {value: kinds[kind] for value, kind in labels_of_value.items()}
