"""What every backend answers, and how a question is put to it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from numpy.typing import NDArray

from evaluator.measurements.overlap import Overlap
from evaluator.measurements.surface import SurfaceDistances

LabelArray: TypeAlias = NDArray[Any]
LabelValues: TypeAlias = tuple[int, ...]
"""The voxel values that together make up one label: one value, or several for a region."""


class Crop(StrEnum):
    """Which slices along the last axis a label is measured on: all, those its reference has, or all of these but the last."""

    NONE = "none"
    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True)
class LabelMeasurements:
    """Overlap and surface distances of one label, from which every metric is read."""

    values: LabelValues
    overlap: Overlap
    surface: SurfaceDistances
    cropped: "LabelMeasurements | None" = None
    """The same on the slices that were asked for, where a crop was asked for and leaves any."""


@dataclass(frozen=True)
class PairMeasurements:
    """The labels in the order they were asked for, and the name of the backend that measured them."""

    labels: tuple[LabelMeasurements, ...]
    backend: str
    unnamed_values: tuple[frozenset[int] | None, frozenset[int] | None] = (frozenset(), frozenset())
    """Of two files, reference and prediction: the values found that are neither 0, nor allowed, nor of a label.

    None where there are some and only reading the file again tells which.
    """
