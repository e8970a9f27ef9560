"""The GPU backend: the kernel's algorithm on a CUDA card, without PyTorch, with the CPU's numbers.

Arrays that already lie on the card (CuPy, or anything that speaks `__cuda_array_interface__` or DLPack) are measured where they
are. What comes back is what every backend answers: counts, and every element's distance and neighbour code.

Theory of operation. Voxels become one-byte keys. One kernel counts the elements of every label, a second writes them, label
after label. Sorting them makes runs repeatable. Per label and direction the target surface is drawn as a grid of bits, each source
searches it through windows (the very text the CPU kernel compiles, `nearest.h`), and the few that find nothing nearby look at all
targets. Only the elements' bounding boxes and counts cross to the host in between. What depends on one volume alone (`prepare`) is made
once of a reference and kept (`DeviceReferences`). `measure_many` copies the next case on a stream of its own meanwhile.

It pays where predictions are on the card already: a file's gzip stream is inflated on the processor in the time the card would
need to receive the voxels.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.backends.devices import Arrival, Device, cuda_device
from evaluator.kernel.elements import coordinate, neighbour_codes
from evaluator.kernel.labels import LabelTable, label_tables
from evaluator.kernel.scans import AxisOrder
from evaluator.kernel.search import ROW_REACH, SearchPlan, plan_search
from evaluator.measurements.overlap import Overlap
from evaluator.measurements.records import LabelMeasurements, LabelValues, PairMeasurements
from evaluator.measurements.surface import DirectedDistances, SurfaceDistances, element_areas

DEFAULT_MEMORY_BYTES = 2 << 30
_VOXELS_PER_THREAD = 256
_ROW_MARGIN = 64


@dataclass(frozen=True)
class _Surface:
    """One volume's elements on the card, label after label."""

    elements: Any
    starts: list[int]

    def of(self, label: int) -> Any:
        return self.elements[self.starts[label] : self.starts[label + 1]]


@dataclass(frozen=True)
class DeviceVolume:
    """A volume on the card as measuring needs it: for each table of labels its keys and its surface elements."""

    labels: tuple[LabelValues, ...]
    axes: AxisOrder
    keys: tuple[Any, ...]
    surfaces: tuple[_Surface, ...]

    @property
    def bytes(self) -> int:
        """Memory held on the card."""
        return sum(int(each.nbytes) for each in (*self.keys, *(surface.elements for surface in self.surfaces)))


@dataclass(frozen=True)
class DeviceCase:
    """One pair for `measure_many`: arrays on the host or on the card. `case_id` names its reference where such are kept."""

    reference: Any
    prediction: Any
    spacing_mm: tuple[float, ...]
    case_id: str = ""


