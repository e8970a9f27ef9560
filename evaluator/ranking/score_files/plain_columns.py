"""The columns of a CSV without quotes, found by NumPy: where each cell begins and ends, and no text is made before it is asked for.

Names repeat: a table of 200 algorithms and 2000 cases has 400,000 rows and 2200 names. So names are told apart as bytes, and each is
made a text once. Lists of rows are never built, so Python's search for cycles has nothing to walk through.
"""

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from evaluator.arrays import Floats, Index

T = TypeVar("T")
_WORD = 8
_LONGEST_NAME = 64
"""Bytes of a name that is still compared in whole words."""


class PlainColumn(Sequence[str]):
    """The cells of one column, as texts or as numbers of distinct texts. `raw` ends with `_LONGEST_NAME` zeros."""

    def __init__(self, raw: bytes, starts: Index, ends: Index) -> None:
        self._raw, self._starts, self._ends = raw, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return self._cells[place]
        return self._raw[self._starts[place] : self._ends[place]].decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    @cached_property
    def _cells(self) -> list[str]:
        """All texts: the bytes of this column and the mark behind each cell, joined and split at once."""
        if not len(self):
            return []
        step = np.zeros(len(self._raw) + 1, np.int8)
        step[self._starts] = 1
        step[self._ends] -= 1  # an empty cell begins where it ends
        is_cell = np.cumsum(step[:-1], dtype=np.int8).view(bool)
        is_cell[self._ends] = True
        marked = np.frombuffer(self._raw, np.uint8).copy()
        marked[self._ends] = ord("\n")
        text: str = marked[is_cell].tobytes().decode()
        return text[:-1].split("\n")

    @cached_property
    def distinct(self) -> tuple[list[str], Index]:
        """Each text once, in the order of its first row, and the number of every row's text."""
        words = self._words()
        if words is None:
            return numbered(self._cells)
        changes = np.flatnonzero((words[1:] != words[:-1]).any(axis=1)) + 1
        runs = np.concatenate([[0], changes])[: len(self)]
        firsts = words if len(runs) == len(self) else words[runs]
        once = firsts[: _length_of_round(firsts)]
        texts, numbers = numbered((once[:, 0] if words.shape[1] == 1 else _joined(once)).tolist())
        names = [text if isinstance(text, bytes) else text.to_bytes(_WORD, "little").rstrip(b"\0") for text in texts]
        if len(once) < len(firsts):
            numbers = np.tile(numbers, len(firsts) // len(once))
        if len(firsts) < len(self):
            numbers = np.repeat(numbers, np.diff(runs, append=len(self)))
        return [name.decode() for name in names], numbers

    def numbers(self) -> Floats:
        """Every cell as Python reads a number. Raises `ValueError` where one is none."""
        words = self._words()
        return np.array(self._cells, dtype=np.float64) if words is None else _joined(words).astype(np.float64)

    def _words(self) -> npt.NDArray[np.uint64] | None:
        """The bytes of every cell as whole numbers of eight bytes each, with zeros behind. `None` where one is very long."""
        lengths = self._ends - self._starts
        longest = int(lengths.max(initial=0))
        if longest > _LONGEST_NAME:
            return None
        all_words = np.ndarray(len(self._raw) - _WORD + 1, dtype="<u8", buffer=self._raw, strides=(1,))
        words = np.empty((len(self), max(1, -(-longest // _WORD))), dtype="<u8")
        for place in range(words.shape[1]):
            inside = lengths if longest <= _WORD else np.clip(lengths - place * _WORD, 0, _WORD)
            begins = self._starts + place * _WORD if place else self._starts
            np.bitwise_and(all_words[begins], _FIRST_BYTES[inside], out=words[:, place])
        return words


_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_WORD + 1)], dtype="<u8")


def _joined(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.bytes_]:
    return words.view(f"S{_WORD * words.shape[1]}").ravel()


def _length_of_round(words: npt.NDArray[np.uint64]) -> int:
    """How many rows come before the same rows come again, to the end: most files list the same cases for every algorithm."""
    again = np.flatnonzero((words[1:] == words[:1]).all(axis=1))
    length = int(again[0]) + 1 if len(again) else len(words)
    if length and len(words) % length == 0 and (words[length:] == words[:-length]).all():
        return length
    return len(words)


def numbered(texts: Sequence[T]) -> tuple[list[T], Index]:
    """Each text once, in the order of its first place, and the number of every place's text."""
    met: dict[T, int] = defaultdict(itertools.count().__next__)  # each new text gets the next number
    numbers = np.fromiter(map(met.__getitem__, texts), dtype=np.intp, count=len(texts))
    return list(met), numbers


def plain_columns(raw: bytes, separator: str) -> tuple[tuple[str, ...], tuple[PlainColumn, ...]] | None:
    """Header and columns of a CSV without quotes, blank lines and short lines. `None` where it has any.

    Ten times as fast as asking the csv module for rows. Whatever is odd is left to that module, which says where it is.
    """
    if b'"' in raw or b"\0" in raw or separator.encode() not in raw:
        return None
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    raw = raw.rstrip(b"\n") + b"\n"
    if b"\r" in raw:
        return None
    size = len(raw)
    raw += bytes(_LONGEST_NAME)
    marks: npt.NDArray[Any] = np.frombuffer(raw, dtype=np.uint8, count=size)
    is_end = marks == ord("\n")
    ends = np.flatnonzero(is_end | (marks == ord(separator)))
    width = raw.count(separator.encode(), 0, raw.index(b"\n")) + 1
    lines = int(np.count_nonzero(is_end))
    if len(ends) != width * lines or not is_end[ends[width - 1 :: width]].all():
        return None
    starts = np.zeros_like(ends)
    np.add(ends[:-1], 1, out=starts[1:])
    if (ends - starts).max() > csv.field_size_limit():
        return None
    header = tuple(raw[begin:end].decode().strip() for begin, end in zip(starts[:width], ends[:width], strict=True))
    columns = tuple(PlainColumn(raw, starts[width + at :: width], ends[width + at :: width]) for at in range(width))
    if "" in header or any(not cell.strip() for cell in columns[0].distinct[0]):
        return None
    return header, columns
