"""One label of one case as every metric sees it: counts and surfaces measured once, everything else made on demand and kept."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from evaluator.arrays import Mask
from evaluator.measurements.overlap import Overlap
from evaluator.measurements.surface import SurfaceDistances
from evaluator.metrics.boundaries import measure_boundaries
from evaluator.metrics.boxes import bounding_box, grown, joined
from evaluator.metrics.components import Components, label_components
from evaluator.metrics.lesions import LesionMatch, LesionRules, match_lesions
from evaluator.metrics.objects import MatchRules, ObjectMatch, match_objects

Kept = TypeVar("Kept")


@dataclass(frozen=True, kw_only=True)
class LabelPair:
    """Reference and prediction of one label."""

    overlap: Overlap
    surface: SurfaceDistances
    spacing_mm: tuple[float, ...]
    tolerance_mm: float | None
    masks: Callable[[], tuple[Mask, Mask]]
    """Reference and prediction masks, made when a metric asks for them."""
    instances: Callable[[], tuple[Components, Components]] | None = None
    """The objects of both sides where the files number them. Without it objects are connected components."""
    _kept: dict[Hashable, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel. In 2-D its area in mm²."""
        return math.prod(self.spacing_mm)

    def boxed_masks(self, *, margin: int = 0) -> tuple[Mask, Mask]:
        """Both masks within the box they share, with a margin. One empty voxel each when both are empty."""
        return self._once(("boxed", margin), lambda: self._make_boxed(margin))

    def _make_boxed(self, margin: int) -> tuple[Mask, Mask]:
        """Copies, so that the whole masks can go: a case may have fifty labels."""
        reference, prediction = self.masks()
        box = joined(bounding_box(reference), bounding_box(prediction))
        if box is None:
            nothing = np.zeros((1,) * reference.ndim, bool)
            return nothing, nothing
        wide = grown(box, margin=margin, shape=reference.shape)
        return reference[wide].copy(), prediction[wide].copy()

    def distances(self, definition: str) -> SurfaceDistances:
        """Two-way distances by one of the definitions: `surfels`, `voxels6` or `voxels26`."""
        if definition == "surfels":
            return self.surface
        neighbours = int(definition.removeprefix("voxels"))
        reference, prediction = self.boxed_masks(margin=1)
        return self._once(
            definition,
            lambda: measure_boundaries(
                reference=reference, prediction=prediction, spacing_mm=self.spacing_mm, neighbours=neighbours
            ),
        )

    def lesions(self, rules: LesionRules) -> LesionMatch:
        """Lesions matched by contact of dilated masks."""
        reference, prediction = self.boxed_masks(margin=rules.dilation)
        return self._once(
            rules,
            lambda: match_lesions(reference=reference, prediction=prediction, spacing_mm=self.spacing_mm, rules=rules),
        )

    def objects(self, rules: MatchRules) -> ObjectMatch:
        """Objects matched one to one by overlap: as the files number them, or connected components."""
        return self._once(rules, lambda: match_objects(*self._objects(rules), rules=rules))

    def _objects(self, rules: MatchRules) -> tuple[Components, Components]:
        if self.instances:
            return self.instances()
        reference, prediction = (
            label_components(mask, neighbourhood=rules.neighbourhood) for mask in self.boxed_masks()
        )
        return reference, prediction

    def _once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]  # each key is made by one function only
