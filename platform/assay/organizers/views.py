"""The organizers' doors: each asks access, calls one service, answers with a page."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_POST

from assay.accounts.errors import AssayError, ConflictError, InvalidError
from assay.accounts.models import AuditEvent
from assay.accounts.moments import read_moment
from assay.accounts.numbers import whole_number
from assay.accounts.quotas import whom_to_ask
from assay.challenges.access import (
    get_organized_challenge,
    get_organized_phase,
    signed_in,
    visible_challenges,
)
from assay.challenges.definition import LONGEST_BYTES
from assay.challenges.editing import fingerprint
from assay.challenges.models import Challenge, Membership
from assay.challenges.publication import last_request, needs_approval
from assay.challenges.services import (
    embargo_results,
    pause_phase,
    publish_results,
    resume_phase,
)
from assay.challenges.writing import current_file, unreadable
from assay.evaluations import pushing
from assay.evaluations.leaks import leaks_of, leaks_of_source
from assay.organizers.consoles import (
    first_opening,
    needs_of,
    numbers_of,
    phases_of,
    phases_with_testsets,
    readiness,
    unready,
)
from assay.organizers.forms import NewChallengeForm
from assay.pages.errors import refuse_form
from assay.pages.tables import PAGE
from assay.pages.typed import again, note
from assay.submissions.use import use_of
from assay.workflow import flow
from assay.workflow.flow.pushing import push_challenge, push_edit

SLUG = re.compile(r"^slug:\s*[\"']?([\w-]+)", re.MULTILINE)


def frame(challenge: Challenge, *, tab: str, **page: Any) -> dict[str, Any]:
    """What the console's header and tabs need."""
    pending = challenge.memberships.filter(status=Membership.Status.PENDING).count()
    return {"challenge": challenge, "tab": tab, "pending_count": pending, **page}


def new(request: HttpRequest) -> HttpResponse:
    """Begin a challenge: from a few answers, or from a file."""
    user = signed_in(request.user)
    mine = visible_challenges(person=user).filter(memberships__user=user, memberships__role=Membership.Role.ORGANIZER)
    page: dict[str, Any] = {"mine": mine, "form": NewChallengeForm(), "whom_to_ask": whom_to_ask()}
    if "form" in request.POST:
        page["form"] = form = NewChallengeForm(request.POST)
        refuse_form(request, form)
        if form.is_valid():
            page["source"] = form.challenge_file()
            note(request, [], also={"source": page["source"]})
    elif request.method == "POST":
        outcome = _push(request, slug=None)
        if isinstance(outcome, Challenge):
            return redirect("organizers:overview", outcome.slug)
        page.update(outcome)
    elif kept := again(request):
        page.update({"source": kept.get("source", "")} if "form" in kept else _looked_at(request, kept, slug=None))
    page["uses"] = use_of(user, now=timezone.now())
    return render(request, "organizers/new.html", page)


def _push(request: HttpRequest, *, slug: str | None) -> Challenge | dict[str, Any]:
    """The pushed challenge, or what the page says instead (a plan, or what is wrong). A new challenge's slug is the file's."""
    file = request.FILES.get("file")
    source = file.read(LONGEST_BYTES + 1).decode(errors="replace") if file else request.POST.get("source", "")
    made_from, is_dry_run = request.POST.get("made_from"), "apply" not in request.POST
    outcome = _outcome(request, source=source, slug=slug, made_from=made_from, is_dry_run=is_dry_run)
    if isinstance(outcome, dict):
        note(request, [], is_filled=True, also={"source": source})
    return outcome


def _looked_at(request: HttpRequest, kept: QueryDict, *, slug: str | None) -> dict[str, Any]:
    """What the page says of a file that was checked, or not taken, a moment ago."""
    source, made_from = kept.get("source", ""), kept.get("made_from")
    outcome = _outcome(request, source=source, slug=slug, made_from=made_from, is_dry_run=True)
    return outcome if isinstance(outcome, dict) else {}


def _outcome(
    request: HttpRequest, *, source: str, slug: str | None, made_from: str | None, is_dry_run: bool
) -> Challenge | dict[str, Any]:
    slug = slug or ((named := SLUG.search(source)) and named[1]) or ""
    try:
        known = visible_challenges(person=request.user).filter(slug=slug).first()
        if known is not None and made_from is not None:
            changes = push_edit(
                challenge=known,
                user=signed_in(request.user),
                source=source,
                made_from=made_from,
                is_dry_run=is_dry_run,
                now=timezone.now(),
            )
            challenge: Challenge | None = known
        else:
            changes, challenge = push_challenge(
                user=signed_in(request.user), slug=slug, source=source, is_dry_run=is_dry_run, now=timezone.now()
            )
    except AssayError as error:
        return {"source": source, "error": error, "excerpt": excerpt(source, line=getattr(error, "line", None))}
    if challenge is not None and not is_dry_run:
        messages.success(
            request,
            ngettext("Applied: %(count)s change.", "Applied: %(count)s changes.", len(changes))
            % {"count": len(changes)},
        )
        return challenge
    known = challenge or known
    return {
        "source": source,
        "plan": [change.text for change in changes],
        "leaks": leaks_of_source(source, challenge=known),
    }


