"""Rebuilding a phase's ranking from its active evaluations.

Theory of operation. Entries are a cache of the answer to "rank what counts now". Whatever changes the answer — a finished
evaluation, a disqualification, an activation — raises `Leaderboard.asked` in its own transaction. A rebuild notes `asked`,
ranks, replaces all entries in one transaction, and sets `answered` to what it noted. A change in between leaves
`asked > answered`, and the reaper rings again. Rebuilds of one phase take turns under an advisory lock.
"""

import hashlib
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import CaseScores, Evaluation
from assay.evaluations.receipts import signing_key
from assay.leaderboards import parts
from assay.leaderboards.models import MOST_TRIES, Leaderboard, LeaderboardEntry, Snapshot
from assay.leaderboards.scores import CHUNK, Consumption, Kept, kept_scores
from assay.leaderboards.standing import Means, note_standing
from assay.leaderboards.words import UNFINISHED, Facts, failure, sentence
from assay.runs.models import CaseRun
from assay.signatures import canonical_json, signed
from assay.submissions.models import Submission
from containers.spec import Usage
from evaluator.errors import EvaluatorError
from evaluator.ranking import (
    MOST_STEPS,
    Board,
    RankEntry,
    Size,
    analyse,
    one_per_team,
    parse_ranking,
    replicates_within,
    work_of,
)

LOCK_NAMESPACE = 7002
LONGEST_ANALYSED_BOARD = 200
CHOSEN = "chosen"
WHOLE, SHOWN = LeaderboardEntry.Part.WHOLE, LeaderboardEntry.Part.SHOWN


class TooMuchWorkError(EvaluatorError):
    """Ranking so many submissions by their protocol would cost more than a worker is given."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(sentence(facts))
        self.facts = facts


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """How far each rank can be trusted, by submission; `lack` says what was left out and why, to everybody."""

    rows: Mapping[str, Mapping[str, Any]]
    replicates: int | None = None
    lack: Facts = field(default_factory=dict)


def ask_for_rebuild(*, phase_id: int, now: datetime) -> None:
    """Note that the phase's ranking has a reason to change. Call in the transaction of the change."""
    Leaderboard.objects.bulk_create([Leaderboard(phase_id=phase_id, asked_at=now)], ignore_conflicts=True)
    Leaderboard.objects.filter(phase_id=phase_id).update(asked=F("asked") + 1, asked_at=now)


def behind() -> QuerySet[Leaderboard]:
    """Rankings with a reason to be rebuilt that are not set aside."""
    is_set_aside = Q(tries__gte=MOST_TRIES, tried_protocol=F("phase__protocol"))
    return Leaderboard.objects.filter(asked__gt=F("answered")).exclude(is_set_aside)


def let_go_on(*, phase_id: int) -> bool:
    """Let a ranking that was set aside be rebuilt again."""
    return bool(Leaderboard.objects.filter(phase_id=phase_id, tries__gte=MOST_TRIES).update(tries=0, trouble={}))


def note_try(*, phase_id: int) -> bool:
    """Write down that a rebuild begins, before it does: one that ends its worker cannot say so itself. False when there is nothing
    to do.
    """
    protocol_id = Phase.objects.values_list("protocol_id", flat=True).get(pk=phase_id)
    known = F("tries") + 1
    same = behind().filter(phase_id=phase_id, tried_protocol=protocol_id)
    if same.update(tries=known, trouble=UNFINISHED):
        return True
    return bool(behind().filter(phase_id=phase_id).update(tries=1, tried_protocol=protocol_id, trouble=UNFINISHED))


def rebuild_leaderboard(*, phase_id: int, now: datetime) -> bool:
    """Rank the phase again; False when nothing asked for it, somebody is at it, or it was set aside."""
    with transaction.atomic():
        if is_taken(phase_id) or not note_try(phase_id=phase_id):
            return False
    try:
        return _rebuild(phase_id=phase_id, now=now)
    except (OperationalError, InterfaceError):  # the database is away: no fault of the ranking
        raise
    except TooMuchWorkError as error:  # a second try would find the same
        Leaderboard.objects.filter(phase_id=phase_id).update(
            trouble=error.facts,
            tries=MOST_TRIES,
        )
        return False
    except Exception as error:
        Leaderboard.objects.filter(phase_id=phase_id).update(trouble=failure(error))
        raise


