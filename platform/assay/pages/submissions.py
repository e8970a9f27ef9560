"""Submissions as pages show them: lists with their progress, and one in full for its team and for organizers.

What a participant may see before the phase is published follows the protocol's `release`: a closed phase shows the verdict
only, without cases, counts, durations or exit codes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import as_seen, is_closed
from assay.evaluations.selectors import CaseScoreRow, case_scores, receipt, released_summary
from assay.leaderboards.parts import part_for
from assay.leaderboards.selectors import MetricColumn, metric_columns
from assay.pages.templatetags.assay import GLYPHS, TONES, status_words
from assay.runs.selectors import CaseRow, Progress, Waiting, case_progress, progress
from assay.submissions.images import warnings_of
from assay.submissions.lifecycle import FINAL
from assay.submissions.models import Submission
from assay.submissions.reasons import case_reason_words
from assay.submissions.selectors import stepper
from assay.verdict_words import verdict_words
from assay.workflow.flow.waiting import line_of
from evaluator.protocol import LabelSpec

STEP_TONES = {"done": "past", "current": "now", "failed": "broken", "ahead": ""}
STEP_WORDS = {
    "Received": _("Received"),
    "Verified": _("Verified"),
    "Queued": _("Queued"),
    "Running": _("Running"),
    "Scoring": _("Scoring"),
    "Ranked": _("Ranked"),
}
WHOSE = {
    "participant": "",
    "organizer": _("The organizers have to act."),
    "platform": _("Not your fault: no attempt was used."),
}
Status = Submission.Status


@dataclass(frozen=True, kw_only=True)
class StepMark:
    """One of the stepper's steps: `tone` is past, now, broken or empty; `ending` says how it ended where it failed."""

    name: str
    tone: str
    at: datetime | None = None
    ending: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseCell:
    """One case as a coloured, lettered square."""

    glyph: str
    tone: str
    words: str
    what: str
    """What happened, without the case's number."""


@dataclass(frozen=True, kw_only=True)
class CellKind:
    """What a letter of the squares means, and how many cases have it."""

    glyph: str
    what: str
    count: int


