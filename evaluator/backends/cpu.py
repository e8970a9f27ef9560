"""The compiled kernel behind the backends' one question: every label of a pair in one pass, from arrays or from files.

The work is done in C, see `evaluator/kernel/kernel.h`. Here volumes are described and numbers are wrapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.backends.reference_cache import ReferenceCache
from evaluator.backends.stored import StoredVolume
from evaluator.kernel.elements import LARGEST_EXTENT, pack_corners
from evaluator.kernel.labels import LabelTable, label_tables
from evaluator.kernel.library import CScan, KernelError, Status, address, kernel, load_kernel, raise_unless_ok
from evaluator.kernel.scans import (
    AxisOrder,
    ScannedVolume,
    array_source,
    element_counts,
    runs_source,
    scan_volumes,
    slices_of_label,
    thread_count,
)
from evaluator.measurements.overlap import Overlap
from evaluator.measurements.records import Crop, LabelArray, LabelMeasurements, LabelValues, PairMeasurements
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances, element_areas


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
    """Overlap and surface distances of every label. `threads` 0 takes what the machine has."""
    axes = AxisOrder.of(reference)
    arranged = [axes.arrange(array) for array in (reference, prediction)]
    sources = [array_source(array) for array in arranged]
    measured: list[LabelMeasurements] = []
    for table in label_tables(labels):
        with scan_volumes(sources, table=table, is_planar=reference.ndim == 2, threads=threads) as scans:
            how = Setting(axes=axes, spacing_mm=spacing_mm, threads=threads)
            measured += measure_scans(*scans, table=table, how=how)
    return PairMeasurements(labels=tuple(measured), backend="cpu")


def measure_stored(
    *,
    reference: StoredVolume,
    prediction: StoredVolume,
    labels: Sequence[LabelValues],
    crops: Sequence[Crop] = (),
    allowed_values: frozenset[int] | None,
    threads: int = 0,
    references: ReferenceCache | None = None,
) -> PairMeasurements | None:
    """The same from files, without ever holding a volume. None where the prediction has a value that is not allowed.

    With a cache, only the prediction is read. The numbers are the same to the last bit.
    """
    axes = AxisOrder.as_in_nifti(len(reference.shape))
    known_values = frozenset({0}).union(*labels, allowed_values or ())
    unnamed_values: tuple[frozenset[int] | None, frozenset[int] | None] = (frozenset(), frozenset())
    measured: list[LabelMeasurements] = []
    for table in label_tables(labels, known_values):
        kept = references.find(reference, table=table) if references else None
        sources = [prediction.source()] if kept else [prediction.source(), reference.source()]
        with scan_volumes(sources, table=table, is_planar=len(reference.shape) == 2, threads=threads) as scans:
            if allowed_values is not None and table.unknown_values(scans[0]) != frozenset():
                return None
            if references and not kept:
                references.keep(reference, table=table, scanned=ScannedVolume.copy(scans[1]))
            pair = kept.pointers if kept else scans[1], scans[0]
            unnamed_values = (table.unknown_values(pair[0]), table.unknown_values(pair[1]))
            how = Setting(axes=axes, spacing_mm=reference.header.grid.spacing_mm, threads=threads)
            found = measure_scans(*pair, table=table, how=how)
            for label, crop in enumerate(crops[len(measured) : len(measured) + len(found)]):
                if crop is not Crop.NONE and len(reference.shape) == 3:
                    found[label] = _measure_crop(*pair, found[label], table=table, label=label, crop=crop, how=how)
            measured += found
    return PairMeasurements(labels=tuple(measured), backend="cpu", unnamed_values=unnamed_values)


def nearest_distances(
    *, sources: NDArray[np.int64], targets: NDArray[np.int64], spacing_mm: tuple[float, ...]
) -> NDArray[np.float64]:
    """Distance in mm from every source point to the nearest target point. There are some of both."""
    axes = AxisOrder(fastest_first=tuple(reversed(range(len(spacing_mm)))))
    origin = np.minimum(sources.min(axis=0), targets.min(axis=0))
    shape = np.maximum(sources.max(axis=0), targets.max(axis=0)) - origin + 1
    if shape.max() > LARGEST_EXTENT:
        raise KernelError(Status.TOO_LARGE)
    extent = np.array([*shape[::-1], 1][:3], np.uint32)
    order = np.argsort(sources[:, 0], kind="stable")
    packed = [
        pack_corners(points - origin, fastest_first=axes.fastest_first)
        for points in (sources[order], targets[np.argsort(targets[:, 0])])
    ]
    found = np.empty(len(sources))
    status = kernel().assay_nearest(
        address(packed[0]),
        packed[0].size,
        address(packed[1]),
        packed[1].size,
        address(extent),
        axes.metric(spacing_mm),
        address(found),
    )
    raise_unless_ok(status)
    distances_mm = np.empty_like(found)
    distances_mm[order] = found
    return distances_mm


@dataclass(frozen=True)
class Setting:
    """What a measurement needs to know besides the two scans."""

    axes: AxisOrder
    spacing_mm: tuple[float, ...]
    threads: int


def _measure_crop(
    reference: CScan,
    prediction: CScan,
    whole: LabelMeasurements,
    *,
    table: LabelTable,
    label: int,
    crop: Crop,
    how: Setting,
) -> LabelMeasurements:
    """A label measured once more, on some slices: the volumes are gone, but their runs hold every voxel."""
    slices = slices_of_label(reference, label)
    if not slices:
        return replace(whole, cropped=whole)
    slices = slices[:-1] if crop is Crop.EXCLUSIVE else slices
    if not slices:
        return whole
    sources = [runs_source(scan, slices=slices) for scan in (reference, prediction)]
    only = table.only(label)
    with scan_volumes(sources, table=only, is_planar=False, threads=how.threads) as scans:
        (cropped,) = measure_scans(*scans, table=only, how=how)
    return replace(whole, cropped=cropped)


def measure_scans(reference: CScan, prediction: CScan, *, table: LabelTable, how: Setting) -> list[LabelMeasurements]:
    """What two scans of the same shape say about every label of the table."""
    overlaps = np.zeros((len(table.labels), 3), np.uint64)
    raise_unless_ok(kernel().assay_count_overlaps(reference, prediction, table.pointers(), address(overlaps)))
    starts = [np.cumsum([0, *element_counts(scan).tolist()]).tolist() for scan in (reference, prediction)]
    distances = [np.empty(each[-1], np.float64) for each in starts]
    codes = [np.empty(each[-1], np.uint8) for each in starts]
    status = kernel().assay_measure_distances(
        reference,
        prediction,
        how.axes.metric(how.spacing_mm),
        address(how.axes.code_order),
        thread_count(how.threads),
        *map(address, distances),
        *map(address, codes),
    )
    raise_unless_ok(status)
    areas = element_areas(how.spacing_mm)
    measured = []
    for label, values in enumerate(table.labels):
        sides = []
        for start, distance, code in zip(starts, distances, codes, strict=True):
            part = slice(start[label], start[label + 1])
            sides.append(DirectedDistances(distance[part], code[part], areas))
        measured.append(LabelMeasurements(values, Overlap(*overlaps[label].tolist()), SurfaceDistances(*sides)))
    return measured