def is_taken(phase_id: int) -> bool:
    """Whether somebody else rebuilds it now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_NAMESPACE, phase_id])
        return not cursor.fetchone()[0]


def _rebuild(*, phase_id: int, now: datetime) -> bool:
    with transaction.atomic():
        if is_taken(phase_id):
            return False
        board = Leaderboard.objects.filter(phase_id=phase_id, asked__gt=F("answered")).first()
        if board is None:
            return False
        phase = Phase.objects.select_related("protocol", "challenge").get(pk=phase_id)
        replace_entries(phase=phase, now=now)
        Leaderboard.objects.filter(pk=board.pk).update(answered=board.asked, rebuilt_at=now, trouble={}, tries=0)
    return True


def replace_entries(*, phase: Phase, now: datetime) -> None:
    """Write the phase's entries anew, each with the uncertainty of its rank. Of both boards, where participants see another one."""
    evaluations = active_evaluations(phase=phase)
    unranked = without_earlier_late(active_evaluations(phase=phase, is_ranked=False))
    config = parse_ranking(rules_of(phase.protocol).ranking)
    kept = kept_scores(phase_id=phase.pk, evaluations=evaluations, config=config)
    refuse_too_much_work(kept.board)
    whole = ranked_part(phase=phase, evaluations=evaluations, unranked=unranked, kept=kept, now=now)
    values: dict[str, Any] = {"best": whole.best, "replicates": whole.replicates, "lack": whole.lack, "best_shown": {}}
    entries = list(whole.entries)
    if phase.has_shown_part:
        visible = parts.before_freeze(evaluations, phase=phase)
        public = parts.public_cases(visible, phase=phase)
        shown = ranked_part(
            phase=phase,
            evaluations=visible,
            unranked=parts.before_freeze(unranked, phase=phase),
            kept=parts.only_shown(kept, evaluations=visible, public=public),
            now=now,
            public=public,
        )
        values |= {"best_shown": shown.best, "shown_cases": public.key if public else ""}
        entries += shown.entries
    standing = _standing(LeaderboardEntry.objects.filter(phase=phase, part=WHOLE))
    LeaderboardEntry.objects.filter(phase=phase).delete()
    LeaderboardEntry.objects.bulk_create(entries, batch_size=500)
    Leaderboard.objects.filter(phase=phase).update(**values)
    if _standing(whole.entries) != standing:
        take_snapshot(phase=phase, cause=Snapshot.Cause.RANKING_CHANGED, now=now)


@dataclass(frozen=True, kw_only=True)
class RankedPart:
    """The entries of one board, and what is said of it as a whole."""

    entries: Sequence[LeaderboardEntry]
    best: Means
    replicates: int | None
    lack: Facts


def ranked_part(
    *,
    phase: Phase,
    evaluations: Sequence[Evaluation],
    unranked: Sequence[Evaluation],
    kept: Kept,
    now: datetime,
    public: parts.PublicCases | None = None,
) -> RankedPart:
    """The entries of one board. `public`: the cases it is about, where it is not about all."""
    is_whole = not phase.has_shown_part or kept.is_whole
    chosen, ranking = rank_phase(phase=phase, evaluations=evaluations, kept=kept)
    in_division = rank_divisions(phase=phase, evaluations=chosen, kept=kept)
    statistics = statistics_of(kept, evaluations=chosen) if public is None else Statistics(rows={})
    listed = sorted([*chosen, *unranked], key=lambda evaluation: evaluation.submission.number)
    usage, cases = usage_of(listed, known=kept.consumption), case_counts(listed)
    views = (
        parts.ranked_views(kept, evaluations=chosen, breakdowns=rules_of(phase.protocol).breakdowns)
        if public is None
        else {}
    )
    metrics = parts.metrics_of(listed, phase=phase, public=public)
    entries = [
        LeaderboardEntry(
            phase=phase,
            part=WHOLE if is_whole else SHOWN,
            submission=evaluation.submission,
            evaluation=evaluation,
            rank=ranked.rank if (ranked := ranking.get(str(evaluation.submission_id))) else None,
            score=ranked.score if ranked else None,
            division_rank=in_division.get(str(evaluation.submission_id)),
            metrics=metrics[evaluation.pk],
            statistics={
                **statistics.rows.get(str(evaluation.submission_id), {}),
                **({"views": found} if (found := views.get(str(evaluation.submission_id))) else {}),
            },
            failed_cases=usage[evaluation.id].failed_cases,
            case_count=cases.get(evaluation.id, 0),
            seconds_per_case=usage[evaluation.id].seconds_per_case,
            peak_memory_bytes=usage[evaluation.id].peak_memory_bytes,
            rebuilt_at=now,
        )
        for evaluation in listed
    ]
    best = note_standing(entries, phase=phase)
    return RankedPart(entries=entries, best=best, replicates=statistics.replicates, lack=statistics.lack)


