"""One door to the backends: measure every label of a reference and a prediction at once.

| backend | needs                      | answers                                                           |
| ------- | -------------------------- | ----------------------------------------------------------------- |
| `cpu`   | the compiled kernel        | the default: all labels in one pass, all processor cores          |
| `numpy` | NumPy                      | the oracle: slow, short, and written without looking at the others |
"""

import math
from collections.abc import Sequence

import numpy as np

from evaluator.backends import cpu
from evaluator.backends import reference as oracle
from evaluator.backends.records import LabelArray, LabelMeasurements, LabelValues, PairMeasurements

__all__ = ["LabelArray", "LabelMeasurements", "LabelValues", "PairMeasurements", "available_backends", "measure_pair"]


def available_backends() -> tuple[str, ...]:
    """Names of the backends that work on this machine, the preferred one first."""
    return ("cpu", "numpy") if cpu.is_available() else ("numpy",)


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
    """
    spacing = _checked_spacing(reference, prediction, spacing_mm)
    _check_labels(labels)
    if backend not in ("auto", *available_backends()):
        raise ValueError(f"found backend {backend!r}, expected one of auto, {', '.join(available_backends())}")
    if backend == "cpu" or (backend == "auto" and cpu.is_available()):
        return cpu.measure_pair(
            reference=reference, prediction=prediction, spacing_mm=spacing, labels=labels, threads=threads
        )
    return oracle.measure_pair(reference=reference, prediction=prediction, spacing_mm=spacing, labels=labels)


def _checked_spacing(reference: LabelArray, prediction: LabelArray, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    if reference.shape != prediction.shape:
        raise ValueError(f"found shapes {reference.shape} and {prediction.shape}, expected the same shape twice")
    if reference.ndim not in (2, 3):
        raise ValueError(
            f"found {reference.ndim} axes, expected 2 or 3: measure the channels or time points one by one"
        )
    spacing = tuple(float(size_mm) for size_mm in spacing_mm)
    if len(spacing) != reference.ndim:
        raise ValueError(f"found {len(spacing)} voxel sizes for {reference.ndim} axes, expected one per axis")
    if not all(math.isfinite(size_mm) and size_mm > 0 for size_mm in spacing):
        raise ValueError(f"found voxel sizes {spacing}, expected finite numbers above zero")
    for array in (reference, prediction):
        if array.dtype.kind not in "buif":
            raise ValueError(f"found an array of {array.dtype}, expected whole numbers or booleans")
        if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
            raise ValueError("found fractions or NaN in a label map, expected whole numbers")
    return spacing


def _check_labels(labels: Sequence[LabelValues]) -> None:
    if any(not values for values in labels):
        raise ValueError("found a label without values, expected at least one voxel value per label")
