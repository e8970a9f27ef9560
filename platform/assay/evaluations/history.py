"""Every scoring of a submission, old ones too: which counts, by which rules, and what went wrong. For organizers."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from assay.challenges.protocols import rules_of
from assay.evaluations.models import Evaluation
from assay.submissions.models import Submission


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One evaluation as a line: `means` in the order of the metrics' names."""

    id: UUID
    number: int
    state: str
    at: datetime
    protocol_version: int
    testset_version: int
    means: tuple[tuple[str, float | None], ...]
    error: str


def scorings_of(submission: Submission) -> list[Scoring]:
    """Newest first. One query."""
    rows = list(
        submission.evaluations.select_related("protocol", "testset").defer("testset__report").order_by("-number")
    )
    counting = next((row.number for row in rows if row.is_active), 0)
    return [_scoring(row, counting=counting) for row in rows]


def _scoring(row: Evaluation, *, counting: int) -> Scoring:
    names = [spec.id for spec in rules_of(row.protocol).metrics]
    return Scoring(
        id=row.pk,
        number=row.number,
        state=state_of(row, counting=counting),
        at=row.finished_at or row.created_at,
        protocol_version=row.protocol.version,
        testset_version=row.testset.version,
        means=tuple((name, row.aggregates.get(name, {}).get("mean")) for name in names if name in row.aggregates),
        error=row.error,
    )


def state_of(row: Evaluation, *, counting: int) -> str:
    """What an evaluation is to its submission, in a word or two. `counting` is the number of the one that ranks."""
    if row.status != Evaluation.Status.DONE:
        return str(row.status)
    if row.is_active:
        return "counts"
    return "does not count yet" if row.number > counting else "counted earlier"
