"""One door to the backends: measure every label of a reference and a prediction at once, from arrays or from files.

| backend | needs               | answers                                                            |
| ------- | ------------------- | ------------------------------------------------------------------ |
| `cpu`   | the compiled kernel | the default: all labels in one pass, all processor cores           |
| `gpu`   | CuPy, a CUDA device | the same kernels on the card: for arrays that lie there already    |
| `numpy` | NumPy               | the oracle: slow, short, and written without looking at the others |

`auto` takes the card for arrays that lie on one, else the first of `cpu` and `numpy` that works here. All give the same
distances to the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.backends import cpu
from evaluator.backends import reference as oracle
from evaluator.backends.devices import cuda_device, has_cuda_device
from evaluator.backends.reference_cache import ReferenceCache
from evaluator.backends.stored import StoredVolume, open_stored
from evaluator.errors import UnavailableBackend, reference_errors
from evaluator.kernel.library import KernelError
from evaluator.measurements.records import Crop, LabelArray, LabelMeasurements, LabelValues, PairMeasurements
from evaluator.volumes.geometry import GridTolerance, grids_match
from evaluator.volumes.strict import (
    Expectation,
    LabelMap,
    ReaderLimits,
    open_volume,
    present_values,
    read_channels,
    read_label_map,
)

__all__ = [
    "Crop",
    "LabelArray",
    "LabelMeasurements",
    "LabelValues",
    "PairMeasurements",
    "available_backends",
    "measure_files",
    "measure_pair",
    "nearest_distances",
]

BACKENDS = ("auto", "cpu", "gpu", "numpy")
_LIMITS = ReaderLimits(voxels=1 << 32)
_EXACT = GridTolerance()


def available_backends() -> tuple[str, ...]:
    """Names of the backends that work on this machine, the preferred one first."""
    is_working = {"cpu": cpu.is_available(), "gpu": has_cuda_device(), "numpy": True}
    return tuple(name for name, works in is_working.items() if works)


def measure_pair(
    *,
    reference: LabelArray,
    prediction: LabelArray,
    spacing_mm: Sequence[float],
    labels: Sequence[LabelValues],
    backend: str = "auto",
    threads: int = 0,
) -> PairMeasurements:
    """Overlap and two-way surface distances of every label.

    Both arrays are label maps (integers, booleans, or floats holding whole numbers) of the same 2-D or 3-D shape, in
    any memory order. `spacing_mm` is the voxel size along each array axis. Labels may overlap: regions share values.
    `threads` 0 takes what the machine has. Arrays on a CUDA device are measured there.
    """
    _check_labels(labels)
    chosen = "gpu" if backend == "auto" and hasattr(reference, "__cuda_array_interface__") else _choose(backend)
    if chosen == "gpu":
        reference, prediction = (cuda_device().to_device(array) for array in (reference, prediction))
    spacing = _checked_spacing(reference, prediction, spacing_mm)
    if chosen == "gpu":
        from evaluator.backends import gpu  # imported where a card serves

        return gpu.measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing, labels=labels)
    if chosen == "cpu":
        try:
            return cpu.measure_pair(
                reference=reference, prediction=prediction, spacing_mm=spacing, labels=labels, threads=threads
            )
        except KernelError:
            pass  # more voxels than its records count: NumPy has no such limit
    return oracle.measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing, labels=labels)


def measure_files(
    *,
    reference: Path,
    prediction: Path,
    labels: Sequence[LabelValues],
    crops: Sequence[Crop] = (),
    allowed_values: frozenset[int] | None = None,
    tolerance: GridTolerance = _EXACT,
    backend: str = "auto",
    threads: int = 0,
    references: ReferenceCache | None = None,
) -> PairMeasurements:
    """The same for two label maps in files, by far the fastest way: voxels are measured while they are inflated.

    The spacing is the reference's. The prediction must lie on the reference's grid and, if `allowed_values` is given, hold
    only those and 0: InvalidVolume says what is wrong with it, InvalidReference what is wrong with the reference. Where
    the kernel cannot serve (not built, MetaImage, a stream that is not sound), the strict reader and arrays do.

    `crops`, one per label, asks for each label's measurements on some slices besides. The answer holds them only on the
    fast way. Elsewhere the caller crops the arrays.
    """
    _check_labels(labels)
    chosen = _choose(backend)
    stored = (open_stored(reference), open_stored(prediction)) if chosen == "cpu" else (None, None)
    if stored[0] and stored[1] and _lie_together(stored[0], stored[1], tolerance):
        try:
            measured = cpu.measure_stored(
                reference=stored[0],
                prediction=stored[1],
                labels=labels,
                crops=crops,
                allowed_values=allowed_values,
                threads=threads,
                references=references,
            )
        except KernelError:
            measured = None  # the strict reader says what is wrong
        if measured:
            return measured
    with reference_errors():
        expected = read_label_map(reference, limits=_LIMITS)
    expectation = Expectation(grid=expected.grid, tolerance=tolerance, allowed_values=allowed_values)
    predicted = _read_prediction(prediction, expectation)
    measured_pair = measure_pair(
        reference=expected.array,
        prediction=predicted.array,
        spacing_mm=expected.grid.spacing_mm,
        labels=labels,
        backend=backend,
        threads=threads,
    )
    named = frozenset({0}).union(*labels, allowed_values or ())
    sides = [frozenset(present_values(each.array)) - named for each in (expected, predicted)]
    return replace(measured_pair, unnamed_values=(sides[0], sides[1]))


def nearest_distances(
    *, sources: NDArray[np.int64], targets: NDArray[np.int64], spacing_mm: tuple[float, ...]
) -> NDArray[np.float64]:
    """Distance in mm from every source point to the nearest target point, both as rows of indices. Infinite without targets."""
    if cpu.is_available() and len(sources) and len(targets):
        try:
            return cpu.nearest_distances(sources=sources, targets=targets, spacing_mm=spacing_mm)
        except KernelError:
            pass  # points further apart than its records count
    return oracle.nearest_distances(sources=sources, targets=targets, spacing_mm=spacing_mm)


def _choose(backend: str) -> str:
    """The backend that will serve. Says what to do if the one asked for cannot."""
    if backend not in BACKENDS:
        raise ValueError(f"found backend {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend == "auto":
        return "cpu" if cpu.is_available() else "numpy"
    if backend == "cpu" and not cpu.is_available():
        raise UnavailableBackend(
            "found no compiled kernel for backend 'cpu'; build it with python -m evaluator.kernel build, "
            "or choose auto or numpy"
        )
    if backend == "gpu":
        cuda_device()  # says what is missing
    return backend


def _lie_together(reference: StoredVolume, prediction: StoredVolume, tolerance: GridTolerance) -> bool:
    grids = reference.header.grid, prediction.header.grid
    return grids[0].shape == grids[1].shape and grids_match(*grids, tolerance) is None


def _read_prediction(path: Path, expectation: Expectation) -> LabelMap:
    with open_volume(path, limits=_LIMITS) as source:
        header, channels = read_channels(source, expectation=expectation, limits=_LIMITS)
        array = next(channels)
        next(channels, None)  # the file has to end well
    return LabelMap(array=array, grid=header.grid)


def _checked_spacing(reference: LabelArray, prediction: LabelArray, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    if reference.shape != prediction.shape:
        raise ValueError(f"found shapes {reference.shape} and {prediction.shape}, expected the same shape twice")
    if reference.ndim not in (2, 3):
        raise ValueError(f"found {reference.ndim} axes, expected 2 or 3: measure channels or time points one by one")
    spacing = tuple(float(size_mm) for size_mm in spacing_mm)
    if len(spacing) != reference.ndim:
        raise ValueError(f"found {len(spacing)} voxel sizes for {reference.ndim} axes, expected one per axis")
    if not all(math.isfinite(size_mm) and size_mm > 0 for size_mm in spacing):
        raise ValueError(f"found voxel sizes {spacing}, expected finite numbers above zero")
    for array in (reference, prediction):
        if array.dtype.kind not in "buif":
            raise ValueError(f"found an array of {array.dtype}, expected whole numbers or booleans")
        if array.dtype.kind == "f" and not bool((array == array.round()).all()):
            raise ValueError("found fractions or NaN in a label map, expected whole numbers")
    return spacing


def _check_labels(labels: Sequence[LabelValues]) -> None:
    if any(not values for values in labels):
        raise ValueError("found a label without values, expected at least one voxel value per label")
