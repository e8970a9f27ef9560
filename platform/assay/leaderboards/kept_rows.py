"""Rows of leaderboards kept in the process for as long as their version stands; bounded, and safe to use from several threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


class KeptRows(Generic[Row]):
    """The newest version of each board and viewer, the least recently wanted one dropped first."""

    def __init__(self, *, most_rows: int) -> None:
        self._most_rows = most_rows
        self._kept: OrderedDict[tuple[int, bool], tuple[Any, list[Row]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, *, phase_id: int, version: Any, viewer: bool, make: Callable[[], list[Row]]) -> list[Row]:
        """The rows of this version; made now when they are not here. Without a version nothing is kept."""
        if version is None:
            return make()
        place = (phase_id, viewer)
        with self._lock:
            kept_version, rows = self._kept.get(place, (None, []))
            if kept_version == version:
                self._kept.move_to_end(place)
                return rows
        rows = make()
        with self._lock:
            self._kept[place] = (version, rows)
            self._kept.move_to_end(place)
            while len(self._kept) > 1 and sum(len(kept) for _, kept in self._kept.values()) > self._most_rows:
                self._kept.popitem(last=False)
        return rows
