"""The board that participants see until the results of a phase are released, where it is not the whole one.

Theory of operation. A phase may show its board on the public cases of its test set alone (`public_percent`), and stop taking up
submissions some hours before it closes (`freeze_hours`). Both are one thing: a second set of entries, ranked by the same engine from a
part of the scores. A rebuild writes both sets. The release (`Phase.released_at`) makes the second one go away. Until it is there,
participants see nothing, which is the safe side.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.evaluations.public_part import public_aggregates, public_cases_by_testset
from assay.leaderboards.models import Leaderboard, LeaderboardEntry
from assay.leaderboards.scores import Kept
from evaluator.ranking import Board


@dataclass(frozen=True, kw_only=True)
class PublicCases:
    """Which cases the shown board is about, and a hash that changes when they do."""

    cases: frozenset[str]
    key: str


def before_freeze(evaluations: Sequence[Evaluation], *, phase: Phase) -> list[Evaluation]:
    """Those of submissions that were made before the board was frozen."""
    at = phase.freezes_at
    return [row for row in evaluations if at is None or row.submission.created_at < at]


def public_cases(evaluations: Sequence[Evaluation], *, phase: Phase) -> PublicCases | None:
    """The public cases of a phase that has private ones. Two queries for each test set."""
    if phase.public_percent is None:
        return None
    by_testset = public_cases_by_testset(phase=phase, testset_ids={row.testset_id for row in evaluations})
    cases = frozenset[str]().union(*by_testset.values())
    return PublicCases(cases=cases, key=hashlib.sha256("\n".join(sorted(cases)).encode()).hexdigest())


def only_shown(kept: Kept, *, evaluations: Sequence[Evaluation], public: PublicCases | None) -> Kept:
    """The scores that the shown board is made of."""
    table = kept.board.table.only_algorithms({str(row.submission_id) for row in evaluations})
    if public is not None:
        table = table.only_cases(public.cases)
    return Kept(board=Board(config=kept.board.config, table=table.trimmed()), is_whole=False)


def metrics_of(
    evaluations: Sequence[Evaluation], *, phase: Phase, public: PublicCases | None
) -> Mapping[UUID, Mapping[str, Any]]:
    """Each evaluation's summary, over the public cases where there are some. What the last rebuild worked out is kept."""
    if public is None:
        return {row.pk: row.aggregates for row in evaluations}
    known: dict[UUID, Mapping[str, Any]] = {}
    if Leaderboard.objects.filter(phase=phase, shown_cases=public.key).exists():
        kept = LeaderboardEntry.objects.filter(phase=phase, part=LeaderboardEntry.Part.SHOWN)
        known = dict(kept.values_list("evaluation_id", "metrics"))
    return known | public_aggregates([row for row in evaluations if row.pk not in known], phase=phase)


def part_for(phase: Phase, *, is_organizer: bool) -> LeaderboardEntry.Part:
    """The board this viewer sees."""
    is_part = phase.has_shown_part and not is_organizer
    return LeaderboardEntry.Part.SHOWN if is_part else LeaderboardEntry.Part.WHOLE
