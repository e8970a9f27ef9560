"""What every backend answers, and how a question is put to it."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from evaluator.overlap import Overlap
from evaluator.surface import SurfaceDistances

LabelArray: TypeAlias = NDArray[Any]
LabelValues: TypeAlias = tuple[int, ...]
"""The voxel values that together make up one label: one value, or several for a region."""


@dataclass(frozen=True)
class LabelMeasurements:
    """Overlap and surface distances of one label, from which every metric is read."""

    values: LabelValues
    overlap: Overlap
    surface: SurfaceDistances


@dataclass(frozen=True)
class PairMeasurements:
    """The labels in the order they were asked for, and the name of the backend that measured them."""

    labels: tuple[LabelMeasurements, ...]
    backend: str
