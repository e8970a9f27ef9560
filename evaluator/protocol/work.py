"""How much work a protocol asks for: scores of a case, visits to each of its voxels, and what its ranking costs.

A published protocol is taken as it stands; `check_work` is for documents that anybody may hand in. `evaluator.ranking.work` counts
the ranking.
"""

from dataclasses import replace

from evaluator.errors import ProtocolError
from evaluator.metrics.registry import Scope
from evaluator.protocol.rules import LabelSpec, MetricSpec, Protocol
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.errors import ConfigError

MOST_SCORES_OF_A_CASE = 20_000
"""One row for each label and metric; the largest published protocol has 702."""
MOST_SCORES = 4_000_000
"""Of one submission, over all cases of a test set."""
MOST_VISITS = 200_000
"""To each voxel of a case, over all labels and metrics; the largest published protocol has 7,137."""
LABELS_OF_A_REFERENCE = 50
"""Where the references decide: what a case usually has."""

OVERLAP = 1
SURFACE = 60
COMPONENTS = 40
NEIGHBOURS = {6: 6, 18: 18, 26: 26}


def check_work(protocol: Protocol) -> None:
    """Refuse a protocol that asks for too much. Raises `ProtocolError` with what was found, what is allowed and what to lower."""
    scores = scores_of_a_case(protocol)
    if scores > MOST_SCORES_OF_A_CASE:
        raise ProtocolError(
            where="metrics",
            found=f"{scores} scores of each case ({len(protocol.labels)} labels, {len(protocol.metrics)} metrics)",
            expected=f"at most {MOST_SCORES_OF_A_CASE}: fewer labels or metrics, or metrics of some `labels` only",
        )
    visits = visits_of_a_voxel(protocol)
    if visits > MOST_VISITS:
        raise ProtocolError(
            where="metrics",
            found=f"{visits} visits to each voxel of a case",
            expected=f"at most {MOST_VISITS}: a smaller `dilation`, fewer labels, or fewer different options of the same metric",
        )
    from evaluator.ranking.work import USUAL  # scoring ranks nothing
    from evaluator.ranking.work import check_work as check_ranking_work

    size = replace(USUAL, structures=max(1, _label_count(protocol)), metrics=len(protocol.metrics))
    try:
        check_ranking_work(parse_ranking(protocol.ranking), size)
    except ConfigError as problem:
        where, _, text = str(problem).partition(": ")
        found, _, expected = text.removeprefix("found ").partition("; expected ")
        raise ProtocolError(where=where, found=found, expected=expected) from problem


def scores_of_a_case(protocol: Protocol) -> int:
    """How many rows one case of one submission has; in interactive protocols each round adds its own."""
    rounds = protocol.interaction.rounds if protocol.interaction else 1
    per_label = sum(_label_count(protocol, spec) for spec in protocol.metrics if spec.metric.scope is not Scope.CASE)
    per_case = sum(spec.metric.scope is Scope.CASE for spec in protocol.metrics)
    return per_label * rounds + per_case


def visits_of_a_voxel(protocol: Protocol) -> int:
    """How often a voxel is looked at while a case is scored, if every label filled the whole case."""
    rounds = protocol.interaction.rounds if protocol.interaction else 1
    factor = LABELS_OF_A_REFERENCE if protocol.labels_from_reference else 1
    return rounds * factor * sum(_visits_of_label(protocol, label) for label in protocol.labels)


def _label_count(protocol: Protocol, spec: MetricSpec | None = None) -> int:
    if protocol.labels_from_reference:
        return LABELS_OF_A_REFERENCE
    return len(spec.labels) if spec is not None and spec.labels else len(protocol.labels)


def _visits_of_label(protocol: Protocol, label: LabelSpec) -> int:
    """Surfaces and matches are made once for each way in which a metric wants them."""
    ways: dict[object, int] = {}
    for spec in protocol.metrics:
        if spec.metric.scope is not Scope.LABEL or (spec.labels and label.name not in spec.labels):
            continue
        options = spec.options
        if "dilation" in options:
            key = ("lesions", *(options[name] for name in sorted(options)))
            ways[key] = int(options["dilation"] * NEIGHBOURS[options["dilation_neighbourhood"]]) + COMPONENTS + SURFACE
        elif "surface" in options:
            ways["surface", options["surface"]] = SURFACE
        elif "iou" in options or spec.metric.name.startswith(("betti", "euler")):
            ways["components", options.get("neighbourhood"), options.get("iou")] = COMPONENTS
        else:
            ways["overlap"] = OVERLAP
    return sum(ways.values())