RANKED = Q(submission__is_late=False, submission__is_baseline=False)


def active_evaluations(*, phase: Phase, is_ranked: bool = True) -> list[Evaluation]:
    """The evaluations that count: active, of submissions that are done and neither disqualified, withdrawn nor hidden.

    Those that came after closing and the organizers' baselines are a list of their own: they are shown and never ranked. What was run
    again in the same phase gives way to its re-run.
    """
    rerun_here = Submission.objects.filter(
        rerun_of=OuterRef("submission"), phase=phase, status=Submission.Status.DONE, is_withdrawn=False
    )
    return list(
        Evaluation.objects.filter(
            ~Exists(rerun_here),
            submission__phase=phase,
            is_active=True,
            status=Evaluation.Status.DONE,
            submission__status=Submission.Status.DONE,
            submission__is_disqualified=False,
            submission__is_withdrawn=False,
            submission__is_hidden=False,
        )
        .filter(RANKED if is_ranked else ~RANKED)
        .select_related("submission__team", "protocol")
        .order_by("submission__created_at", "submission__number")
    )


def case_counts(evaluations: Sequence[Evaluation]) -> dict[UUID, int]:
    """How many cases each evaluation has scores of, in one query."""
    counted = CaseScores.objects.filter(evaluation__in=evaluations).values("evaluation_id").annotate(count=Count("id"))
    return dict(counted.values_list("evaluation_id", "count"))


def rank_phase(
    *, phase: Phase, evaluations: Sequence[Evaluation], kept: Kept
) -> tuple[list[Evaluation], dict[str, RankEntry]]:
    """Which evaluations the leaderboard shows, and their ranks by submission."""
    by_name = {str(evaluation.submission_id): evaluation for evaluation in evaluations}
    if phase.leaderboard_shows == CHOSEN:
        by_name = {str(evaluation.submission_id): evaluation for evaluation in chosen_or_latest(evaluations)}
    chosen = one_per_team(
        {name: str(evaluation.submission.team_id) for name, evaluation in by_name.items()},
        rule="all" if phase.leaderboard_shows == CHOSEN else phase.leaderboard_shows,
        ranks=lambda: {name: entry.rank for name, entry in _ranks(kept.board).items()},
    )
    evaluations = [by_name[name] for name in chosen]
    return evaluations, _ranks(shown_board(kept, evaluations=evaluations))


def chosen_or_latest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Each team's chosen submission, or its latest where it has chosen none."""
    chosen = {row.submission.team_id: row for row in evaluations if row.submission.is_chosen}
    return list(({row.submission.team_id: row for row in evaluations} | chosen).values())


