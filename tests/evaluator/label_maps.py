"""Small random label maps that look like anatomy: blobs, shells, single voxels, labels cut by the image edge."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def random_label_map(
    *, shape: tuple[int, ...], labels: int, density: float, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """`density` 0 gives smooth blobs, 1 gives pure noise."""
    field = generator.standard_normal((labels + 1, *shape))
    for axis in range(1, field.ndim):
        for _ in range(round((1 - density) * 6)):
            field = (field + np.roll(field, 1, axis) + np.roll(field, -1, axis)) / 3
    return np.argmax(field, axis=0).astype(np.uint8)


def disturb(label_map: NDArray[np.uint8], *, generator: np.random.Generator) -> NDArray[np.uint8]:
    """A plausible prediction: shifted a little, salted with noise, one label lost."""
    shifted = np.roll(label_map, generator.integers(-2, 3, label_map.ndim), tuple(range(label_map.ndim)))
    noise = generator.random(label_map.shape) < 0.02
    shifted[noise] = generator.integers(0, int(label_map.max()) + 1, int(noise.sum()))
    shifted[shifted == generator.integers(1, int(label_map.max()) + 1)] = 0
    return shifted


def pairs(*, seed: int, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[float, ...]]]:
    """Reference, prediction and spacing over many shapes, densities and voxel sizes, in 2-D and 3-D."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        axes = 2 if index % 4 == 3 else 3
        shape = tuple(int(size) for size in generator.integers(1, 40, axes))
        reference = random_label_map(
            shape=shape, labels=int(generator.integers(1, 7)), density=float(generator.random()), generator=generator
        )
        if reference.max() == 0:
            reference.flat[0] = 1
        spacing_mm = tuple(float(np.float32(size)) for size in generator.uniform(0.3, 4.0, axes))
        yield reference, disturb(reference, generator=generator), spacing_mm
