"""What a missing value counts as. The one promise: a missing value can never win.

Failure classes, from the reason stored with the score (text before a colon), most specific rule first:

    reason                                        rules looked up, in this order
    absent, missing, failed, a container verdict  the reason itself, failed_case, any
    output_invalid, invalid_geometry …            the reason itself, invalid_output, failed_case, any
    both_empty, reference_empty, class_absent     the reason itself, any; without either the pair is dropped
    prediction_empty                              the reason itself, any
    anything else, or none given                  the reason itself, undefined, any
    aborted                                       none: the script stopped, so the submission is disqualified

Without a rule a missing value ranks last. Inside the engine "ranks last" is the infinity on the bad side, so means
and medians carry it without special cases. A dropped pair is NaN.

How the promise is kept: a rule that would reward a failure is refused when it is read (0 mm for a missing distance). K times
the worst of the others is never better than that worst. Where an honest-looking rule turns out to pay on the scores at
hand (a constant better than some measured values, cases left out), the ranking says so in its notes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from evaluator.arrays import Floats, Mask
from evaluator.ranking.document.config import MetricSpec, MissingRules, Rule, RuleKind
from evaluator.ranking.document.rewards import STRUCTURE_ABSENT, is_worse
from evaluator.ranking.errors import TableError
from evaluator.ranking.table import ABSENT, MetricScores, ScoreTable
from evaluator.results import ABORTED

_INVALID = ("output_invalid", "invalid_output", "invalid_geometry", "wrong_shape", "wrong_grid")
_FAILED = (
    *("missing", "failed", "failed_case", "cancelled", "infrastructure", "image_invalid", "timeout", "out_of_memory"),
    *("output_too_large", "nonzero_exit", "output_missing", "unrun", ABSENT),
)


def lookup_order(reason: str) -> tuple[str, ...]:
    """The rule names that apply to a reason, most specific first."""
    name = reason.partition(":")[0].strip()
    if name in _INVALID:
        return (name, "invalid_output", "failed_case", "any")
    if name in _FAILED:
        return (name, "failed_case", "any")
    if name in (*STRUCTURE_ABSENT, "prediction_empty"):
        return (name, "any")
    return (name, "undefined", "any")


def find_rule(rules: MissingRules, *, reason: str, metric: str) -> Rule | None:
    """The rule for a reason and metric, or `None` when the configuration has none."""
    if reason.partition(":")[0] == ABORTED:
        return Rule(kind=RuleKind.DISQUALIFY)
    for name in lookup_order(reason):
        by_metric = rules.by_class.get(name, {})
        rule = by_metric.get(metric, by_metric.get("*"))
        if rule is not None:
            return rule
    return Rule(kind=RuleKind.DROP_PAIR) if lookup_order(reason)[0] in STRUCTURE_ABSENT else None


@dataclass(frozen=True, eq=False)
class Filled:
    """One metric with every missing value decided. NaN: not ranked there. Infinite: behind every number.

    `cautions` say where the rules were silent, or may have paid.
    """

    values: Floats
    is_disqualified: Mask
    cautions: tuple[str, ...] = ()


def fill(table: ScoreTable, name: str, spec: MetricSpec, rules: MissingRules) -> Filled:
    """Apply the rules to the metric stored under `name`. `spec` is the metric it is ranked as."""
    scores = table.metrics[name]
    values = np.where(scores.is_expected, scores.values, np.nan)
    is_disqualified = np.zeros(len(table.algorithms), dtype=bool)
    cautions: list[str] = []
    failed: dict[Rule, Mask] = {}
    is_dropped = np.zeros(values.shape[1:], dtype=bool)
    for code in np.unique(scores.reasons[table.holes(name)]):
        reason = table.reason_names[code]
        holes = table.holes(name, code)
        rule = find_rule(rules, reason=reason, metric=name)
        if rule is None:
            cautions.append(f"no missing rule for {reason}; counted behind every number")
            rule = Rule(kind=RuleKind.RANK_LAST)
        if rule.kind is RuleKind.DISQUALIFY:
            is_disqualified |= holes.any(axis=(1, 2))
        if rule.kind is RuleKind.DROP_CASE:
            is_dropped |= holes.any(axis=0)
        if lookup_order(reason)[0] not in STRUCTURE_ABSENT:
            failed[rule] = failed.get(rule, np.zeros_like(holes)) | holes
        _fill_holes(values, holes, rule, table=table, scores=scores, spec=spec)
    values[:, is_dropped] = np.nan
    cautions += [text for rule, holes in failed.items() for text in _caution(rule, holes, scores=scores, spec=spec)]
    return Filled(
        values=values, is_disqualified=is_disqualified, cautions=tuple(f"{name}: {text}" for text in cautions)
    )


def _caution(rule: Rule, holes: Mask, *, scores: MetricScores, spec: MetricSpec) -> Iterator[str]:
    """What a reader must know of a rule that left failures out, or let them beat measured values."""
    count = np.count_nonzero(holes)
    match rule.kind:
        case RuleKind.DROP_CASE:
            cases = np.count_nonzero(holes.any(axis=(0, 1)))
            yield f"cases left out for everybody, because somebody has no value there: {cases}"
        case RuleKind.DROP_PAIR:
            algorithms = np.count_nonzero(holes.any(axis=(1, 2)))
            yield f"missing values left out: {count}; algorithms judged on fewer cases than the others: {algorithms}"
        case RuleKind.NUMBER if spec.pooled is None and rule.number is not None:
            beaten = np.count_nonzero(is_worse(scores.values, rule.number, spec))
            if beaten:
                yield f"missing values that count as {rule}: {count}; measured values worse than that: {beaten}"


def _fill_holes(
    values: Floats,
    holes: Mask,
    rule: Rule,
    *,
    table: ScoreTable,
    scores: MetricScores,
    spec: MetricSpec,
) -> None:
    constant = math.nan if rule.number is None else rule.number
    match rule.kind:
        case RuleKind.NUMBER:
            values[holes] = constant
        case RuleKind.BOUND:
            values[holes] = _bound(spec)
        case RuleKind.DIAGONAL:
            values[:] = np.where(holes, _diagonals(table), values)
        case RuleKind.TIMES_WORST_OF_OTHERS:
            worst = _worst_of_others(scores, larger_is_better=spec.larger_is_better)
            never_better = np.fmin if spec.larger_is_better else np.fmax
            values[:] = np.where(holes, never_better(worst, worst * constant), values)
        case RuleKind.SAME_AS_OTHERS:
            values[:] = np.where(holes, _value_of_others(scores), values)
        case RuleKind.RANK_LAST | RuleKind.DISQUALIFY:
            values[holes] = -math.inf if spec.larger_is_better else math.inf
        case RuleKind.DROP_CASE | RuleKind.DROP_PAIR:
            values[holes] = np.nan


def _bound(spec: MetricSpec) -> float:
    if spec.worse_bound is None:
        raise TableError(
            f"{spec.id}: found the missing rule bound; expected a metric that is bounded on its worse side: state "
            f"the number "
            "to count instead"
        )
    return spec.worse_bound


def _diagonals(table: ScoreTable) -> Floats:
    texts = [table.attributes.get(case, {}).get("diagonal_mm", "") for case in table.cases]
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        case = table.cases[next(i for i, text in enumerate(texts) if not _is_number(text))]
        raise TableError(
            f"{case}: found no attribute diagonal_mm; expected a column diagonal_mm with the image diagonal in mm, which the rule "
            "diagonal counts for a missing value, or another rule, such as rank_last or a number"
        ) from None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _worst_of_others(scores: MetricScores, *, larger_is_better: bool) -> Floats:
    """For each algorithm and structure the worst value of any other algorithm in any case. Infinite when there is
    none.
    """
    sign = -1.0 if larger_is_better else 1.0
    badness = np.where(np.isnan(scores.values), -math.inf, sign * scores.values).max(axis=2)
    first = badness.argmax(axis=0)
    worst = np.broadcast_to(badness.max(axis=0), badness.shape).copy()
    columns = np.arange(badness.shape[1])
    badness[first, columns] = -math.inf
    worst[first, columns] = badness.max(axis=0)
    worst[np.isinf(worst)] = math.inf
    return sign * worst[:, :, None]


def _value_of_others(scores: MetricScores) -> Floats:
    """The largest value any algorithm has for each structure and case: for statistics of the reference, equal for
    all.
    """
    known = np.where(np.isnan(scores.values), -math.inf, scores.values).max(axis=0)
    return np.where(np.isinf(known), np.nan, known)


def missing_counts(table: ScoreTable) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    """Algorithm → metric → reason → how many values were not measured: missing, or put there by a convention.

    Algorithms that were measured everywhere have no entry.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, scores in table.metrics.items():
        is_unmeasured = (scores.reasons != 0) & scores.is_expected
        for index in np.flatnonzero(is_unmeasured.any(axis=(1, 2))):
            codes, numbers = np.unique(scores.reasons[index][is_unmeasured[index]], return_counts=True)
            counts.setdefault(table.algorithms[index], {})[name] = {
                table.reason_names[code]: int(number) for code, number in zip(codes, numbers, strict=True)
            }
    return counts
