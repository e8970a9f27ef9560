"""Where an unfinished submission stands in line, when it may expect to end, and why it waits: in words, for its team and everybody
who looks after it. Every status that can last has an answer here.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Min

from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun
from assay.runs.selectors import Waiting, waiting
from assay.submissions.models import Submission

PATIENCE = timedelta(minutes=1)
"""What should begin at once is not explained before."""
Status = Submission.Status


def line_of(submission: Submission, *, now: datetime) -> Waiting:
    """The submission's place and reason, whatever it waits for: a checker, a node, or a scorer."""
    if submission.cancel_requested_at is not None and submission.finished_at is None:
        return Waiting(position=None, eta_seconds=None, why="it is being cancelled; its containers are stopped")
    match submission.status:
        case Status.RECEIVED | Status.CHECKING:
            return Waiting(position=None, eta_seconds=None, why=why_unchecked(submission, now=now))
        case Status.SCORING:
            return Waiting(position=None, eta_seconds=None, why=why_unscored(submission, now=now))
    line = waiting(submission, now=now)
    return replace(line, why=line.why or why_interrupted(submission, now=now)) if line.position is None else line


def why_interrupted(submission: Submission, *, now: datetime) -> str:
    """Why what ran does not get on, in words: its node went silent, and the case passes on to another."""
    lost = CaseRun.objects.filter(run__submission=submission, status=CaseRun.Status.RUNNING, lease_until__lt=now)
    since = lost.aggregate(at=Min("lease_until"))["at"]
    return f"its node has been silent since {since:%H:%M} UTC; its case starts anew on another" if since else ""


def why_unchecked(submission: Submission, *, now: datetime) -> str:
    """Why the upload has not been checked, in words; empty when it is about to be."""
    if submission.status == Status.CHECKING:
        return "the upload is being read and checked"
    ahead = Submission.objects.filter(status=Status.RECEIVED, created_at__lt=submission.created_at).count()
    return _in_line(ahead, what="upload", done="checked", whom="a checker", since=submission.status_changed_at, now=now)


def why_unscored(submission: Submission, *, now: datetime) -> str:
    """Why there are no scores yet, in words; empty when somebody is about to begin."""
    evaluation = submission.evaluations.filter(status__in=["queued", "running"]).order_by("-number").first()
    if evaluation is None:
        return ""
    if evaluation.status == Evaluation.Status.RUNNING:
        return "the cases are being scored"
    if evaluation.not_before is not None and evaluation.not_before > now:
        return f"a fault of ours is being waited out; it is tried again at {evaluation.not_before:%H:%M:%S} UTC"
    ahead = Evaluation.objects.filter(status="queued", created_at__lt=evaluation.created_at).count()
    return _in_line(ahead, what="submission", done="scored", whom="a scorer", since=evaluation.created_at, now=now)


def _in_line(ahead: int, *, what: str, done: str, whom: str, since: datetime, now: datetime) -> str:
    if ahead:
        return f"{ahead} {what}{'s are' if ahead > 1 else ' is'} {done} before it"
    return f"waiting for {whom} since {since:%H:%M} UTC" if now - since > PATIENCE else ""
