"""The sites' board: a column per site, and the mean over sites, which says how an algorithm travels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.models import Site, SiteEvaluation
from evaluator.metrics import Direction


@dataclass(frozen=True, kw_only=True)
class SiteColumn:
    """One site: how many results it has released, and how many wait."""

    name: str
    title: str
    case_count: int | None
    released: int
    in_review: int


@dataclass(kw_only=True)
class SiteRow:
    """One submission: the mean of every metric at every site that released it."""

    submission_id: UUID
    number: int
    team: str
    name: str
    sites: dict[str, Mapping[str, float | None]] = field(default_factory=dict)
    mean: float | None = None
    worst: float | None = None
    rank: int | None = None


@dataclass(frozen=True, kw_only=True)
class SiteBoard:
    """`metric` orders the rows. Rows are ranked once every site has released them, others stay provisional."""

    metric: str
    columns: list[SiteColumn]
    rows: list[SiteRow]


def site_board(phase: Phase) -> SiteBoard:
    """Every released result of the phase's sites, in two queries."""
    sites = list(Site.objects.filter(phase=phase, revoked_at=None).order_by("name"))
    evaluations = list(
        SiteEvaluation.objects.filter(site__in=sites)
        .select_related("site", "dataset", "submission__team")
        .order_by("submission__number")
    )
    leading = rules_of(phase.protocol).metrics[0]
    is_higher_better = leading.metric.direction == Direction.MAX
    rows: dict[UUID, SiteRow] = {}
    for evaluation in evaluations:
        submission = evaluation.submission
        if evaluation.release is None or submission.is_disqualified or submission.is_withdrawn:
            continue
        row = rows.setdefault(
            submission.pk,
            SiteRow(
                submission_id=submission.pk, number=submission.number, team=submission.team.name, name=submission.name
            ),
        )
        row.sites[evaluation.site.name] = {
            metric: numbers["mean"] for metric, numbers in evaluation.release["metrics"].items() if numbers
        }
    rank_rows(list(rows.values()), metric=leading.id, site_count=len(sites), is_higher_better=is_higher_better)
    return SiteBoard(
        metric=leading.id,
        columns=[_column(site, [e for e in evaluations if e.site_id == site.pk]) for site in sites],
        rows=sorted(rows.values(), key=lambda row: (row.rank is None, row.rank or 0, row.number)),
    )


def rank_rows(rows: list[SiteRow], *, metric: str, site_count: int, is_higher_better: bool) -> None:
    """Fill in the mean over sites (every site counts the same), the worst site, and ranks of rows that all sites released."""
    for row in rows:
        values = [numbers.get(metric) for numbers in row.sites.values()]
        known = [value for value in values if value is not None]
        if known:
            row.mean = sum(known) / len(known)
            row.worst = min(known) if is_higher_better else max(known)
    complete = [row for row in rows if len(row.sites) == site_count and row.mean is not None]
    for row in complete:
        better = [
            other
            for other in complete
            if (other.mean or 0.0) != (row.mean or 0.0)
            and ((other.mean or 0.0) > (row.mean or 0.0)) == is_higher_better
        ]
        row.rank = len(better) + 1


def _column(site: Site, evaluations: list[SiteEvaluation]) -> SiteColumn:
    counts = [evaluation.dataset.case_count for evaluation in evaluations if evaluation.dataset is not None]
    return SiteColumn(
        name=site.name,
        title=site.title,
        case_count=counts[-1] if counts else None,
        released=sum(evaluation.status == SiteEvaluation.Status.RELEASED for evaluation in evaluations),
        in_review=sum(evaluation.status == SiteEvaluation.Status.REVIEW for evaluation in evaluations),
    )