@require_GET
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """Readiness, phases, today's numbers, what needs you."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    now = timezone.now()
    phases = phases_of(challenge, now=now)
    page = frame(challenge, tab="overview", phases=phases, checks=readiness(challenge, phases))
    page["is_ready"] = all(check.ok for check in page["checks"][:-1])  # the last one is that it is published
    page.update(
        numbers=numbers_of(challenge, now=now), needs=needs_of(challenge, now=now), opens_at=first_opening(phases)
    )
    page.update(publication=last_request(challenge), needs_approval=needs_approval(user))
    return render(request, "organizers/overview.html", page)


@require_POST
def publish_challenge(request: HttpRequest, slug: str) -> HttpResponse:
    """Let everybody see it. What is not ready is listed first, and published only when the challenge's name is typed."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    missing = unready(challenge, now=timezone.now())
    if missing and request.POST.get("confirm", "").strip() != slug:
        words = gettext(
            "Not published. Not ready: %(missing)s. Mend it, or type %(slug)s beside the button to publish anyway."
        )
        raise ConflictError(words % {"missing": "; ".join(missing), "slug": slug}, field="confirm")
    pushing.publish_challenge(challenge=challenge, user=user, now=timezone.now())
    return redirect("organizers:overview", slug)


def document(request: HttpRequest, slug: str) -> HttpResponse:
    """The challenge file: check, then apply."""
    challenge, _ = get_organized_challenge(person=request.user, slug=slug)
    said: dict[str, Any] = {}
    if request.method == "POST":
        outcome = _push(request, slug=slug)
        if isinstance(outcome, Challenge):
            return redirect("organizers:document", slug)
        said = outcome
    elif kept := again(request):
        said = _looked_at(request, kept, slug=slug)
    return document_page(request, challenge, said)


def document_page(request: HttpRequest, challenge: Challenge, said: dict[str, Any]) -> HttpResponse:
    """The file, or what was sent of it (`said`), with what is wrong at its line. A stored file that cannot be read is shown as it is."""
    current = current_file(challenge)
    broken = None if said else unreadable(challenge)
    page = frame(challenge, tab="document", made_from=fingerprint(current), source=current)
    page.update(said)
    if broken is not None:
        text, error = broken
        page.update(source=text, error=error, is_stored=True, excerpt=excerpt(text, line=getattr(error, "line", None)))
    page.setdefault("leaks", leaks_of(challenge, phases=phases_with_testsets(challenge)))
    page["versions"] = challenge.protocols.order_by("-version")
    return render(request, "organizers/document.html", page)


def excerpt(source: str, *, line: int | None) -> list[tuple[int, str]]:
    """The line of a file that cannot be read, with those around it, by their numbers."""
    lines = list(enumerate(source.splitlines(), start=1))
    return lines[max(0, line - 3) : line + 2] if line else []


Door = Callable[..., HttpResponse]


def or_the_file(view: Door) -> Door:
    """A form over the challenge file. Where the stored file cannot be read, the file itself, to be mended there."""

    @wraps(view)
    def shown(request: HttpRequest, slug: str, **rest: str) -> HttpResponse:
        try:
            return view(request, slug, **rest)
        except InvalidError:
            challenge, _ = get_organized_challenge(person=request.user, slug=slug)
            if request.method != "GET" or unreadable(challenge) is None:
                raise
            return document_page(request, challenge, {})

    return shown


@require_POST
def phase_action(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Publish, embargo, pause, resume."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    now = timezone.now()
    match request.POST.get("action"):
        case "publish":
            publish_results(phase=phase, user=user, now=now)
        case "embargo":
            embargo_results(
                phase=phase, until=read_moment(request.POST.get("until", ""), name="until"), user=user, now=now
            )
        case "release":
            flow.release_results(phase=phase, by=user, now=now)
        case "take-back-release":
            flow.take_back_release(phase=phase, by=user, now=now)
        case "pause":
            pause_phase(phase=phase, user=user, now=now)
        case "resume":
            resume_phase(phase=phase, user=user, now=now)
    return redirect("organizers:overview", slug)


@require_GET
def audit(request: HttpRequest, slug: str) -> HttpResponse:
    """Who did what, newest first."""
    challenge, _ = get_organized_challenge(person=request.user, slug=slug)
    events = AuditEvent.objects.filter(challenge_slug=challenge.slug).order_by("-pk")
    if (before := whole_number(request.GET.get("before", ""))) is not None:
        events = events.filter(pk__lt=before)
    listed = list(events[: PAGE + 1])
    page = frame(
        challenge, tab="audit", events=listed[:PAGE], next_page=listed[PAGE - 1].pk if len(listed) > PAGE else None
    )
    return render(request, "organizers/audit.html", page)
