"""The report of a phase's ranking: one self-contained HTML file, made by a worker when somebody asks, kept until the ranking changes."""

import tempfile
from dataclasses import replace
from pathlib import Path

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.scores import read_scores, score_table
from assay.leaderboards.services import active_evaluations, rank_phase
from assay.submissions.models import Submission
from assay.testsets.storage import has_file, save_file
from evaluator.ranking import parse_ranking
from evaluator.ranking.analysis import analyse
from evaluator.reports.report import write_report

MOST_BYTES = 64 * 2**20


def report_key(phase: Phase) -> str:
    """Where the report of the ranking as it stands now is kept; a change of the ranking changes the key."""
    board = Leaderboard.objects.filter(phase=phase).first()
    return f"reports/{phase.pk}/{board.answered if board else 0}.html"


def make_report(*, phase_id: int) -> bool:
    """Write the report unless it is there already; False when there is nothing to report."""
    phase = Phase.objects.select_related("protocol", "challenge").get(pk=phase_id)
    key = report_key(phase)
    evaluations = active_evaluations(phase=phase)
    if has_file(key) or not evaluations:
        return bool(evaluations)
    protocol = rules_of(phase.protocol)
    config = parse_ranking(protocol.ranking)
    chosen, _ = rank_phase(phase=phase, evaluations=evaluations, kept=read_scores(evaluations, config=config))

    def name_of(submission: Submission) -> str:
        if phase.is_anonymous:
            return f"Team {submission.number}"
        team = submission.team.name
        return team if phase.leaderboard_shows != "all" else f"{team} #{submission.number}"

    table = score_table(chosen, name_of=name_of)
    shown = replace(config.submissions, per_team=phase.leaderboard_shows)
    analysis = analyse(table, replace(config, submissions=shown))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        title = f"{phase.challenge.title}, {phase.title}"
        write_report(table, analysis, html=page, title=title, protocol=protocol)
        with page.open("rb") as stream:
            save_file(key=key, stream=stream, max_bytes=MOST_BYTES)
    return True
