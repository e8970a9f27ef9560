"""Which node can serve which phase: what a phase needs, against what a node last said about itself.

A node behind which a batch system chooses machines serves everything: the batch system knows its machines, and a case that no machine
of it can run waits there. So does a node that has not said what it has.
"""

from collections.abc import Collection, Mapping
from typing import Any

from assay.challenges.models import Phase
from assay.challenges.needs import Needs
from assay.runs.models import Node

GIGABYTE = 10**9


def needs_of(phase: Phase) -> Needs:
    """What the phase's file says."""
    return Needs.of(phase.needs)


def is_served(needs: Needs, *, by: Node) -> bool:
    """Whether every machine part that the phase names is there. A node with several kinds of GPUs serves only what all of them can."""
    inventory: Mapping[str, Any] = by.inventory
    if inventory.get("is_batch") or "cpu_count" not in inventory:
        return True
    gpus = [gpu for gpu in inventory.get("gpus") or () if isinstance(gpu, dict)]
    if needs.names_a_gpu and not gpus:
        return False
    return (
        all(needs.gpu.lower() in str(gpu.get("name", "")).lower() for gpu in gpus)
        and all(_number(gpu.get("memory_bytes")) >= needs.gpu_memory_gb * GIGABYTE for gpu in gpus)
        and _first_number(inventory.get("driver")) >= needs.driver
        and _number(inventory.get("cpu_count")) >= needs.cpus
        and _number(inventory.get("memory_bytes")) >= needs.memory_gb * GIGABYTE
    )


def unfit_phases(node: Node) -> list[int]:
    """Phases that this node must not be given a case of. One query, over the phases that need anything at all."""
    needing = Phase.objects.exclude(needs=[]).values_list("pk", "needs")
    return [key for key, words in needing if not is_served(Needs.of(words), by=node)]


def serving(nodes: Collection[Node], *, phase: Phase) -> list[Node]:
    """Those of the nodes that have what the phase needs, the number of GPUs left aside."""
    needs = needs_of(phase)
    return [node for node in nodes if is_served(needs, by=node)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _first_number(value: object) -> int:
    first = str(value or "").partition(".")[0]
    return int(first) if first.isascii() and first.isdigit() else 0
