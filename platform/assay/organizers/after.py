"""What comes after a phase, on one page: the release of its results, objections to them, and its images run again elsewhere."""

from contextlib import suppress

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from assay.accounts.errors import AssayError
from assay.accounts.models import User
from assay.accounts.numbers import whole_number
from assay.challenges.access import (
    get_organized_phase,
    get_phase,
    get_reviewed_challenge,
    is_organizer,
    organized_challenges,
    require_organizer,
)
from assay.challenges.models import Phase
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.pages.typed import again, note
from assay.submissions.objections import answer_objection, objections_seen_by
from assay.workflow import flow
from assay.workflow.flow.carrying import WHICH, plan_rerun, rerun


def after(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The state of the results, the objections, and a form that enters archived images in this phase."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    _challenge, user = get_reviewed_challenge(person=request.user, slug=slug)
    page = frame(phase.challenge, tab="overview", phase=phase, now=timezone.now())
    form = request.POST if request.method == "POST" else again(request) or QueryDict()
    page.update(which=WHICH, chosen_which=form.get("which", "best"), source=form.get("source", ""))
    page["sources"] = rerun_sources(user)
    status = 200
    if request.method == "POST":
        if request.POST.get("action") not in ("uphold", "reject"):  # a reviewer answers objections, and nothing else
            require_organizer(person=user, challenge=phase.challenge)
        try:
            plan = _act(request, phase=phase, user=user)
        except AssayError as error:
            status = refuse(request, error)
        else:
            if plan is None:
                return redirect("organizers:after", slug, phase_slug)
            page["plan"] = plan
            note(request, [], is_filled=True)
    elif form.get("action") == "plan" and is_organizer(person=user, challenge=phase.challenge):
        with suppress(AssayError):  # the page says what is wrong already
            page["plan"] = _planned(form, target=phase, user=user)
    page["objections"] = objections_seen_by(person=user, phase=phase, is_organizer=True)
    return render(request, "organizers/after.html", page, status=status)


def rerun_sources(user: User) -> list[Phase]:
    """Phases for containers of every challenge that this person organizes, whose images may run again. Two queries."""
    mine = Phase.objects.filter(challenge__in=organized_challenges(person=user), kind=Phase.Kind.CONTAINER)
    return list(mine.select_related("challenge").order_by("challenge__title", "position"))


def _act(request: HttpRequest, *, phase: Phase, user: User) -> object | None:
    """What a button asks for. Answers a plan to be shown, or None where something was done."""
    now, act = timezone.now(), request.POST.get("action")
    if act in ("uphold", "reject"):
        number = whole_number(request.POST.get("objection", "")) or 0
        answer_objection(
            phase=phase,
            objection_id=number,
            is_upheld=act == "uphold",
            answer=request.POST.get("answer", ""),
            user=user,
            now=now,
        )
        messages.success(request, gettext("Answered. Its team reads it on the phase's page."))
    elif act == "release":
        flow.release_results(phase=phase, by=user, now=now)
    elif act == "take-back-release":
        flow.take_back_release(phase=phase, by=user, now=now)
    elif act == "finalize":
        flow.finalize(phase=phase, by=user, now=now)
    elif act == "plan":
        return _planned(request.POST, target=phase, user=user)
    elif act == "rerun":
        source = _source(request.POST, user=user)
        made = rerun(source=source, target=phase, which=request.POST.get("which", ""), by=user, now=now)
        said = ngettext("%(count)s image runs again.", "%(count)s images run again.", len(made))
        messages.success(request, said % {"count": len(made)})
    return None


def _planned(form: QueryDict, *, target: Phase, user: User) -> object:
    return plan_rerun(source=_source(form, user=user), target=target, which=form.get("which", ""))


def _source(form: QueryDict, *, user: User) -> Phase:
    """The phase whose images are to run, which this person organizes."""
    challenge_slug, _, phase_slug = form.get("source", "").partition("/")
    found, _by = get_organized_phase(person=user, challenge_slug=challenge_slug, phase_slug=phase_slug)
    return found
