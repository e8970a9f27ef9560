"""The sites' board: a column per site, and what the sites say together about how an algorithm travels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.utils.translation import gettext as _

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.boards import Duel, SiteCell, SiteRow, Weighting, duels, fill_rows
from assay.evaluation_sites.models import Site, SiteEvaluation
from assay.evaluation_sites.releases import DECIMALS
from assay.evaluations.disclosure import AGGREGATE, LADDER, release_of
from assay.leaderboards.selectors import why_hidden_from_participants
from evaluator.metrics import Direction
from evaluator.protocol import MetricSpec

MOST_DUELS = 30
"""The matrix of wins shows the best so many rows."""


@dataclass(frozen=True, kw_only=True)
class SiteColumn:
    """One site: how many results it has released, and how many wait. `same_data_as` names an earlier site with the same data."""

    name: str
    title: str
    case_count: int | None
    released: int
    in_review: int
    recalled: int
    same_data_as: str = ""
    is_compared: bool = False
    """Whether ranks are made over this site."""


@dataclass(frozen=True, kw_only=True)
class SiteBoard:
    """`metric` orders the rows. `is_provisional`: a site has not released every row yet."""

    metric: str
    metrics: tuple[str, ...]
    is_higher_better: bool
    weighting: Weighting
    columns: list[SiteColumn]
    rows: list[SiteRow]
    matrix: list[list[Duel | None]]
    groups: tuple[str, ...]
    """Attributes of the protocol that a site released results by."""

    @property
    def arrived(self) -> int:
        """How many sites have released anything."""
        return sum(column.released > 0 for column in self.columns)

    @property
    def is_provisional(self) -> bool:
        """Whether a site still has results to release."""
        return any(column.released < len(self.rows) for column in self.columns if not column.same_data_as)


def why_board_is_hidden(phase: Phase, *, now: datetime) -> str:
    """Why participants do not see results at sites now: the phase's own rules about results count here too. Empty when they do."""
    if why := why_hidden_from_participants(phase, now=now):
        return why
    if release_of(phase.protocol) == LADDER and not (phase.opens_after("boards") or phase.opens_after("cases")):
        return _("scores of this phase are shown in steps until its results are released")
    return ""


def shows_documents(phase: Phase, *, now: datetime) -> bool:
    """Whether everybody may read released documents in the public log: they tell all decimals and every submission."""
    rules = rules_of(phase.protocol).release
    is_coarse = rules.mode == AGGREGATE and rules.rounding is not None and rules.rounding < DECIMALS
    return not (is_coarse or phase.has_shown_part or why_board_is_hidden(phase, now=now))


def site_board(
    phase: Phase, *, metric: str = "", weighting: Weighting = Weighting.SITES, sees_all: bool = True
) -> SiteBoard:
    """Every released result of the phase's sites, in two queries. An unknown metric is the leading one.

    Without `sees_all` as the phase's rules show it to participants: teams without names where it is anonymous, no submission after a
    freeze, means rounded as its other means are.
    """
    sites = list(Site.objects.filter(phase=phase).order_by("name"))
    evaluations = list(
        SiteEvaluation.objects.filter(site__in=sites, submission__is_disqualified=False, submission__is_withdrawn=False)
        .filter(submission__is_hidden=False)
        .select_related("site", "dataset", "submission__team")
        .order_by("submission__number", "round")
    )
    protocol = rules_of(phase.protocol)
    if not sees_all and phase.has_shown_part and phase.freezes_at is not None:
        evaluations = [row for row in evaluations if row.submission.created_at < phase.freezes_at]
    decimals = protocol.release.rounding if protocol.release.mode == AGGREGATE and not sees_all else None
    spec = next((spec for spec in protocol.metrics if spec.id == metric), protocol.metrics[0])
    is_higher_better = spec.metric.direction == Direction.MAX
    sites = [
        site
        for site in sites
        if site.revoked_at is None or any(e.site_id == site.pk and e.release for e in evaluations)
    ]
    twins = _twins(evaluations)
    rows = _rows(evaluations, spec=spec, decimals=decimals, is_anonymous=phase.is_anonymous and not sees_all)
    counted = [site.name for site in sites if site.pk not in twins]
    common = fill_rows(rows, sites=counted, is_higher_better=is_higher_better, weighting=weighting)
    rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.number))
    return SiteBoard(
        metric=spec.id,
        metrics=tuple(spec.id for spec in protocol.metrics),
        is_higher_better=is_higher_better,
        weighting=weighting,
        columns=[
            _column(
                site,
                [e for e in evaluations if e.site_id == site.pk],
                same_data_as=twins.get(site.pk, ""),
                is_compared=site.name in common,
            )
            for site in sites
        ],
        rows=rows,
        matrix=duels(rows[:MOST_DUELS], sites=counted, is_higher_better=is_higher_better),
        groups=tuple(
            name for name in protocol.breakdowns if any(name in c.groups for row in rows for c in row.cells.values())
        ),
    )


