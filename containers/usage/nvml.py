"""The NVIDIA management library, as much of it as this room needs: seven calls through ctypes.

Why not the package `nvidia-ml-py`: see the decisions of the room `containers`.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from containers.errors import ContainersError

LIBRARY = "libnvidia-ml.so.1"
INSUFFICIENT_SIZE = 7
NOT_SUPPORTED = 3
TEXT_BYTES = 96
MOST_PROCESSES = 256


class NvmlUnavailable(ContainersError):
    """There is no driver, or it does not answer. The message has the library's own number."""


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What does not change while a GPU is in use."""

    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One look at a GPU."""

    used_bytes: int
    utilisation_percent: int
    process_ids: tuple[int, ...] = ()


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class _Utilisation(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class Nvml:
    """An initialised library. Made by `open_nvml`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def driver_version(self) -> str:
        """As the driver states it, such as "580.65.06"."""
        return self._text("nvmlSystemGetDriverVersion")

    def gpus(self) -> list[GpuFacts]:
        """Every GPU of this host, in the driver's order."""
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return [self._facts(self._handle_at(index)) for index in range(count.value)]

    def read(self, uuid: str) -> GpuReading:
        """Memory, utilisation and who computes, now."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(handle))
        memory, utilisation = _Memory(), _Utilisation()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        self._call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(utilisation), tolerate=NOT_SUPPORTED)
        return GpuReading(
            used_bytes=memory.used, utilisation_percent=utilisation.gpu, process_ids=self._processes(handle)
        )

    def _processes(self, handle: ctypes.c_void_p) -> tuple[int, ...]:
        count, found = ctypes.c_uint(MOST_PROCESSES), (_Process * MOST_PROCESSES)()
        code = self._call(
            "nvmlDeviceGetComputeRunningProcesses_v3", handle, ctypes.byref(count), found, tolerate=INSUFFICIENT_SIZE
        )
        return tuple(found[at].pid for at in range(MOST_PROCESSES if code else count.value))

    def _handle_at(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def _facts(self, handle: ctypes.c_void_p) -> GpuFacts:
        memory = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return GpuFacts(
            uuid=self._text("nvmlDeviceGetUUID", handle),
            name=self._text("nvmlDeviceGetName", handle),
            memory_bytes=memory.total,
        )

    def _text(self, function: str, *before: Any) -> str:
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        self._call(function, *before, buffer, ctypes.c_uint(TEXT_BYTES))
        return buffer.value.decode("ascii", errors="replace")

    def _call(self, function: str, *arguments: Any, tolerate: int = 0) -> int:
        code = int(getattr(self._library, function)(*arguments))
        if code not in (0, tolerate):
            raise NvmlUnavailable(f"{function} answered {code}; expected 0. Look at `nvidia-smi` and the kernel log.")
        return code


@contextmanager
def open_nvml(library: str = LIBRARY) -> Iterator[Nvml]:
    """The library, initialised for as long as the context lasts."""
    try:
        loaded = ctypes.CDLL(library)
    except OSError as error:
        raise NvmlUnavailable(f"No NVIDIA driver here: {error}.") from error
    nvml = Nvml(loaded)
    nvml._call("nvmlInit_v2")
    try:
        yield nvml
    finally:
        nvml._call("nvmlShutdown")
