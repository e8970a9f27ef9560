"""Scores of arrays, without files: for training loops and notebooks.

    import evaluator
    scores = evaluator.evaluate(
        reference=masks, prediction=outputs, spacing_mm=(0.8, 0.8, 2.5), labels={"liver": 1, "spleen": 2},
        metrics=("dice", "nsd"), tolerance_mm={"liver": 5, "spleen": 3},
    )
    scores.value("liver", "dice")

Arrays may be NumPy's, or anything that speaks DLPack or the CUDA array interface (PyTorch, CuPy, JAX). One more axis than
`spacing_mm` has entries means a batch, and a list of scores comes back. The rules are a protocol's, defaults and all: an absent
structure that nobody predicted scores best, a missed one worst, and each such value says why.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from evaluator.backends.devices import has_cuda_device, host_array
from evaluator.errors import EvaluatorError
from evaluator.metrics.registry import REGISTRY
from evaluator.protocol import Protocol, load_protocol
from evaluator.results import ScoreRow
from evaluator.scoring.case import score_labels
from evaluator.scoring.structures import measure_maps
from evaluator.volumes.geometry import Grid

Labels = Mapping[str, int | Sequence[int]] | Sequence[int]
Tolerances = float | Mapping[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one pair of arrays."""

    rows: tuple[ScoreRow, ...]
    backend: str
    protocol: Protocol

    def value(self, label: str, metric: str) -> float | None:
        """One score. None when it is undefined."""
        return next(row.value for row in self.rows if (row.label, row.metric) == (label, metric))

    def mean(self, metric: str) -> float | None:
        """Mean over the labels where the metric is defined."""
        values = [row.value for row in self.rows if row.metric == metric and row.value is not None]
        return sum(values) / len(values) if values else None


def evaluate(
    *,
    reference: Any,
    prediction: Any,
    spacing_mm: Sequence[float],
    labels: Labels | None = None,
    metrics: Sequence[str] = ("dice", "nsd", "hd95"),
    tolerance_mm: Tolerances = None,
    protocol: Protocol | None = None,
    backend: str = "auto",
) -> Scores | list[Scores]:
    """Score one pair of label maps, or a batch of pairs. Give `labels` and `metrics`, or a whole `protocol`."""
    if (labels is None) == (protocol is None):
        raise EvaluatorError("found both or neither of `labels` and `protocol`; expected exactly one of them")
    rules = protocol or _protocol(json.dumps(_document(labels or (), metrics, tolerance_mm)))
    reference, prediction = (
        array if _stays_on_card(array, backend) else host_array(array) for array in (reference, prediction)
    )
    if reference.shape != prediction.shape:
        raise EvaluatorError(f"found shapes {reference.shape} and {prediction.shape}; expected the same shape twice")
    spacing = tuple(float(value) for value in spacing_mm)
    if reference.ndim == len(spacing) + 1:
        return [_scores(rules, *pair, spacing, backend) for pair in zip(reference, prediction, strict=True)]
    return _scores(rules, reference, prediction, spacing, backend)


def _stays_on_card(array: Any, backend: str) -> bool:
    return hasattr(array, "__cuda_array_interface__") and backend in ("auto", "gpu") and has_cuda_device()


def _scores(
    protocol: Protocol,
    reference: Any,
    prediction: Any,
    spacing: tuple[float, ...],
    backend: str,
) -> Scores:
    identity = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
    grid = Grid(shape=tuple(reference.shape), spacing_mm=spacing, affine=identity)  # type: ignore[arg-type]  # 4 × 4
    measured = measure_maps(
        labels=protocol.labels, reference=reference, prediction=prediction, spacing_mm=spacing, backend=backend
    )
    rows = tuple(score_labels(protocol=protocol, measured=measured, grid=grid))
    return Scores(rows=rows, backend=measured[0].backend, protocol=protocol)


def _document(labels: Labels, metrics: Sequence[str], tolerance_mm: Tolerances) -> dict[str, Any]:
    named = dict(labels) if isinstance(labels, Mapping) else {str(value): value for value in labels}
    tolerances = tolerance_mm if isinstance(tolerance_mm, Mapping) else dict.fromkeys(named, tolerance_mm)
    return {
        "protocol": 1,
        "name": "arrays",
        "labels": [
            {
                "name": name,
                "values": values if isinstance(values, int) else list(values),
                "tolerance_mm": tolerances.get(name),
            }
            for name, values in named.items()
        ],
        "outputs": [{"name": "prediction", "kind": "label_map", "file": "prediction"}],
        "metrics": [{"name": name} for name in metrics],
        "conventions": {"failed": {name: None for name in metrics if name in REGISTRY and not REGISTRY[name].pooled}},
    }


@lru_cache(maxsize=64)
def _protocol(document: str) -> Protocol:
    return load_protocol(json.loads(document))
