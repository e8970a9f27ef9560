"""The GPU backend: the kernel's algorithm on a CUDA card, without PyTorch, with the CPU's numbers.

Arrays that already lie on the card (CuPy, or anything that speaks `__cuda_array_interface__` or DLPack) are measured where they
are. What comes back is what every backend answers: counts, and every element's distance and neighbour code.

Theory of operation. Voxels become one-byte keys. One kernel counts the elements of every label, a second writes them, label
after label; sorting them makes runs repeatable. Per label and direction the target surface is drawn as a grid of bits, each source
searches it through windows (the very text the CPU kernel compiles, `nearest.h`), and the few that find nothing nearby look at all
targets. Only the elements' bounding boxes and counts cross to the host in between.

It pays where predictions are on the card already: a file's gzip stream is inflated on the processor in the time the card would
need to receive the voxels.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.backends.devices import Device, cuda_device
from evaluator.backends.records import LabelMeasurements, LabelValues, PairMeasurements
from evaluator.kernel.labels import LabelTable, label_tables
from evaluator.kernel.scans import AxisOrder
from evaluator.kernel.search import ROW_REACH, SearchPlan, plan_search
from evaluator.overlap import Overlap
from evaluator.surface import DirectedDistances, SurfaceDistances, element_areas

_VOXELS_PER_THREAD = 256
_ROW_MARGIN = 64
_COORDINATE = (1 << 18) - 1


@dataclass(frozen=True)
class DeviceCase:
    """One pair for `measure_many`: arrays on the host or on the card."""

    reference: Any
    prediction: Any
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class _Surface:
    """One volume's elements on the card, label after label."""

    elements: Any
    starts: list[int]

    def of(self, label: int) -> Any:
        return self.elements[self.starts[label] : self.starts[label + 1]]


def measure_pair(
    *,
    reference: Any,
    prediction: Any,
    spacing_mm: tuple[float, ...],
    labels: Sequence[LabelValues],
    device: Device | None = None,
) -> PairMeasurements:
    """Overlap and surface distances of every label, on the first CUDA device or the one given."""
    device = device or cuda_device()
    pair = [device.to_device(array) for array in (reference, prediction)]
    axes = AxisOrder.of(pair[0])
    arranged = [array.transpose(axes.fastest_first[::-1]) for array in pair]
    measured: list[LabelMeasurements] = []
    for table in label_tables(labels):
        keys = [_keys(device, array, table) for array in arranged]
        measured += _measure_keys(device, keys, table=table, axes=axes, spacing_mm=spacing_mm)
    return PairMeasurements(labels=tuple(measured), backend=device.name)


def measure_many(
    cases: Iterable[DeviceCase], *, labels: Sequence[LabelValues], device: Device | None = None
) -> Iterator[PairMeasurements]:
    """Pair after pair, in order; while the card works on one, the next is made (read, inflated) by another thread.

    `cases` may be a generator that reads files: it is advanced outside the calling thread, one case ahead.
    """
    waiting = iter(cases)
    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(next, waiting, None)
        while (case := upcoming.result()) is not None:
            upcoming = reader.submit(next, waiting, None)
            yield measure_pair(
                reference=case.reference,
                prediction=case.prediction,
                spacing_mm=case.spacing_mm,
                labels=labels,
                device=device,
            )


def _keys(device: Device, array: Any, table: LabelTable) -> Any:
    """One byte per voxel, the last axis along x, in one piece of memory."""
    xp = device.arrays
    if array.dtype == np.uint8 and np.array_equal(table.values, table.keys):
        return xp.ascontiguousarray(array)
    values, keys = (device.to_device(each) for each in (table.values, table.keys))
    if not values.size:
        return xp.full(array.shape, table.other_key, np.uint8)
    voxels = xp.ascontiguousarray(array).astype(np.int64)
    place = xp.minimum(xp.searchsorted(values, voxels), values.size - 1)
    return xp.where(values[place] == voxels, keys[place], np.uint8(table.other_key)).astype(np.uint8)


def _measure_keys(
    device: Device, keys: list[Any], *, table: LabelTable, axes: AxisOrder, spacing_mm: tuple[float, ...]
) -> list[LabelMeasurements]:
    shape = (*keys[0].shape[::-1], 1)[:3]
    is_planar = keys[0].ndim == 2
    surfaces = [_find_elements(device, each, table=table, shape=shape, is_planar=is_planar) for each in keys]
    overlaps = _count_overlaps(device, keys, table)
    plan = plan_search(shape=shape, metric=axes.metric(spacing_mm))
    areas = element_areas(spacing_mm)
    measured = []
    for label, values in enumerate(table.labels):
        ours, theirs = (surface.of(label) for surface in surfaces)
        sides = [
            _measure_direction(device, sources, targets, plan=plan, code_order=axes.code_order, areas=areas)
            for sources, targets in ((ours, theirs), (theirs, ours))
        ]
        measured.append(LabelMeasurements(values, overlaps[label], SurfaceDistances(*sides)))
    return measured


