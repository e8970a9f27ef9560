"""Where an unfinished submission stands in line, when it may expect to end, and why it waits: in words, for its team and everybody
who looks after it. Every status that can last has an answer here.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Min
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

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
        return Waiting(position=None, eta_seconds=None, why=_("it is being cancelled; its containers are stopped"))
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
    words = _("its node has been silent since %(time)s UTC; its case starts anew on another")
    return words % {"time": f"{since:%H:%M}"} if since else ""


def why_unchecked(submission: Submission, *, now: datetime) -> str:
    """Why the upload has not been checked, in words. Empty when it is about to be."""
    if submission.status == Status.CHECKING:
        return _("the upload is being read and checked")
    ahead = Submission.objects.filter(status=Status.RECEIVED, created_at__lt=submission.created_at).count()
    if ahead:
        words = ngettext("%(count)d upload is checked before it", "%(count)d uploads are checked before it", ahead)
        return words % {"count": ahead}
    return _waits(_("waiting for a checker since %(time)s UTC"), since=submission.status_changed_at, now=now)


def why_unscored(submission: Submission, *, now: datetime) -> str:
    """Why there are no scores yet, in words. Empty when somebody is about to begin."""
    evaluation = submission.evaluations.filter(status__in=["queued", "running"]).order_by("-number").first()
    if evaluation is None:
        return ""
    if evaluation.status == Evaluation.Status.RUNNING:
        return _("the cases are being scored")
    if evaluation.not_before is not None and evaluation.not_before > now:
        words = _("a fault of ours is being waited out; it is tried again at %(time)s UTC")
        return words % {"time": f"{evaluation.not_before:%H:%M:%S}"}
    ahead = Evaluation.objects.filter(status="queued", created_at__lt=evaluation.created_at).count()
    if ahead:
        words = ngettext(
            "%(count)d submission is scored before it", "%(count)d submissions are scored before it", ahead
        )
        return words % {"count": ahead}
    return _waits(_("waiting for a scorer since %(time)s UTC"), since=evaluation.created_at, now=now)


def _waits(words: str, *, since: datetime, now: datetime) -> str:
    return words % {"time": f"{since:%H:%M}"} if now - since > PATIENCE else ""
