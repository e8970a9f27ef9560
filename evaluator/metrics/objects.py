"""Objects matched one to one by how much they overlap: cells that a file numbers, or connected components.

Theory of operation. Every pair of objects that share a voxel has an intersection over union. Pairs are taken from the largest
downwards, and each object is taken once. At one half and above this finds as many pairs as any assignment can: an object with
an IoU of exactly one half with two others covers both of them and nothing else, so no third pair hangs on the choice. Below one half
it can leave an object without a partner that another choice would have given one: `assignment: most_pairs` finds as many pairs as there
can be (augmenting paths, Berge 1957), as picai_eval does. `spare_predictions: forgiven` leaves out of the false ones those that overlap an
object enough although another prediction was matched to it, as picai_eval does unless it is told otherwise.

Objects that touch the image's edge are cut, and some challenges do not count them: `border` removes, on each side by itself,
every object with a voxel less than `border` voxels from the edge. Some scripts cut a large image into square tiles and treat
each tile as an image, with its own edge: `tile` and `tile_from_voxels` (NeurIPS 2022 CellSeg baseline/compute_metric.py).
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from evaluator.metrics.components import Components, number_values, overlapping_pairs


@dataclass(frozen=True, kw_only=True)
class MatchRules:
    """Which objects count, and which two are the same."""

    neighbourhood: int = 26
    """Which voxels touch, where objects are connected components."""
    iou: float = 0.5
    iou_rule: str = "above"
    """`above`: the IoU exceeds `iou`. `at_least`: it reaches it."""
    assignment: str = "largest_first"
    """`largest_first`: pairs are taken by falling IoU. `most_pairs`: as many as can be."""
    spare_predictions: str = "count"
    """`count`: every prediction without a partner is false. `forgiven`: only those that overlap no object enough."""
    border: int = 0
    """Voxels from the image's edge. 0 counts every object."""
    tile: int = 0
    """Side of a tile in voxels. 0 takes the image as a whole."""
    tile_from_voxels: int = 0
    """The smallest image that is cut into tiles."""


MATCH_OPTIONS = tuple(each.name for each in fields(MatchRules))


@dataclass(frozen=True)
class ObjectMatch:
    """How many objects were found, invented and missed."""

    true_positives: int
    false_positives: int
    false_negatives: int

    def __add__(self, other: "ObjectMatch") -> "ObjectMatch":
        return ObjectMatch(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )


def match_objects(reference: Components, prediction: Components, *, rules: MatchRules) -> ObjectMatch:
    """Match the objects of two maps of the same shape. `border` and `tile` mean the edges of these maps."""
    found = ObjectMatch(0, 0, 0)
    for window in _windows(reference.labels.shape, rules):
        found += _match(
            _inner_objects(reference, window, border=rules.border),
            _inner_objects(prediction, window, border=rules.border),
            rules=rules,
        )
    return found


def _windows(shape: tuple[int, ...], rules: MatchRules) -> Iterator[tuple[slice, ...]]:
    """The tiles of an image, the last of each axis reaching beyond its end, or the image itself."""
    if not rules.tile or np.prod(shape, dtype=np.int64) < rules.tile_from_voxels:
        yield tuple(slice(0, length) for length in shape)
        return
    starts = [range(0, length, rules.tile) if length > 1 else range(1) for length in shape]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(start, start + rules.tile if length > 1 else 1) for start, length in zip(corner, shape, strict=True)
        )


def _inner_objects(objects: Components, window: tuple[slice, ...], *, border: int) -> Components:
    """The objects of a window without those near its edge. A window reaching beyond the image is empty there, and has its edge there."""
    labels = objects.labels[window]
    if not border and labels.shape == objects.labels.shape:
        return objects
    if not labels.any():
        return Components(labels, 0)
    cut = _numbers_near_edge(labels, window, border=border)
    return number_values(np.where(np.isin(labels, cut), 0, labels) if len(cut) else labels)


def _numbers_near_edge(
    labels: npt.NDArray[np.int32], window: tuple[slice, ...], *, border: int
) -> npt.NDArray[np.int32]:
    """Every object with a voxel less than `border` from the window's edge. An axis one voxel long has no edge."""
    near = [np.empty(0, np.int32)]
    for axis, side in enumerate(window):
        length = side.stop - side.start
        if length == 1 or not border:
            continue
        along = np.moveaxis(labels, axis, 0)
        near += [along[:border].ravel(), along[max(length - border, 0) :].ravel()]
    return np.setdiff1d(np.concatenate(near), [0])


def _match(reference: Components, prediction: Components, *, rules: MatchRules) -> ObjectMatch:
    reference_sizes = np.bincount(reference.labels.ravel(), minlength=reference.count + 1)
    prediction_sizes = np.bincount(prediction.labels.ravel(), minlength=prediction.count + 1)
    references, predictions, common = overlapping_pairs(reference, prediction)
    overlaps = common / (reference_sizes[references] + prediction_sizes[predictions] - common)
    enough = overlaps >= rules.iou if rules.iou_rule == "at_least" else overlaps > rules.iou
    found = (values[enough].tolist() for values in (overlaps, references, predictions))
    candidates = sorted(zip(*found, strict=True), reverse=True)
    partners = _largest_first(candidates) if rules.assignment == "largest_first" else _most_pairs(candidates)
    pairs = len(partners)
    spare = len({other for _, _, other in candidates} - set(partners)) if rules.spare_predictions == "forgiven" else 0
    return ObjectMatch(pairs, prediction.count - pairs - spare, reference.count - pairs)


def _largest_first(candidates: Sequence[tuple[float, int, int]]) -> dict[int, int]:
    """Prediction → reference, taken in the order of the candidates."""
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for _, one, other in candidates:
        if one not in taken and other not in partners:
            taken.add(one)
            partners[other] = one
    return partners


def _most_pairs(candidates: Sequence[tuple[float, int, int]]) -> dict[int, int]:
    """Prediction → reference, as many as there can be: from the pairs taken first, along augmenting paths."""
    partners = _largest_first(candidates)
    choices: dict[int, list[int]] = {}
    for _, one, other in candidates:
        choices.setdefault(one, []).append(other)
    taken = {one: other for other, one in partners.items()}
    for free in choices.keys() - taken.keys():
        came_from: dict[int, int] = {}
        waiting = deque([free])
        while waiting:
            one = waiting.popleft()
            for other in choices[one]:
                if other in came_from:
                    continue
                came_from[other] = one
                if other in partners:
                    waiting.append(partners[other])
                    continue
                end: int | None = other
                while end is not None:  # exchange partners back to the free object
                    giver = came_from[end]
                    partners[end] = giver
                    before = taken.get(giver)
                    taken[giver] = end
                    end = before
                waiting.clear()
                break
    return partners