@dataclass(frozen=True, kw_only=True)
class ScoreCell:
    """One metric of one structure."""

    mean: float | None
    sd: float | None


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One structure."""

    label: str
    cells: tuple[ScoreCell, ...]


@dataclass(frozen=True, kw_only=True)
class CaseTableRow:
    """One case in numbers."""

    name: str
    verdict: str
    reason: str
    values: tuple[float | None, ...]
    seconds: float | None
    peak_memory_bytes: int | None
    cpu_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class SubmissionPage:
    """What the template needs."""

    steps: tuple[StepMark, ...]
    glyph: str
    is_active: bool
    poll_seconds: int
    version: str
    banner: str
    banner_tone: str
    whose: str
    progress: Progress
    eta_seconds: float | None
    queue_position: int | None
    waits_because: str
    cells: tuple[CaseCell, ...]
    cell_kinds: tuple[CellKind, ...]
    metrics: tuple[MetricColumn, ...]
    score_rows: tuple[ScoreRow, ...]
    case_rows: tuple[CaseTableRow, ...]
    intake: tuple[tuple[str, Any], ...]
    intake_warnings: tuple[str, ...]
    rank: float | None
    can_cancel: bool
    has_receipt: bool
    can_choose: bool
    can_withdraw: bool
    can_restore: bool
    can_ask_deletion: bool


class SubmissionRow(NamedTuple):
    """One line of a list: `progress` is None where its viewer may not see it, or there is none."""

    submission: Submission
    progress: Progress | None


def with_progress(submissions: Iterable[Submission], *, sees_all: bool = False) -> list[SubmissionRow]:
    """The submissions as their viewer may see them, each with its progress."""
    listed = [as_seen(submission, is_insider=sees_all) for submission in submissions]
    found = progress([submission.pk for submission in listed])
    rows = []
    for submission in listed:
        known = found[submission.pk] if sees_all or may_see_progress(submission) else None
        rows.append(SubmissionRow(submission=submission, progress=known if known and known.total else None))
    return rows


def may_see_progress(submission: Submission) -> bool:
    """Per-case progress says how many hidden cases there are and how long each takes: a closed submission shows none."""
    return not is_closed(submission)


def submission_page(submission: Submission, *, is_organizer: bool, can_cancel: bool, now: datetime) -> SubmissionPage:
    """Everything this viewer may see of the submission. About nine queries, whatever the number of cases."""
    is_active = submission.status not in FINAL
    sees_cases = is_organizer or may_see_progress(submission)
    rows = case_progress(submission.pk) if sees_cases else []
    cells = tuple(_cell(row) for row in rows)
    known = progress([submission.pk])[submission.pk]
    found = known if sees_cases else Progress()
    line = line_of(submission, now=now)
    summary = released_summary(submission, is_organizer=is_organizer, now=now)
    scores = case_scores(submission, is_organizer=is_organizer, now=now)
    metrics = tuple(metric_columns(submission.protocol)) if summary else ()
    entry = submission.entries.filter(part=part_for(submission.phase, is_organizer=is_organizer)).first()
    hides_rank = not is_organizer and is_closed(submission)
    return SubmissionPage(
        steps=_steps(submission, known),
        glyph=GLYPHS.get(submission.status, "•"),
        is_active=is_active,
        poll_seconds=2 if submission.status != Status.QUEUED else 5,
        version=_version(submission, found, line),
        banner=submission.verdict_text,
        banner_tone=_tone(submission),
        whose=str(WHOSE.get(submission.fault, "")),
        progress=found,
        eta_seconds=line.eta_seconds if sees_cases else None,
        queue_position=line.position,
        waits_because=line.why,
        cells=cells,
        cell_kinds=_cell_kinds(cells),
        metrics=metrics,
        score_rows=_score_rows(summary, metrics, labels=rules_of(submission.protocol).labels) if summary else (),
        case_rows=_case_rows(rows, scores, metrics, is_organizer=is_organizer),
        intake=_intake(submission),
        intake_warnings=_warnings(submission),
        rank=(entry.told_rank if hides_rank else entry.rank) if entry is not None and summary else None,
        can_cancel=is_active and can_cancel,
        **_decisions(submission, is_member=can_cancel and not is_organizer, now=now),
        has_receipt=bool(scores is not None and receipt(submission, is_organizer=is_organizer)),
    )


def _decisions(submission: Submission, *, is_member: bool, now: datetime) -> dict[str, bool]:
    """What its team may still decide about it."""
    phase = submission.phase
    is_free = is_member and now < phase.closes_at and not submission.is_disqualified
    counts = is_free and not submission.is_withdrawn
    has_hope = submission.status not in (Status.FAILED, Status.CANCELLED)
    return {
        "can_choose": counts and has_hope and phase.leaderboard_shows == "chosen" and not submission.is_chosen,
        "can_withdraw": counts and submission.status == Status.DONE,
        "can_restore": is_free and submission.is_withdrawn,
        "can_ask_deletion": is_member
        and submission.status in FINAL
        and submission.deletion_asked_at is None
        and submission.predictions_deleted_at is None,
    }


def _tone(submission: Submission) -> str:
    if submission.status == Status.DONE:
        return "good" if submission.verdict in ("", "ok") else ""
    return "bad" if submission.status == Status.FAILED else ""


def page_version(submission: Submission, *, is_organizer: bool, now: datetime) -> str:
    """Changes when the page would: what an unchanged poll is answered by (304-like, with 204)."""
    found = progress([submission.pk])[submission.pk] if is_organizer or may_see_progress(submission) else Progress()
    return _version(submission, found, line_of(submission, now=now))


def _version(submission: Submission, found: Progress, line: Waiting) -> str:
    seen = (
        submission.status,
        submission.verdict_text,
        found,
        submission.image and submission.image.status,
        line.position,
        line.why,
    )
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:12]


def _steps(submission: Submission, known: Progress) -> tuple[StepMark, ...]:
    ending = "cancelled" if submission.status == Status.CANCELLED else "failed"
    return tuple(
        StepMark(
            name=str(STEP_WORDS[step.name]),
            tone=STEP_TONES[step.state],
            at=step.at,
            ending=status_words(ending) if step.state == "failed" else "",
        )
        for step in stepper(submission, has_started=known.has_started)
    )


def _cell(row: CaseRow) -> CaseCell:
    what = row.verdict if row.verdict and row.status in ("done", "failed") else row.status
    tone = TONES.get(what) or ("bad" if row.status == "failed" else "")
    what_happened = verdict_words(row.verdict) or status_words(row.status)
    words = gettext("Case %(number)d: %(verdict)s") % {"number": row.position + 1, "verdict": what_happened}
    return CaseCell(
        glyph=GLYPHS.get(what, "✗" if row.status == "failed" else "•"), tone=tone, words=words, what=what_happened
    )


def _cell_kinds(cells: Sequence[CaseCell]) -> tuple[CellKind, ...]:
    """The most frequent first: a square says its words to a mouse only."""
    counted = Counter((cell.glyph, cell.what) for cell in cells)
    return tuple(CellKind(glyph=glyph, what=what, count=count) for (glyph, what), count in counted.most_common())


def _score_rows(
    summary: dict[str, Any], metrics: Sequence[MetricColumn], *, labels: Sequence[LabelSpec]
) -> tuple[ScoreRow, ...]:
    """One row per structure in the protocol's order, which stored summaries do not keep."""

    def cell(values: dict[str, Any]) -> ScoreCell:
        return ScoreCell(mean=values.get("mean"), sd=values.get("sd"))

    there = {label for metric in metrics for label in summary.get(metric.name, {}).get("per_label", {})}
    rows = [
        ScoreRow(
            label=label, cells=tuple(cell(summary.get(m.name, {}).get("per_label", {}).get(label, {})) for m in metrics)
        )
        for label in (spec.name for spec in labels)
        if label in there
    ]
    overall = ScoreRow(label=gettext("All structures"), cells=tuple(cell(summary.get(m.name, {})) for m in metrics))
    return (*rows, overall)


