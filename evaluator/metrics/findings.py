"""Findings: points and boxes with a confidence, in two or three dimensions, matched to those of a reference.

Theory of operation. A finding of the reference is a point with a diameter or a box. Answers are points or boxes with a confidence. In
each case answers are matched to the reference by one of three rules:

| rule           | means                                                                                  | as in              |
| -------------- | -------------------------------------------------------------------------------------- | ------------------ |
| `each`         | a reference finding has the most confident answer that hits it                          | LUNA16, CAMELYON16 |
| `best_first`   | answers by falling confidence, each takes the closest reference finding that is free     | COCO               |
| `most_overlap` | the pairs with the largest sum of 1 + overlap                                            | picai_eval         |

A point hits when its distance is below `within_mm`, or below half the diameter of the reference finding where that is not set. A box hits
when the intersection over union reaches `iou`. Then every reference finding has the confidence with which it was found, or none, and every
answer that found nothing is false. `spare_predictions: forgiven` leaves out the false ones that hit a finding which another answer
found. Reference findings that are marked as ignored are never missed, and an answer that hits one is never false.

All scores over cases are means over the reference findings of a share each, so every finding has a score of its own, as the rows
of `classification.py` have. A case's score is the sum of those of its findings, by how many there are, such that the mean over the
cases that have findings is the score of the whole. Cases without findings have a say through their false answers only.

A case without a usable answer counts as the most wrong there is: everything is missed, and there are `most_findings` false answers that
are surer than any other. As an answer may hold that many at most (the surest are kept), leaving a case out never helps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluator.arrays import Floats
from evaluator.metrics.assignment import best_assignment
from evaluator.metrics.classification import wins_of_rows
from evaluator.volumes.findings import Finding, Findings

IOU_STEP = 0.05
RECALLS = np.linspace(0, 1, 101)
"""Where COCO looks at the precision."""
RATES = {"eighth_to_8": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), "quarter_to_8": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)}
"""False answers per case at which FROC looks at the sensitivity: LUNA16, CAMELYON16."""
MISSED = -math.inf
SUREST = math.inf


@dataclass(frozen=True)
class CaseFindings:
    """One case: what is there, and what was answered. None where there is no usable answer."""

    reference: Findings
    answer: Findings | None


OverFindings = Callable[[Sequence[CaseFindings], Mapping[str, Any]], list[float | None]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case after matching: with what confidence each reference finding was found, and how sure each false answer was."""

    confidences: tuple[float, ...] = ()
    false: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """All cases together, by falling threshold of confidence: how many findings were found, and how many answers were false."""

    thresholds: Floats
    found: Floats
    false: Floats
    findings: int = field(default=0)