def without_earlier_late(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Every baseline, and of what came after closing each team's latest."""
    by_key = {row.submission_id if row.submission.is_baseline else row.submission.team_id: row for row in evaluations}
    return list(by_key.values())


def rank_divisions(*, phase: Phase, evaluations: Sequence[Evaluation], kept: Kept) -> dict[str, float]:
    """The rank of each submission among its division alone, by submission. A division is ranked as if there were no other."""
    ranks: dict[str, float] = {}
    for division in phase.divisions:
        names = {str(row.submission_id) for row in evaluations if row.submission.division == division}
        if names:
            board = Board(config=kept.board.config, table=kept.board.table.only_algorithms(names).trimmed())
            ranks |= {name: entry.rank for name, entry in _ranks(board).items() if entry.rank is not None}
    return ranks


def shown_board(kept: Kept, *, evaluations: Sequence[Evaluation]) -> Board:
    """The board of these evaluations alone."""
    names = {str(evaluation.submission_id) for evaluation in evaluations}
    table = kept.board.table.only_algorithms(names).trimmed()
    return Board(config=kept.board.config, table=table, memory=kept.memory_of_shown)


def refuse_too_much_work(board: Board) -> None:
    """Raise `TooMuchWorkError` with the figures where not even the ranking alone, without its statistics, stays within the limit."""
    size = Size.of(board.table, board.config)
    work = work_of(board.config, size)
    if work.ranking > MOST_STEPS:
        raise TooMuchWorkError(
            {
                "reason": "too_much_work",
                "steps": work.ranking,
                "most": MOST_STEPS,
                "submissions": size.algorithms,
                "cases": size.cases,
            }
        )


def statistics_of(kept: Kept, *, evaluations: Sequence[Evaluation]) -> Statistics:
    """How far each rank can be trusted, with as many replicates as stay within the limit of work.

    Nothing for a board of one, or one too long to resample at every change.
    """
    if not 2 <= len(evaluations) <= LONGEST_ANALYSED_BOARD:
        return Statistics(rows={})
    board = shown_board(kept, evaluations=evaluations)
    replicates, lack = affordable(board)
    if replicates is None:
        return Statistics(rows={}, lack=lack)
    try:
        analysis = analyse(board.table, board.config, bootstrap=replicates)
    except MemoryError:
        return Statistics(rows={}, lack={"reason": "no_memory"})
    rows = {name: analysis.statistics(name) for name in analysis.algorithms}
    return Statistics(rows=rows, replicates=analysis.bootstrap, lack=lack)


def affordable(board: Board) -> tuple[int | None, Facts]:
    """How many replicates a board can have, None where it cannot even be examined without any. The second value says why it is fewer."""
    table, config = board.table, board.config
    wanted = config.stability.bootstrap
    found = replicates_within(work_of(config, Size.of(table, config)), wanted=wanted, limit=MOST_STEPS)
    if found == wanted:
        return found, {}
    size = {"wanted": wanted, "submissions": len(table.algorithms), "cases": len(table.cases)}
    if not found:
        return found, {"reason": "no_replicates", **size}
    return found, {"reason": "fewer_replicates", "found": found, **size}


def take_snapshot(*, phase: Phase, cause: Snapshot.Cause, now: datetime) -> Snapshot:
    """Keep the leaderboard as it stands, hashed and signed."""
    rows = (
        LeaderboardEntry.objects.filter(phase=phase, part=WHOLE)
        .select_related("submission__team")
        .order_by("rank", "submission__number")
    )
    document = {
        "phase": f"{phase.challenge.slug}/{phase.slug}",
        "protocol_sha256": phase.protocol.sha256,
        "taken_at": now.isoformat(),
        "entries": [
            {
                "rank": row.rank,
                "team": row.submission.team.slug,
                "submission": str(row.submission_id),
                "imported_from": row.submission.imported_from,
                "may_win_a_prize": not row.submission.imported_from,
                "score": row.score,
                "metrics": row.metrics,
            }
            for row in rows
        ],
    }
    seal = signed(document, key=signing_key(folder=Path(settings.KEY_FOLDER)))
    digest = hashlib.sha256(canonical_json(document)).hexdigest()
    return Snapshot.objects.create(
        phase=phase, taken_at=now, cause=cause, document=document, sha256=digest, signature=seal["signature"]
    )


def usage_of(evaluations: Sequence[Evaluation], *, known: MutableMapping[UUID, Consumption]) -> dict[UUID, Consumption]:
    """What each evaluation's run consumed. A run that has ended stays as it is: those that are not `known` are read, in one query."""
    by_run: dict[UUID, list[tuple[str, Usage]]] = {
        evaluation.run_id: [] for evaluation in evaluations if evaluation.run_id and evaluation.run_id not in known
    }
    parts = ("wall_seconds", "peak_memory_bytes", "failed_cases")  # alone: a usage holds curves of thousands of moments
    rows = CaseRun.objects.filter(run_id__in=list(by_run)).values_list(
        "run_id", "status", *(f"usage__{part}" for part in parts)
    )
    for run_id, status, *stored in rows.iterator(CHUNK):
        by_run[run_id].append((status, Usage.salvaged(dict(zip(parts, stored, strict=True)))))
    known.update({run_id: summarise_usage(rows) for run_id, rows in by_run.items()})
    nothing = summarise_usage(())
    return {row.id: known[row.run_id] if row.run_id else nothing for row in evaluations}


def summarise_usage(rows: Sequence[tuple[str, Usage]]) -> Consumption:
    """Failed cases, mean seconds of the cases that ran, and the largest peak."""
    seconds = [usage.wall_seconds for _, usage in rows if usage.wall_seconds is not None]
    peaks = [usage.peak_memory_bytes for _, usage in rows if usage.peak_memory_bytes is not None]
    return Consumption(
        failed_cases=sum(
            len(usage.failed_cases or ()) if status == CaseRun.Status.DONE else 1 for status, usage in rows
        ),
        seconds_per_case=sum(seconds) / len(seconds) if seconds else None,
        peak_memory_bytes=max(peaks, default=None),
    )


def _standing(entries: Iterable[LeaderboardEntry]) -> dict[Any, tuple[float | None, float | None]]:
    return {entry.submission_id: (entry.rank, entry.score) for entry in entries}


def _ranks(board: Board) -> dict[str, RankEntry]:
    return {entry.algorithm: entry for entry in board.rank().entries} if board.table.algorithms else {}
