"""What is to be done, and until when: the organizers' own tasks, beside what a program can look at."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import AssayError
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_organized_challenge
from assay.challenges.editing import fingerprint, place_of
from assay.challenges.models import Challenge
from assay.challenges.tasks import tasks_of, usual_tasks, with_done, with_task, with_tasks, without_task
from assay.challenges.writing import current_file
from assay.organizers.consoles import first_opening, phases_of, readiness
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.workflow.flow.pushing import push_edit


def tasks(request: HttpRequest, slug: str) -> HttpResponse:
    """The list. Each button changes one line of the challenge file."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    now = timezone.now()
    page, status = frame(challenge, tab="tasks"), 200
    if request.method == "POST":
        source = ""
        try:
            source = _changed(request, challenge)
            push_edit(
                challenge=challenge,
                user=user,
                source=source,
                made_from=request.POST.get("made_from", ""),
                is_dry_run=False,
                now=now,
            )
        except AssayError as error:
            error.field = error.field or str((place_of(error, source) or ("",))[-1])
            status = refuse(request, error)
        else:
            messages.success(request, gettext("The challenge file is changed."))
            return redirect("organizers:tasks", slug)
    phases = phases_of(challenge, now=now)
    page.update(tasks=tasks_of(challenge, now=now), made_from=fingerprint(current_file(challenge)))
    page.update(checks=readiness(challenge, phases), opens_at=first_opening(phases))
    return render(request, "organizers/tasks.html", page, status=status)


def _changed(request: HttpRequest, challenge: Challenge) -> str:
    """The file as a button would have it."""
    form, source = request.POST, current_file(challenge)
    for act, is_done in (("done", True), ("again", False)):
        if act in form:
            return with_done(source, number=_number(form[act]), is_done=is_done, challenge=challenge)
    if "remove" in form:
        return without_task(source, number=_number(form["remove"]), challenge=challenge)
    if "usual" in form:
        phases = list(challenge.phases.all())
        planned = usual_tasks(
            opens_at=min(phase.opens_at for phase in phases), closes_at=max(phase.closes_at for phase in phases)
        )
        return with_tasks(source, tasks=planned, challenge=challenge)
    return with_task(source, title=form.get("title", ""), due=form.get("due", ""))


def _number(text: str) -> int:
    number = whole_number(text)
    return -1 if number is None else number
