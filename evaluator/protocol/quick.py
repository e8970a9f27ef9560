"""A protocol from a command line: `--labels 1:liver:5,2:spleen:3 --metrics dice,nsd,hd95`."""

from typing import Any

from evaluator.errors import ProtocolError
from evaluator.metrics.registry import REGISTRY
from evaluator.protocol import Protocol, load_protocol


def quick_protocol(*, labels: str, metrics: str) -> Protocol:
    """A label map protocol of a few words. Values no label names count as background."""
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    return load_protocol({
        "protocol": 1,
        "name": "command-line",
        "labels": [_label(text) for text in labels.split(",")],
        "unknown_values": "background",
        "outputs": [{"name": "prediction", "kind": "label_map", "file": "{case}.nii.gz"}],
        "metrics": [{"name": name} for name in names],
        "conventions": {"failed": {name: None for name in names if _has_no_worst(name)}},
    })  # fmt: skip


def _label(text: str) -> dict[str, Any]:
    """`1:liver:5`: the value, the name and the tolerance in mm. Name and tolerance may be left out, values joined by `+`."""
    value, _, rest = text.strip().partition(":")
    name, _, tolerance = rest.partition(":")
    try:
        values = [int(part) for part in value.split("+")]
        tolerance_mm = float(tolerance) if tolerance else None
    except ValueError:
        raise ProtocolError(
            where="labels", found=repr(text), expected="value:name:tolerance, such as 1:liver:5"
        ) from None
    return {"name": name or value, "values": values, "tolerance_mm": tolerance_mm}


def _has_no_worst(name: str) -> bool:
    metric = REGISTRY.get(name)
    return metric is not None and metric.worst is None and metric.pooled is None
