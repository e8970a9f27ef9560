"""Where the GPU backend runs: on a CUDA card through CuPy, or, for tests, on the processor by the same source in loops.

A device is an array module and a way to launch a kernel by name. Nothing here is imported before a GPU is asked for.
"""

import ctypes
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import UnavailableBackend
from evaluator.kernel.library import kernel

KERNELS = ("find_elements", "count_pairs", "draw_target", "search_near", "search_far")
_SOURCES = Path(__file__).parents[1] / "kernel"
_THREADS_PER_BLOCK = 256
_HOW_TO_GET_IT = "install assay[gpu] on a machine with a CUDA device, or choose one of auto, cpu, numpy"


@dataclass(frozen=True)
class Arrival:
    """An array on its way to a device."""

    array: Any
    is_there: Any = None
    """What the device records behind the last byte. None when the array is there."""
    source: Any = None
    """Memory that has to live until then."""


class Device(Protocol):
    """What the GPU backend needs of a device."""

    name: str
    arrays: Any
    """NumPy or CuPy: they answer to the same names."""

    def launch(self, kernel_name: str, threads: int, *arguments: Any) -> None:
        """Run one kernel once for every thread. Arguments are arrays, None, ints and floats as the kernel declares them."""

    def to_device(self, array: Any) -> Any:
        """The array in the device's memory. Shared, not copied, where it lies there already."""

    def send(self, array: Any) -> Arrival:
        """Begin to copy the array, beside whatever the device computes."""

    def take(self, arrival: Arrival) -> Any:
        """The array. What is launched from here on waits for it, this thread does not."""

    def to_host(self, array: Any) -> Any:
        """The array as NumPy's."""


class HostDevice:
    """The same kernels as loops on the processor: slow, and exactly what the card computes."""

    name = "gpu (emulated)"
    arrays: Any = np

    def launch(self, kernel_name: str, threads: int, *arguments: Any) -> None:
        door = getattr(kernel(), f"assay_device_{kernel_name}")
        door.restype = None
        door(ctypes.c_longlong(threads), *map(_as_c, arguments))

    def to_device(self, array: Any) -> Any:
        return np.asarray(array)

    def send(self, array: Any) -> Arrival:
        return Arrival(self.to_device(array))

    def take(self, arrival: Arrival) -> Any:
        return arrival.array

    def to_host(self, array: Any) -> Any:
        return array


class CudaDevice:
    """The first CUDA device, through CuPy. Kernels are compiled for it on first use and kept by CuPy afterwards."""

    def __init__(self, cupy: ModuleType) -> None:
        self.arrays: Any = cupy
        self._copies = cupy.cuda.Stream(non_blocking=True)
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.name = f"gpu ({properties['name'].decode()})"
        self._module = cupy.RawModule(
            code=device_source(), options=("--fmad=false", "-std=c++17"), backend="nvrtc", name_expressions=None
        )

    def launch(self, kernel_name: str, threads: int, *arguments: Any) -> None:
        if threads == 0:
            return
        blocks = (threads + _THREADS_PER_BLOCK - 1) // _THREADS_PER_BLOCK
        function = self._module.get_function(f"assay_device_{kernel_name}")
        function((blocks,), (_THREADS_PER_BLOCK,), (np.int64(threads), *map(_as_cuda, arguments)))

    def to_device(self, array: Any) -> Any:
        if hasattr(array, "__cuda_array_interface__") or isinstance(array, np.ndarray):
            return self.arrays.asarray(array)
        return self.arrays.from_dlpack(array) if hasattr(array, "__dlpack__") else self.arrays.asarray(array)

    def send(self, array: Any) -> Arrival:
        """Through pinned memory, on a stream of its own, in the order the voxels lie in: the copy engine works beside kernels."""
        if not isinstance(array, np.ndarray):
            return Arrival(self.to_device(array))
        slowest_first = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        arranged = array.transpose(slowest_first)
        memory = self.arrays.cuda.alloc_pinned_memory(array.nbytes)
        pinned = np.frombuffer(memory, array.dtype, array.size).reshape(arranged.shape)
        np.copyto(pinned, arranged)
        with self._copies:
            target = self.arrays.empty(arranged.shape, array.dtype)
            target.set(pinned, stream=self._copies)
            is_there = self._copies.record()
        back = tuple(np.argsort(slowest_first).tolist())
        return Arrival(target.transpose(back), is_there, source=memory)

    def take(self, arrival: Arrival) -> Any:
        if arrival.is_there is not None:
            self.arrays.cuda.get_current_stream().wait_event(arrival.is_there)
        return arrival.array

    def to_host(self, array: Any) -> Any:
        return self.arrays.asnumpy(array)


@lru_cache(maxsize=1)
def cuda_device() -> CudaDevice:
    """The card of this machine. UnavailableBackend says what is missing."""
    try:
        import cupy
    except ImportError as missing:
        raise UnavailableBackend(f"found no CuPy for the GPU backend; {_HOW_TO_GET_IT}") from missing
    try:
        if cupy.cuda.runtime.getDeviceCount() < 1:
            raise UnavailableBackend(f"found CuPy but no CUDA device; {_HOW_TO_GET_IT}")
    except cupy.cuda.runtime.CUDARuntimeError as problem:
        raise UnavailableBackend(f"found CuPy but no working CUDA driver ({problem}); {_HOW_TO_GET_IT}") from problem
    return CudaDevice(cupy)


def has_cuda_device() -> bool:
    """Whether the GPU backend can run here."""
    try:
        cuda_device()
    except UnavailableBackend:
        return False
    return True


def host_array(array: Any) -> NDArray[Any]:
    """The array in main memory, as a NumPy array. Shared, not copied, where it is there already."""
    if isinstance(array, np.ndarray):
        return array
    for method in ("get", "cpu"):
        if hasattr(array, "__cuda_array_interface__") and hasattr(array, method):
            array = getattr(array, method)()
    if hasattr(array, "detach"):
        array = array.detach()
    return np.from_dlpack(array) if hasattr(array, "__dlpack__") else np.asarray(array)


def device_source() -> str:
    """The kernels as one text, for a compiler that has no files: every `#include "..."` is replaced by what it names."""
    included = re.sub(r'#include "(\w+\.h)"', _read_header, (_SOURCES / "device.h").read_text())
    return f"#define ASSAY_DEFINE_KERNELS\n{included}"


def _read_header(include: re.Match[str]) -> str:
    return re.sub(r'#include "(\w+\.h)"', _read_header, (_SOURCES / include[1]).read_text())


def _as_c(argument: Any) -> Any:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, np.int64):
        return ctypes.c_longlong(int(argument))
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int(argument)


def _as_cuda(argument: Any) -> Any:
    if argument is None:
        return np.uintp(0)
    if isinstance(argument, bool):
        return np.int32(argument)
    if isinstance(argument, int):
        return np.int32(argument)
    return np.float64(argument) if isinstance(argument, float) else argument
