"""The cases everything is timed on: deterministic, synthetic, shaped like the challenges they stand for.

| case   | grid, spacing              | labels                              | what is wrong in the prediction                        |
| ------ | -------------------------- | ----------------------------------- | ------------------------------------------------------ |
| `abd`  | 512×512×200, 0.8×0.8×2.5   | 13 organs and a lesion, like FLARE  | 1.6 mm of noise, 1 mm shifts, two structures missed    |
| `hn`   | 512×512×120, 0.977×0.977×3 | 45 organs at risk, like SegRap      | 1.2 mm of noise, one lens missed                       |
| `feta` | 256³, 0.5                  | 7 nested folded shells, like FeTA   | 0.5 mm of noise                                        |

All have false-positive islands far away. The adversarial pairs are made from `abd`'s reference.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.volumes.canonical import write_canonical_array
from evaluator.volumes.geometry import Grid

LabelMap = NDArray[np.uint8]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Pair:
    """A reference and a prediction on one grid."""

    reference: LabelMap
    prediction: LabelMap
    spacing_mm: Triple

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(range(1, int(self.reference.max()) + 1))

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Both maps as NIfTI files, compressed as most tools compress them."""
        folder.mkdir(parents=True, exist_ok=True)
        x, y, z = self.spacing_mm
        affine = ((-x, 0.0, 0.0, 0.0), (0.0, -y, 0.0, 0.0), (0.0, 0.0, z, 0.0), (0.0, 0.0, 0.0, 1.0))
        grid = Grid(shape=self.reference.shape, spacing_mm=self.spacing_mm, affine=affine)
        paths = folder / "reference.nii.gz", folder / "prediction.nii.gz"
        for path, array in zip(paths, (self.reference, self.prediction), strict=True):
            write_canonical_array(array, grid=grid, path=path)
            path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=6, mtime=0))
        return paths


@dataclass(frozen=True)
class Shape:
    """An ellipsoid with a wobbly surface, bent along z: centre and radii in mm."""

    label: int
    centre_mm: Triple
    radii_mm: Triple
    wobble: float = 0.12
    wobble_length_mm: float = 35.0
    bend_mm: tuple[float, float] = (0.0, 0.0)
    power: float = 2.0


def abdomen() -> Pair:
    """Thirteen organs and three lesions. The left adrenal and one lesion are missed."""
    x, z = 204.8, 250.0
    shapes = [
        Shape(1, (x - 75, x - 20, z + 40), (85, 75, 75), 0.14, 60),
        Shape(13, (x + 68, x + 45, z - 15), (28, 26, 55), 0.08, 30),
        Shape(2, (x - 68, x + 45, z - 30), (28, 26, 55), 0.08, 30),
        Shape(3, (x + 100, x + 15, z + 50), (30, 42, 55), 0.12, 40),
        Shape(11, (x + 55, x - 40, z + 35), (60, 42, 48), 0.15, 45),
        Shape(4, (x + 15, x - 5, z - 5), (70, 14, 18), 0.2, 25, (0, 0)),
        Shape(12, (x - 28, x - 5, z - 35), (16, 15, 48), 0.18, 22, (14, 6)),
        Shape(9, (x - 55, x - 45, z - 5), (16, 18, 30), 0.1, 25),
        Shape(5, (x + 8, x + 40, z + 10), (11, 11, 220), 0.06, 30, (6, 5), 6.0),
        Shape(6, (x - 20, x + 32, z), (12, 10, 190), 0.08, 30, (6, 5), 6.0),
        Shape(10, (x + 12, x + 28, z + 150), (9, 8, 90), 0.1, 25, (7, 6), 6.0),
        Shape(7, (x - 38, x + 30, z + 30), (5, 14, 14), 0.2, 12),
        Shape(8, (x + 40, x + 28, z + 28), (5, 14, 14), 0.2, 12),
        Shape(14, (x - 100, x - 10, z + 60), (16, 15, 17), 0.15, 14),
        Shape(14, (x - 60, x - 45, z + 70), (6, 7, 6), 0.15, 8),
        Shape(14, (x - 90, x + 20, z + 10), (9, 9, 10), 0.15, 10),
    ]
    how = Disturbance(noise_mm=1.6, shift_mm=1.0, missed=(12, 14), islands=8)
    return _render_pair(shapes, (512, 512, 200), (0.8, 0.8, 2.5), seed=11, how=how)


