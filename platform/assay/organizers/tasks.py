"""What is to be done, and until when: the organizers' own tasks, beside what a program can look at."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import AssayError
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_organized_challenge
from assay.challenges.editing import fingerprint
from assay.challenges.tasks import tasks_of
from assay.challenges.writing import current_file
from assay.organizers.consoles import first_opening, phases_of, readiness
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.workflow.flow.tasks import change_tasks

OF_ONE = ("done", "again", "remove")
"""Buttons whose value is a task's number."""


def tasks(request: HttpRequest, slug: str) -> HttpResponse:
    """The list. Each button changes one line of the challenge file."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    now = timezone.now()
    page, status = frame(challenge, tab="tasks"), 200
    if request.method == "POST":
        form = request.POST
        act = next((name for name in (*OF_ONE, "usual") if name in form), "add")
        number = whole_number(form.get(act, ""))
        try:
            change_tasks(
                challenge=challenge,
                user=user,
                act=act,
                number=-1 if number is None else number,
                title=form.get("title", ""),
                due=form.get("due", ""),
                made_from=form.get("made_from", ""),
                now=now,
            )
        except AssayError as error:
            status = refuse(request, error)
        else:
            messages.success(request, gettext("The challenge file is changed."))
            return redirect("organizers:tasks", slug)
    phases = phases_of(challenge, now=now)
    page.update(tasks=tasks_of(challenge, now=now), made_from=fingerprint(current_file(challenge)))
    page.update(checks=readiness(challenge, phases), opens_at=first_opening(phases))
    return render(request, "organizers/tasks.html", page, status=status)
