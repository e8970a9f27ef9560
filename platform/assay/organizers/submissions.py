"""Every submission of a challenge: found by anything, acted on one by one or many at once, with a look at how many before it is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assay.accounts.identifiers import identifier
from assay.accounts.models import User
from assay.challenges.access import get_reviewed_challenge, require_organizer, signed_in
from assay.challenges.models import Challenge
from assay.evaluations.history import scorings_of
from assay.organizers.filters import choices_of, filter_of
from assay.organizers.logs import with_logs
from assay.organizers.telemetry import usage_charts
from assay.organizers.views import frame
from assay.pages.submissions import submission_page, with_progress
from assay.pages.tables import FORMATS, PAGE, before_row, table_file
from assay.runs.selectors import case_progress
from assay.submissions.access import get_reviewed_submission
from assay.submissions.models import Submission
from assay.submissions.selectors import newest_of
from assay.workflow import flow
from assay.workflow.flow import resuming
from assay.workflow.flow.keeping import delete_files
from assay.workflow.flow.resuming import rerun_case

SHOWN = 20
"""How many of the chosen are listed before a bulk act."""
MOST_AT_ONCE = 2000
Text = str | Promise
Run = Callable[[list[UUID], str, User, datetime], int]


@dataclass(frozen=True, kw_only=True)
class Act:
    """One thing to do with submissions. `said` is told afterwards, with how many it was done to. `note` is what is asked for."""

    button: Text
    said: Text
    run: Run
    note: Text = ""
    is_note_needed: bool = False


def _each(act: Callable[..., bool]) -> Run:
    """An act on one submission as an act on many."""
    return lambda ids, note, user, now: sum(act(submission_id=pk, reason=note, by=user, now=now) for pk in ids)


def _reinstate(ids: list[UUID], _note: str, user: User, now: datetime) -> int:
    return sum(flow.reinstate(submission_id=pk, by=user, now=now) for pk in ids)


def _deleting(ids: list[UUID], note: str, user: User, now: datetime) -> int:
    return delete_files(submission_ids=ids, reason=note, by=user, now=now)


def _marking(verb: str) -> Run:
    return lambda ids, note, user, now: len(flow.mark(submission_ids=ids, verb=verb, note=note, by=user, now=now))


def _all_of(act: Callable[..., Sequence[Any]]) -> Run:
    return lambda ids, _note, user, now: len(act(submission_ids=ids, by=user, now=now))


ACTS: Mapping[str, Act] = {
    "cancel": Act(
        button=_("Cancel"),
        said=_("%(done)s of %(mine)s will stop; the others had ended."),
        run=_all_of(flow.cancel_all),
    ),
    "rejudge": Act(
        button=_("Score again"),
        said=_("%(done)s are being scored again; the leaderboard does not change until you activate them."),
        run=_all_of(flow.rejudge),
    ),
    "resume": Act(
        button=_("Take up again"),
        said=_("%(done)s of %(mine)s go on where they stopped. No attempt is charged for it."),
        run=_all_of(resuming.resume_all),
    ),
    "disqualify": Act(
        button=_("Disqualify"),
        said=_("Disqualified. Everybody sees your reason below the ranking."),
        run=_each(flow.disqualify),
        note=_("Reason, shown to everybody below the ranking"),
        is_note_needed=True,
    ),
    "reinstate": Act(button=_("Reinstate"), said=_("Reinstated. The ranking counts it again."), run=_reinstate),
    "hide": Act(
        button=_("Hide from the board"),
        said=_("%(done)s of %(mine)s stand on no board now. Their teams see them as before."),
        run=_marking("hidden"),
    ),
    "show": Act(
        button=_("Show on the board"),
        said=_("%(done)s of %(mine)s stand on the board again."),
        run=_marking("shown"),
    ),
    "flag": Act(
        button=_("Flag"),
        said=_("%(done)s of %(mine)s are flagged. Only organizers see it."),
        run=_marking("flagged"),
        note=_("Note, for organizers alone"),
        is_note_needed=True,
    ),
    "unflag": Act(button=_("Take the flag off"), said=_("%(done)s flags are gone."), run=_marking("unflagged")),
    "refund": Act(
        button=_("Give the attempt back"),
        said=_("%(done)s of %(mine)s count against no limit now."),
        run=_marking("refunded"),
    ),
    "delete-files": Act(
        button=_("Delete image, predictions and logs"),
        said=_(
            "The files of %(done)s of %(mine)s are deleted. Scores and ranks stay. What is unfinished was left out."
        ),
        run=_deleting,
        note=_("Reason, for the history of the challenge"),
        is_note_needed=True,
    ),
    "charge": Act(
        button=_("Count the attempt"),
        said=_("%(done)s of %(mine)s count against the limit again."),
        run=_marking("charged"),
    ),
}


def submissions(request: HttpRequest, slug: str) -> HttpResponse:
    """The list. A bulk act is shown with how many it concerns, then done. As CSV with `?format=csv`."""
    challenge, user = get_reviewed_challenge(person=request.user, slug=slug)
    now = timezone.now()
    chosen = filter_of(request)
    rows = chosen.rows(challenge, now=now)
    page = frame(challenge, tab="submissions", values=chosen.values, acts=ACTS)
    if request.method == "POST":
        require_organizer(person=user, challenge=challenge)
        ids = _chosen(request, [*rows.values_list("pk", flat=True)])
        mine = list(challenge.submissions.select_related("team").filter(pk__in=ids).order_by("-created_at", "-number"))
        name = request.POST.get("action", "")
        if not mine or name not in ACTS:
            messages.error(request, gettext("Nothing was done: choose submissions, and what to do with them."))
            return redirect(request.get_full_path())
        if request.POST.get("confirmed") == str(len(mine)) and _do(request, name, mine, user=user):
            return redirect(request.get_full_path())
        page.update(asked=ACTS[name], asked_name=name, asked_rows=mine[:SHOWN], asked_ids=[row.pk for row in mine])
        page["note"] = request.POST.get("reason", "")
        page["has_changed"] = "confirmed" in request.POST and request.POST["confirmed"] != str(len(mine))
    if (as_format := request.GET.get("format", "")) in FORMATS:
        return _file(challenge, list(rows[:MOST_AT_ONCE]), as_format=as_format)
    listed, older = newest_of(rows, length=PAGE, before=before_row(request))
    page.update(submissions=with_progress(listed, sees_all=True), total=rows.count(), older=older)
    page["choices"] = choices_of(challenge, chosen)
    return render(request, "organizers/submissions.html", page)


def _chosen(request: HttpRequest, matching: list[UUID]) -> list[UUID]:
    """The ticked ones, or all that match."""
    if request.POST.get("scope") == "matching":
        return matching[:MOST_AT_ONCE]
    return [identifier(value) for value in request.POST.getlist("chosen")[:MOST_AT_ONCE]]


def _do(request: HttpRequest, name: str, rows: Sequence[Submission], *, user: User) -> bool:
    """Do it; False where a note is asked for and missing."""
    act, note = ACTS[name], request.POST.get("reason", "").strip()
    if act.is_note_needed and not note:
        messages.error(request, gettext("Nothing was done: %(note)s is missing.") % {"note": act.note})
        return False
    done = act.run([row.pk for row in rows], note, user, timezone.now())
    messages.success(request, str(act.said) % {"done": done, "mine": len(rows)})
    return True


def _file(challenge: Challenge, rows: Sequence[Submission], *, as_format: str) -> HttpResponse:
    header = (
        *("phase", "number", "name", "team", "status", "verdict", "fault", "division", "disqualified", "withdrawn"),
        *("hidden", "late", "baseline", "charged", "flag", "submitted_at", "finished_at", "id"),
    )
    lines = [
        (
            *(row.phase.slug, row.number, row.name, row.team.name, row.status, row.verdict, row.fault, row.division),
            *(row.is_disqualified, row.is_withdrawn, row.is_hidden, row.is_late, row.is_baseline, row.is_charged),
            *(row.flag, row.created_at.isoformat(), row.finished_at.isoformat() if row.finished_at else "", row.pk),
        )
        for row in rows
    ]
    return table_file(name=f"{challenge.slug}-submissions", header=header, rows=lines, as_format=as_format)


def submission(request: HttpRequest, slug: str, submission_id: UUID) -> HttpResponse:
    """One submission with everything: cases, logs, telemetry, decisions."""
    challenge, user = get_reviewed_challenge(person=request.user, slug=slug)
    found, _by = get_reviewed_submission(person=request.user, submission_id=submission_id)
    if request.method == "POST":
        require_organizer(person=user, challenge=challenge)
        if request.POST.get("action") == "rerun":
            _rerun(request, found.pk)
        elif (name := request.POST.get("action", "")) in ACTS:
            _do(request, name, [found], user=user)
        return redirect("organizers:submission", slug, found.pk)
    view = submission_page(found, is_organizer=True, can_cancel=False, now=timezone.now())
    rows = case_progress(found.pk)
    page = frame(challenge, tab="submissions", submission=found, view=view, logs=with_logs(rows), case_links=True)
    page["charts"] = usage_charts(found)
    page["scorings"] = scorings_of(found)
    page["can_resume"] = resuming.is_resumable(found)
    page["rerunnable"] = [row.case_id for row in rows if row.case_id] if found.image_id else []
    return render(request, "organizers/submission.html", page)


def _rerun(request: HttpRequest, submission_id: UUID) -> None:
    case_id = request.POST.get("case", "")
    rerun_case(submission_id=submission_id, case_id=case_id, by=signed_in(request.user), now=timezone.now())
    said = gettext(
        "Case %(case_id)s runs again; the others are kept. A rank changes only once you let the scores count."
    )
    messages.success(request, said % {"case_id": case_id})
