"""Prompts for interactive segmentation, made from where an answer is wrong: a box first, then click after click.

Theory of operation (CVPR 2025, `CVPR25_iter_eval.py`). Only structures the reference has are prompted. The box is the smallest
one around the structure. A click lies inside the largest connected error of the structure (26 neighbours; voxels that are in one
of reference and prediction only), at the voxel furthest from the error's outside, counted in voxels. It is a foreground click
where the reference has the structure, else a background one. A structure without an error gets no further click. Prompts add up:
every round tells all that was told before.

Where the published script draws among equals with a random generator, the first in array order is taken here: the same error
always makes the same click. It also halves the resolution of errors above 60 million voxels. Here they are measured as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.arrays import Mask
from evaluator.backends import nearest_distances
from evaluator.errors import EvaluatorError
from evaluator.metrics.boxes import bounding_box
from evaluator.metrics.components import dilate, label_components
from evaluator.protocol import LabelSpec, Protocol
from evaluator.scoring.structures import label_masks, reference_masks

Voxel = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Click:
    """One voxel, as an index along each stored axis, and whether it belongs to the structure."""

    at: Voxel
    is_foreground: bool


@dataclass(frozen=True, kw_only=True)
class LabelPrompts:
    """What is told of one structure: the first and the last voxel of its box, and the clicks so far, in order."""

    name: str
    values: tuple[int, ...]
    box: tuple[Voxel, Voxel] | None = None
    clicks: tuple[Click, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a container reads it."""
        return {
            "name": self.name,
            "values": list(self.values),
            "box": [list(corner) for corner in self.box] if self.box else None,
            "clicks": [{"at": list(click.at), "foreground": click.is_foreground} for click in self.clicks],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "LabelPrompts":
        """The inverse of `to_json`."""
        low_and_high = document["box"]
        return cls(
            name=document["name"],
            values=tuple(document["values"]),
            box=(tuple(low_and_high[0]), tuple(low_and_high[1])) if low_and_high else None,
            clicks=tuple(
                Click(at=tuple(click["at"]), is_foreground=click["foreground"]) for click in document["clicks"]
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Everything told of one case up to a round, for the structures its reference has."""

    labels: tuple[LabelPrompts, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [label.to_json() for label in self.labels]

    @classmethod
    def from_json(cls, document: list[dict[str, Any]]) -> "Prompts":
        """The inverse of `to_json`."""
        return cls(labels=tuple(LabelPrompts.from_json(label) for label in document))


def make_prompts(
    *,
    protocol: Protocol,
    number: int,
    references: Mapping[str, Path],
    predictions: Mapping[str, Path] | None,
    earlier: Prompts | None,
) -> Prompts:
    """What the container of round `number` (from 0) is told. `predictions` is the answer so far, None before there is one.

    Raises InvalidReference. The predictions have to be canonical: nothing an algorithm wrote comes here.
    """
    if protocol.interaction is None:
        raise EvaluatorError("this protocol has no `interaction`; expected one that says how prompts are made")
    told = {label.name: label for label in earlier.labels} if earlier else {}
    is_box = protocol.interaction.box and number == 0
    labels = []
    for spec, reference, prediction in _masks(protocol, references, predictions):
        if not reference.any():
            continue
        known = told.get(spec.name, LabelPrompts(name=spec.name, values=spec.values))
        labels.append(replace(known, box=_box(reference)) if is_box else _clicked(known, reference, prediction))
    return Prompts(labels=tuple(labels))


def wall_seconds_of(protocol: Protocol, prompts: Prompts) -> float:
    """How long all rounds of a case may take together."""
    scale = max(1, len(prompts.labels)) if protocol.resources.wall_seconds_per == "label" else 1
    return protocol.resources.wall_seconds * scale


def _masks(
    protocol: Protocol, references: Mapping[str, Path], predictions: Mapping[str, Path] | None
) -> Iterator[tuple[LabelSpec, Mask, Mask]]:
    if predictions:
        yield from label_masks(protocol=protocol, references=references, predictions=predictions)
        return
    for spec, reference in reference_masks(protocol=protocol, references=references):
        yield spec, reference, np.zeros_like(reference)


def _box(mask: Mask) -> tuple[Voxel, Voxel]:
    sides = bounding_box(mask) or ()
    return tuple(side.start for side in sides), tuple(side.stop - 1 for side in sides)


def _clicked(known: LabelPrompts, reference: Mask, prediction: Mask) -> LabelPrompts:
    at = centre_of_largest(reference != prediction)
    if at is None:
        return known
    click = Click(at=at, is_foreground=bool(reference[at]))
    return replace(known, clicks=(*known.clicks, click))


def centre_of_largest(error: Mask) -> Voxel | None:
    """The voxel of the largest component that lies furthest from its outside. None where nothing is wrong."""
    box = bounding_box(error)
    if box is None:
        return None
    components = label_components(error[box], neighbourhood=26)
    sizes = np.bincount(components.labels.ravel())
    sizes[0] = 0
    component = np.pad(components.labels == sizes.argmax(), 1)
    shell = dilate(component, neighbourhood=6, iterations=1) & ~component
    inside = np.argwhere(component)
    depths = nearest_distances(sources=inside, targets=np.argwhere(shell), spacing_mm=(1.0,) * component.ndim)
    deepest = inside[depths.argmax()] - 1
    return tuple(int(index) + side.start for index, side in zip(deepest, box, strict=True))