def froc_of_cases(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> list[float | None]:
    """The sensitivity, averaged over some rates of false answers per case (`RATES`)."""
    return _at_rates(cases, options, rates=RATES[options["rates"]])


def froc_by_rate(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> dict[float, list[float | None]]:
    """The sensitivity at each rate of false answers per case, whose mean `froc_of_cases` is: the points of the curve."""
    found = match_cases(cases, options)
    curve = curve_of(found)
    return {
        rate: _by_case(found, _shares_at_rates(curve, options, rates=(rate,), cases=len(cases)))
        for rate in RATES[options["rates"]]
    }


def sensitivity_of_cases(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> list[float | None]:
    """The sensitivity at one rate of false answers per case."""
    return _at_rates(cases, options, rates=(float(options["false_positives_per_case"]),))


def precisions_of_cases(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> list[float | None]:
    """Average precision over all answers, averaged over the IoU from `iou` to `iou_to` in steps of 0.05 where that is set."""
    last = options["iou"] if options["iou_to"] is None else options["iou_to"]
    steps = max(0, round((last - options["iou"]) / IOU_STEP))
    scores = []
    for step in range(steps + 1):
        found = match_cases(cases, {**options, "iou": round(options["iou"] + step * IOU_STEP, 6)})
        curve = curve_of(found)
        scores.append(_by_case(found, _shares_of_precision(curve, options["interpolation"])))
    return [
        None if values[0] is None else math.fsum(value or 0.0 for value in values) / len(values)
        for values in zip(*scores, strict=True)
    ]


def auc_of_cases(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> list[float | None]:
    """The area under ROC of cases with against cases without findings, by the surest answer of each case."""
    truths = [float(any(not finding.is_ignored for finding in case.reference)) for case in cases]
    surest = [
        None if case.answer is None else max((finding.confidence for finding in case.answer), default=MISSED)
        for case in cases
    ]
    if options["failed_cases"] == "no_findings":
        surest = [MISSED if score is None else score for score in surest]
    return wins_of_rows(truths, surest)


def match_cases(cases: Sequence[CaseFindings], options: Mapping[str, Any]) -> list[Found]:
    """Each case after matching."""
    return [match_case(case, options) for case in cases]


def match_case(case: CaseFindings, options: Mapping[str, Any]) -> Found:
    """One case by the metric's `rule`."""
    wanted = [finding for finding in case.reference if not finding.is_ignored]
    ignored = [finding for finding in case.reference if finding.is_ignored]
    if case.answer is None and options["failed_cases"] == "all_false":
        return Found(confidences=(MISSED,) * len(wanted), false=(SUREST,) * options["most_findings"])
    answers = sorted(case.answer or (), key=lambda finding: -finding.confidence)[: options["most_findings"]]
    confidences = np.array([finding.confidence for finding in answers], np.float64)
    closeness = closeness_of(wanted, answers, options)
    hits = closeness > MISSED
    taken = _RULES[options["rule"]](closeness)
    is_true = np.zeros(len(answers), np.bool_)
    is_true[taken[taken >= 0]] = True
    excused = (closeness_of(ignored, answers, options) > MISSED).any(axis=0)
    if options["spare_predictions"] == "forgiven":
        excused |= hits.any(axis=0)
    return Found(
        confidences=tuple(float(confidences[at]) if at >= 0 else MISSED for at in taken),
        false=tuple(confidences[~is_true & ~excused].tolist()),
    )


def closeness_of(reference: Sequence[Finding], answers: Sequence[Finding], options: Mapping[str, Any]) -> Floats:
    """Reference by answers: how close they are, larger is closer (an IoU, or minus a distance). Minus infinity where it is no hit."""
    if not reference or not answers:
        return np.full((len(reference), len(answers)), MISSED)
    here = np.array([finding.place for finding in reference], np.float64)[:, None, :]
    there = np.array([finding.place for finding in answers], np.float64)[None, :, :]
    if here.shape[2] > 3:
        overlap = _overlap(here, there)
        return np.where((overlap >= options["iou"]) & (overlap > 0), overlap, MISSED)
    squares = ((here - there) ** 2).sum(axis=2)
    reach = np.array([finding.diameter / 2 for finding in reference], np.float64)[:, None]
    if options["within_mm"] is not None:
        reach = np.full_like(reach, options["within_mm"])
    return np.where(squares < reach**2, -np.sqrt(squares), MISSED)


def _overlap(here: Floats, there: Floats) -> Floats:
    """Intersection over union of every two boxes. 0 where both are empty."""
    axes = here.shape[2] // 2
    low, high = (
        np.maximum(here[..., :axes], there[..., :axes]),
        np.minimum(here[..., axes:], there[..., axes:]),
    )
    common = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [(box[..., axes:] - box[..., :axes]).prod(axis=2) for box in (here, there)]
    union = sizes[0] + sizes[1] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _each(closeness: Floats) -> Any:
    """Which answer each reference finding has: the first that hits it, as answers stand by falling confidence. -1 for none."""
    hits = closeness > MISSED
    if not hits.shape[1]:
        return np.full(len(hits), -1)
    return np.where(hits.any(axis=1), hits.argmax(axis=1), -1)


def _best_first(closeness: Floats) -> Any:
    """Each answer in turn takes the closest reference finding that is free."""
    taken = np.full(len(closeness), -1)
    for answer in range(closeness.shape[1] if len(closeness) else 0):
        free = np.where(taken < 0, closeness[:, answer], MISSED)
        closest = int(free.argmax())
        if free[closest] > MISSED:
            taken[closest] = answer
    return taken


def _most_overlap(closeness: Floats) -> Any:
    """The pairs with the largest sum of 1 + overlap, as picai_eval has it. The closest pair of points counts as an overlap of 1."""
    hits = closeness > MISSED
    if not hits.any():
        return np.full(len(closeness), -1)
    near = closeness
    if closeness[hits].max() <= 0:
        lowest, span = closeness[hits].min(), np.ptp(closeness[hits])
        near = (closeness - lowest) / (span or 1.0)
    worth = np.where(hits, 1 + near, 0.0)
    taken = np.asarray(best_assignment(worth))
    return np.where((taken >= 0) & hits[np.arange(len(hits)), taken], taken, -1)


_RULES: Mapping[str, Callable[[Floats], Any]] = {
    "each": _each,
    "best_first": _best_first,
    "most_overlap": _most_overlap,
}


def curve_of(found: Sequence[Found]) -> Curve:
    """What is found and what is false from each confidence on."""
    true = np.array([score for case in found for score in case.confidences], np.float64)
    false = np.array([score for case in found for score in case.false], np.float64)
    known = true[true > MISSED]
    thresholds = np.unique(np.concatenate([known, false]))[::-1]
    return Curve(
        thresholds=thresholds,
        found=_at_least(known, thresholds),
        false=_at_least(false, thresholds),
        findings=len(true),
    )


def _at_least(scores: Floats, thresholds: Floats) -> Floats:
    return (len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")).astype(np.float64)


def _at_rates(
    cases: Sequence[CaseFindings], options: Mapping[str, Any], *, rates: Sequence[float]
) -> list[float | None]:
    found = match_cases(cases, options)
    return _by_case(found, _shares_at_rates(curve_of(found), options, rates=rates, cases=len(cases)))


def _shares_at_rates(
    curve: Curve, options: Mapping[str, Any], *, rates: Sequence[float], cases: int
) -> dict[float, float]:
    """Confidence → what a finding found with it adds to the mean sensitivity at these rates, times the number of findings."""
    weights = np.zeros(len(curve.thresholds))
    for rate in rates:
        _add_point(weights, curve, rate=rate * cases, is_linear=options["between"] == "linear")
    # A finding counts at every threshold that its confidence reaches: a sum over the thresholds from its own on.
    shares = np.cumsum(weights[::-1])[::-1] / len(rates)
    return {float(at): float(share) for at, share in zip(curve.thresholds, shares, strict=True)}


def _add_point(weights: Floats, curve: Curve, *, rate: float, is_linear: bool) -> None:
    """Add to the weight of thresholds what the sensitivity at `rate` false answers takes of each. The curve begins at nothing."""
    last = int(np.searchsorted(curve.false, rate, side="right")) - 1
    share = 0.0
    if is_linear and last + 1 < len(curve.false):
        start = curve.false[last] if last >= 0 else 0.0
        share = float((rate - start) / (curve.false[last + 1] - start))
        weights[last + 1] += share
    if last >= 0:
        weights[last] += 1 - share


def _shares_of_precision(curve: Curve, interpolation: str) -> dict[float, float]:
    """Confidence → what a finding found with it adds to the average precision, times the number of findings."""
    precision = curve.found / np.maximum(curve.found + curve.false, 1)
    if interpolation != "step":
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    if interpolation == "coco":
        recall = curve.found / max(curve.findings, 1)
        looked_at = np.searchsorted(RECALLS, recall, side="right").astype(np.float64)
        new = np.diff(curve.found, prepend=0)
        gained = np.diff(looked_at, prepend=0)
        # A place before the first finding belongs to the first finding.
        first = int(np.argmax(new > 0)) if (new > 0).any() else 0
        gained[first] += gained[:first].sum()
        precision = precision * np.divide(gained, new, out=np.zeros_like(new), where=new > 0)
        precision = precision * curve.findings / len(RECALLS)
    return {float(at): float(share) for at, share in zip(curve.thresholds, precision, strict=True)}


def _by_case(found: Sequence[Found], shares: Mapping[float, float]) -> list[float | None]:
    """The score of each case from what its findings add, so that the mean over the cases with findings is the score of all."""
    findings = sum(len(case.confidences) for case in found)
    used = sum(bool(case.confidences) for case in found)
    return [
        math.fsum(shares.get(score, 0.0) for score in case.confidences) * used / findings if case.confidences else None
        for case in found
    ]
