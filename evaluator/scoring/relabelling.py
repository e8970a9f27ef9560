"""Label maps of one data set in the values of another, by the names of the structures and never by their numbers.

`right kidney`, `Kidney_right` and `kidney-right` are one name: the words decide, not their order, case or separators. A value the other
data set has no structure for becomes background. A region (several values) has no single value of its own and is left out.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluator.errors import EvaluatorError
from evaluator.protocol import LabelSpec, OutputKind, Protocol
from evaluator.scoring.pairing import VOLUME_EXTENSIONS, case_name
from evaluator.volumes.canonical import write_canonical_array
from evaluator.volumes.strict import read_label_map

_SEPARATORS = re.compile(r"[\s_\-]+")


def words_of(name: str) -> frozenset[str]:
    """What makes a structure's name, in every spelling."""
    return frozenset(_SEPARATORS.split(name.strip().casefold()))


def value_map(source: Protocol, target: Protocol) -> dict[int, int]:
    """Value in a map of `source` → value in one of `target`, for the structures both have."""
    for protocol in (source, target):
        if protocol.output.kind is not OutputKind.LABEL_MAP:
            raise EvaluatorError(f"{protocol.name} has no label maps; expected two protocols of label maps")
    known = {words_of(label.name): label for label in source.labels if len(label.values) == 1}
    pairs = {label.name: known.get(words_of(label.name)) for label in single_labels(target)}
    return {found.values[0]: label.values[0] for label in single_labels(target) if (found := pairs[label.name])}


def single_labels(protocol: Protocol) -> list[LabelSpec]:
    """The structures that are one value each."""
    return [label for label in protocol.labels if len(label.values) == 1]


def relabel_folder(folder: Path, *, values: Mapping[int, int], destination: Path) -> list[Path]:
    """Every label map of a folder in other values, as `.nii.gz` of the same name. What has no other value becomes background."""
    files = sorted(path for path in folder.iterdir() if path.name.endswith(VOLUME_EXTENSIONS))
    if not files:
        raise EvaluatorError(f"{folder.name} holds no volume; expected {', '.join(VOLUME_EXTENSIONS)} files")
    destination.mkdir(parents=True, exist_ok=True)
    written = []
    for path in files:
        labels = read_label_map(path)
        kind = np.uint8 if max(values.values(), default=0) < 256 else np.uint16
        mapped = np.zeros(labels.array.shape, kind, order="F")
        for old, new in values.items():
            mapped[labels.array == old] = new
        written.append(destination / f"{case_name(path)}.nii.gz")
        write_canonical_array(mapped, grid=labels.grid, path=written[-1])
    return written
