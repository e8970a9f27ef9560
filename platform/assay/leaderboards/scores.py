"""The scores of a phase as the ranking engine takes them: read from the database, and kept up to date between rebuilds.

Theory of operation. Scores of a finished evaluation never change, so a rebuild after one more submission needs the scores of one
submission. Each process keeps, for the phases it rebuilt last, a `Board` and which evaluation each of its rows came from. A rebuild
takes off what counts no more, reads what is new, and ranks. What a run consumed is kept in the same way. What is kept is a cache and
nothing else: the same evaluations give the same table whatever was kept before, and a process that never saw the phase reads all of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import UUID

from assay.evaluations.models import CaseScores, Evaluation
from assay.submissions.models import Submission
from assay.testsets.models import Case
from evaluator.ranking import Board, PairMemory, RankingConfig, Row, ScoreTable

MOST_KEPT = 4
MOST_KEPT_VALUES = 20_000_000
CHUNK = 2000


@dataclass(frozen=True, kw_only=True)
class Consumption:
    """What a run consumed, as the leaderboard shows it."""

    failed_cases: int
    seconds_per_case: float | None
    peak_memory_bytes: int | None


@dataclass
class Kept:
    """A phase's board, where its rows came from, what pairs of the rows that are shown told a test before, and what runs consumed."""

    board: Board
    evaluations: dict[str, UUID] = field(default_factory=dict)
    memory_of_shown: PairMemory = field(default_factory=PairMemory)
    consumption: dict[UUID, Consumption] = field(default_factory=dict)
    """By run."""
    is_whole: bool = True
    """Whether it has every case and every submission that counts: the part that participants see has not."""


@dataclass
class Keeper:
    """The boards this process keeps, the one used last at the end."""

    boards: OrderedDict[int, Kept] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)


_KEEPER = Keeper()


def score_table(evaluations: Sequence[Evaluation], *, name_of: Callable[[Submission], str]) -> ScoreTable:
    """The stored scores of these evaluations. `name_of` says what a submission is called there. Two queries."""
    return ScoreTable.from_rows(_rows(evaluations, name_of=name_of), attributes=_attributes(evaluations))


def read_scores(evaluations: Sequence[Evaluation], *, config: RankingConfig) -> Kept:
    """A board of these evaluations, by submission, read as it is now and kept nowhere."""
    kept = Kept(board=Board(config=config, table=ScoreTable.from_rows((), allow_empty=True)))
    _update(kept, evaluations)
    return kept


def kept_scores(*, phase_id: int, evaluations: Sequence[Evaluation], config: RankingConfig) -> Kept:
    """The phase's board with exactly these evaluations on it, by submission. Use it under the phase's lock, and do not keep it."""
    with _KEEPER.lock:
        kept = _KEEPER.boards.pop(phase_id, None)
    if kept is None:
        kept = read_scores(evaluations, config=config)
    else:
        kept.board.config = config
        _update(kept, evaluations)
    if sum(scores.values.size for scores in kept.board.table.metrics.values()) <= MOST_KEPT_VALUES:
        with _KEEPER.lock:
            _KEEPER.boards[phase_id] = kept
            while len(_KEEPER.boards) > MOST_KEPT:
                _KEEPER.boards.popitem(last=False)
    return kept


def _update(kept: Kept, evaluations: Sequence[Evaluation]) -> None:
    """Take off what is not among the evaluations, and read what is missing."""
    wanted = {str(evaluation.submission_id): evaluation.id for evaluation in evaluations}
    stale = [name for name, known in kept.evaluations.items() if wanted.get(name) != known]
    kept.board.remove(*stale)
    new = [
        evaluation for evaluation in evaluations if kept.evaluations.get(str(evaluation.submission_id)) != evaluation.id
    ]
    rows = list(_rows(new, name_of=lambda submission: str(submission.pk)))
    if rows:
        kept.board.put(rows, attributes=_attributes(new))
    kept.evaluations = wanted


def forget_scores() -> None:
    """Keep nothing from now on, as a new process would."""
    with _KEEPER.lock:
        _KEEPER.boards.clear()


def _rows(evaluations: Sequence[Evaluation], *, name_of: Callable[[Submission], str]) -> Iterator[Row]:
    names = {evaluation.id: name_of(evaluation.submission) for evaluation in evaluations}
    stored = CaseScores.objects.filter(evaluation__in=list(names))
    for evaluation_id, case_id, scores in stored.values_list("evaluation_id", "case__case_id", "scores").iterator(
        CHUNK
    ):
        for label, metric, value, reason in scores:
            yield names[evaluation_id], case_id, label, metric, value, reason


def _attributes(evaluations: Sequence[Evaluation]) -> Mapping[str, Mapping[str, Any]]:
    testsets = {evaluation.testset_id for evaluation in evaluations}
    return dict(Case.objects.filter(testset__in=testsets).order_by("testset_id").values_list("case_id", "attributes"))
