"""The report of a phase's ranking: one self-contained HTML file, made by a worker when somebody asks, kept until the ranking changes."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.scores import read_scores, score_table
from assay.leaderboards.services import active_evaluations, rank_phase
from assay.submissions.models import Submission
from assay.testsets.storage import has_file, save_file
from evaluator.ranking import analyse, parse_ranking
from evaluator.reports import write_report

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20


def report_key(phase: Phase) -> str:
    """Where the report of the ranking as it stands now is kept; a change of the ranking changes the key."""
    board = Leaderboard.objects.filter(phase=phase).first()
    return f"reports/{phase.pk}/{board.answered if board else 0}.html"


def report_failure(phase: Phase) -> str | None:
    """Why the report of the ranking as it stands could not be made, for organizers; None where it has not failed."""
    board = Leaderboard.objects.filter(phase=phase).first()
    return board.report_error if board and board.report_failed == board.answered else None


def forget_report_failure(phase: Phase) -> None:
    """Let a report that failed be made again."""
    Leaderboard.objects.filter(phase=phase).update(report_failed=None, report_error="")


def make_report(*, phase_id: int) -> bool:
    """Write the report unless it is there already or failed before; False when there is none.

    A failure is kept with the ranking it is about: whoever waits is told, and the next ranking is tried again.
    """
    phase = Phase.objects.select_related("protocol", "challenge").get(pk=phase_id)
    if report_failure(phase) is not None:
        return False
    answered = Leaderboard.objects.filter(phase=phase).values_list("answered", flat=True).first()
    try:
        return write_report_of(phase)
    except Exception as error:
        log.exception("report.failed", extra={"keys": {"phase": phase_id}})
        why = f"{type(error).__name__}: {error}"[:300]
        Leaderboard.objects.filter(phase=phase).update(report_failed=answered, report_error=why)
        return False


def write_report_of(phase: Phase) -> bool:
    """Write the report unless it is there already; False when there is nothing to report."""
    key = report_key(phase)
    evaluations = active_evaluations(phase=phase)
    if has_file(key) or not evaluations:
        return bool(evaluations)
    protocol = rules_of(phase.protocol)
    config = parse_ranking(protocol.ranking)
    chosen, _ = rank_phase(phase=phase, evaluations=evaluations, kept=read_scores(evaluations, config=config))
    names = names_of([evaluation.submission for evaluation in chosen], phase=phase)
    table = score_table(chosen, name_of=lambda submission: names[submission.pk])
    shown = replace(config.submissions, per_team=phase.leaderboard_shows)
    analysis = analyse(table, replace(config, submissions=shown))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        title = f"{phase.challenge.title}, {phase.title}"
        write_report(table, analysis, html=page, title=title, protocol=protocol)
        with page.open("rb") as stream:
            save_file(key=key, stream=stream, max_bytes=MOST_BYTES)
    return True


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
