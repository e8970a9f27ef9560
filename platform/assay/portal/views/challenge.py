"""A challenge's own pages: overview, rules, phase, leaderboard, joining."""

import difflib
from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from assay.accounts.errors import AssayError, NotAllowedError
from assay.accounts.identifiers import identifier
from assay.accounts.models import Team, User
from assay.accounts.numbers import whole_number
from assay.accounts.selectors import get_team, teams_of
from assay.accounts.services import solo_slug, solo_team
from assay.challenges.access import Person, get_challenge, get_phase, is_organizer, membership_of, signed_in
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.challenges.registration import (
    Application,
    accept_rules,
    is_invited,
    needs_acceptance,
    open_invite,
    usable_invite,
)
from assay.challenges.services import join_challenge, may_change_team
from assay.evaluations.disclosure import is_closed_phase
from assay.leaderboards.comparing import MOST_ROWS, compare_rows
from assay.leaderboards.order import Wanted
from assay.leaderboards.reports import forget_report_failure, report_failure, report_key
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.standing import POOLED
from assay.pages.errors import refuse
from assay.pages.submissions import with_progress
from assay.pages.tables import FORMATS, PAGE, page_number, table_file
from assay.pages.windows import challenge_status
from assay.portal.boards import board_page, board_table
from assay.portal.comparisons import comparison_page, comparison_table
from assay.portal.curves import curves_of
from assay.portal.facts import caveats_of, fact_sheet, ranking_words, release_words
from assay.portal.timeline import timeline
from assay.runs.matching import needs_of
from assay.runs.selectors import gpus_of, queue_facts
from assay.submissions.access import get_own_submission, own_submissions
from assay.submissions.models import Submission
from assay.submissions.objections import object_to_results, objections_seen_by
from assay.submissions.selectors import eligibility_of, submission_list
from assay.testsets.agreements import agreement_of, sign, withdraw
from assay.testsets.models import TestSet
from assay.testsets.storage import has_file, open_file
from assay.workflow.flow import doorbells
from assay.workflow.flow.carrying import carry_by_team

TOP = 5
NEWEST_NEWS = 2
NEWEST = 20
"""How many of one's submissions a phase's page shows; the list has all of them."""
REPORT_POLICY = "sandbox allow-downloads; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def frame(
    request: HttpRequest, challenge: Challenge, *, tab: str, phase: Phase | None = None, **page: Any
) -> dict[str, Any]:
    """What the header and tabs of every page of a challenge need."""
    now = timezone.now()
    phases = list(challenge.phases.select_related("protocol", "requires"))
    if phase is not None:
        phase = next((p for p in phases if p.pk == phase.pk), phase)
    membership = membership_of(person=request.user, challenge=challenge)
    is_in = request.user.is_authenticated and tab in ("overview", "phase")
    return {
        "challenge": challenge,
        "my_teams": teams_to_join(request.user) if is_in else (),
        "must_accept": bool(membership and membership.team_id and needs_acceptance(membership)),
        "is_invited": is_in and not membership and is_invited(challenge=challenge, user=signed_in(request.user)),
        "may_change_team": bool(is_in and membership and may_change_team(membership)),
        "phases": phases,
        "now": now,
        "phase": phase,
        "tab": tab,
        "challenge_status": challenge_status(challenge, phases, now=now),
        "membership": membership,
        "can_manage": is_organizer(person=request.user, challenge=challenge),
        **page,
    }


def teams_to_join(person: Person) -> list[Team]:
    """The teams this person may compete in. Alone is always possible."""
    return list(teams_of(user=person).exclude(slug=solo_slug(person))) if isinstance(person, User) else []


@require_GET
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """What it is about, its phases, who leads, and your next step."""
    return _overview_page(request, get_challenge(person=request.user, slug=slug))


def _overview_page(request: HttpRequest, challenge: Challenge, *, status: int = 200) -> HttpResponse:
    page = frame(request, challenge, tab="overview")
    boards = [
        leaderboard(phase, is_organizer=page["can_manage"], now=timezone.now(), wanted=Wanted(limit=TOP))
        for phase in page["phases"]
    ]
    page["boards"] = [
        {"phase": board.phase, "rows": [row for row in board.entries if row.rank is not None]} for board in boards
    ]
    caveats = [(phase, caveats_of(phase)) for phase in page["phases"]]
    page["caveats"] = [(phase, found) for phase, found in caveats if found]
    page["timeline"] = timeline(page["phases"], now=page["now"])
    page["announcements"] = challenge.announcements.all()[:NEWEST_NEWS]
    return render(request, "portal/challenge.html", page, status=status)


