"""Volumes as the kernel sees them: where voxels lie in memory or in a gzip stream, and what a scan keeps of them."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.kernel.elements import coordinate
from evaluator.kernel.labels import LabelTable
from evaluator.kernel.library import CElements, CMetric, CScan, CSource, Kind, Storage, address, kernel, raise_unless_ok

_STORAGES = {"u1": Storage.U8, "b1": Storage.U8, "i1": Storage.I8, "u2": Storage.U16, "i2": Storage.I16}
_STORAGES |= {"u4": Storage.U32, "i4": Storage.I32, "u8": Storage.U64, "i8": Storage.I64}
_STORAGES |= {"f4": Storage.F32, "f8": Storage.F64}


@dataclass(frozen=True)
class AxisOrder:
    """Which array axis runs fastest in memory (x), which next (y), which slowest (z). For 2-D, z is not there."""

    fastest_first: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> "AxisOrder":
        """The order the array is stored in."""
        order = sorted(range(array.ndim), key=lambda axis: (abs(array.strides[axis]), -axis))
        return cls(fastest_first=tuple(order))

    @classmethod
    def as_in_nifti(cls, axes: int) -> "AxisOrder":
        """The first axis runs fastest."""
        return cls(fastest_first=tuple(range(axes)))

    def arrange(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array seen with its slowest axis first and its voxels side by side along the fastest."""
        arranged = array.transpose(self.fastest_first[::-1])
        if _type_code(arranged.dtype) not in _STORAGES:
            arranged = arranged.astype(np.float64)
        if arranged.strides[-1] != arranged.itemsize:
            arranged = np.ascontiguousarray(arranged)
        return arranged

    def metric(self, spacing_mm: tuple[float, ...]) -> CMetric:
        """Voxel sizes along x, y, z, and which of them is the array's last axis."""
        ordered = [spacing_mm[axis] for axis in self.fastest_first]
        if len(ordered) == 2:
            return CMetric((*ordered, 1.0), 2)  # along z every step is 0: adding it last changes nothing
        return CMetric(tuple(ordered), self.fastest_first.index(2))

    @property
    def code_order(self) -> NDArray[np.uint8]:
        """Our neighbour code for each of the kernel's."""
        return _code_order(self.fastest_first)


@lru_cache(maxsize=16)
def _code_order(fastest_first: tuple[int, ...]) -> NDArray[np.uint8]:
    """The kernel's lowest bit is the voxel lowest along x, then y, then z. Ours is highest, the last axis varying fastest."""
    axes = len(fastest_first)
    order = np.zeros(256, np.uint8)
    for bit in range(2**axes):
        place = sum((bit >> step & 1) << (axes - 1 - axis) for step, axis in enumerate(fastest_first))
        bit_of_place = 1 << (2**axes - 1 - place)
        order |= np.where(np.arange(256) >> bit & 1, np.uint8(bit_of_place), np.uint8(0))
    return order


@dataclass(frozen=True)
class ScannedVolume:
    """All that measuring needs of a volume, as arrays of our own: its elements label by label, and its runs."""

    shape: tuple[int, ...]
    element_counts: NDArray[np.uint64]
    elements: NDArray[np.uint64]
    run_ends: NDArray[np.uint32]
    run_keys: NDArray[np.uint8]

    @classmethod
    def copy(cls, scan: CScan) -> "ScannedVolume":
        """Everything of a scan that is about to be freed."""
        counts = element_counts(scan)
        lists = [
            _copy_of(scan.elements[label].data, int(count), np.uint64) for label, count in enumerate(counts.tolist())
        ]
        return cls(
            shape=tuple(scan.shape),
            element_counts=counts,
            elements=np.concatenate([np.empty(0, np.uint64), *lists]),
            run_ends=_copy_of(scan.runs.ends, scan.runs.count, np.uint32),
            run_keys=_copy_of(scan.runs.keys, scan.runs.count, np.uint8),
        )

    @cached_property
    def pointers(self) -> CScan:
        """The same as a scan. Valid as long as this object lives, and never to be freed by the kernel."""
        starts = np.cumsum([0, *self.element_counts.tolist()])
        lists = [
            CElements(address(self.elements) + 8 * int(start), int(count), int(count))
            for start, count in zip(starts, self.element_counts, strict=False)
        ]
        scan = CScan(shape=self.shape, label_count=len(lists), elements=(CElements * max(1, len(lists)))(*lists))
        scan.runs.ends, scan.runs.keys = address(self.run_ends), address(self.run_keys)
        scan.runs.count = scan.runs.capacity = self.run_ends.size
        return scan

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.elements.nbytes + self.run_ends.nbytes + self.run_keys.nbytes


