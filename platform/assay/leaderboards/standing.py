"""What a board is sorted by, worked out once when it is rebuilt, so that a page reads the hundred rows it shows and no others.

An entry's `means` are `{view: {metric: mean}}`: `pooled`, every value of every breakdown (`site:A`), and `told`, as coarse as the
protocol makes what participants of a phase on closed cases see. An order by anything finer would tell what the rows hide.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import LADDER, ladder_values, release_of, released_aggregates
from assay.leaderboards.models import LeaderboardEntry

POOLED, TOLD = "pooled", "told"
NOT_A_VIEW = ("per_label", "per_case")

Means = dict[str, dict[str, float | None]]


def note_standing(entries: Sequence[LeaderboardEntry], *, phase: Phase) -> Means:
    """Set `means` and `told_rank` of all of a board's entries. Returns the best mean of every view and metric."""
    version = phase.protocol
    told = ladder_values(phase, version=version)
    for entry in entries:
        released = released_aggregates(entry.metrics, version=version, ladder_value=told.get(entry.submission_id))
        entry.means = {**views_of(entry.metrics), TOLD: {name: values["mean"] for name, values in released.items()}}
        entry.told_rank, entry.told_division_rank = entry.rank, entry.division_rank
    is_max = {metric.id: metric.metric.direction == "max" for metric in rules_of(version).metrics}
    if release_of(version) == LADDER:
        first = next(iter(is_max.values()))
        _rank_by_what_was_told(entries, is_max=first, place="told_rank")
        for division in phase.divisions:
            own = [entry for entry in entries if entry.submission.division == division]
            _rank_by_what_was_told(own, is_max=first, place="told_division_rank")
    return best_means((entry.means for entry in entries if entry.rank is not None), is_max=is_max)


def views_of(metrics: Mapping[str, Any]) -> Means:
    """The means of a summary, by view."""
    views: Means = {POOLED: {}}
    for name, values in metrics.items():
        if not isinstance(values, Mapping):
            continue
        views[POOLED][name] = values.get("mean")
        for key, parts in values.items():
            if key.startswith("per_") and key not in NOT_A_VIEW and isinstance(parts, Mapping):
                for value, part in parts.items():
                    views.setdefault(f"{key.removeprefix('per_')}:{value}", {})[name] = part.get("mean")
    return views


def best_means(rows: Iterable[Means], *, is_max: Mapping[str, bool]) -> Means:
    """The best of every view and metric. A view that nobody has a value in is there, and empty."""
    best: Means = {}
    for row in rows:
        for view, means in row.items():
            known = best.setdefault(view, {})
            for name, mean in means.items():
                if mean is not None and name in is_max:
                    held = known.get(name)
                    known[name] = mean if held is None or (mean > held) == is_max[name] else held
    return best


def _rank_by_what_was_told(entries: Sequence[LeaderboardEntry], *, is_max: bool, place: str) -> None:
    """Ranks of a ladder follow what was told, or they would tell the rest: 1 + how many are better. Equals share the rank."""

    def told(entry: LeaderboardEntry) -> float | None:
        return next(iter(entry.means[TOLD].values()), None)

    ranked = sorted((value for e in entries if e.rank is not None and (value := told(e)) is not None), reverse=is_max)
    first: dict[float | None, int] = {value: place for place, value in reversed(list(enumerate(ranked, start=1)))}
    for entry in entries:
        setattr(entry, place, first.get(told(entry)) if entry.rank is not None else None)
