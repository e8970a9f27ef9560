"""Sums and percentiles over surface elements, by the kernel where it was built."""

import ctypes
from dataclasses import dataclass

from evaluator.kernel.library import address, load_kernel
from evaluator.measurements.surface import DirectedDistances


@dataclass(frozen=True)
class AreaSums:
    """Area of all elements, of those within a tolerance, and the sum of distance times area."""

    total: float
    within: float
    weighted: float


def sum_areas(directed: DirectedDistances, *, tolerance_mm: float) -> AreaSums | None:
    """All three sums in one pass. None without a kernel."""
    library = load_kernel()
    if library is None:
        return None
    sums = (ctypes.c_double * 3)()
    library.assay_sum_areas(*_arrays(directed), tolerance_mm, sums)
    return AreaSums(*sums)


def percentile(directed: DirectedDistances, *, share: float) -> float | None:
    """The area-weighted percentile without a sort. None without a kernel, or where rounding could decide the answer."""
    library = load_kernel()
    result = ctypes.c_double()
    if library is None or not library.assay_percentile(*_arrays(directed), share, ctypes.byref(result)):
        return None
    return result.value


def _arrays(directed: DirectedDistances) -> tuple[int, int, int, int]:
    return (
        address(directed.distances_mm),
        address(directed.codes),
        directed.distances_mm.size,
        address(directed.area_of_code),
    )
