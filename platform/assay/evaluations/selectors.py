"""What may be shown of scores, and to whom. The protocol's `release` decides for participants. Organizers see everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assay.challenges.models import Challenge
from assay.evaluations.disclosure import (
    is_closed,
    ladder_values,
    released_aggregates,
    releases_cases,
    shows_scores,
)
from assay.evaluations.models import CaseScores, Evaluation, MetricImage
from assay.evaluations.public_part import public_aggregates
from assay.submissions.models import Submission


@dataclass(frozen=True, kw_only=True)
class CaseScoreRow:
    """One case's scores: [label, metric, value, reason] each."""

    case_id: str
    attributes: Mapping[str, Any]
    scores: list[list[Any]]


def metric_images_of(*, challenge: Challenge) -> list[MetricImage]:
    """The images that organizers brought for their own metrics, newest first."""
    return list(challenge.metric_images.order_by("-created_at"))


def active_evaluation(submission: Submission) -> Evaluation | None:
    """The evaluation that counts."""
    return submission.evaluations.filter(is_active=True).first()


def released_summary(submission: Submission, *, is_organizer: bool, now: datetime) -> dict[str, Any] | None:
    """The aggregates, as far as the viewer may see them. None when not (yet)."""
    evaluation = active_evaluation(submission)
    if evaluation is None:
        return None
    if is_organizer:
        return dict(evaluation.aggregates)
    if not shows_scores(submission.phase, submission.protocol, now=now):
        return None
    if not is_closed(submission):
        return dict(evaluation.aggregates)
    if submission.phase.has_private_cases:
        aggregates = public_aggregates([evaluation], phase=submission.phase)[evaluation.pk]
        return released_aggregates(aggregates, version=submission.protocol, ladder_value=None)
    told = ladder_values(submission.phase, version=submission.protocol)
    return released_aggregates(evaluation.aggregates, version=submission.protocol, ladder_value=told.get(submission.pk))


def case_scores(submission: Submission, *, is_organizer: bool, now: datetime) -> list[CaseScoreRow] | None:
    """Every case's scores, where the policy releases them. None when not (yet)."""
    evaluation = active_evaluation(submission)
    if evaluation is None:
        return None
    if not is_organizer:
        is_released = releases_cases(submission.phase, submission.protocol)
        if not (is_released and submission.phase.shows_results(now)):
            return None
    rows = CaseScores.objects.filter(evaluation=evaluation).order_by("case__position")
    columns = rows.values_list("case__case_id", "case__attributes", "scores")
    return [CaseScoreRow(case_id=case, attributes=attributes, scores=scores) for case, attributes, scores in columns]


def receipt(submission: Submission, *, is_organizer: bool) -> dict[str, Any] | None:
    """The signed receipt of the evaluation that counts. It has timings and node names: of a closed submission, for organizers."""
    if not is_organizer and is_closed(submission):
        return None
    evaluation = active_evaluation(submission)
    return evaluation.receipt if evaluation else None
