"""The arithmetic of the sites' board: cells, means over sites, the worst site, heterogeneity, ranks, wins and losses. Pure.

Every site counts the same in the mean (the default), or every case. A row is ranked by the mean over the sites that all ranked rows have
in common. These are the sites that released at least half of the rows: one that never comes takes nobody's rank. Sites that hold the same
data (one root under two names) count once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

CONFIDENCE = 1.96
"""Standard errors on each side of a mean: 95 % of a normal distribution."""
ROUNDED = 0.0005
"""Half of what released means are rounded to: a smaller difference says nothing."""


class Weighting(StrEnum):
    """How the sites count in the mean over sites."""

    SITES = "sites"
    CASES = "cases"


@dataclass(frozen=True, kw_only=True)
class SiteCell:
    """One submission at one site. A recalled result has no numbers, and `because` says why it was recalled."""

    mean: float | None = None
    sd: float | None = None
    n: int | None = None
    failures: Mapping[str, int | None] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_recalled: bool = False
    because: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, where the spread was released (from 20 cases on)."""
        if self.mean is None or self.sd is None or not self.n:
            return None
        half = CONFIDENCE * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half


@dataclass(kw_only=True)
class SiteRow:
    """One submission: its cell at every site that released it, and what they say together."""

    submission_id: UUID
    number: int
    team: str
    name: str
    cells: dict[str, SiteCell] = field(default_factory=dict)
    mean: float | None = None
    worst: float | None = None
    worst_site: str = ""
    best: float | None = None
    heterogeneity: float | None = None
    rank: int | None = None

    def values(self, sites: Sequence[str]) -> dict[str, float]:
        """Site → mean, of these sites where there is one."""
        return {site: cell.mean for site in sites if (cell := self.cells.get(site)) and cell.mean is not None}


@dataclass(frozen=True, kw_only=True)
class Duel:
    """One row against another: at how many sites that released both it is better, the same, worse."""

    wins: int
    ties: int
    losses: int


def common_sites(rows: Sequence[SiteRow], *, sites: Sequence[str]) -> list[str]:
    """The sites that rows are compared over: those that released at least half of the rows that have a result anywhere."""
    counted = [row for row in rows if row.values(sites)]
    return [
        site for site in sites if counted and 2 * sum(site in row.values([site]) for row in counted) >= len(counted)
    ]


def fill_rows(
    rows: Sequence[SiteRow], *, sites: Sequence[str], is_higher_better: bool, weighting: Weighting = Weighting.SITES
) -> list[str]:
    """Fill in what the sites say together, and the ranks. Returns the sites that ranked rows are compared over."""
    common = common_sites(rows, sites=sites)
    for row in rows:
        values = row.values(sites)
        if not values:
            continue
        row.mean = mean_over_sites(row, sites=common if row.values(common) else list(values), weighting=weighting)
        pick = min if is_higher_better else max
        row.worst_site = pick(values, key=lambda site: values[site])
        row.worst = values[row.worst_site]
        row.best = (max if is_higher_better else min)(values.values())
        row.heterogeneity = heterogeneity([row.cells[site] for site in values])
    complete = [row for row in rows if common and len(row.values(common)) == len(common)]
    for row in complete:
        better = [
            other
            for other in complete
            if other.mean is not None and row.mean is not None and is_better(other.mean, row.mean, is_higher_better)
        ]
        row.rank = len(better) + 1
    return common


def is_better(one: float, other: float, is_higher_better: bool) -> bool:
    """Whether a mean is better by more than the rounding of releases."""
    return (one - other if is_higher_better else other - one) > ROUNDED


def mean_over_sites(row: SiteRow, *, sites: Sequence[str], weighting: Weighting) -> float | None:
    """Over sites with a value. By cases: a site whose count is withheld counts with the smallest count that is known."""
    cells = [row.cells[site] for site in sites if site in row.values(sites)]
    if not cells:
        return None
    counts = [cell.n for cell in cells if cell.n]
    least = min(counts, default=1)
    weights = [1 if weighting is Weighting.SITES else cell.n or least for cell in cells]
    return math.fsum(weight * (cell.mean or 0.0) for weight, cell in zip(weights, cells, strict=True)) / sum(weights)


def heterogeneity(cells: Sequence[SiteCell]) -> float | None:
    """I²: the part of the differences between sites that chance within sites does not explain, 0 to 1 (Higgins and Thompson 2002).

    Over sites whose spread was released. None for fewer than two of them, or where a spread is 0.
    """
    known = [(cell.mean, cell.n / cell.sd**2) for cell in cells if cell.mean is not None and cell.n and cell.sd]
    if len(known) < 2:
        return None
    total = math.fsum(weight for _, weight in known)
    centre = math.fsum(mean * weight for mean, weight in known) / total
    spread = math.fsum(weight * (mean - centre) ** 2 for mean, weight in known)
    return max(0.0, (spread - (len(known) - 1)) / spread) if spread > 0 else 0.0


def duels(rows: Sequence[SiteRow], *, sites: Sequence[str], is_higher_better: bool) -> list[list[Duel | None]]:
    """Every row against every other, over the sites that released both. None on the diagonal."""
    return [[None if row is other else _duel(row, other, sites, is_higher_better) for other in rows] for row in rows]


def _duel(row: SiteRow, other: SiteRow, sites: Sequence[str], is_higher_better: bool) -> Duel:
    mine, theirs = row.values(sites), other.values(sites)
    both = [site for site in sites if site in mine and site in theirs]
    wins = sum(is_better(mine[site], theirs[site], is_higher_better) for site in both)
    losses = sum(is_better(theirs[site], mine[site], is_higher_better) for site in both)
    return Duel(wins=wins, ties=len(both) - wins - losses, losses=losses)