def head_and_neck() -> Pair:
    """Nine single organs and eighteen pairs. One lens is missed."""
    x, y = 250.0, 240.0
    generator = np.random.default_rng(5)
    shapes = [
        Shape(1, (x, y - 5, 280), (68, 85, 60), 0.05, 50),
        Shape(2, (x, y + 30, 200), (14, 15, 30), 0.08, 20),
        Shape(3, (x, y + 45, 95), (6, 6, 95), 0.05, 20, (3, 4), 6.0),
        Shape(4, (x, y - 45, 120), (45, 40, 18), 0.15, 25),
        Shape(5, (x, y - 40, 150), (40, 30, 25), 0.12, 25),
        Shape(6, (x, y - 10, 60), (15, 15, 30), 0.12, 20),
        Shape(7, (x, y + 5, 60), (8, 9, 60), 0.08, 20, (3, 3), 6.0),
        Shape(8, (x, y - 5, 40), (9, 9, 40), 0.08, 20, (3, 3), 6.0),
        Shape(9, (x, y - 55, 222), (8, 3, 4), 0.2, 8),
    ]
    label = 10
    for dx, dy, z, rx, ry, rz in _BILATERAL:
        for side in (-1, 1):
            jx, jy, jz = generator.normal(0, 1, 3)
            shortest = min(rx, ry, rz) * 1.5
            centre = (x + side * dx + jx, y + dy + jy, z + jz)
            shapes.append(Shape(label, centre, (rx, ry, rz), 0.12, max(8, shortest)))
            label += 1
    missed = tuple(index for index, shape in enumerate(shapes) if shape.label == 14)
    how = Disturbance(noise_mm=1.2, shift_mm=0.8, missed=missed, islands=6)
    return _render_pair(shapes, (512, 512, 120), (0.9765625, 0.9765625, 3.0), seed=12, how=how)


def fetal_brain() -> Pair:
    """Seven nested, folded tissues."""
    c = 64.0
    shapes = [
        Shape(1, (c, c, c), (40, 47, 37), 0.05, 10),
        Shape(2, (c, c, c + 1), (37, 44, 34), 0.10, 6),
        Shape(3, (c, c, c + 1), (34, 41, 31), 0.10, 6),
        Shape(6, (c, c, c - 3), (13, 16, 11), 0.1, 10),
        Shape(4, (c - 10, c + 3, c + 6), (5, 20, 7), 0.15, 8),
        Shape(4, (c + 10, c + 3, c + 6), (5, 20, 7), 0.15, 8),
        Shape(5, (c, c + 28, c - 20), (20, 12, 11), 0.1, 7),
        Shape(7, (c, c + 14, c - 24), (6, 6, 15), 0.08, 8),
    ]
    how = Disturbance(noise_mm=0.5, shift_mm=0.25, islands=6)
    return _render_pair(shapes, (256, 256, 256), (0.5, 0.5, 0.5), seed=13, how=how)


CASES: dict[str, Callable[[], Pair]] = {"abd": abdomen, "hn": head_and_neck, "feta": fetal_brain}

_BILATERAL = (
    (58, 15, 140, 14, 22, 28), (28, -85, 215, 12, 12, 12), (28, -97, 215, 4, 2, 4), (18, -65, 220, 3, 18, 3),
    (45, -25, 225, 25, 35, 20), (38, 20, 195, 6, 6, 5), (30, 22, 200, 2.4, 2.4, 3), (30, -35, 115, 12, 14, 14),
    (48, 0, 185, 9, 10, 9), (14, -20, 40, 9, 9, 22), (22, 25, 100, 6, 6, 55), (40, 40, 90, 10, 10, 45),
    (16, -25, 250, 12, 25, 8), (35, -60, 225, 8, 10, 6), (20, -5, 222, 5, 6, 4), (60, 20, 80, 15, 14, 50),
    (10, -20, 110, 8, 8, 20), (32, -15, 165, 10, 12, 16),
)  # fmt: skip


def adversarial(pair: Pair) -> dict[str, Pair]:
    """What an algorithm may hand back to make a scorer slow: nothing lies where the reference has it."""
    half = Pair(pair.reference[::2, ::2, ::2], pair.prediction[::2, ::2, ::2], pair.spacing_mm)
    point = np.zeros_like(half.reference)
    point[-1, -1, -1] = 1
    noise = np.random.default_rng(1).integers(0, 15, (96, 96, 64)).astype(np.uint8)
    predictions = {
        "flipped": half.reference[::-1],
        "shifted": np.roll(half.reference, 40, axis=0),
        "all foreground": np.ones_like(half.reference),
        "one voxel": point,
    }
    pairs = {name: Pair(half.reference, prediction, pair.spacing_mm) for name, prediction in predictions.items()}
    return pairs | {"noise": Pair(noise, np.roll(noise, 1, axis=0), pair.spacing_mm)}