def _rows(
    evaluations: Sequence[SiteEvaluation], *, spec: MetricSpec, decimals: int | None, is_anonymous: bool
) -> list[SiteRow]:
    rows: dict[UUID, SiteRow] = {}
    for evaluation in evaluations:
        cell = _cell(evaluation, spec=spec)
        if cell is None:
            continue
        submission = evaluation.submission
        row = rows.setdefault(
            submission.pk,
            SiteRow(
                submission_id=submission.pk,
                number=submission.number,
                team=f"Team {submission.number}" if is_anonymous else submission.team.name,
                name=submission.name,
            ),
        )
        if decimals is not None:
            cell = _rounded(cell, decimals)
        row.cells[evaluation.site.name] = cell
    return list(rows.values())


def _cell(evaluation: SiteEvaluation, *, spec: MetricSpec) -> SiteCell | None:
    """A result that was released, the mark of one that was recalled, or None."""
    if evaluation.status == SiteEvaluation.Status.RECALLED:
        return SiteCell(is_recalled=True, because=evaluation.reason)
    if evaluation.release is None:
        return None
    numbers = evaluation.release.get("metrics", {}).get(spec.id) or {}
    groups = {
        name.removeprefix("per_"): value
        for name, value in numbers.items()
        if name.startswith("per_") and name != "per_label"
    }
    return SiteCell(
        mean=numbers.get("mean"),
        sd=numbers.get("sd"),
        n=numbers.get("n"),
        failures=evaluation.release.get("failures", {}),
        groups=groups,
    )


def _rounded(cell: SiteCell, decimals: int) -> SiteCell:
    """The cell with coarser means. A spread would tell more decimals, so it goes."""

    def coarse(value: float | None) -> float | None:
        return None if value is None else round(value, decimals)

    groups = {
        attribute: {name: {"mean": coarse(found.get("mean")), "n": found.get("n")} for name, found in by_name.items()}
        for attribute, by_name in cell.groups.items()
    }
    return replace(cell, mean=coarse(cell.mean), sd=None, groups=groups)


def _twins(evaluations: Sequence[SiteEvaluation]) -> dict[int, str]:
    """Site → title of the site that released results on the same data before it."""
    owners: dict[str, Site] = {}
    twins: dict[int, str] = {}
    released = [e for e in evaluations if e.dataset is not None and e.release is not None]
    for evaluation in sorted(released, key=lambda e: (e.site.created_at, e.site_id)):
        dataset = evaluation.dataset
        if dataset is None:
            continue
        owner = owners.setdefault(dataset.root_sha256, evaluation.site)
        if owner.pk != evaluation.site_id:
            twins[evaluation.site_id] = owner.title
    return twins


def _column(site: Site, evaluations: Sequence[SiteEvaluation], *, same_data_as: str, is_compared: bool) -> SiteColumn:
    counts = [evaluation.dataset.case_count for evaluation in evaluations if evaluation.dataset is not None]
    status = SiteEvaluation.Status
    return SiteColumn(
        name=site.name,
        title=site.title,
        case_count=counts[-1] if counts else None,
        released=sum(evaluation.status == status.RELEASED for evaluation in evaluations),
        in_review=sum(evaluation.status == status.REVIEW for evaluation in evaluations),
        recalled=sum(evaluation.status == status.RECALLED for evaluation in evaluations),
        same_data_as=same_data_as,
        is_compared=is_compared,
    )