class DeviceReferences:
    """References kept on the card by case, the latest used of them up to a budget: later predictions travel alone."""

    def __init__(self, *, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._kept: OrderedDict[str, DeviceVolume] = OrderedDict()
        self._lock = Lock()

    def find(self, case_id: str, labels: Sequence[LabelValues]) -> DeviceVolume | None:
        """The case's reference for these very labels, if it is on the card: then nobody has to read it again."""
        with self._lock:
            volume = self._kept.get(case_id)
            if volume is None or volume.labels != tuple(labels):
                return None
            self._kept.move_to_end(case_id)
            return volume

    def keep(self, case_id: str, volume: DeviceVolume) -> None:
        """Keep a reference, and let go of those used longest ago where memory runs out."""
        with self._lock:
            self._kept[case_id] = volume
            while len(self._kept) > 1 and sum(each.bytes for each in self._kept.values()) > self._memory_bytes:
                self._kept.popitem(last=False)


def prepare(
    array: Any, *, labels: Sequence[LabelValues], device: Device | None = None, axes: AxisOrder | None = None
) -> DeviceVolume:
    """Everything of a volume that does not depend on what it is compared with. The other one of a pair follows its `axes`."""
    device = device or cuda_device()
    on_card = device.to_device(array)
    axes = axes or AxisOrder.of(on_card)
    arranged = on_card.transpose(axes.fastest_first[::-1])
    tables = label_tables(labels)
    keys = tuple(_keys(device, arranged, table) for table in tables)
    surfaces = tuple(_find_elements(device, each, table=table) for each, table in zip(keys, tables, strict=True))
    return DeviceVolume(labels=tuple(labels), axes=axes, keys=keys, surfaces=surfaces)


def measure_pair(
    *,
    reference: Any,
    prediction: Any,
    spacing_mm: tuple[float, ...],
    labels: Sequence[LabelValues],
    device: Device | None = None,
) -> PairMeasurements:
    """Overlap and surface distances of every label, on the first CUDA device or the one given.

    The reference may be an array or what `prepare` made of one.
    """
    device = device or cuda_device()
    if not isinstance(reference, DeviceVolume):
        reference = prepare(reference, labels=labels, device=device)
    other = prepare(prediction, labels=labels, device=device, axes=reference.axes)
    measured: list[LabelMeasurements] = []
    for number, table in enumerate(label_tables(labels)):
        measured += _measure_table(device, (reference, other), number, table=table, spacing_mm=spacing_mm)
    return PairMeasurements(labels=tuple(measured), backend=device.name)


def measure_many(
    cases: Iterable[DeviceCase],
    *,
    labels: Sequence[LabelValues],
    device: Device | None = None,
    references: DeviceReferences | None = None,
) -> Iterator[PairMeasurements]:
    """Pair after pair, in order. While the card works on one, the next is made (read, inflated) and copied by another thread.

    `cases` may be a generator that reads files: it is advanced outside the calling thread, one case ahead. With `references`,
    a case whose reference is on the card already may leave it out.
    """
    card = device or cuda_device()
    waiting = iter(cases)

    def send_next() -> tuple[DeviceCase, Arrival | DeviceVolume, Arrival] | None:
        case = next(waiting, None)
        if case is None:
            return None
        kept = references.find(case.case_id, labels) if references and case.case_id else None
        return case, kept or card.send(case.reference), card.send(case.prediction)

    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(send_next)
        while (sent := upcoming.result()) is not None:
            upcoming = reader.submit(send_next)
            case, reference, prediction = sent
            if isinstance(reference, Arrival):
                reference = prepare(card.take(reference), labels=labels, device=card)
                if references and case.case_id:
                    references.keep(case.case_id, reference)
            yield measure_pair(
                reference=reference,
                prediction=card.take(prediction),
                spacing_mm=case.spacing_mm,
                labels=labels,
                device=card,
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


def _measure_table(
    device: Device,
    pair: tuple[DeviceVolume, DeviceVolume],
    number: int,
    *,
    table: LabelTable,
    spacing_mm: tuple[float, ...],
) -> list[LabelMeasurements]:
    keys, surfaces = [volume.keys[number] for volume in pair], [volume.surfaces[number] for volume in pair]
    axes, shape = pair[0].axes, (*keys[0].shape[::-1], 1)[:3]
    overlaps = _count_overlaps(device, keys, table)
    plan = plan_search(shape=shape, metric=axes.metric(spacing_mm))
    areas = element_areas(spacing_mm)
    measured = []
    for label, values in enumerate(table.labels):
        of_reference, of_prediction = (surface.of(label) for surface in surfaces)
        sides = [
            _measure_direction(device, sources, targets, plan=plan, code_order=axes.code_order, areas=areas)
            for sources, targets in ((of_reference, of_prediction), (of_prediction, of_reference))
        ]
        measured.append(LabelMeasurements(values, overlaps[label], SurfaceDistances(*sides)))
    return measured


def _find_elements(device: Device, keys: Any, *, table: LabelTable) -> _Surface:
    xp = device.arrays
    shape, is_planar = (*keys.shape[::-1], 1)[:3], keys.ndim == 2
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
    codes = code_order[device.to_host(neighbour_codes(sources)).astype(np.uint8)]
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
    for axis in range(3):
        along = coordinate(elements, axis)
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
