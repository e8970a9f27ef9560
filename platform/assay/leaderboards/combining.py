"""One board over several phases: what a combined board of `challenge.yaml` puts together, for one viewer.

Theory of operation. In each phase teams are placed by their best rank there: 1 + how many teams are better. Who has no rank in a phase has
the place behind its last team, so that leaving a phase out never helps. The mean or the median of a team's places is what it is ranked
by. Equals share a rank. Places come from the boards that this viewer may see (`selectors.leaderboard`), so nothing hidden is told. While
one of the phases shows this viewer no ranks, or hides who is behind a row, there is no combined board for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import mean, median
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.challenges.models import Challenge, Phase
from assay.leaderboards.selectors import leaderboard

WAYS = {"mean_rank": mean, "median_rank": median}


@dataclass(frozen=True, kw_only=True)
class CombinedRow:
    """One team: its place in each phase (None: unranked there, counted behind the last), and what they make."""

    rank: int
    team: str
    places: tuple[int | None, ...]
    value: float


@dataclass(frozen=True, kw_only=True)
class CombinedBoard:
    """A combined board for one viewer. Without rows, and saying why, when it may not be shown."""

    slug: str
    title: str
    by: str
    phases: tuple[Phase, ...]
    rows: tuple[CombinedRow, ...]
    why_hidden: str = ""
    notices: tuple[str, ...] = ()


def places_of(ranks: Sequence[tuple[str, float]]) -> dict[str, int]:
    """Team → place, from the ranks of its submissions: 1 + how many teams have a better best rank."""
    best: dict[str, float] = {}
    for team, rank in ranks:
        best[team] = min(rank, best.get(team, rank))
    return {team: 1 + sum(other < rank for other in best.values()) for team, rank in best.items()}


def combine(places: Sequence[Mapping[str, int]], *, by: str) -> list[CombinedRow]:
    """Rows of every team that has a place somewhere, best first. `by` is one of `WAYS`."""
    teams = sorted({team for of_phase in places for team in of_phase})
    value = {team: WAYS[by]([of_phase.get(team, len(of_phase) + 1) for of_phase in places]) for team in teams}
    rows = [
        CombinedRow(
            rank=1 + sum(other < value[team] for other in value.values()),
            team=team,
            places=tuple(of_phase.get(team) for of_phase in places),
            value=float(value[team]),
        )
        for team in teams
    ]
    return sorted(rows, key=lambda row: (row.rank, row.team))


def wanted_board(challenge: Challenge, name: str) -> Mapping[str, Any]:
    """The item of `combined` of this name. Raises NotFoundError."""
    wanted: Mapping[str, Any] | None = next((board for board in challenge.combined if board["slug"] == name), None)
    if wanted is None:
        raise NotFoundError(_("There is no such board."), found=name, what_to_do=_("Look at the challenge's boards."))
    return wanted


def combined_board(
    wanted: Mapping[str, Any], *, phases: Sequence[Phase], is_organizer: bool, now: datetime
) -> CombinedBoard:
    """The board that `wanted` (an item of `Challenge.combined`) describes. Four queries for each of its phases."""
    own = {phase.slug: phase for phase in phases}
    chosen = tuple(own[slug] for slug in wanted["phases"] if slug in own)
    empty = CombinedBoard(slug=wanted["slug"], title=wanted["title"], by=wanted["by"], phases=chosen, rows=())
    places: list[dict[str, int]] = []
    notices: list[str] = []
    for phase in chosen:
        board = leaderboard(phase, is_organizer=is_organizer, now=now)
        why = board.why_hidden
        if not why and phase.is_anonymous and not is_organizer:
            why = _("it hides who is behind a row")
        if why:
            return replace(empty, why_hidden=f"{phase.title}: {why}")
        places.append(places_of([(row.team, float(row.rank)) for row in board.entries if row.rank is not None]))
        notices += [f"{phase.title}: {notice}" for notice in board.notices]
    return replace(empty, rows=tuple(combine(places, by=wanted["by"])), notices=tuple(notices))
