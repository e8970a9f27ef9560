"""Made-up data in a protocol's own form, for a starter kit: blocks of known structures in noise, or a few questions with answers."""

import base64
import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.protocol import LabelSpec, OutputKind, Protocol
from evaluator.volumes import (
    CANONICAL_SUFFIX,
    Cells,
    Grid,
    delimiter_of,
    write_as_named,
    write_canonical_channels,
)

EXAMPLE_CASE = "example"
ROWS = 4
BLOCK = 5
DEPTH = 8
SPACING_MM = (1.5, 1.5, 2.0)
OPTIONS = {"A": "the first", "B": "the second", "C": "the third", "D": "the fourth"}
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
"""The smallest picture there is."""
FLAT = (".tif", ".tiff")
"""Images that have no depth."""
_MET = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT"}

Array = npt.NDArray[Any]


def write_example(protocol: Protocol, *, folder: Path) -> None:
    """`inputs/` and `references/`, with the names a container finds and has to write."""
    if protocol.output.kind is OutputKind.TABLE:
        _write_tables(protocol, folder=folder)
    else:
        _write_volumes(protocol, folder=folder)


def _write_volumes(protocol: Protocol, *, folder: Path) -> None:
    files = protocol.written_files(EXAMPLE_CASE)
    classes = reference_classes(protocol)
    if any(name.endswith(FLAT) for name in files.values()):
        classes = classes[:, :, DEPTH // 2]
    random = np.random.default_rng(1)
    for name in protocol.input_files(EXAMPLE_CASE).values():
        path = folder / "inputs" / name
        if path.name.endswith((".nii.gz", ".mha", *FLAT)):
            image = 100 + 10 * classes + random.normal(0, 3, classes.shape)
            write_volume([image.astype(np.int16)], path=path)
        else:
            write_rows(path, ["case"], [[EXAMPLE_CASE]])
    _write_input_tables(protocol, cases=[EXAMPLE_CASE], folder=folder / "inputs")
    masks = {label.name: _mask(protocol, label, classes) for label in protocol.labels}
    if protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        for name, mask in masks.items():
            write_volume([mask], path=folder / "references" / files[name])
        return
    channels = [masks[label.name] for label in sorted(protocol.labels, key=lambda label: label.channel or 0)]
    is_map = protocol.output.kind is OutputKind.LABEL_MAP
    write_volume([classes] if is_map else channels, path=folder / "references" / files[protocol.output.name])


def reference_classes(protocol: Protocol) -> Array:
    """Every voxel value (or, for masks, the number of every structure) in a block of its own."""
    values = sorted({value for label in protocol.labels for value in label.values})
    if protocol.output.kind is not OutputKind.LABEL_MAP:
        values = list(range(1, len(protocol.labels) + 1))
    side = max(3, math.ceil(math.sqrt(len(values))))
    classes = np.zeros((BLOCK * side + 2, BLOCK * side + 2, DEPTH), np.uint16 if max(values) > 255 else np.uint8)
    for number, value in enumerate(values):
        x, y = 2 + BLOCK * (number % side), 2 + BLOCK * (number // side)
        classes[x : x + BLOCK - 1, y : y + BLOCK - 1, 2 : DEPTH - 2] = value
    return classes


def _mask(protocol: Protocol, label: LabelSpec, classes: Array) -> Array:
    number = [each.name for each in protocol.labels].index(label.name) + 1
    return np.asarray(classes == number, np.uint8)


def write_volume(channels: Sequence[Array], *, path: Path) -> None:
    """A NIfTI or MetaImage file, or a flat TIFF, by the ending of its name. Several channels make it four-dimensional."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = channels[0].shape
    if path.name.endswith(FLAT):
        _write_flat(channels[0], path=path)
        return
    with path.open("wb") as target:
        if path.name.endswith(".mha"):
            target.write(_metaimage_header(shape, count=len(channels), stored=channels[0].dtype))
            target.writelines(channel.tobytes(order="F") for channel in channels)
            return
        x, y, z = SPACING_MM
        affine = ((x, 0.0, 0.0, 0.0), (0.0, y, 0.0, 0.0), (0.0, 0.0, z, 0.0), (0.0, 0.0, 0.0, 1.0))
        grid = Grid(shape=shape, spacing_mm=SPACING_MM, affine=affine)
        write_canonical_channels(channels, grid=grid, count=len(channels), target=target)


def _write_flat(pixels: Array, *, path: Path) -> None:
    rows = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    grid = Grid(shape=pixels.shape, spacing_mm=(1.0, 1.0), affine=rows)
    canonical = path.with_name(path.name + CANONICAL_SUFFIX)
    with canonical.open("wb") as target:
        write_canonical_channels([pixels], grid=grid, count=1, target=target)
    write_as_named(source=canonical, destination=path)
    canonical.unlink()


def _metaimage_header(shape: Sequence[int], *, count: int, stored: np.dtype[Any]) -> bytes:
    lengths, spacing = [*shape, count], [*SPACING_MM, 1.0]
    axes = 4 if count > 1 else 3
    fields = {
        "ObjectType": "Image",
        "NDims": str(axes),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "DimSize": " ".join(str(length) for length in lengths[:axes]),
        "ElementSpacing": " ".join(f"{step:g}" for step in spacing[:axes]),
        "ElementType": _MET[stored.name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode()


def _write_tables(protocol: Protocol, *, folder: Path) -> None:
    cases = [f"{EXAMPLE_CASE}{number}" for number in range(1, ROWS + 1)]
    for case in cases:
        for name in protocol.input_files(case).values():
            _write_input(folder / "inputs" / name)
    _write_input_tables(protocol, cases=cases, folder=folder / "inputs")
    names = [label.name for label in protocol.labels]
    metrics = {spec.metric.name for spec in protocol.metrics}
    is_choice = "choice_accuracy" in metrics
    more = OPTIONS if is_choice else {"event": "1"} if "concordance" in metrics else {}
    rows = [
        [case, *(_truth(protocol, metrics, number=number) for _ in names), *more.values()]
        for number, case in enumerate(cases)
    ]
    header = ["case", *names, *more]
    write_rows(folder / "references" / "reference.csv", header, rows)


def _truth(protocol: Protocol, metrics: Collection[str], *, number: int) -> str:
    """The cell of a reference: findings in every other case, a choice, a measurement or a class."""
    if protocol.output.cells != "text":
        cells = Cells(protocol.output.cells)
        place = [*range(10, 10 + cells.dimensions), *(range(20, 20 + cells.dimensions) if cells.are_boxes else ())]
        size = [] if cells.are_boxes or any(spec.metric.is_of_points for spec in protocol.metrics) else [8]
        is_there = number % 2 == 0 or not any(spec.metric.over_findings for spec in protocol.metrics)
        return " ".join(str(value) for value in (*place, *size)) if is_there else ""
    if "choice_accuracy" in metrics:
        return list(OPTIONS)[number % 2]
    return str(40 + number) if {"mape", "concordance"} & set(metrics) else str(number % 2)


def _write_input(path: Path) -> None:
    """A small volume or picture, by the ending of its name."""
    if path.name.endswith((".nii.gz", ".mha")):
        write_volume([np.full((6, 6, 6), 100, np.int16)], path=path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)


def _write_input_tables(protocol: Protocol, *, cases: Sequence[str], folder: Path) -> None:
    """What the platform would tell of these cases."""
    attributes = {"question": "⟨Which one is it?⟩", **OPTIONS}
    for name, text in protocol.input_tables(dict.fromkeys(cases, attributes)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]] | Sequence[Mapping[str, str]]) -> None:
    """A table separated as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, delimiter=delimiter_of(path.name), lineterminator="\n")
        writer.writerows([header, *rows])