def _case_rows(
    runs: Sequence[CaseRow],
    scores: Sequence[CaseScoreRow] | None,
    metrics: Sequence[MetricColumn],
    *,
    is_organizer: bool,
) -> tuple[CaseTableRow, ...]:
    """One row per scored case, worst first metric on top. Before scoring, organizers see the runs alone."""
    by_case = {row.case_id: row for row in runs if row.case_id}
    if scores is None:
        return (
            tuple(
                _case_row(row.case_id or gettext("case %(number)d") % {"number": row.position + 1}, row, ())
                for row in runs
            )
            if is_organizer
            else ()
        )
    rows = []
    for scored in scores:
        values = tuple(
            _mean([value for _, metric, value, _ in scored.scores if metric == column.name]) for column in metrics
        )
        rows.append(_case_row(scored.case_id, by_case.get(scored.case_id), values))
    sign = -1 if metrics and metrics[0].direction == "min" else 1
    return tuple(
        sorted(rows, key=lambda row: sign * (row.values[0] if row.values and row.values[0] is not None else 0))
    )


def _case_row(name: str, run: CaseRow | None, values: tuple[float | None, ...]) -> CaseTableRow:
    return CaseTableRow(
        name=name,
        verdict=(run.verdict or run.status) if run else "ok",
        reason=case_reason_words(run.reason) if run else "",
        values=values,
        seconds=run.seconds if run else None,
        peak_memory_bytes=run.peak_memory_bytes if run else None,
        cpu_seconds=getattr(run, "cpu_seconds", None),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _warnings(submission: Submission) -> tuple[str, ...]:
    if submission.image is None:
        return ()
    return warnings_of(submission.image, profile=rules_of(submission.protocol).resources.profile)


def _intake(submission: Submission) -> tuple[tuple[str, Any], ...]:
    report: dict[str, Any] = submission.image.report if submission.image else {}
    wanted = {
        "architecture": gettext("Architecture"),
        "base_os": gettext("Base system"),
        "entrypoint": gettext("Starts"),
        "user": gettext("User"),
        "layers": gettext("Layers"),
    }
    facts = [(words, report[key]) for key, words in wanted.items() if report.get(key) not in (None, "", [])]
    facts += [(name, version) for name, version in (report.get("versions") or {}).items()]
    return tuple((name, " ".join(value) if isinstance(value, list) else value) for name, value in facts)
