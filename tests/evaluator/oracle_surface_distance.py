"""surface-distance as the test oracle, with the names NumPy 2 took away given back."""

import warnings

import numpy as np
from numpy.typing import NDArray
from surface_distance import metrics

for _name, _value in (("Inf", np.inf), ("NaN", np.nan)):
    if not hasattr(np, _name):
        setattr(np, _name, _value)


def measure(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> dict:
    """surface-distance's own record for one label, silent about SciPy's old names and empty surfaces."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metrics.compute_surface_distances(reference, prediction, spacing_mm)


def values(record: dict, *, tolerance_mm: float) -> dict[str, float]:
    """Every number surface-distance offers, by the names our tests use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there, back = metrics.compute_average_surface_distance(record)
        return {
            "nsd": float(metrics.compute_surface_dice_at_tolerance(record, tolerance_mm)),
            "hd95": float(metrics.compute_robust_hausdorff(record, 95)),
            "hd50": float(metrics.compute_robust_hausdorff(record, 50)),
            "mean_there": float(there),
            "mean_back": float(back),
        }
