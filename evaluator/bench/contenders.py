"""Who is timed: from two files to Dice, NSD at 2 mm and HD95 of every label, each in the layout it likes best.

A contender is a function from two paths and the label values to `{label: (dice, nsd, hd95)}`. It imports what it needs when
it is made, so that a missing one is skipped and no import is timed.
"""

import ctypes
import ctypes.util
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.backends import PairMeasurements, measure_files, measure_pair
from evaluator.backends.reference_cache import ReferenceCache
from evaluator.measurements import overlap
from evaluator.metrics import distance
from evaluator.volumes.conversion import canonicalise
from evaluator.volumes.strict import read_grid, read_label_map

TOLERANCE_MM = 2.0
Scores = dict[int, tuple[float, float, float]]
Contender = Callable[[Path, Path, Sequence[int]], Scores]


def assay() -> Contender:
    """Straight from the files."""
    return lambda reference, prediction, labels: _read_off(
        measure_files(reference=reference, prediction=prediction, labels=_values(labels)), labels
    )


def assay_one_thread() -> Contender:
    """The same on one processor core."""
    return lambda reference, prediction, labels: _read_off(
        measure_files(reference=reference, prediction=prediction, labels=_values(labels), threads=1), labels
    )


def assay_kept_reference() -> Contender:
    """With the reference scanned before, as in every submission after the first."""
    kept = ReferenceCache()
    return lambda reference, prediction, labels: _read_off(
        measure_files(reference=reference, prediction=prediction, labels=_values(labels), references=kept), labels
    )


def assay_kernel() -> Contender:
    """From arrays in memory to measurements: the kernel alone."""
    arrays: dict[Path, np.ndarray] = {}

    def run(reference: Path, prediction: Path, labels: Sequence[int]) -> Scores:
        for path in (reference, prediction):
            if path not in arrays:
                arrays[path] = read_label_map(path).array
        measure_pair(
            reference=arrays[reference],
            prediction=arrays[prediction],
            spacing_mm=read_grid(reference).spacing_mm,
            labels=_values(labels),
        )
        return {}

    return run


def assay_untrusted() -> Contender:
    """What a submission's output goes through: parsed strictly in a limited child, written again by us, then scored."""

    def run(reference: Path, prediction: Path, labels: Sequence[int]) -> Scores:
        grid = read_grid(reference)
        canonical = prediction.with_name("canonical.nii.gz")
        canonicalise(source=prediction, destination=canonical, grid=grid, allowed_values=None)
        return _read_off(measure_files(reference=reference, prediction=canonical, labels=_values(labels)), labels)

    return run


def surface_distance() -> Contender:
    """google-deepmind/surface-distance, label by label. The reference for every number."""
    for name, value in (("Inf", np.inf), ("NaN", np.nan)):
        if not hasattr(np, name):
            setattr(np, name, value)  # the release predates NumPy 2
    warnings.simplefilter("ignore")
    import nibabel
    from surface_distance import metrics

    def run(reference: Path, prediction: Path, labels: Sequence[int]) -> Scores:
        image: Any = nibabel.load(reference)
        other: Any = nibabel.load(prediction)
        maps = np.asanyarray(image.dataobj), np.asanyarray(other.dataobj)
        spacing_mm = tuple(float(size) for size in image.header.get_zooms())
        scores = {}
        for label in labels:
            masks = [array == label for array in maps]
            distances = metrics.compute_surface_distances(*masks, spacing_mm)
            scores[label] = (
                float(metrics.compute_dice_coefficient(*masks)),
                float(metrics.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)),
                float(metrics.compute_robust_hausdorff(distances, 95)),
            )
        return scores

    return run


def exacta() -> Contender:
    """exacta's surfels, all labels in one call on (z, y, x) arrays."""
    import nibabel
    from exacta import functional

    measures: dict[str, dict[str, Any]] = {
        "dice": {},
        "nsd": {"tolerance": TOLERANCE_MM, "surface": "surfels"},
        "hd95": {"surface": "surfels"},
    }

    def run(reference: Path, prediction: Path, labels: Sequence[int]) -> Scores:
        image: Any = nibabel.load(reference)
        other: Any = nibabel.load(prediction)
        maps = [np.asanyarray(image.dataobj).T, np.asanyarray(other.dataobj).T]
        found = functional.evaluate(
            maps[1][None],
            maps[0][None],
            metrics=measures,
            spacing=tuple(float(size) for size in image.header.get_zooms())[::-1],
            num_classes=max(labels) + 1,
            include_background=False,
        )
        dice, nsd, hd95 = (found[name][0] for name in measures)
        return {label: (float(dice[label - 1]), float(nsd[label - 1]), float(hd95[label - 1])) for label in labels}

    return run


def libdeflate() -> Contender:
    """libdeflate's inflate of both files and nothing else: the time in which the fastest decoder has the bytes."""
    name = ctypes.util.find_library("deflate")
    if name is None:
        raise ImportError("libdeflate is not installed")
    library = ctypes.CDLL(name)
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    decompressor = ctypes.c_void_p(library.libdeflate_alloc_decompressor())
    inflate = library.libdeflate_gzip_decompress
    inflate.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
    )
    room: dict[Path, NDArray[np.uint8]] = {}

    def run(reference: Path, prediction: Path, labels: Sequence[int]) -> Scores:  # noqa: ARG001  # a contender's signature
        for path in (reference, prediction):
            content = path.read_bytes()
            size = int.from_bytes(content[-4:], "little")
            if path not in room:
                room[path] = np.ones(size, np.uint8)  # touched, so that no page has to be found while the clock runs
            if inflate(decompressor, content, len(content), room[path].ctypes.data, size, None):
                raise ValueError(f"libdeflate cannot read {path}")
        return {}

    return run


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "assay": assay,
    "assay, one thread": assay_one_thread,
    "assay, kept reference": assay_kept_reference,
    "assay, kernel alone": assay_kernel,
    "assay, untrusted output": assay_untrusted,
    "surface-distance": surface_distance,
    "exacta": exacta,
    "libdeflate": libdeflate,
}


def _values(labels: Sequence[int]) -> list[tuple[int, ...]]:
    return [(label,) for label in labels]


def _read_off(measured: PairMeasurements, labels: Sequence[int]) -> Scores:
    return {
        label: (
            overlap.dice(each.overlap),
            distance.normalised_surface_dice(each.surface, tolerance_mm=TOLERANCE_MM),
            distance.percentile_distance(each.surface, percent=95),
        )
        for label, each in zip(labels, measured.labels, strict=True)
    }


def largest_differences(ours: Scores, theirs: Scores) -> tuple[float, float, float]:
    """Over all labels: of Dice, NSD and HD95. Equal infinities and equal NaN differ by nothing."""
    return tuple(
        max(_difference(ours[label][column], theirs[label][column]) for label in theirs) for column in range(3)
    )  # type: ignore[return-value]  # three columns


def _difference(one: float, other: float) -> float:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    return abs(one - other)
