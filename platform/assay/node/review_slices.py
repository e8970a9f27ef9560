"""Slices of one case as pictures, for the review page: the image, the reference on it, the prediction on it. None of it leaves.

Volumes are turned so that their axes run to the patient's right, front and top, without interpolating. A picture shows them as radiologists
look at them: from the feet, so the patient's right is on the left.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.errors import EvaluatorError
from evaluator.volumes import Volume, read_image

AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
SHOWN = ("image", "reference", "prediction")
LARGEST_SIDE = 512
"""Pixels of a picture's longer side at most."""
COLOURS = np.array(
    [
        (230, 75, 53),
        (77, 187, 213),
        (0, 160, 135),
        (243, 155, 127),
        (132, 145, 180),
        (145, 209, 194),
        (255, 215, 0),
        (180, 80, 200),
    ]
)
COVER = 0.5
"""How much of a label's colour covers the image."""


class NoPicture(Exception):
    """There is nothing to show, and why."""


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case, as they lie at the site. `predictions` is empty where the algorithm gave no usable answer."""

    case_id: str
    inputs: Mapping[str, Path]
    references: Mapping[str, Path]
    predictions: Mapping[str, Path] = field(default_factory=dict)
    is_last: bool = True
    """Whether no case comes after it in the list."""


class CaseSlices:
    """The volumes of one case, read when they are first asked for."""

    def __init__(self, files: CaseFiles, *, input_name: str = "") -> None:
        self.files = files
        self.input_name = input_name if input_name in files.inputs else next(iter(files.inputs), "")

    @cached_property
    def _image(self) -> "Turned":
        if not self.input_name:
            raise NoPicture("This case has no input that is a file.")
        return _read(self.files.inputs[self.input_name])

    @cached_property
    def _window(self) -> tuple[float, float]:
        voxels = self._image.array[np.isfinite(self._image.array)]
        low, high = np.percentile(voxels, (1, 99)) if voxels.size else (0.0, 1.0)
        return float(low), float(max(high, low + 1e-6))

    @cached_property
    def _reference(self) -> npt.NDArray[Any]:
        return self._labels(self.files.references, what="reference")

    @cached_property
    def _prediction(self) -> npt.NDArray[Any]:
        return self._labels(self.files.predictions, what="prediction")

    def _labels(self, files: Mapping[str, Path], *, what: str) -> npt.NDArray[Any]:
        """One array of label values. Of several files, each is a label of its own."""
        if not files:
            raise NoPicture(f"There is no {what} of this case.")
        whole = np.zeros(self._image.array.shape, dtype=np.int32)
        for number, path in enumerate(files.values(), start=1):
            found = _read(path).array
            if found.shape != whole.shape:
                raise NoPicture(
                    f"The {what} has {found.shape} voxels, and the image {whole.shape}: open them with a viewer of your own."
                )
            where = found != 0
            whole[where] = found[where] if len(files) == 1 else number
        return whole

    def length(self, axis: str) -> int:
        """How many slices there are. Raises NoPicture."""
        return int(self._image.array.shape[AXES[axis]])

    def best_place(self, axis: str) -> int:
        """The slice with most of the reference, else of the prediction, else the middle one. Raises NoPicture."""
        others = tuple(other for other in range(3) if other != AXES[axis])
        for what in SHOWN[1:]:
            try:
                counts = np.count_nonzero(self._array(what), axis=others)
            except NoPicture:
                continue
            if counts.any():
                return int(np.argmax(counts))
        return self.length(axis) // 2

    def picture(self, what: str, *, axis: str, place: int) -> bytes:
        """A PNG. Raises NoPicture."""
        grey = (_cut(self._image.array, axis, place).astype(np.float64) - self._window[0]) / (
            self._window[1] - self._window[0]
        )
        pixels = np.repeat((255 * np.clip(np.nan_to_num(grey), 0, 1))[..., None], 3, axis=2)
        if what != "image":
            labels = _cut(self._array(what), axis, place)
            where = labels != 0
            pixels[where] = (1 - COVER) * pixels[where] + COVER * COLOURS[(np.abs(labels[where]) - 1) % len(COLOURS)]
        spacing = [mm for number, mm in enumerate(self._image.spacing_mm) if number != AXES[axis]]
        return png(_scaled(pixels.astype(np.uint8), column_mm=spacing[0], row_mm=spacing[1]))

    def _array(self, what: str) -> npt.NDArray[Any]:
        return self._reference if what == "reference" else self._prediction


@dataclass(frozen=True, kw_only=True)
class Turned:
    """A volume whose axes run to the right, the front and the top of the patient."""

    array: npt.NDArray[Any]
    spacing_mm: tuple[float, float, float]


def _read(path: Path) -> Turned:
    try:
        return turned(read_image(path))
    except (EvaluatorError, OSError, ValueError) as problem:
        raise NoPicture(f"It cannot be shown: {problem}") from problem


def turned(volume: Volume) -> Turned:
    """By the nearest axis of the patient for each axis of the array. A flat image becomes a volume of one slice."""
    array = volume.array if volume.array.ndim == 3 else volume.array[..., None]
    spacing = [*volume.grid.spacing_mm, 1.0][:3]
    directions = np.array([row[:3] for row in volume.grid.affine[:3]], dtype=np.float64)
    order: list[int] = []
    for patient_axis in range(3):
        free = [axis for axis in range(3) if axis not in order]
        order.append(max(free, key=lambda axis: abs(directions[patient_axis, axis]) / (spacing[axis] or 1.0)))
    steps = tuple(slice(None, None, -1 if directions[place, axis] < 0 else 1) for place, axis in enumerate(order))
    return Turned(
        array=array.transpose(order)[steps], spacing_mm=(spacing[order[0]], spacing[order[1]], spacing[order[2]])
    )


def _cut(array: npt.NDArray[Any], axis: str, place: int) -> npt.NDArray[Any]:
    """One slice as rows and columns of a picture: top or front first, the patient's right first (the front first from the side)."""
    plane: npt.NDArray[Any] = np.take(array, place, axis=AXES[axis])[::-1, ::-1].T
    return plane


def _scaled(pixels: npt.NDArray[np.uint8], *, column_mm: float, row_mm: float) -> npt.NDArray[np.uint8]:
    """As many pixels as millimetres ask for, each copied from the nearest voxel."""
    rows, columns = pixels.shape[:2]
    height, width = rows * row_mm, columns * column_mm
    scale = LARGEST_SIDE / max(height, width)
    at_rows = np.minimum((np.arange(max(1, round(height * scale))) / scale / row_mm).astype(int), rows - 1)
    at_columns = np.minimum((np.arange(max(1, round(width * scale))) / scale / column_mm).astype(int), columns - 1)
    drawn: npt.NDArray[np.uint8] = pixels[at_rows][:, at_columns]
    return drawn


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Rows, columns and red, green, blue as a PNG file."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
