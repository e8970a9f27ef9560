"""The compiled kernel behind the backends' one question: arrays in, measurements out, every label in one pass.

Here only memory is described (where voxels lie, which axis runs fastest, which values matter); the work is done in C, see
`evaluator/kernel/kernel.h`.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.backends.records import LabelArray, LabelMeasurements, LabelValues, PairMeasurements
from evaluator.kernel.library import CLabels, CMetric, CScan, CSource, KernelError, Status, Storage, load_kernel
from evaluator.overlap import Overlap
from evaluator.surface import DirectedDistances, SurfaceDistances, element_areas

MOST_KEYS = 255
MOST_LABELS = 1024
_STORAGES = {"u1": Storage.U8, "b1": Storage.U8, "i1": Storage.I8, "u2": Storage.U16, "i2": Storage.I16}
_STORAGES |= {"u4": Storage.U32, "i4": Storage.I32, "u8": Storage.U64, "i8": Storage.I64}
_STORAGES |= {"f4": Storage.F32, "f8": Storage.F64}


def is_available() -> bool:
    """Whether the kernel was built for this machine."""
    return load_kernel() is not None


def measure_pair(
    *,
    reference: LabelArray,
    prediction: LabelArray,
    spacing_mm: tuple[float, ...],
    labels: Sequence[LabelValues],
    threads: int = 0,
) -> PairMeasurements:
    """Overlap and surface distances of every label; `threads` 0 takes what the machine has."""
    axes = AxisOrder.of(reference)
    sources = [array_source(axes.arrange(array)) for array in (reference, prediction)]
    measured: list[LabelMeasurements] = []
    for table in label_tables(labels):
        with scan(sources, table=table, is_planar=reference.ndim == 2, threads=threads) as scans:
            measured += measure_scans(*scans, table=table, axes=axes, spacing_mm=spacing_mm, threads=threads)
    return PairMeasurements(labels=tuple(measured), backend="cpu")


@dataclass(frozen=True)
class AxisOrder:
    """Which array axis runs fastest in memory (x), which next (y), which slowest (z); for 2-D, z is not there."""

    fastest_first: tuple[int, ...]

    @classmethod
    def of(cls, array: LabelArray) -> "AxisOrder":
        """The order the array is stored in; axes of length one say nothing and keep their place."""
        order = sorted(range(array.ndim), key=lambda axis: (abs(array.strides[axis]), -axis))
        return cls(fastest_first=tuple(order))

    def arrange(self, array: LabelArray) -> LabelArray:
        """The array seen with its slowest axis first and its voxels side by side along the fastest."""
        arranged = array.transpose(self.fastest_first[::-1])
        if arranged.dtype.newbyteorder("=").str[1:] not in _STORAGES:
            arranged = arranged.astype(np.float64)
        if arranged.strides[-1] != arranged.itemsize:
            arranged = np.ascontiguousarray(arranged)
        return arranged

    def metric(self, spacing_mm: tuple[float, ...]) -> CMetric:
        ordered = [spacing_mm[axis] for axis in self.fastest_first]
        last = self.fastest_first.index(len(spacing_mm) - 1)
        if len(spacing_mm) == 2:
            return CMetric((*ordered, 1.0), 2)  # nothing lies along z, and adding nothing last changes nothing
        return CMetric(tuple(ordered), last)

    @property
    def code_order(self) -> NDArray[np.uint8]:
        return _code_order(self.fastest_first)


@lru_cache(maxsize=16)
def _code_order(fastest_first: tuple[int, ...]) -> NDArray[np.uint8]:
    """Our neighbour code for each of the kernel's, whose lowest bit is the voxel lowest along x, y and z."""
    axes = len(fastest_first)
    order = np.zeros(256, np.uint8)
    for bit in range(2**axes):
        # Where the kernel's bit lies along the array's axes, and which bit that is for us: the lowest voxel is highest.
        weight = sum((bit >> place & 1) << (axes - 1 - axis) for place, axis in enumerate(fastest_first))
        ours = 1 << (2**axes - 1 - weight)
        order |= np.where(np.arange(256) >> bit & 1, np.uint8(ours), np.uint8(0))
    return order


@dataclass(frozen=True)
class LabelTable:
    """Labels as the kernel wants them: voxel values become one-byte keys, keys know their labels."""

    labels: tuple[LabelValues, ...]
    values: NDArray[np.int64]
    keys: NDArray[np.uint8]
    members: NDArray[np.uint16]
    first: NDArray[np.uint32]
    other_key: int

    def pointers(self) -> CLabels:
        """Valid as long as this table lives."""
        return CLabels(
            _address(self.values),
            _address(self.keys),
            self.values.size,
            len(self.labels),
            _address(self.members),
            _address(self.first),
            self.other_key,
        )


def label_tables(labels: Sequence[LabelValues]) -> tuple[LabelTable, ...]:
    """One table, or several where the labels tell apart more values than a byte can."""
    return _label_tables(tuple(tuple(values) for values in labels))


