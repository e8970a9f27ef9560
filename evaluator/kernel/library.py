"""The kernel's shared library as Python sees it: its records, its doors, and what its statuses mean."""

import ctypes
import os
import warnings
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from evaluator.kernel.compiler import LIBRARY, CompilerMissingError, compile_kernel, is_stale

INTERFACE = 4


class Status(IntEnum):
    """How a call into the kernel ended. The same list as in kernel.h."""

    OK = 0
    NO_MEMORY = 1
    CORRUPT = 2
    TRUNCATED = 3
    TOO_LONG = 4
    NOT_WHOLE = 5
    TOO_LARGE = 6


class Storage(IntEnum):
    """How a voxel is stored. The same list as in kernel.h."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    U64 = 6
    I64 = 7
    F32 = 8
    F64 = 9


class Kind(IntEnum):
    """Where voxels come from. The same list as in kernel.h."""

    ARRAY = 0
    GZIP = 1
    RUNS = 2


class KernelError(Exception):
    """The kernel could not measure this volume. `status` says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the kernel stopped with {status.name}")
        self.status = status


class CSource(ctypes.Structure):
    _fields_ = [
        ("bytes", c_void_p),
        ("size", c_uint64),
        ("offset", c_int64),
        ("strides", c_int64 * 2),
        ("shape", c_uint32 * 3),
        ("kind", c_int32),
        ("storage", c_int32),
        ("swapped", c_int32),
    ]


class CLabels(ctypes.Structure):
    _fields_ = [
        ("values", c_void_p),
        ("keys", c_void_p),
        ("value_count", c_uint32),
        ("label_count", c_uint32),
        ("members", c_void_p),
        ("first", c_void_p),
        ("other_key", c_uint8),
        ("outside_key", c_uint8),
    ]


class CElements(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("count", c_uint64), ("capacity", c_uint64)]


class CRuns(ctypes.Structure):
    _fields_ = [("ends", c_void_p), ("keys", c_void_p), ("count", c_uint64), ("capacity", c_uint64)]


class CScan(ctypes.Structure):
    _fields_ = [
        ("shape", c_uint32 * 3),
        ("label_count", c_uint32),
        ("runs", CRuns),
        ("elements", POINTER(CElements)),
    ]


class CMetric(ctypes.Structure):
    _fields_ = [("spacing_mm", c_double * 3), ("last_axis", c_int32)]


_DOORS: dict[str, tuple[Any, Sequence[Any]]] = {
    "assay_interface": (c_int32, []),
    "assay_instructions": (c_char_p, []),
    "assay_keep_memory": (None, []),
    "assay_inflate": (c_uint32, [c_char_p, c_uint64, c_void_p, c_uint64]),
    "assay_holds_only": (c_int32, [c_void_p, c_uint64, c_char_p]),
    "assay_scan_volumes": (
        None,
        [POINTER(CSource), c_uint32, POINTER(CLabels), c_int32, c_uint32, POINTER(CScan), POINTER(c_uint32)],
    ),
    "assay_free_scan": (None, [POINTER(CScan)]),
    "assay_keys_present": (None, [POINTER(CScan), c_void_p]),
    "assay_count_overlaps": (c_uint32, [POINTER(CScan), POINTER(CScan), POINTER(CLabels), c_void_p]),
    "assay_element_counts": (None, [POINTER(CScan), c_void_p]),
    "assay_measure_distances": (
        c_uint32,
        [POINTER(CScan), POINTER(CScan), POINTER(CMetric), c_void_p, c_uint32, *[c_void_p] * 4],
    ),
    "assay_nearest": (
        c_uint32,
        [c_void_p, c_uint64, c_void_p, c_uint64, c_void_p, POINTER(CMetric), c_void_p],
    ),
    "assay_sum_areas": (None, [c_void_p, c_void_p, c_uint64, c_void_p, c_double, POINTER(c_double)]),
    "assay_percentile": (c_int32, [c_void_p, c_void_p, c_uint64, c_void_p, c_double, POINTER(c_double)]),
}

# Called by the hundred and done in microseconds: giving up the interpreter lock for them would cost far more, since a thread
# that computes in Python hands it back only every five milliseconds.
_QUICK = {"assay_sum_areas", "assay_percentile", "assay_element_counts", "assay_free_scan", "assay_keys_present"}


_STALE = (
    "the evaluator's compiled kernel does not belong to its sources, NumPy serves (slower, same numbers); "
    "build it with: python -m evaluator.kernel build"
)


@lru_cache(maxsize=1)
def load_kernel() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it was never built.

    One that is older than its sources is built anew. Where that cannot be done, a warning says so and NumPy serves.
    """
    if not LIBRARY.exists():
        return None
    try:
        if is_stale(LIBRARY):
            compile_kernel(destination=LIBRARY)
        return open_kernel()
    except (OSError, AttributeError, CompilerMissingError) as problem:
        warnings.warn(f"{_STALE} ({problem})", RuntimeWarning, stacklevel=2)
        return None


def open_kernel() -> ctypes.CDLL:
    """The library as it lies there, whatever it was built from: OSError or AttributeError if it is not ours."""
    library, quick = ctypes.CDLL(os.fspath(LIBRARY)), ctypes.PyDLL(os.fspath(LIBRARY))
    library.assay_interface.restype = c_int32
    if library.assay_interface() != INTERFACE:
        raise OSError(f"found interface {library.assay_interface()} in {LIBRARY.name}, expected {INTERFACE}")
    for name, (result, arguments) in _DOORS.items():
        door = getattr(quick if name in _QUICK else library, name)
        door.restype, door.argtypes = result, arguments
        setattr(library, name, door)
    library.assay_keep_memory()
    return library


def kernel() -> ctypes.CDLL:
    """The compiled kernel, for those who know it is there."""
    library = load_kernel()
    if library is None:
        raise RuntimeError("found no compiled kernel; build it with: python -m evaluator.kernel build")
    return library


def address(array: NDArray[Any]) -> int:
    """Where an array's first element is. Valid as long as the array lives."""
    return int(array.__array_interface__["data"][0])


def raise_unless_ok(status: int) -> None:
    """KernelError, or MemoryError where that is what it means."""
    if status == Status.NO_MEMORY:
        raise MemoryError("the evaluator's kernel found too little memory for this pair")
    if status != Status.OK:
        raise KernelError(Status(status))


def describe() -> str:
    """One line for people: what serves on this machine."""
    library = load_kernel()
    if library is None:
        return "evaluator: NumPy serves (slower, same numbers); build the kernel with: python -m evaluator.kernel build"
    return f"evaluator: the compiled kernel serves ({library.assay_instructions().decode()})"
