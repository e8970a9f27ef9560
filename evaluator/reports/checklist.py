"""The reporting checklist (BIAS, Maier-Hein 2020), filled from the protocol and from the rules that made the ranking."""

from dataclasses import replace

from evaluator.protocol import Protocol
from evaluator.protocol.conventions import Situation
from evaluator.protocol.modes import Mode
from evaluator.protocol.words import SITUATIONS, worth_words
from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.words import Item, describe


def items(config: RankingConfig, protocol: Protocol | None) -> tuple[Item, ...]:
    """What was asked and measured first, where a protocol says so, then how it was ranked."""
    if protocol is None:
        return describe(config)
    unconfirmed = (*config.unconfirmed, *protocol.document["unconfirmed"])
    return (*_of_protocol(protocol), *describe(replace(config, unconfirmed=unconfirmed)))


def _of_protocol(protocol: Protocol) -> tuple[Item, ...]:
    limits = protocol.resources
    structures = [
        label.name if label.tolerance_mm is None else f"{label.name} (surface tolerance {label.tolerance_mm:g} mm)"
        for label in protocol.labels
    ]
    inputs = [f"{item.name}{'' if item.required else ' (may be missing)'}" for item in protocol.inputs]
    defects = [defect.what for defect in protocol.defects] if protocol.mode is Mode.PUBLISHED else []
    return (
        Item("Protocol", f"{protocol.title}: {protocol.full_name}, version {protocol.version}, {protocol.sha256}"),
        Item("Target structures", ", ".join(structures)),
        Item("Input", ", ".join(inputs)),
        Item("Metric definitions", "; ".join(f"{spec.id}: {spec.metric.definition}" for spec in protocol.metrics)),
        Item("Empty and failed cases", "; ".join(_convention(protocol, situation) for situation in Situation)),
        Item(
            "Limits of a run",
            f"{limits.wall_seconds:g} s per {limits.wall_seconds_per}, {limits.memory_mb} MB memory, {limits.cpus} processors, "
            f"{limits.gpus or 'no'} GPU",
        ),
        Item("Known defects kept", " ".join(defects) or "none"),
        Item("Breakdowns", ", ".join(protocol.breakdowns) or "none", is_stated=bool(protocol.breakdowns)),
    )


def _convention(protocol: Protocol, situation: Situation) -> str:
    worths = [
        f"{spec.id} {worth_words(protocol.conventions.worth(situation, metric_id=spec.id))}"
        for spec in protocol.metrics
    ]
    return f"{SITUATIONS[situation]}: {', '.join(worths)}"
