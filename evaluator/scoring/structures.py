"""The labels of one case, measured: from reference and prediction files, in any of the layouts a protocol allows.

| layout               | files                          | in memory at a time        |
| -------------------- | ------------------------------ | -------------------------- |
| `label_map`          | one map each                   | their surfaces and runs    |
| `mask_per_structure` | one mask per structure each    | the two masks of one label |
| `multichannel`       | one 4-D mask each, streamed    | one channel of each        |

A reference may also be one file per structure while predictions are one map, or the other way round. A label with a z-crop is
measured on the slices its reference has. `exclusive` leaves the last of them out, which is what FLARE's published script does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np

from evaluator.arrays import Mask
from evaluator.backends import Crop, LabelMeasurements, PairMeasurements, measure_files, measure_pair
from evaluator.backends.devices import host_array
from evaluator.backends.reference_cache import ReferenceCache
from evaluator.errors import EvaluatorError, InvalidReference, Reason, reference_errors
from evaluator.measurements.overlap import Overlap
from evaluator.metrics.boxes import bounding_box, joined
from evaluator.metrics.components import number_values
from evaluator.metrics.label_pair import LabelPair
from evaluator.protocol import LabelSpec, OutputKind, Protocol
from evaluator.volumes.geometry import Grid
from evaluator.volumes.header import refuse
from evaluator.volumes.strict import (
    Expectation,
    Labels,
    ReaderLimits,
    open_volume,
    present_values,
    read_channels,
    read_grid,
)

READER_LIMITS = ReaderLimits(voxels=1 << 32)
MOST_SHOWN_VALUES = 20


@dataclass(frozen=True, kw_only=True)
class MeasuredLabel:
    """One label with its counts on the whole volume, and what was measured where the protocol looks."""

    label: LabelSpec
    whole: Overlap
    pair: LabelPair
    backend: str


@dataclass(frozen=True, kw_only=True)
class MeasuredCase:
    """Every label of a case, and what else its two files hold, in words: values that no label names."""

    labels: tuple[MeasuredLabel, ...]
    reference_note: str = ""
    prediction_note: str = ""


@dataclass(frozen=True, kw_only=True)
class LazyMaps:
    """The two label maps of a case as arrays, each read when it is first asked for: most metrics never ask."""

    read_reference: Callable[[], Labels]
    read_prediction: Callable[[], Labels]

    @cached_property
    def reference(self) -> Labels:
        return self.read_reference()

    @cached_property
    def prediction(self) -> Labels:
        return self.read_prediction()

    def masks(self, label: LabelSpec) -> tuple[Mask, Mask]:
        """One label's two masks."""
        return _mask(self.reference, label.values), _mask(self.prediction, label.values)

    def cropped_masks(self, label: LabelSpec) -> tuple[Mask, Mask]:
        """The same on the slices that the label's z-crop keeps."""
        reference, prediction = self.masks(label)
        crop = _crop(reference, label.z_crop)
        return reference[..., crop], prediction[..., crop]


def measure_case(
    *,
    protocol: Protocol,
    references: Mapping[str, Path],
    predictions: Mapping[str, Path],
    backend: str,
    threads: int = 0,
    kept_references: ReferenceCache | None = None,
) -> MeasuredCase:
    """Every label of the case, measured. InvalidVolume speaks of the prediction, InvalidReference of the reference."""
    grid = reference_grid(references)
    expected, predicted = _reference_files(protocol, references), _prediction_files(protocol, predictions, grid=grid)
    are_maps = expected.layout is predicted.layout is OutputKind.LABEL_MAP and not protocol.output.instances
    if are_maps and all(label.values for label in protocol.labels):
        pair = measure_files(
            reference=expected.only_file,
            prediction=predicted.only_file,
            labels=[label.values for label in protocol.labels],
            crops=[Crop(label.z_crop) for label in protocol.labels],
            allowed_values=predicted.expectation.allowed_values,
            tolerance=predicted.expectation.tolerance,
            backend=backend,
            threads=threads,
            references=kept_references,
        )
        maps = LazyMaps(read_reference=expected.trusted_map, read_prediction=predicted.map)
        measured = _measured_maps(protocol.labels, pair, maps, spacing_mm=grid.spacing_mm, backend=backend)
        notes = [
            unnamed_values(protocol, files, of_reference=files is references, found=found)
            for files, found in zip((references, predictions), pair.unnamed_values, strict=True)
        ]
        return MeasuredCase(labels=tuple(measured), reference_note=notes[0], prediction_note=notes[1])
    if protocol.output.instances:
        both = expected.trusted_map(), predicted.map()
        return MeasuredCase(
            labels=(_measure_instances(protocol.labels[0], both, spacing_mm=grid.spacing_mm, backend=backend),)
        )
    by_name = {
        label.name: _measure_masks(label, reference, prediction, spacing_mm=grid.spacing_mm, backend=backend)
        for label, reference, prediction in _paired_masks(protocol, expected, predicted)
    }
    return MeasuredCase(
        labels=tuple(by_name[label.name] for label in protocol.labels),
        reference_note=unnamed_values(protocol, references, of_reference=True),
    )