def array_source(array: NDArray[Any]) -> CSource:
    """An array as `AxisOrder.arrange` leaves it. Valid as long as the array lives."""
    return CSource(
        bytes=address(array),
        strides=(array.strides[-2], array.strides[0] if array.ndim == 3 else 0),
        shape=(*array.shape[::-1], 1)[:3],
        kind=Kind.ARRAY,
        storage=_STORAGES[_type_code(array.dtype)],
        swapped=not array.dtype.isnative,
    )


def gzip_source(
    stream: NDArray[np.uint8], *, offset: int, shape: tuple[int, ...], stored_type: np.dtype[Any]
) -> CSource:
    """Voxels in a gzip stream, the first axis running fastest. Valid as long as the stream's array lives."""
    return CSource(
        bytes=address(stream),
        size=stream.size,
        offset=offset,
        shape=(*shape, 1)[:3],
        kind=Kind.GZIP,
        storage=_STORAGES[_type_code(stored_type)],
        swapped=not stored_type.isnative,
    )


def runs_source(scan: CScan, *, slices: range) -> CSource:
    """Some slices of a volume that was scanned before. Valid as long as the scan lives."""
    width, height, _ = scan.shape
    return CSource(
        bytes=ctypes.addressof(scan.runs),
        offset=slices.start * width * height,
        shape=(width, height, len(slices)),
        kind=Kind.RUNS,
        storage=Storage.U8,
    )


def slices_of_label(scan: CScan, label: int) -> range:
    """The slices in which a label occurs: its first and last elements lie on their outer faces."""
    elements = scan.elements[label]
    if not elements.count:
        return range(0)
    places = (ctypes.c_uint64 * elements.count).from_address(elements.data)
    return range(coordinate(places[0], 2), coordinate(places[elements.count - 1], 2))


@contextmanager
def scan_volumes(
    sources: Sequence[CSource], *, table: LabelTable, is_planar: bool, threads: int
) -> Iterator[tuple[CScan, ...]]:
    """Scans of all volumes, side by side, freed on leaving. Raises KernelError for the first that cannot be scanned."""
    count = len(sources)
    scans, statuses = (CScan * count)(), (ctypes.c_uint32 * count)()
    labels = table.pointers()
    try:
        kernel().assay_scan_volumes(
            (CSource * count)(*sources), count, labels, is_planar, thread_count(threads), scans, statuses
        )
        for status in statuses:
            raise_unless_ok(status)
        yield tuple(scans)
    finally:
        for scan in scans:
            kernel().assay_free_scan(scan)


def element_counts(scan: CScan) -> NDArray[np.uint64]:
    """How many elements every label has."""
    counts = np.zeros(scan.label_count, np.uint64)
    kernel().assay_element_counts(scan, address(counts))
    return counts


def thread_count(threads: int) -> int:
    """As many as asked for. For 0, as many as this process may use."""
    return threads or len(os.sched_getaffinity(0))


def _type_code(dtype: np.dtype[Any]) -> str:
    return f"{dtype.kind}{dtype.itemsize}"


def _copy_of(start: int | None, count: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    copy = np.empty(count, dtype)
    if count and start:
        ctypes.memmove(address(copy), start, copy.nbytes)
    return copy