def _find_elements(
    device: Device, keys: Any, *, table: LabelTable, shape: tuple[int, ...], is_planar: bool
) -> _Surface:
    xp = device.arrays
    corners = (shape[0] + 1) * (shape[1] + 1) * (1 if is_planar else shape[2] + 1)
    first, members = device.to_device(table.first), device.to_device(table.members)
    question = (keys, device.to_device(np.array(shape, np.int32)), int(is_planar), table.outside_key, first, members)
    slots = xp.zeros(max(1, len(table.labels)), np.uint64)
    device.launch("find_elements", corners, *question, slots, None)
    counts = device.to_host(slots)[: len(table.labels)]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    elements = xp.empty(int(starts[-1]), np.uint64)
    device.launch("find_elements", corners, *question, device.to_device(starts[:-1].copy()), elements)
    surface = _Surface(elements=elements, starts=starts.astype(int).tolist())
    for label in range(len(table.labels)):
        surface.of(label).sort()
    return surface


def _count_overlaps(device: Device, keys: list[Any], table: LabelTable) -> list[Overlap]:
    joint = device.arrays.zeros(256 * 256, np.uint64)
    voxels = keys[0].size
    threads = -(-voxels // _VOXELS_PER_THREAD)
    device.launch("count_pairs", threads, keys[0], keys[1], np.int64(voxels), joint)
    pairs = device.to_host(joint).reshape(256, 256)
    overlaps = []
    for label in range(len(table.labels)):
        keys_of_label = [
            key for key in range(256) if label in table.members[table.first[key] : table.first[key + 1]].tolist()
        ]
        overlaps.append(
            Overlap(
                reference_voxels=int(pairs[keys_of_label].sum()),
                prediction_voxels=int(pairs[:, keys_of_label].sum()),
                intersection_voxels=int(pairs[np.ix_(keys_of_label, keys_of_label)].sum()),
            )
        )
    return overlaps


def _measure_direction(
    device: Device,
    sources: Any,
    targets: Any,
    *,
    plan: SearchPlan,
    code_order: NDArray[np.uint8],
    areas: NDArray[np.float64],
) -> DirectedDistances:
    codes = code_order[device.to_host(sources >> np.uint64(54)).astype(np.uint8)]
    if not sources.size or not targets.size:
        return DirectedDistances(np.full(sources.size, np.inf), codes, areas)
    squared = device.arrays.empty(sources.size, np.float64)
    box = _box(device, targets)
    bits, near_rows, row_bytes = _draw(device, targets, box, plan)
    device.launch(
        "search_near", sources.size, sources, bits, near_rows, device.to_device(box), np.int64(row_bytes),
        device.to_device(plan.groups.view(np.uint8)), plan.group_count, device.to_device(plan.window), plan.last_axis,
        plan.settled, float("inf"), squared,
    )  # fmt: skip
    spacing = device.to_device(plan.spacing_mm)
    device.launch(
        "search_far",
        sources.size,
        sources,
        targets,
        np.int64(targets.size),
        spacing,
        plan.last_axis,
        float("inf"),
        squared,
    )
    return DirectedDistances(np.sqrt(device.to_host(squared)), codes, areas)


def _box(device: Device, elements: Any) -> NDArray[np.int32]:
    """Origin and size of the elements' bounding box along x, y, z."""
    xp = device.arrays
    bounds = []
    for shift in (0, 18, 36):
        along = (elements >> np.uint64(shift)) & np.uint64(_COORDINATE)
        bounds += [along.min(), along.max()]
    low_high = device.to_host(xp.stack(bounds)).astype(np.int64)
    low, high = low_high[0::2], low_high[1::2]
    return np.concatenate([low, high - low + 1]).astype(np.int32)


def _draw(device: Device, targets: Any, box: NDArray[np.int32], plan: SearchPlan) -> tuple[Any, Any, int]:
    """The targets as a grid of bits, and where near rows lie in it."""
    width, height, depth = (int(size) for size in box[3:])
    row_bytes = (width + 2 * _ROW_MARGIN + 7) // 8
    rows = height + 2 * ROW_REACH
    words = (row_bytes * rows * (depth + 2 * ROW_REACH) + 16) // 4 + 1
    bits = device.arrays.zeros(words, np.uint32)
    device.launch("draw_target", targets.size, targets, device.to_device(box), np.int64(row_bytes), bits)
    steps = zip(plan.groups["dy"].tolist(), plan.groups["dz"].tolist(), strict=True)
    near = np.array([[z * rows + y for z in (dz, -dz) for y in (dy, -dy)] for dy, dz in steps], np.int64)
    return bits, device.to_device((near * row_bytes).reshape(-1)), row_bytes
