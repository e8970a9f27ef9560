"""What activating re-scored evaluations would do to a ranking, before anybody does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import Evaluation
from assay.leaderboards.scores import read_scores
from assay.leaderboards.services import active_evaluations, rank_phase
from evaluator.ranking import RankEntry, parse_ranking


@dataclass(frozen=True, kw_only=True)
class RankMove:
    """One submission before and after: None where it is not ranked."""

    submission_id: UUID
    number: int
    team: str
    name: str
    rank_before: float | None
    rank_after: float | None
    score_before: float | None
    score_after: float | None


@dataclass(frozen=True, kw_only=True)
class Rejudgement:
    """The evaluations that wait to be activated, how many are not finished, and what activating them would move."""

    waiting: list[UUID]
    unfinished: int
    moves: list[RankMove]


def rejudgement_of(phase: Phase) -> Rejudgement:
    """The dry run: the phase ranked as it is, and as it would be."""
    before = active_evaluations(phase=phase)
    newest = newest_rejudgements(phase=phase)
    ready = {e.submission_id: e for e in newest if e.status == Evaluation.Status.DONE}
    after = [ready.get(evaluation.submission_id, evaluation) for evaluation in before]
    ranked_before, ranked_after = rank(phase, before), rank(phase, after)
    moves = [
        _move(
            evaluation,
            ranked_before.get(str(evaluation.submission_id)),
            ranked_after.get(str(evaluation.submission_id)),
        )
        for evaluation in before
    ]
    return Rejudgement(
        waiting=[evaluation.id for evaluation in ready.values()],
        unfinished=sum(e.status in (Evaluation.Status.QUEUED, Evaluation.Status.RUNNING) for e in newest),
        moves=sorted(moves, key=lambda move: (move.rank_before is None, move.rank_before or 0.0, move.number)),
    )


def newest_rejudgements(*, phase: Phase) -> list[Evaluation]:
    """Every submission's newest evaluation, where that is one that waits to be activated."""
    newest = (
        Evaluation.objects.filter(submission__phase=phase)
        .select_related("submission__team")
        .order_by("submission_id", "-number")
        .distinct("submission_id")
    )
    return [evaluation for evaluation in newest if not evaluation.is_active and not evaluation.activates_when_done]


def rank(phase: Phase, evaluations: Sequence[Evaluation]) -> dict[str, RankEntry]:
    """The phase's ranking if these evaluations counted."""
    config = parse_ranking(rules_of(phase.protocol).ranking)
    _, ranking = rank_phase(phase=phase, evaluations=evaluations, kept=read_scores(evaluations, config=config))
    return ranking


def _move(evaluation: Evaluation, before: RankEntry | None, after: RankEntry | None) -> RankMove:
    submission = evaluation.submission
    return RankMove(
        submission_id=submission.pk,
        number=submission.number,
        team=submission.team.name,
        name=submission.name,
        rank_before=before.rank if before else None,
        rank_after=after.rank if after else None,
        score_before=before.score if before else None,
        score_after=after.score if after else None,
    )