@require_GET
def rules(request: HttpRequest, slug: str) -> HttpResponse:
    """The organizers' words, and the facts the machine knows."""
    challenge = get_challenge(person=request.user, slug=slug)
    page = frame(request, challenge, tab="rules")
    page["sheets"] = [fact_sheet(phase) for phase in page["phases"]]
    page["datasets"] = [
        _dataset(testset, person=request.user)
        for testset in challenge.testsets.prefetch_related("cases").order_by("name", "version")
    ]
    membership = page["membership"]
    if membership is not None and membership.rules_accepted_at:
        page["rules_changes"] = rules_history(challenge, since=membership.rules_version)
    return render(request, "portal/rules.html", page)


def rules_history(challenge: Challenge, *, since: int) -> list[str]:
    """What changed in the rules since the version that somebody accepted, line by line. Empty where nothing did."""
    then = challenge.rules_texts.filter(version=since).last()
    if then is None or then.text == challenge.rules:
        return []
    lines = difflib.unified_diff(then.text.splitlines(), challenge.rules.splitlines(), lineterm="", n=1)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _dataset(testset: TestSet, *, person: Person) -> dict[str, Any]:
    cases = list(testset.cases.all())
    files = [file for case in cases for file in (*case.inputs, *case.references)]
    return {
        "name": _("%(name)s (version %(number)s)") % {"name": testset.name, "number": testset.version},
        "is_public": testset.is_public,
        "cases": len(cases),
        "bytes": sum(file.get("bytes", 0) for file in files),
        "sha256": testset.sha256,
        "notice": testset.notice,
        "slug": testset.name,
        "agreement": agreement_of(challenge=testset.challenge, name=testset.name, person=person)
        if testset.is_public
        else None,
        "url": f"/api/v1/challenges/{testset.challenge.slug}/testsets/{testset.name}/{testset.version}/archive",
    }


@require_POST
def join(request: HttpRequest, slug: str) -> HttpResponse:
    """Take part."""
    challenge = get_challenge(person=request.user, slug=slug)
    user = signed_in(request.user)
    slug_of_team = request.POST.get("team", "")
    team = get_team(user=user, slug=slug_of_team) if slug_of_team else solo_team(user=user, now=timezone.now())
    application = Application(
        team=team,
        answers=request.POST.getlist("answer"),
        rules_version=whole_number(request.POST.get("rules_version", "")) or 0,
    )
    try:
        membership = join_challenge(challenge=challenge, user=user, application=application, now=timezone.now())
    except AssayError as error:
        answer = _overview_page(request, challenge, status=refuse(request, error))
        transaction.set_rollback(True)
        return answer
    if membership.status == membership.Status.ACCEPTED:
        messages.success(request, _("You take part as %(team)s.") % {"team": membership.team})
    else:
        messages.info(request, _("The organizers have to agree; you will see it here."))
    return redirect("portal:challenge", slug)


@require_POST
def accept(request: HttpRequest, slug: str) -> HttpResponse:
    """Accept the rules as they stand now."""
    challenge = get_challenge(person=request.user, slug=slug)
    membership = membership_of(person=signed_in(request.user), challenge=challenge)
    if membership is None:
        raise NotAllowedError(_("You do not take part in this challenge."), what_to_do=_("Join it first."))
    version = whole_number(request.POST.get("rules_version", "")) or 0
    accept_rules(membership=membership, version=version, now=timezone.now())
    messages.success(request, _("You accepted version %(version)s of the rules.") % {"version": version})
    return redirect("portal:challenge", slug)


