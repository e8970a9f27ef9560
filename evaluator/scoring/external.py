"""Metrics computed by the organizers' own image: the document it writes, and the rows that become of it.

    {"results": [{"case": "case-17", "metrics": {"agreement": 0.91, "topology": {"ring": 2, "arch": 0}}}]}

One entry per case. A metric is a number, or one number per label where the protocol says `per: label`. Null is a metric that is
undefined there. Other keys, such as grand-challenge's `aggregates`, are for the organizers' eyes and are not read.

The image is the organizers', so is whatever is wrong with its document: `MetricsInvalid` says what and stops the scoring, and no
submission is charged. Only a case or a metric that it leaves out is worth what the protocol says of a failed case, with a reason.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

from evaluator.errors import EvaluatorError
from evaluator.metrics.registry import Scope
from evaluator.protocol import MetricSpec, Protocol
from evaluator.protocol.conventions import Situation, resolve
from evaluator.results import NOT_DEFINED, NOT_MEASURED, ScoreRow

MAX_METRICS_BYTES = 32 << 20
LEFT_OUT = "metric_image:left_out"
"""The reason of a value that the metric image did not give."""

ExternalScores: TypeAlias = Mapping[tuple[str, str], float | None]
"""(metric id, label) → value, of one case. The label is empty for a metric of the whole case."""


class MetricsInvalid(EvaluatorError):
    """What a metric image wrote cannot be used. The organizers' fault."""


def parse_metrics(raw: bytes, *, protocol: Protocol, case_ids: Collection[str]) -> dict[str, ExternalScores]:
    """Case → what was said of it. MetricsInvalid for anything but declared metrics of known cases as finite numbers."""
    if len(raw) > MAX_METRICS_BYTES:
        raise MetricsInvalid(f"found {len(raw)} bytes of metrics, expected at most {MAX_METRICS_BYTES}")
    document = _parse_json(raw)
    entries = document.get("results") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise MetricsInvalid('found no list `results`, expected {"results": [{"case": …, "metrics": {…}}]}')
    found: dict[str, ExternalScores] = {}
    for entry in entries:
        case_id = entry.get("case") if isinstance(entry, dict) else None
        if not isinstance(case_id, str) or case_id not in case_ids or case_id in found:
            raise MetricsInvalid(f"found {_shown(case_id)} as a case, expected each case of the test set once")
        found[case_id] = _scores_of(entry.get("metrics"), protocol=protocol, case_id=case_id)
    return found


def external_metrics(protocol: Protocol) -> dict[str, MetricSpec]:
    """The metrics that the protocol leaves to its metric image, by id."""
    return {spec.id: spec for spec in protocol.metrics if spec.metric.scope is Scope.EXTERNAL}


def external_rows(
    protocol: Protocol, scores: ExternalScores | None, *, failure: str | None, diagonal_mm: float
) -> Iterator[ScoreRow]:
    """One row per external metric and label, whatever the image said. Where none ran, nothing is measured."""
    for spec in external_metrics(protocol).values():
        for label in labels_of(spec, protocol):
            if failure is None and scores is None:
                yield ScoreRow(label=label, metric=spec.id, value=None, reason=NOT_MEASURED)
            elif failure is None and scores is not None and (spec.id, label) in scores:
                yield _row(spec, label, scores[spec.id, label])
            else:
                reason = failure or LEFT_OUT
                worth = protocol.conventions.worth(Situation.FAILED, metric_id=spec.id, failure=reason)
                value = resolve(worth, computed=math.nan, diagonal_mm=diagonal_mm)
                yield ScoreRow(label=label, metric=spec.id, value=value, reason=reason)


def labels_of(spec: MetricSpec, protocol: Protocol) -> list[str]:
    """The labels a metric speaks about. One empty name for the whole case."""
    if spec.options["per"] == "case":
        return [""]
    return [label.name for label in protocol.labels if not spec.labels or label.name in spec.labels]


def _row(spec: MetricSpec, label: str, value: float | None) -> ScoreRow:
    if value is None:
        return ScoreRow(label=label, metric=spec.id, value=None, reason=NOT_DEFINED)
    return ScoreRow(label=label, metric=spec.id, value=value if spec.rounding is None else round(value, spec.rounding))


def _scores_of(metrics: Any, *, protocol: Protocol, case_id: str) -> dict[tuple[str, str], float | None]:
    if not isinstance(metrics, dict):
        raise MetricsInvalid(f"found no `metrics` of case {case_id}, expected them by id")
    declared = external_metrics(protocol)
    scores: dict[tuple[str, str], float | None] = {}
    for metric_id, given in metrics.items():
        if metric_id not in declared:
            raise MetricsInvalid(f"found the metric {_shown(metric_id)}, expected one of {', '.join(declared)}")
        labels = labels_of(declared[metric_id], protocol)
        if labels == [""]:
            given = {"": given}
        if not isinstance(given, dict) or not set(given) <= set(labels):
            raise MetricsInvalid(
                f"found {_shown(given)} for {metric_id} of case {case_id}, expected a number for each of {', '.join(labels)}"
            )
        for label, value in given.items():
            scores[metric_id, label] = _number(value, metric_id=metric_id, case_id=case_id)
    return scores


def _number(value: Any, *, metric_id: str, case_id: str) -> float | None:
    """A finite number. A truth value is none, though Python counts it among the whole numbers."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return float(value)
    raise MetricsInvalid(f"found {_shown(value)} for {metric_id} of case {case_id}, expected a finite number or null")


_LARGEST = 1e300
"""Beyond any metric, and below where a float ends. Not-a-number compares as false."""


def _parse_json(raw: bytes) -> Any:
    """JSON without what only some readers take: NaN, a key given twice, nesting without end (the parser counts)."""
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise MetricsInvalid(f"found something that is not JSON: {_shown(problem)}") from problem


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise MetricsInvalid("found a key twice in one object, expected each once")
    return document


def _no_constant(name: str) -> NoReturn:
    raise MetricsInvalid(f"found {name}, expected finite numbers, or null for what is undefined")


def _shown(value: object) -> str:
    """What was found, short: the document is not ours."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
