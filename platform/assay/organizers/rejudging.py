"""Doing a phase's results again on one page: take up what failed by no fault of its team, score again, see whose rank would
move and by how much, then let it count, all at once.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assay.challenges.access import get_organized_phase
from assay.challenges.models import Phase
from assay.leaderboards.history import history_of
from assay.leaderboards.rejudging import RankMove, rejudgement_of
from assay.organizers.views import frame
from assay.submissions.models import Submission
from assay.submissions.services import NOT_THE_TEAMS
from assay.workflow import flow
from assay.workflow.flow import resuming


def rejudge(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The dry run's table. Its two buttons start one, or make it count."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    found = rejudgement_of(phase)
    if request.method == "POST":
        now = timezone.now()
        if request.POST.get("action") == "resume":
            lost = failed_by_others(phase).values_list("pk", flat=True)
            resumed = resuming.resume_all(submission_ids=list(lost), by=user, now=now)
            messages.success(
                request,
                ngettext(
                    "%(count)s submission is going on where it stopped.",
                    "%(count)s submissions are going on where they stopped.",
                    len(resumed),
                )
                % {"count": len(resumed)},
            )
        elif request.POST.get("action") == "start":
            done = Submission.objects.filter(phase=phase, status=Submission.Status.DONE, imported_from="")
            ids = list(done.values_list("pk", flat=True))
            asked = flow.rejudge(submission_ids=ids, by=user, now=now)
            messages.success(
                request,
                ngettext(
                    "%(count)s submission is being scored again. Nothing ranks until you say so.",
                    "%(count)s submissions are being scored again. Nothing ranks until you say so.",
                    len(asked),
                )
                % {"count": len(asked)},
            )
            if len(asked) < len(ids):
                messages.warning(
                    request,
                    ngettext(
                        "%(count)s submission is left as it is: played on other scans than the test set has now.",
                        "%(count)s submissions are left as they are: played on other scans than the test set has now.",
                        len(ids) - len(asked),
                    )
                    % {"count": len(ids) - len(asked)},
                )
        elif found.waiting and not found.unfinished:
            count = flow.activate(evaluation_ids=found.waiting, by=user, now=now)
            messages.success(
                request,
                ngettext(
                    "Done: %(count)s evaluation is ranking now. The old scores stay readable.",
                    "Done: %(count)s evaluations are ranking now. The old scores stay readable.",
                    count,
                )
                % {"count": count},
            )
        else:
            messages.error(request, _("There is nothing complete to activate yet."))
        return redirect("organizers:rejudge", slug, phase_slug)
    page = frame(phase.challenge, tab="submissions", phase=phase, rejudgement=found)
    page["rows"] = sorted((Row(move=move) for move in found.moves), key=Row.order)
    page["moved"] = sum(row.has_moved for row in page["rows"])
    page["failed"] = failed_by_others(phase).count()
    page["history"] = history_of(phase)
    page["snapshots"] = f"/api/v1/challenges/{slug}/phases/{phase_slug}/leaderboard/history/"
    testset = getattr(phase, "chosen_testset", None)
    page["testset"] = testset.testset if testset else None
    return render(request, "organizers/rejudge.html", page)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One submission of the dry run, as the page shows it: those that move most come first."""

    move: RankMove

    @property
    def has_moved(self) -> bool:
        """Whether its rank would change."""
        return self.move.rank_before != self.move.rank_after

    @property
    def by(self) -> str:
        """How far it would move, in words."""
        before, after = self.move.rank_before, self.move.rank_after
        if before == after:
            return "stays"
        if before is None or after is None:
            return "joins the ranking" if before is None else "leaves the ranking"
        return f"{'up' if after < before else 'down'} {abs(after - before):g}"

    @property
    def score_change(self) -> float | None:
        """What its score would gain or lose."""
        before, after = self.move.score_before, self.move.score_after
        return None if before is None or after is None else after - before

    def order(self) -> tuple[Any, ...]:
        """The farthest first, then by rank."""
        before, after = self.move.rank_before, self.move.rank_after
        far = abs(after - before) if before is not None and after is not None else float(self.has_moved) * 1e9
        return (-far, before is None, before or 0.0, self.move.number)


def failed_by_others(phase: Phase) -> QuerySet[Submission]:
    """Submissions that failed by the organizers' fault or ours, and wait for somebody to take them up again."""
    return Submission.objects.filter(phase=phase, status=Submission.Status.FAILED, fault__in=NOT_THE_TEAMS)
