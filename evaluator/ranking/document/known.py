"""What is known of a metric by its name alone: direction, bounds and unit, from the evaluator's registry.

Score files of other tools use other names. Those in common use are added here. A name that stands for two things (such as
`auc`) is known only where no reading of it changes the direction.
"""

from collections.abc import Mapping

from evaluator.metrics.registry import REGISTRY, Direction
from evaluator.ranking.document.config import MetricSpec

_OTHER_NAMES = {
    "dice": ("dsc", "dice_score"),
    "nsd": ("surface_dice", "normalized_surface_dice"),
    "iou": ("jaccard",),
    "recall": ("sensitivity",),
    "volume_similarity": ("vs",),
    "hd": ("hausdorff",),
    "assd": ("asd", "masd"),
}


def _share(name: str) -> MetricSpec:
    return MetricSpec(id=name, larger_is_better=True, bounds=(0.0, 1.0))


def _cost(name: str, unit: str) -> MetricSpec:
    return MetricSpec(id=name, larger_is_better=False, bounds=(0.0, None), unit=unit)


def _registered() -> dict[str, MetricSpec]:
    known = {}
    for metric in REGISTRY.values():
        if metric.direction is not Direction.NONE:
            for name in (metric.name, *_OTHER_NAMES.get(metric.name, ())):
                known[name] = MetricSpec(
                    id=name,
                    larger_is_better=metric.direction is Direction.MAX,
                    bounds=(metric.lower, metric.upper),
                    unit=metric.unit,
                )
    return known


def _unregistered() -> dict[str, MetricSpec]:
    return {
        **{name: _share(name) for name in ("f1", "accuracy", "auc", "map", "specificity")},
        **{name: _cost(name, "s") for name in ("time", "runtime", "seconds")},
        **{name: _cost(name, "MB") for name in ("memory", "gpu_memory")},
        **{name: _cost(name, unit) for name, unit in (("gpu_auc", "MB·s"), ("cpu_auc", "%·s"), ("tre", "mm"))},
    }


KNOWN_METRICS: Mapping[str, MetricSpec] = {
    **_registered(),
    **{name: spec for name, spec in _unregistered().items() if name not in REGISTRY},
}
"""In the order in which people list them: overlap first, costs last."""