@lru_cache(maxsize=16)
def _label_tables(labels: tuple[LabelValues, ...]) -> tuple[LabelTable, ...]:
    labels_of_value: dict[int, list[int]] = {}
    for label, values in enumerate(labels):
        for value in set(values):
            labels_of_value.setdefault(value, []).append(label)
    key_of_value = _choose_keys(labels_of_value)
    if key_of_value is None or len(labels) > MOST_LABELS:
        middle = len(labels) // 2
        return _label_tables(labels[:middle]) + _label_tables(labels[middle:])
    asked = sorted(labels_of_value)
    labels_of_key = {key_of_value[value]: labels_of_value[value] for value in asked}
    members = [label for key in range(256) for label in labels_of_key.get(key, ())]
    first = np.cumsum([0] + [len(labels_of_key.get(key, ())) for key in range(256)])
    table = LabelTable(
        labels=labels,
        values=np.array(asked, np.int64),
        keys=np.array([key_of_value[value] for value in asked], np.uint8),
        members=np.array(members, np.uint16),
        first=first.astype(np.uint32),
        other_key=next(key for key in range(256) if key not in labels_of_key),
    )
    return (table,)


def _choose_keys(labels_of_value: dict[int, list[int]]) -> dict[int, int] | None:
    """Values are their own keys where they fit, which spares a translation; else values of the same labels share one."""
    if all(0 <= value <= 255 for value in labels_of_value) and len(labels_of_value) <= MOST_KEYS:
        return {value: value for value in labels_of_value}
    kinds = {kind: key for key, kind in enumerate(sorted(set(map(tuple, labels_of_value.values()))), start=1)}
    if len(kinds) > MOST_KEYS:
        return None
    return {value: kinds[tuple(kind)] for value, kind in labels_of_value.items()}


def array_source(array: LabelArray) -> CSource:
    """Where an arranged array's voxels are; valid as long as the array lives."""
    strides = (array.strides[-2], array.strides[0] if array.ndim == 3 else 0)
    source = CSource(
        bytes=_address(array),
        strides=strides,
        shape=_kernel_shape(array.shape),
        is_gzip=0,
        storage=_STORAGES[array.dtype.newbyteorder("=").str[1:]],
        swapped=not array.dtype.isnative,
    )
    source.owner = array
    return source


def _kernel_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[::-1], 1)[:3]


@contextmanager
def scan(
    sources: Sequence[CSource], *, table: LabelTable, is_planar: bool, threads: int = 0
) -> Iterator[tuple[CScan, ...]]:
    """Scans of all volumes, side by side, freed on leaving; raises KernelError for the first that cannot be scanned."""
    kernel = _kernel()
    count = len(sources)
    scans, statuses = (CScan * count)(), (ctypes.c_uint32 * count)()
    labels = table.pointers()
    try:
        kernel.assay_scan_volumes(
            (CSource * count)(*sources), count, labels, is_planar, thread_count(threads), scans, statuses
        )
        for status in statuses:
            _raise_unless_ok(status)
        yield tuple(scans)
    finally:
        for each in scans:
            kernel.assay_free_scan(each)


def measure_scans(
    reference: CScan,
    prediction: CScan,
    *,
    table: LabelTable,
    axes: AxisOrder,
    spacing_mm: tuple[float, ...],
    threads: int = 0,
) -> list[LabelMeasurements]:
    """What two scans of the same shape say about every label of the table."""
    kernel = _kernel()
    overlaps = np.zeros((len(table.labels), 3), np.uint64)
    _raise_unless_ok(kernel.assay_count_overlaps(reference, prediction, table.pointers(), _address(overlaps)))
    starts = [_element_starts(each) for each in (reference, prediction)]
    distances = [np.empty(int(each[-1]), np.float64) for each in starts]
    codes = [np.empty(int(each[-1]), np.uint8) for each in starts]
    _raise_unless_ok(
        kernel.assay_measure_distances(
            reference,
            prediction,
            axes.metric(spacing_mm),
            _address(axes.code_order),
            thread_count(threads),
            *map(_address, distances),
            *map(_address, codes),
        )
    )
    areas = element_areas(spacing_mm)
    measured = []
    for label, values in enumerate(table.labels):
        directed = []
        for start, distance, code in zip(starts, distances, codes, strict=True):
            part = slice(int(start[label]), int(start[label + 1]))
            directed.append(DirectedDistances(distance[part], code[part], areas))
        measured.append(LabelMeasurements(values, Overlap(*overlaps[label].tolist()), SurfaceDistances(*directed)))
    return measured


def thread_count(threads: int) -> int:
    """As many as asked for, or as this process may use."""
    return threads or len(os.sched_getaffinity(0))


def _element_starts(scanned: CScan) -> NDArray[np.uint64]:
    starts = np.zeros(scanned.label_count + 1, np.uint64)
    counts = np.zeros(scanned.label_count, np.uint64)
    _kernel().assay_element_counts(scanned, _address(counts))
    np.cumsum(counts, out=starts[1:])
    return starts


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _raise_unless_ok(status: int) -> None:
    if status == Status.NO_MEMORY:
        raise MemoryError("the evaluator's kernel found too little memory for this pair")
    if status != Status.OK:
        raise KernelError(Status(status))


def _kernel() -> ctypes.CDLL:
    kernel = load_kernel()
    if kernel is None:
        raise RuntimeError("found no compiled kernel; build it with: python -m evaluator.kernel build")
    return kernel