def label_masks(
    *, protocol: Protocol, references: Mapping[str, Path], predictions: Mapping[str, Path]
) -> Iterator[tuple[LabelSpec, Mask, Mask]]:
    """Every label with its two masks, for those who want to look at them."""
    protocol = for_reference(protocol, references)
    grid = reference_grid(references)
    return _paired_masks(
        protocol, _reference_files(protocol, references), _prediction_files(protocol, predictions, grid=grid)
    )


def reference_masks(*, protocol: Protocol, references: Mapping[str, Path]) -> Iterator[tuple[LabelSpec, Mask]]:
    """Every label with its reference mask."""
    protocol = for_reference(protocol, references)
    labels = sorted(protocol.labels, key=lambda label: label.channel or 0)
    return zip(labels, _trusted_masks(_reference_files(protocol, references), labels), strict=True)


def measure_maps(
    *, labels: Sequence[LabelSpec], reference: Labels, prediction: Labels, spacing_mm: tuple[float, ...], backend: str
) -> list[MeasuredLabel]:
    """All labels of two label maps in memory."""
    pair = measure_pair(
        reference=reference,
        prediction=prediction,
        spacing_mm=spacing_mm,
        labels=[label.values for label in labels],
        backend=backend,
    )
    maps = LazyMaps(read_reference=partial(host_array, reference), read_prediction=partial(host_array, prediction))
    return _measured_maps(labels, pair, maps, spacing_mm=spacing_mm, backend=backend)


def _measured_maps(
    labels: Sequence[LabelSpec],
    pair: PairMeasurements,
    maps: LazyMaps,
    *,
    spacing_mm: tuple[float, ...],
    backend: str,
) -> list[MeasuredLabel]:
    """The labels of two maps measured together. Those with a crop are measured again, each where the protocol looks."""
    measured = []
    for label, measurements in zip(labels, pair.labels, strict=True):
        masks = partial(maps.masks, label)
        if measurements.cropped:
            cropped_masks = partial(maps.cropped_masks, label)
            kept = _measured(label, measurements.cropped, cropped_masks, spacing_mm=spacing_mm, backend=pair.backend)
            measured.append(replace(kept, whole=measurements.overlap))
        elif label.z_crop == "none":
            measured.append(_measured(label, measurements, masks, spacing_mm=spacing_mm, backend=pair.backend))
        else:
            measured.append(_measure_masks(label, *masks(), spacing_mm=spacing_mm, backend=backend))
    return measured


def reference_grid(references: Mapping[str, Path]) -> Grid:
    """The grid of a case: the header of its first reference file."""
    with reference_errors():
        return read_grid(next(iter(references.values())), limits=READER_LIMITS)


def measure_as_empty(*, protocol: Protocol, references: Mapping[str, Path]) -> Iterator[MeasuredLabel]:
    """Every label as if nothing had been predicted, by channel. Surfaces, which nothing but a distance asks for, are left out."""
    labels = sorted(protocol.labels, key=lambda label: label.channel or 0)
    files = _reference_files(protocol, references)
    grid = reference_grid(references)
    if protocol.output.instances:
        objects = files.trusted_map()
        maps = (objects, np.zeros_like(objects))
        yield _measure_instances(labels[0], maps, spacing_mm=grid.spacing_mm, backend="auto")
        return
    for label, mask in zip(labels, _trusted_masks(files, labels), strict=True):
        nothing = np.zeros((1,) * mask.ndim, bool)
        measured = _measure_masks(label, nothing, nothing, spacing_mm=grid.spacing_mm, backend="auto")
        overlap = Overlap(reference_voxels=int(np.count_nonzero(mask)), prediction_voxels=0, intersection_voxels=0)
        masks = partial(_with_nothing, mask)
        yield replace(measured, whole=overlap, pair=replace(measured.pair, overlap=overlap, masks=masks))


