"""Rejudging a phase on one page: score again, see whose rank would move, then let it count, all at once."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from assay.challenges.access import get_organized_phase
from assay.leaderboards.rejudging import rejudgement_of
from assay.organizers.views import frame
from assay.submissions.models import Submission
from assay.workflow import flow


def rejudge(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The dry run's table; its two buttons start one, or make it count."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    found = rejudgement_of(phase)
    if request.method == "POST":
        now = timezone.now()
        if request.POST.get("action") == "start":
            done = Submission.objects.filter(phase=phase, status=Submission.Status.DONE).values_list("pk", flat=True)
            asked = flow.rejudge(submission_ids=list(done), by=user, now=now)
            messages.success(
                request, f"{count_of(len(asked), 'submission')} being scored again. Nothing ranks until you say so."
            )
        elif found.waiting and not found.unfinished:
            count = flow.activate(evaluation_ids=found.waiting, by=user, now=now)
            messages.success(
                request, f"Done: {count_of(count, 'evaluation')} ranking now. The old scores stay readable."
            )
        else:
            messages.error(request, "There is nothing complete to activate yet.")
        return redirect("organizers:rejudge", slug, phase_slug)
    page = frame(phase.challenge, tab="submissions", phase=phase, rejudgement=found)
    page["moved"] = [move for move in found.moves if move.rank_before != move.rank_after]
    return render(request, "organizers/rejudge.html", page)


def count_of(number: int, noun: str) -> str:
    """`1 submission is`, `3 submissions are`."""
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"
