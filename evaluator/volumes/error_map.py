"""Where an answer differs from its reference, as a label map to look at."""

from pathlib import Path

import numpy as np

from evaluator.errors import EvaluatorError
from evaluator.volumes.canonical import write_canonical_array
from evaluator.volumes.strict import read_grid, read_label_map

MISSED, ADDED, CONFUSED = 1, 2, 3
"""Reference and no answer; answer and no reference; another structure than the reference has."""
MOST_VOXELS = 1 << 27
"""More are not compared: a page asks for this, and a process of the web server holds both maps."""


def write_error_map(*, reference: Path, prediction: Path, target: Path) -> None:
    """Write the map, on the reference's grid. Raises EvaluatorError where the two cannot be compared."""
    grid = read_grid(reference)
    if np.prod(grid.shape, dtype=np.int64) > MOST_VOXELS or read_grid(prediction).shape != grid.shape:
        raise EvaluatorError(f"these volumes are not compared; expected two of one shape, at most {MOST_VOXELS} voxels")
    expected, answered = read_label_map(reference).array, read_label_map(prediction).array
    errors = np.zeros(expected.shape, np.uint8)
    differ = expected != answered
    errors[differ & (answered == 0)] = MISSED
    errors[differ & (expected == 0)] = ADDED
    errors[differ & (expected != 0) & (answered != 0)] = CONFUSED
    write_canonical_array(errors, grid=grid, path=target)