@require_POST
def sign_agreement(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Sign what belongs to a test set, so that it can be downloaded."""
    user = signed_in(request.user)
    challenge = get_challenge(person=user, slug=slug)
    sha256, signature = request.POST.get("sha256", ""), request.POST.get("signature", "")
    sign(challenge=challenge, name=name, sha256=sha256, signature=signature, user=user, now=timezone.now())
    messages.success(request, _("Signed. You can download the data now."))
    return redirect(f"{reverse('portal:rules', args=[slug])}#data")


@require_POST
def withdraw_agreement(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Take back what one signed for a test set. Downloads end at once."""
    user = signed_in(request.user)
    challenge = get_challenge(person=user, slug=slug)
    withdraw(challenge=challenge, name=name, user=user, now=timezone.now())
    messages.success(request, _("Withdrawn. You can download the data no more, unless you sign again."))
    return redirect(f"{reverse('portal:rules', args=[slug])}#data")


def invited(request: HttpRequest, secret: str) -> HttpResponse:
    """Open an invitation to a challenge. A GET changes nothing: mail scanners follow links."""
    user = signed_in(request.user)
    if request.method == "POST":
        challenge = open_invite(secret=secret, user=user, now=timezone.now())
        messages.success(request, _("You are invited. Join the challenge here."))
        return redirect("portal:challenge", challenge.slug)
    asked = usable_invite(secret=secret, user=user, now=timezone.now())
    lead = _("You were invited to the challenge %(challenge)s.") % {"challenge": asked.challenge.title}
    page = {"heading": _("Open the invitation"), "lead": lead, "button": _("Open it")}
    return render(request, "portal/form_page.html", page)


@require_GET
def phase_page(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Rules, countdown, your attempts, the queue, your submissions."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    now, testset = timezone.now(), getattr(phase, "chosen_testset", None)
    page = frame(request, phase.challenge, tab="phase", phase=phase)
    page["eligibility"] = eligibility_of(person=request.user, phase=phase, now=now) if page["membership"] else None
    mine = submission_list(person=request.user, challenge=slug, phase=phase_slug, is_mine=True)
    page["submissions"] = with_progress(mine[:NEWEST])
    page["queue"] = queue_facts(phase, now=now)
    page["limit_words"] = _limit_words(phase)
    page["needs"] = needs_of(phase).in_words(gpus=gpus_of(phase)) if phase.needs else ""
    page["release_words"] = release_words(phase)
    page["caveats"] = caveats_of(phase)
    page.update(_review(request, phase, organizes=page["can_manage"]))
    page["to_carry"] = _to_carry(request.user, phase)
    page["case_count"] = testset.testset.cases.count() if testset else 0
    return render(request, "portal/phase.html", page)


def _review(request: HttpRequest, phase: Phase, *, organizes: bool) -> dict[str, Any]:
    """The objections this viewer may read, and whether results are under review now."""
    if phase.review_ends_at is None:
        return {}
    rows = list(objections_seen_by(person=request.user, phase=phase, is_organizer=organizes))
    return {"objections": rows, "is_in_review": phase.is_in_review(timezone.now())}


def _to_carry(person: Person, phase: Phase) -> list[Submission]:
    """What this person's team may enter here from the phase before."""
    if phase.carry_over != "team" or phase.requires is None or not phase.is_open(timezone.now()):
        return []
    scored = own_submissions(person=person).filter(
        phase=phase.requires, status="done", is_withdrawn=False, is_disqualified=False
    )
    return list(scored.order_by("-number")[:NEWEST])


@require_POST
def object_to(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Object to results that are under review."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    object_to_results(phase=phase, person=request.user, text=request.POST.get("text", ""), now=timezone.now())
    messages.success(request, _("Your objection is with the organizers. Their answer appears here."))
    return HttpResponseRedirect(f"{reverse('portal:phase', args=[slug, phase_slug])}#review")


@require_POST
def carry(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Enter a submission of the phase before in this one."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    submission, user = get_own_submission(
        person=request.user, submission_id=identifier(request.POST.get("submission", ""))
    )
    made = carry_by_team(submission=submission, phase=phase, by=user, now=timezone.now())
    messages.success(request, _("Entered. Your image runs on the cases of this phase."))
    return redirect("portal:submission", made.pk)


def _limit_words(phase: Phase) -> str:
    parts = []
    if phase.submission_limit:
        days = phase.submission_window_days
        words = ngettext("%(limit)d per team in any %(days)d day", "%(limit)d per team in any %(days)d days", days)
        parts.append(words % {"limit": phase.submission_limit, "days": days})
    if phase.submission_limit_total:
        parts.append(_("%(limit)d per team in all") % {"limit": phase.submission_limit_total})
    parts.append(_("%(limit)d at a time") % {"limit": phase.concurrent_limit})
    if phase.running_limit_per_team:
        words = _("at most %(limit)d of a team's cases running at once")
        parts.append(words % {"limit": phase.running_limit_per_team})
    return ", ".join(parts)


@require_GET
def board(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The ranking. Search, sorting and view live in the address."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(request, phase.challenge, tab="leaderboard", phase=phase)
    own = {team.slug for team in teams_of(user=request.user)} if request.user.is_authenticated else set()
    search, sort, view = (request.GET.get(key, "") for key in ("q", "sort", "view"))
    as_format, number = request.GET.get("format", ""), page_number(request)
    division = request.GET.get("division", "")
    division = division if division in phase.divisions else ""
    as_participant = page["can_manage"] and "participant" in request.GET
    wanted = Wanted(search=search, sort=sort, view=view or POOLED, division=division, as_participant=as_participant)
    if as_format not in FORMATS:
        wanted = replace(wanted, offset=(number - 1) * PAGE, limit=PAGE)
    found = leaderboard(phase, is_organizer=page["can_manage"], now=timezone.now(), wanted=wanted)
    shown = board_page(found, wanted=wanted, own_teams=own, page=number, sees_all=page["can_manage"])
    if sort and shown.withholds:  # an order by means that are withheld would tell them
        wanted = replace(wanted, sort="")
        found = leaderboard(phase, is_organizer=page["can_manage"], now=timezone.now(), wanted=wanted)
        shown = board_page(found, wanted=wanted, own_teams=own, page=number, sees_all=page["can_manage"])
    if number > shown.pages:
        return HttpResponseRedirect(f"?{urlencode(request.GET.dict() | {'page': shown.pages})}")
    if as_format in FORMATS:
        header, rows = board_table(shown, found.metrics)
        return table_file(name=f"{slug}-{phase_slug}", header=header, rows=rows, as_format=as_format)
    page.update(board=shown, q=search, sort=sort, view=view, division=division, caveats=caveats_of(phase))
    page["curves"] = curves_of(found, wanted=wanted)
    page["ranking_words"] = ranking_words(rules_of(phase.protocol))
    page["shows_cases"] = _shows_cases(phase, page)
    page["shows_report"] = page["shows_cases"] or phase.opens_after("reports")
    page["as_participant"] = as_participant
    page["has_hospitals"] = phase.evaluation_sites.exists()
    return render(request, "portal/leaderboard.html", page)


@require_GET
def compare(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Two or three rows side by side, named by their numbers in the address. Else a list to choose from."""
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(request, phase.challenge, tab="leaderboard", phase=phase)
    chosen = {int(text) for text in request.GET.getlist("s") if text.isdecimal() and len(text) < 10}
    is_enough = 2 <= len(chosen) <= MOST_ROWS
    wanted = Wanted(numbers=chosen) if is_enough else Wanted(limit=PAGE)
    found = leaderboard(phase, is_organizer=page["can_manage"], now=timezone.now(), wanted=wanted)
    rows = found.entries
    shows_cases = _shows_cases(phase, page)
    page.update(rows=rows, chosen=chosen, embargo_words=found.why_hidden, shows_cases=shows_cases)
    if is_enough and len(rows) > 1:
        comparison = compare_rows(rows, phase=phase, columns=found.metrics, shows_cases=shows_cases)
        if (as_format := request.GET.get("format", "")) in FORMATS:
            header, lines = comparison_table(comparison)
            return table_file(name=f"{slug}-{phase_slug}-compared", header=header, rows=lines, as_format=as_format)
        page["comparison"] = comparison_page(comparison)
    return render(request, "portal/compare.html", page)


def _shows_cases(phase: Phase, page: dict[str, Any]) -> bool:
    """Whether this viewer may see single cases of everybody, once the ranking is shown."""
    return bool(page["can_manage"]) or not (is_closed_phase(phase) or phase.has_shown_part)


@require_http_methods(["GET", "HEAD", "POST"])
def report(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponseBase:
    """The statistics behind the ranking, one file to keep. A worker makes it when it is first asked for.

    It shows every case, so that of a phase on closed cases is the organizers'.
    """
    phase = get_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    page = frame(request, phase.challenge, tab="leaderboard", phase=phase)
    found = leaderboard(phase, is_organizer=page["can_manage"], now=timezone.now(), wanted=Wanted(limit=1))
    if not found.entries or not (_shows_cases(phase, page) or phase.opens_after("reports")):
        return redirect("portal:leaderboard", slug, phase_slug)
    key = report_key(phase)
    if request.method == "POST":
        forget_report_failure(phase)
    if not has_file(key):
        if (why := report_failure(phase)) is not None:
            page["why"] = why if page["can_manage"] else ""
            return render(request, "portal/report_failed.html", page, status=500)
        doorbells.ring_report(phase.pk)
        return render(request, "portal/report_wait.html", page, status=202)
    answer = FileResponse(open_file(key), content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = REPORT_POLICY
    return answer
