"""Bounding boxes: most structures fill a small part of their scan, and work outside that part is wasted."""

import numpy as np

from evaluator.arrays import Mask

Box = tuple[slice, ...]


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box that holds the mask. None when it is empty. The last axis goes first: it varies slowest in memory."""
    box = [slice(None)] * mask.ndim
    for axis in reversed(range(mask.ndim)):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not used.size:
            return None
        box[axis] = slice(int(used[0]), int(used[-1]) + 1)
    return tuple(box)


def grown(box: Box, *, margin: int, shape: tuple[int, ...]) -> Box:
    """The box with a margin on every side, as far as the volume goes."""
    return tuple(
        slice(max(0, side.start - margin), min(length, side.stop + margin))
        for side, length in zip(box, shape, strict=True)
    )


def joined(first: Box | None, second: Box | None) -> Box | None:
    """The smallest box that holds both."""
    if first is None or second is None:
        return first or second
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
