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
from evaluator.ranking import MOST_STEPS, Board, Size, analyse, replicates_within, work_of


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
    board = Board(config=kept.board.config, table=table.trimmed())
    return Kept(board=board, consumption=kept.consumption, is_whole=False)


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


MOST_VIEWS = 24
MOST_ROWS_WITH_INTERVALS = 60
VIEW_REPLICATES = 200


def ranked_views(
    kept: Kept, *, evaluations: Sequence[Evaluation], breakdowns: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Submission → view (`site:A`) → its rank among the cases of that view, the rank's interval and how many cases there are.

    Views are ranked by the same rules as the whole board. Intervals are left out on long boards, where they would take minutes.
    """
    table = kept.board.table.only_algorithms({str(row.submission_id) for row in evaluations}).trimmed()
    groups: dict[str, set[str]] = {}
    for case_id in table.cases:
        for attribute in breakdowns:
            value = table.attributes.get(case_id, {}).get(attribute)
            if value not in (None, ""):
                groups.setdefault(f"{attribute}:{value}", set()).add(case_id)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for view, cases in sorted(groups.items())[:MOST_VIEWS]:
        board = Board(config=kept.board.config, table=table.only_cases(cases).trimmed())
        if not board.table.algorithms:
            continue
        intervals = _intervals(board)
        for entry in board.rank().entries:
            rank = {"rank": entry.rank, "n": len(cases), "interval": intervals.get(entry.algorithm)}
            found.setdefault(entry.algorithm, {})[view] = rank
    return found


def _intervals(board: Board) -> dict[str, Any]:
    if not 2 <= len(board.table.algorithms) <= MOST_ROWS_WITH_INTERVALS or board.table.case_count < 2:
        return {}
    size = Size.of(board.table, board.config)
    wanted = min(VIEW_REPLICATES, board.config.stability.bootstrap)
    replicates = replicates_within(work_of(board.config, size), wanted=wanted, limit=MOST_STEPS // MOST_VIEWS)
    if not replicates:
        return {}
    analysis = analyse(board.table, board.config, bootstrap=replicates)
    return {name: analysis.statistics(name).get("rank_interval") for name in analysis.algorithms}
