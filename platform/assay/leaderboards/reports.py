"""The report of a phase's ranking: one self-contained HTML file, made by a worker when somebody asks, kept until the ranking changes."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.models import Evaluation
from assay.leaderboards.models import MOST_TRIES, REPORT_SET_ASIDE, Leaderboard
from assay.leaderboards.scores import read_scores, score_table
from assay.leaderboards.services import (
    CHOSEN,
    TooMuchWorkError,
    active_evaluations,
    affordable,
    rank_phase,
    refuse_too_much_work,
)
from assay.leaderboards.words import UNFINISHED, failure, sentence
from assay.submissions.models import Submission
from assay.testsets.storage import has_file, save_file
from evaluator.ranking import Board, analyse, parse_ranking
from evaluator.reports import write_report

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20
LOCK_NAMESPACE = 7003


def report_key(phase: Phase) -> str:
    """Where the report of the ranking as it stands now is kept. A change of the ranking changes the key."""
    board = Leaderboard.objects.filter(phase=phase).first()
    return f"reports/{phase.pk}/{board.answered if board else 0}.html"


def report_failure(phase: Phase) -> str | None:
    """Why the report of the ranking as it stands could not be made, for organizers; None where it has not failed."""
    board = Leaderboard.objects.filter(phase=phase).first()
    return (sentence(board.report_trouble) or None) if board else None


def forget_report_failure(phase: Phase) -> None:
    """Let a report that failed be made again."""
    Leaderboard.objects.filter(phase=phase).update(report_failed=None, report_failure={}, report_tries=0)


def let_report_go_on(*, phase_id: int) -> bool:
    """Let the report of the ranking as it stands be made again after it was set aside; False when it was not."""
    board = Leaderboard.objects.filter(REPORT_SET_ASIDE, phase_id=phase_id)
    return bool(board.update(report_failed=None, report_failure={}, report_tries=0))


def make_report(*, phase_id: int) -> bool:
    """Write the report unless it is there already or failed before; False when there is none.

    A failure is kept with the ranking it is about: readers who wait are told, and the next ranking is tried again. A report that has
    ended its worker twice counts as failed, too.
    """
    phase = Phase.objects.select_related("protocol", "challenge").get(pk=phase_id)
    if has_file(report_key(phase)):
        return True
    with transaction.atomic():
        answered = Leaderboard.objects.filter(phase=phase).values_list("answered", flat=True).first()
        if is_being_written(phase_id) or report_failure(phase) is not None or not note_try(phase, answered=answered):
            return False
    try:
        with transaction.atomic():
            if is_being_written(phase_id):
                return False
            was_made = write_report_of(phase)
    except Exception as error:
        log.exception("report.failed", extra={"keys": {"phase": phase_id}})
        Leaderboard.objects.filter(phase=phase).update(
            report_failed=answered, report_failure=failure(error), report_tries=0
        )
        return False
    Leaderboard.objects.filter(phase=phase).update(report_tries=0)
    return was_made


def is_being_written(phase_id: int) -> bool:
    """Whether another process writes this phase's report now. Holds the right to write it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_NAMESPACE, phase_id])
        return not cursor.fetchone()[0]


def note_try(phase: Phase, *, answered: int | None) -> bool:
    """Write down that a report begins, before it does: one that ends its worker cannot say so itself.

    False when it has ended its worker too often: then it counts as failed.
    """
    board = Leaderboard.objects.filter(phase=phase)
    if board.filter(report_tried=answered, report_tries__gte=MOST_TRIES).update(
        report_failed=answered, report_failure=UNFINISHED, report_tries=0
    ):
        log.error("report.set_aside", extra={"keys": {"phase": phase.pk}})
        return False
    if not board.filter(report_tried=answered).update(report_tries=F("report_tries") + 1):
        board.update(report_tried=answered, report_tries=1)
    return True


def write_report_of(phase: Phase) -> bool:
    """Write the report unless it is there already; False when there is nothing to report."""
    key = report_key(phase)
    evaluations = active_evaluations(phase=phase)
    if has_file(key) or not evaluations:
        return bool(evaluations)
    board = board_of(phase, evaluations=evaluations)
    refuse_too_much_work(board)
    replicates, lack = affordable(board)
    if replicates is None:
        raise TooMuchWorkError(lack)
    analysis = analyse(board.table, board.config, bootstrap=replicates)
    if lack:
        analysis = replace(analysis, warnings=(*analysis.warnings, sentence(lack)))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        title = f"{phase.challenge.title}, {phase.title}"
        write_report(board.table, analysis, html=page, title=title, protocol=rules_of(phase.protocol))
        with page.open("rb") as stream:
            save_file(key=key, stream=stream, max_bytes=MOST_BYTES)
    return True


def board_of(phase: Phase, *, evaluations: Sequence[Evaluation]) -> Board:
    """What the leaderboard shows of a phase, by the names that people read."""
    config = parse_ranking(rules_of(phase.protocol).ranking)
    chosen, _ = rank_phase(phase=phase, evaluations=evaluations, kept=read_scores(evaluations, config=config))
    names = names_of([evaluation.submission for evaluation in chosen], phase=phase)
    table = score_table(chosen, name_of=lambda submission: names[submission.pk])
    rule = "latest" if phase.leaderboard_shows == CHOSEN else phase.leaderboard_shows  # the table has one for each team
    return Board(config=replace(config, submissions=replace(config.submissions, per_team=rule)), table=table)


def names_of(submissions: Sequence[Submission], *, phase: Phase) -> dict[UUID, str]:
    """What each submission is called in the report: its team's name, with the submission's number where names alone would not do.

    No two submissions share a name, whatever their teams are called: numbers differ within a phase.
    """
    if phase.is_anonymous:
        return {submission.pk: f"Team {submission.number}" for submission in submissions}
    alone = {submission.pk: submission.team.name for submission in submissions}
    if phase.leaderboard_shows != "all" and len(set(alone.values())) == len(alone):
        return alone
    return {submission.pk: f"{submission.team.name} #{submission.number}" for submission in submissions}
