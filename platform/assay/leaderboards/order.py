"""Which entries of a board are wanted, and in which order, said to the database.

Nothing is sorted or searched by what the viewer may not see: on closed cases metrics stand as they were told, what a run cost does
not count, and on an anonymous board a team is called by its submission's number.
"""

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import CharField, F, FloatField, Q, QuerySet, Value
from django.db.models.expressions import Expression
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast, Concat, Lower
from django.db.models.lookups import IsNull

from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.standing import POOLED, TOLD

COSTS = ("failed_cases", "seconds_per_case", "peak_memory_bytes")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A part of a board, as the address of its page says it. The default is all of it, best first."""

    search: str = ""
    """In the names of team and algorithm."""
    sort: str = ""
    """A column, with a leading minus for descending. By rank where there is no such column."""
    view: str = POOLED
    """All cases together, or one value of a breakdown (`site:A`)."""
    division: str = ""
    """This division alone, by the ranks in it. All of them where it is empty."""
    as_participant: bool = False
    """For organizers: what participants see."""
    numbers: Collection[int] | None = None
    """These submissions only."""
    offset: int = 0
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the viewer sees of a board."""

    is_closed: bool
    is_anonymous: bool
    metrics: Collection[str]
    ranked_view: str = ""
    """The view whose own ranks they see."""
    is_division: bool = False
    """Whether they look at one division alone."""

    @property
    def rank(self) -> str:
        """Where the rank is that they see."""
        if self.is_division:
            return "told_division_rank" if self.is_closed else "division_rank"
        return "told_rank" if self.is_closed else "rank"


def matching(entries: QuerySet[LeaderboardEntry], *, wanted: Wanted, sight: Sight) -> QuerySet[LeaderboardEntry]:
    """The entries that are asked for, in any order."""
    if wanted.numbers is not None:
        entries = entries.filter(submission__number__in=wanted.numbers)
    if wanted.division:
        entries = entries.filter(submission__division=wanted.division)
    if not wanted.search:
        return entries
    if not sight.is_anonymous:
        name, team = Q(submission__name__icontains=wanted.search), Q(submission__team__name__icontains=wanted.search)
        return entries.filter(name | team)
    alias = Concat(Value("Team "), Cast("submission__number", CharField()))
    return entries.alias(team_alias=alias).filter(
        Q(submission__name__icontains=wanted.search) | Q(team_alias__icontains=wanted.search)
    )


def ordered(entries: QuerySet[LeaderboardEntry], *, wanted: Wanted, sight: Sight) -> QuerySet[LeaderboardEntry]:
    """The ranked ones first, each part by the column. Rows without a value last either way, equal ones by rank.

    A rebuild writes entries in the order of their submissions' numbers, so the last word is theirs without a look at them.
    """
    name, is_descending = wanted.sort.removeprefix("-"), wanted.sort.startswith("-")
    if sight.ranked_view:
        in_view = KeyTransform(sight.ranked_view, KeyTransform("views", "statistics"))
        rank: Expression | F = Cast(KeyTextTransform("rank", in_view), FloatField())
    else:
        rank = F(sight.rank)
    by_rank = rank.asc(nulls_last=True)
    value = _column(name, view=wanted.view, sight=sight)
    if value is None:
        by_rank = rank.desc(nulls_last=True) if is_descending else by_rank
        return entries.order_by(by_rank, "pk")
    by_value = value.desc(nulls_last=True) if is_descending else value.asc(nulls_last=True)
    return entries.order_by(IsNull(F(sight.rank), True).asc(), by_value, by_rank, "pk")


def _column(name: str, *, view: str, sight: Sight) -> Expression | F | None:
    """What a column is sorted by. None for the rank, and for what is no column of this viewer's."""
    if name in sight.metrics:
        means = KeyTransform(TOLD if sight.is_closed else view, "means")
        return Cast(KeyTextTransform(name, means), FloatField())
    if name in COSTS and not sight.is_closed:
        return F(name)
    if name == "team":
        return F("pk") if sight.is_anonymous else Lower("submission__team__name")
    if name == "name":
        return Lower("submission__name")
    if name == "score" and not sight.is_closed:
        return F("score")
    return F("submission__created_at") if name == "created_at" else None
