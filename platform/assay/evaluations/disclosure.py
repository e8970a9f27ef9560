"""What a participant may learn from hidden cases: the one place that decides it, for pages, API and exports alike.

A submission is *closed* when its test set is hidden and its protocol does not release single cases. Every number a closed
submission shows is a way out for hidden data, because the algorithm chooses it: an exit code, a duration, how many cases
failed, the third decimal of a mean. So its team sees one outcome, a time in buckets, and means as coarse as the protocol says:

    verdict_only   nothing else
    aggregate      each metric's mean, overall and per label, rounded to `release.rounding` decimals (3 unless it says)
    ladder         the first metric alone, in steps of `release.delta`, and only when it is better than the team's best
                   (Blum & Hardt 2015, "The Ladder", arXiv 1502.04585, with a fixed step)

What one submission can carry out, in bits, is `capacity_bits`; `tests/api/test_leaks.py` measures it on real pages and answers.
What remains is the moment at which the end can be seen from outside: a client that polls has a clock.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from assay.challenges.models import Phase, ProtocolVersion
from assay.challenges.protocols import rules_of
from assay.evaluations.models import Evaluation
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.reasons import told_of
from containers.verdicts import Verdict
from evaluator.protocol import Protocol

VERDICT_ONLY, AGGREGATE, PER_CASE, LADDER = "verdict_only", "aggregate", "per_case", "ladder"
DEFAULT_DECIMALS = 3
BUCKET_MINUTES = (0, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1440)
REASONS_OF_IMAGES = frozenset(
    {"entry_point_not_runnable", "mount_point_blocked", "working_dir_too_large", "user_unknown"}
)
"""Why a container was never started."""
OUTCOMES = 16
"""Done or failed, each with any verdict an algorithm can bring about."""


def release_of(version: ProtocolVersion) -> str:
    """What participants see while a phase runs, by its protocol."""
    return rules_of(version).release.mode


def is_closed(submission: Submission) -> bool:
    """Whether single cases of this submission, their number and their cost are kept from its team."""
    return not releases_cases(submission.phase, submission.protocol) and not submission.testset.is_public


def is_closed_phase(phase: Phase) -> bool:
    """The same of a phase as a whole."""
    chosen = getattr(phase, "chosen_testset", None)
    return not releases_cases(phase, phase.protocol) and not (chosen is not None and chosen.testset.is_public)


def releases_cases(phase: Phase, version: ProtocolVersion) -> bool:
    """Whether the rules give single cases to participants. A phase with private cases shows none: those that are missing would
    tell which they are.
    """
    if phase.has_private_cases:
        return False
    return release_of(version) == PER_CASE or phase.opens_after("cases")


def shows_scores(phase: Phase, version: ProtocolVersion, *, now: datetime) -> bool:
    """Whether participants see scores of this phase now: neither an embargo nor a release of verdicts alone keeps them."""
    if not phase.shows_results(now):
        return False
    return release_of(version) != VERDICT_ONLY or phase.opens_after("boards") or phase.opens_after("cases")


def as_seen(submission: Submission, *, is_insider: bool) -> Submission:
    """The submission as its viewer may see it: for its team, a closed one says only what kind of end it came to, and about when."""
    if is_insider or not is_closed(submission):
        return submission
    seen = copy.copy(submission)
    if not is_about_the_upload(submission):
        told = told_of(submission.verdict, resources=submission.limits, **_about_the_image(submission))
        seen.reason, seen.facts, seen.earlier_text = told.reason or "", dict(told.facts), ""
    if submission.finished_at is not None:
        seen.finished_at = submission.created_at + bucket(submission.finished_at - submission.created_at)
        seen.status_changed_at = seen.finished_at
    return seen


def _about_the_image(submission: Submission) -> dict[str, str]:
    """Why an image could not be started. Nothing of it had run, so the reason tells nothing of a case.

    An algorithm that runs can bring about one of these reasons only, by imitating the init's message: what it could say by that it can
    say by the verdict alone.
    """
    reason = submission.facts.get("case_reason", "") if submission.verdict == Verdict.IMAGE_INVALID else ""
    return {"case_reason": reason} if reason in REASONS_OF_IMAGES else {}


def is_about_the_upload(submission: Submission) -> bool:
    """Whether what is told may be told in full: what the checker says of an archive comes from the archive."""
    is_refused = submission.image is None or submission.image.status == AlgorithmImage.Status.REJECTED
    return is_refused or submission.verdict in ("", Verdict.OK)


def bucket(duration: timedelta) -> timedelta:
    """The largest bucket that fits."""
    minutes = duration.total_seconds() / 60
    return timedelta(minutes=max((step for step in BUCKET_MINUTES if step <= minutes), default=0))


def released_aggregates(
    aggregates: Mapping[str, Any], *, version: ProtocolVersion, ladder_value: float | None
) -> dict[str, Any]:
    """The summary of a closed submission, as coarse as its protocol says."""
    release = rules_of(version).release
    if release.mode == LADDER:
        return {rules_of(version).metrics[0].id: {"mean": ladder_value}}
    decimals = DEFAULT_DECIMALS if release.rounding is None else release.rounding
    return {
        metric: {
            "mean": _rounded(values.get("mean"), decimals),
            "per_label": {
                label: {"mean": _rounded(of_label.get("mean"), decimals)}
                for label, of_label in values.get("per_label", {}).items()
            },
        }
        for metric, values in aggregates.items()
        if isinstance(values, Mapping)
    }


def ladder(scores: Sequence[float | None], *, step: float, direction: str) -> list[float | None]:
    """What each of a team's submissions, in order, is told: its score in whole steps if that beats all before, else the best so far.

    >>> ladder([0.512, 0.518, 0.534, 0.2], step=0.01, direction="max")
    [0.51, 0.52, 0.53, 0.53]
    """
    sign = -1 if direction == "min" else 1
    best: int | None = None
    told: list[float | None] = []
    for score in scores:
        if score is not None:
            steps = round(score / step)
            best = steps if best is None or sign * steps > sign * best else best
        told.append(None if best is None else round(best * step, 9))
    return told


def ladder_values(phase: Phase, *, version: ProtocolVersion) -> dict[Any, float | None]:
    """What every evaluated submission of the phase is told, by submission id. One query. Empty unless the phase is a ladder."""
    if release_of(version) != LADDER:
        return {}
    rules = rules_of(version)
    metric, step = rules.metrics[0], rules.release.delta
    found: dict[Any, list[tuple[Any, float | None]]] = {}
    rows = Evaluation.objects.filter(submission__phase=phase, is_active=True).order_by("submission__number")
    for submission_id, team_id, aggregates in rows.values_list("submission_id", "submission__team_id", "aggregates"):
        found.setdefault(team_id, []).append((submission_id, aggregates.get(metric.id, {}).get("mean")))
    told: dict[Any, float | None] = {}
    for of_team in found.values():
        values = ladder([score for _, score in of_team], step=step, direction=metric.metric.direction)
        told |= {submission_id: value for (submission_id, _), value in zip(of_team, values, strict=True)}
    return told


def capacity_bits(version: ProtocolVersion) -> float:
    """The most one submission can carry out of hidden cases through what its team is shown, for metrics between 0 and 1."""
    return capacity_of(rules_of(version))


def capacity_of(rules: Protocol) -> float:
    """The same, of rules that need not be stored yet. `leaks.py` says it to organizers."""
    bits = math.log2(OUTCOMES) + math.log2(len(BUCKET_MINUTES))
    if rules.release.mode == LADDER:
        return bits + math.log2(1 / rules.release.delta + 1)
    if rules.release.mode == AGGREGATE:
        decimals = DEFAULT_DECIMALS if rules.release.rounding is None else rules.release.rounding
        return bits + len(rules.metrics) * (1 + len(rules.labels)) * math.log2(10**decimals + 1)
    return bits


def _rounded(value: Any, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals)