def _with_nothing(reference: Mask) -> tuple[Mask, Mask]:
    return reference, np.zeros_like(reference)


def _measure_masks(
    label: LabelSpec, reference: Mask, prediction: Mask, *, spacing_mm: tuple[float, ...], backend: str
) -> MeasuredLabel:
    box = joined(bounding_box(reference), bounding_box(prediction))
    if box is not None:
        reference, prediction = reference[box].copy(), prediction[box].copy()
    whole = Overlap(
        reference_voxels=int(np.count_nonzero(reference)),
        prediction_voxels=int(np.count_nonzero(prediction)),
        intersection_voxels=int(np.count_nonzero(reference & prediction)),
    )
    crop = _crop(reference, label.z_crop)
    reference, prediction = reference[..., crop], prediction[..., crop]
    if not reference.size:
        reference, prediction = np.zeros((1,) * reference.ndim, bool), np.zeros((1,) * reference.ndim, bool)
    pair = measure_pair(
        reference=reference, prediction=prediction, spacing_mm=spacing_mm, labels=[(1,)], backend=backend
    )
    measured = _measured(
        label, pair.labels[0], lambda: (reference, prediction), spacing_mm=spacing_mm, backend=pair.backend
    )
    return replace(measured, whole=whole)


def _measure_instances(
    label: LabelSpec, maps: tuple[Labels, Labels], *, spacing_mm: tuple[float, ...], backend: str
) -> MeasuredLabel:
    """The only label of maps that number its objects: everything that is not background, and the objects."""
    reference, prediction = maps
    measured = _measure_masks(label, reference != 0, prediction != 0, spacing_mm=spacing_mm, backend=backend)
    instances = cache(lambda: (number_values(reference), number_values(prediction)))
    return replace(measured, pair=replace(measured.pair, instances=instances))


def _crop(reference: Mask, z_crop: str) -> slice:
    """The slices along the last stored axis that the reference has. Everything without a crop or a reference."""
    if z_crop == "none":
        return slice(None)
    used = np.flatnonzero(reference.any(axis=tuple(range(reference.ndim - 1))))
    if not used.size:
        return slice(None)
    return slice(int(used[0]), int(used[-1]) + (1 if z_crop == "inclusive" else 0))


def _mask(array: Labels, values: Sequence[int]) -> Mask:
    """Where one of the values is. Without values, all but background.

    A comparison per value: 10 ms for 52 million bytes, against 300 ms with `isin`.
    """
    mask: Mask = array == values[0] if values else array != 0
    for value in values[1:]:
        mask |= array == value
    return mask


def _measured(
    label: LabelSpec,
    measurements: LabelMeasurements,
    masks: Callable[[], tuple[Mask, Mask]],
    *,
    spacing_mm: tuple[float, ...],
    backend: str,
) -> MeasuredLabel:
    pair = LabelPair(
        overlap=measurements.overlap,
        surface=measurements.surface,
        spacing_mm=spacing_mm,
        tolerance_mm=label.tolerance_mm,
        masks=masks,
    )
    return MeasuredLabel(label=label, whole=measurements.overlap, pair=pair, backend=backend)


def for_reference(protocol: Protocol, references: Mapping[str, Path]) -> Protocol:
    """The protocol with the labels of this case, where its labels follow from the reference. Raises InvalidReference."""
    if protocol.labels_from_reference is None:
        return protocol
    present = present_values(_reference_files(protocol, references).trusted_map())
    try:
        return protocol.with_values_of(present)
    except EvaluatorError as problem:
        raise InvalidReference(f"the reference cannot be used: {problem}") from problem