@dataclass(frozen=True)
class Disturbance:
    """How a prediction differs from its reference."""

    noise_mm: float
    shift_mm: float
    islands: int
    missed: tuple[int, ...] = ()


def _render_pair(
    shapes: Sequence[Shape], size: tuple[int, int, int], spacing_mm: Triple, *, seed: int, how: Disturbance
) -> Pair:
    reference, prediction = (np.zeros(size, np.uint8, order="F") for _ in range(2))
    generator = np.random.default_rng(seed)
    for index, shape in enumerate(shapes):
        _draw(reference, shape, spacing_mm, np.random.default_rng((seed, index)))
        if index in how.missed:
            continue
        shift = generator.normal(0, how.shift_mm, 3)
        noise = np.random.default_rng((seed, index, 7)), how.noise_mm
        _draw(prediction, shape, spacing_mm, np.random.default_rng((seed, index)), shift_mm=shift, noise=noise)
    labels = sorted({shape.label for shape in shapes})
    _add_islands(prediction, spacing_mm, how.islands, labels, np.random.default_rng((seed, 99)))
    return Pair(reference, prediction, spacing_mm)


def _draw(
    label_map: LabelMap,
    shape: Shape,
    spacing_mm: Triple,
    generator: np.random.Generator,
    *,
    shift_mm: NDArray[np.float64] | Sequence[float] = (0.0, 0.0, 0.0),
    noise: tuple[np.random.Generator, float] | None = None,
) -> None:
    centre = np.array(shape.centre_mm, float) + np.array(shift_mm, float)
    radii = np.array(shape.radii_mm, float)
    reach = radii * 1.6 + np.array([abs(shape.bend_mm[0]), abs(shape.bend_mm[1]), 0]) + 4
    low = np.maximum(0, np.floor((centre - reach) / spacing_mm)).astype(int)
    high = np.minimum(label_map.shape, np.ceil((centre + reach) / spacing_mm).astype(int) + 1)
    axes = [
        ((np.arange(start, end) * size_mm) - middle).astype(np.float32)
        for start, end, size_mm, middle in zip(low, high, spacing_mm, centre, strict=True)
    ]
    t = axes[2][None, None, :] / np.float32(radii[2])
    x = axes[0][:, None, None] - np.float32(shape.bend_mm[0]) * np.sin(2.2 * t)
    y = axes[1][None, :, None] - np.float32(shape.bend_mm[1]) * np.sin(1.7 * t + 0.6)
    power = shape.power
    radius = (np.abs(x / radii[0]) ** power + np.abs(y / radii[1]) ** power + np.abs(t) ** power) ** (1 / power)
    radius = radius - np.float32(shape.wobble) * _field(radius.shape, spacing_mm, shape.wobble_length_mm, generator)
    if noise:
        amount = np.float32(noise[1] / radii.min())
        radius = radius - amount * _field(radius.shape, spacing_mm, 7.0, noise[0])
    box = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
    label_map[box][radius < 1] = shape.label


def _field(
    size: tuple[int, ...], spacing_mm: Triple, length_mm: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """A smooth random field of unit variance with the given correlation length."""
    coarse = [max(3, int(np.ceil(n * size_mm / length_mm)) + 3) for n, size_mm in zip(size, spacing_mm, strict=True)]
    field = generator.standard_normal(coarse).astype(np.float32)
    for axis, (knots, n) in enumerate(zip(coarse, size, strict=True)):
        position = np.linspace(1, knots - 2, n).astype(np.float32)
        before = np.floor(position).astype(int).clip(0, knots - 2)
        weight = (position - before).reshape([-1 if other == axis else 1 for other in range(3)])
        weight = weight * weight * (3 - 2 * weight)
        field = np.take(field, before, axis) * (1 - weight) + np.take(field, before + 1, axis) * weight
    return field.astype(np.float32)


def _add_islands(
    label_map: LabelMap, spacing_mm: Triple, count: int, labels: Sequence[int], generator: np.random.Generator
) -> None:
    for _ in range(count):
        label, radius_mm = int(generator.choice(labels)), generator.uniform(1.5, 5)
        centre = (generator.uniform(0.15, 0.85, 3) * np.array(label_map.shape)).astype(int)
        reach = np.ceil(radius_mm / np.array(spacing_mm)).astype(int)
        grid = np.ogrid[tuple(slice(-steps, steps + 1) for steps in reach)]
        ball = sum((axis * size_mm) ** 2 for axis, size_mm in zip(grid, spacing_mm, strict=True)) <= radius_mm**2
        box = tuple(slice(c - steps, c + steps + 1) for c, steps in zip(centre, reach, strict=True))
        part = label_map[box]
        part[ball & (part == 0)] = label
