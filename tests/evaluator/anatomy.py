"""Pairs of label maps with the shapes of real anatomy: the MNI152 average brain of the nilearn wheel, and segmentations of it.

`make setup` installs that wheel, so every clone has the maps. The demo's cases come from them too. The template may be used and passed
on under the notice of its authors (Copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute). What a test is given is checked by its hash: a wheel with other maps is noticed.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
GREY, WHITE = 1, 2
CORNER, CORNER_SHAPE = (24, 34, 54), (44, 54, 36)
"""A piece of the left hemisphere with cortex, white matter and the background outside the brain."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A reference, a prediction on the same grid, and the SHA-256 of the two together."""

    reference: Labels
    prediction: Labels
    spacing_mm: tuple[float, ...]
    sha256: str

    def unchanged(self) -> "Pair":
        """The pair, unless it is not what it was when the hash was written down."""
        found = hashlib.sha256(self.reference.tobytes(order="F") + self.prediction.tobytes(order="F")).hexdigest()[
            : len(self.sha256)
        ]
        assert found == self.sha256, f"found {found}: the maps of the nilearn wheel have changed"
        return self


@cache
def maps() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """T1, grey matter and white matter, 0 to 255, at 1 mm, of the piece that the pairs are made of."""
    spec = importlib.util.find_spec("nilearn")
    folder = Path(spec.submodule_search_locations[0], "datasets", "data")
    piece = tuple(slice(start, start + size) for start, size in zip(CORNER, CORNER_SHAPE, strict=True))
    t1, grey, white = (
        np.asarray(nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz").dataobj)[piece]
        for name in ("t1", "gm", "wm")
    )
    return t1, grey, white


@cache
def tissues() -> Labels:
    """Grey and white matter where the maps say that it is more likely than not."""
    _, grey, white = maps()
    return np.where(grey > 127, GREY, np.where(white > 127, WHITE, 0)).astype(np.uint8)


@cache
def thresholded() -> Labels:
    """What an algorithm with two thresholds on the T1 finds: nearly the same, with islands and thin sheets of its own."""
    t1, _, _ = maps()
    return np.where(t1 > 190, WHITE, np.where(t1 > 115, GREY, 0)).astype(np.uint8)


def swapped(labels: Labels) -> Labels:
    """The two labels taken for each other."""
    return np.array([0, WHITE, GREY], np.uint8)[labels]


def pairs() -> dict[str, Pair]:
    """Every pair by its name."""
    truth, found = tissues(), thresholded()
    made = {
        "two tissues": (truth, found, (1.0, 1.0, 1.0), "ff4ba32f89ee8214"),
        "thick slices": (truth[:, :, ::6], found[:, :, ::6], (0.5, 0.5, 7.5), "be3049f308587469"),
        "spacing in single precision": (
            truth[::2, ::2, ::2], found[::2, ::2, ::2], (float(np.float32(0.8)), 1.1, 3.3), "ea9555adac34826f"
        ),
        "labels swapped": (truth[::2, ::2, ::2], swapped(found[::2, ::2, ::2]), (2.0, 2.0, 2.0), "6af66ef4c9f47d5f"),
        "moved away": (truth[::2, ::2, ::2], np.roll(truth[::2, ::2, ::2], 9, axis=1), (2.0, 2.0, 2.0), "e1be8e833cb6429e"),
        "one label": ((truth > 0).astype(np.uint8), (found > 0).astype(np.uint8), (1.0, 1.0, 1.0), "142bdf4c4ae4a601"),
        "one slice": (truth[:, :, 20], found[:, :, 20], (0.2, 0.2), "0bcabec3495a4e74"),
    }  # fmt: skip
    return {
        name: Pair(reference=reference, prediction=prediction, spacing_mm=spacing_mm, sha256=sha256)
        for name, (reference, prediction, spacing_mm, sha256) in made.items()
    }