def unnamed_values(
    protocol: Protocol, files: Mapping[str, Path], *, of_reference: bool, found: frozenset[int] | None = None
) -> str:
    """Values of a label map that no label names, in words. Empty where there are none or the file is no label map.

    `found` are values that a measurement met. Without them the file is read.
    """
    side = _reference_files(protocol, files)
    if side.layout is not OutputKind.LABEL_MAP or protocol.output.instances:
        return ""
    named = {0, *protocol.ignored_values}.union(*(label.values for label in protocol.labels))
    if not all(label.values for label in protocol.labels):
        return ""
    present = present_values(side.map()) if found is None else sorted(found)
    unnamed = [value for value in present if value not in named]
    if not unnamed:
        return ""
    shown = ", ".join(map(str, unnamed[:MOST_SHOWN_VALUES])) + (", …" if len(unnamed) > MOST_SHOWN_VALUES else "")
    return (
        f"values that no label names, not scored: {shown}"
        if of_reference
        else f"values found that stand for nothing: {shown}"
    )


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The files of one side of a case and how labels lie in them."""

    layout: OutputKind
    files: Mapping[str, Path]
    expectation: Expectation
    has_instances: bool

    @property
    def only_file(self) -> Path:
        """The file of the one label map."""
        return next(iter(self.files.values()))

    def map(self) -> Labels:
        """The one label map."""
        return next(self._channels(self.only_file))

    def trusted_map(self) -> Labels:
        """The one label map of a reference. Raises InvalidReference."""
        with reference_errors():
            return self.map()

    def masks(self, labels: Sequence[LabelSpec]) -> Iterator[Mask]:
        """One mask per label, in the order given. For channels that order must be ascending."""
        if self.layout is OutputKind.MASK_PER_STRUCTURE:
            for label in labels:
                if label.name not in self.files:
                    raise refuse(Reason.MISSING, found=f"no file for {label.name}", expected="one file per structure")
                yield next(self._channels(self.files[label.name])) != 0
        elif self.layout is OutputKind.LABEL_MAP:
            array = self.map()
            for label in labels:
                yield array != 0 if self.has_instances else _mask(array, label.values)
        else:
            wanted = [label.channel for label in labels]
            for index, channel in enumerate(self._channels(next(iter(self.files.values())))):
                for _ in range(wanted.count(index)):
                    yield channel != 0

    def _channels(self, path: Path) -> Iterator[Labels]:
        """Every channel of a file. The one before the last is held back until the file has ended well."""
        with open_volume(path, limits=READER_LIMITS) as source:
            _, channels = read_channels(source, expectation=self.expectation, limits=READER_LIMITS)
            held = next(channels)
            for channel in channels:
                yield held
                held = channel
            yield held


def _reference_files(protocol: Protocol, references: Mapping[str, Path]) -> _Files:
    """References as they come: several files are masks, one file is a map, or channels where the output has them."""
    layout = OutputKind.LABEL_MAP
    if len(references) > 1 or set(references) & {label.name for label in protocol.labels}:
        layout = OutputKind.MASK_PER_STRUCTURE
    elif protocol.output.kind is OutputKind.MULTICHANNEL:
        layout = OutputKind.MULTICHANNEL
    channels = protocol.channels if layout is OutputKind.MULTICHANNEL else 1
    return _Files(
        layout=layout,
        files=references,
        expectation=Expectation(channels=channels),
        has_instances=protocol.output.instances,
    )


def _prediction_files(protocol: Protocol, predictions: Mapping[str, Path], *, grid: Grid) -> _Files:
    return _Files(
        layout=protocol.output.kind,
        files=predictions,
        expectation=Expectation(
            grid=grid,
            tolerance=protocol.geometry,
            allowed_values=protocol.allowed_values,
            channels=protocol.channels,
        ),
        has_instances=protocol.output.instances,
    )


def _paired_masks(
    protocol: Protocol, references: _Files, predictions: _Files
) -> Iterator[tuple[LabelSpec, Mask, Mask]]:
    labels = sorted(protocol.labels, key=lambda label: label.channel or 0)
    return zip(labels, _trusted_masks(references, labels), predictions.masks(labels), strict=True)


def _trusted_masks(files: _Files, labels: Sequence[LabelSpec]) -> Iterator[Mask]:
    """The masks of a reference. Raises InvalidReference."""
    masks = files.masks(labels)
    while True:
        with reference_errors():
            mask = next(masks, None)
        if mask is None:
            return
        yield mask
