"""Metrics computed by the organizers' own image: the document it writes, and the rows that become of it.

    {"results": [{"case": "case-17", "metrics": {"agreement": 0.91, "topology": {"ring": 2, "arch": 0}}}]}

One entry per case. A metric is a number, or one number per label where the protocol says `per: label`. Null is a metric that is
undefined there. An entry says which case it is of by `case`, or by any other value in it that names one: `pk` of the job, the name
of the image, with its suffix or without. An entry of grand-challenge's templates has its metrics beside that key instead of in
`metrics`. There, values that are no declared metric are passed over.

A document with `aggregates` alone says one number per metric for all cases. Every case gets it, so a mean over cases is that number.
The same holds where no entry of `results` names a case, as grand-challenge's template writes them.

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


def parse_metrics(
    raw: bytes, *, protocol: Protocol, case_ids: Collection[str], keys: Mapping[str, str] | None = None
) -> dict[str, ExternalScores]:
    """Case → what was said of it. MetricsInvalid for anything but declared metrics of known cases as finite numbers.

    `keys`: whatever else may name a case → the case.
    """
    if len(raw) > MAX_METRICS_BYTES:
        raise MetricsInvalid(f"found {len(raw)} bytes of metrics, expected at most {MAX_METRICS_BYTES}")
    document = _parse_json(raw)
    entries = document.get("results") if isinstance(document, dict) else None
    aggregates = document.get("aggregates") if isinstance(document, dict) else None
    known = {**(keys or {}), **{case_id: case_id for case_id in case_ids}}
    if isinstance(aggregates, dict) and (entries is None or _names_no_case(entries, known=known)):
        scores = _declared(aggregates, protocol=protocol)
        return {case_id: _scores_of(scores, protocol=protocol, case_id=case_id) for case_id in case_ids}
    if not isinstance(entries, list):
        raise MetricsInvalid(
            'found neither a list `results` nor `aggregates`, expected {"results": [{"case": …, "metrics": {…}}]}'
        )
    found: dict[str, ExternalScores] = {}
    for entry in entries:
        case_id = _case_of(entry, known=known)
        if case_id is None or case_id in found:
            shown = entry.get("case") if isinstance(entry, dict) else None
            raise MetricsInvalid(f"found {_shown(shown)} as a case, expected each case of the test set once")
        metrics = entry.get("metrics") if "metrics" in entry or "case" in entry else _declared(entry, protocol=protocol)
        found[case_id] = _scores_of(metrics, protocol=protocol, case_id=case_id)
    return found


def _names_no_case(entries: Any, *, known: Mapping[str, str]) -> bool:
    """Whether no entry says of which case it is, as grand-challenge's template writes them: only the aggregates are of use then."""
    return (
        isinstance(entries, list)
        and bool(entries)
        and all(
            isinstance(entry, dict) and "case" not in entry and _case_of(entry, known=known) is None
            for entry in entries
        )
    )


def _case_of(entry: Any, *, known: Mapping[str, str]) -> str | None:
    """The case that an entry is of: by `case`, else by the only case that one of its texts names."""
    if not isinstance(entry, dict):
        return None
    if "case" in entry:
        return known.get(entry["case"]) if isinstance(entry["case"], str) else None
    named = {known[value] for value in entry.values() if isinstance(value, str) and value in known}
    return named.pop() if len(named) == 1 else None


def _declared(given: Mapping[str, Any], *, protocol: Protocol) -> dict[str, Any]:
    """The declared metrics among other things; of grand-challenge's statistics per metric, the mean."""
    found = {metric_id: given[metric_id] for metric_id in external_metrics(protocol) if metric_id in given}
    if not found:
        raise MetricsInvalid(
            f"found none of the metrics among {_shown(sorted(given))}, expected one of {', '.join(external_metrics(protocol))}"
        )
    declared = external_metrics(protocol)
    is_statistic = {
        metric_id: isinstance(value, dict) and "mean" in value and labels_of(declared[metric_id], protocol) == [""]
        for metric_id, value in found.items()
    }
    return {metric_id: value["mean"] if is_statistic[metric_id] else value for metric_id, value in found.items()}


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
