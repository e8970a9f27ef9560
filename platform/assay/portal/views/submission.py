"""Handing in, watching, cancelling."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from assay.accounts.errors import AssayError
from assay.accounts.models import Team, User
from assay.accounts.origins import origin_of
from assay.challenges.access import get_phase, is_organizer, signed_in
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import as_seen
from assay.pages.errors import error_words, refuse_form
from assay.pages.submissions import page_version, submission_page
from assay.pages.tables import FORMATS, table_file
from assay.pages.typed import again
from assay.portal.facts import archive_tree, expected_files
from assay.portal.forms import SubmitForm
from assay.portal.views.challenge import frame
from assay.submissions import uploads
from assay.submissions.access import competing_team, get_own_submission, get_readable_submission, given_file
from assay.submissions.code_parts import takes_code, wheels_of
from assay.submissions.kept import kept_files
from assay.submissions.models import Submission, Upload
from assay.submissions.referring import refer
from assay.submissions.registry import Login
from assay.submissions.selectors import eligibility_of, unfinished_uploads
from assay.submissions.services import Entry, purpose_of
from assay.testsets.selectors import case_names
from assay.workflow import flow
from assay.workflow.flow.keeping import ask_for_deletion
from containers.spec import MODEL_FOLDER


def submit(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The form, and what becomes of it."""
    user = signed_in(request.user)
    phase = get_phase(person=user, challenge_slug=slug, phase_slug=phase_slug)
    is_container, is_code = phase.kind == Phase.Kind.CONTAINER, takes_code(phase)
    team = competing_team(person=user, phase=phase)
    kept = again(request)
    form = SubmitForm(
        request.POST or None,
        request.FILES or None,
        initial={name: kept.get(name) for name in ("upload_id", "model_upload_id")} if kept else None,
        is_container=is_container,
        is_code=is_code,
        takes_command=rules_of(phase.protocol).resources.takes_command,
        kept=kept_files(team) if team and is_container and not is_code else (),
        divisions=phase.divisions,
    )
    if request.method == "POST" and form.is_valid():
        try:
            submission = _hand_in(request, user, phase, team, form.cleaned_data)
        except AssayError as error:
            form.add_error(error.field if error.field in form.fields else None, error_words(error))
        else:
            return redirect("portal:submission", submission.pk)
    page = frame(request, phase.challenge, tab="phase", phase=phase)
    page.update(form=form, was_refused=kept is not None or bool(form.errors))
    if is_code:
        page["wheels"] = wheels_of(phase)
    page["takes"] = str(purpose_of(phase))
    page["eligibility"] = eligibility_of(person=user, phase=phase, now=timezone.now())
    if phase.kind == Phase.Kind.PREDICTIONS:
        paths = expected_files(rules_of(phase.protocol), case_names(phase))
        page.update(expected_files=paths, archive_tree=archive_tree(paths))
    purposes = [purpose_of(phase), *([Upload.Purpose.MODEL] if is_container and not is_code else [])]
    page["unfinished"] = unfinished_uploads(user=user, now=timezone.now()).filter(purpose__in=purposes)
    page["origin"] = request.build_absolute_uri("/").rstrip("/")
    return render(request, "portal/submit.html", page, status=refuse_form(request, form))


def _hand_in(request: HttpRequest, user: User, phase: Phase, team: Team | None, data: Mapping[str, Any]) -> Submission:
    now = timezone.now()
    purpose = purpose_of(phase)
    names = {"upload_id": data["upload_id"], "sha256": data.get("kept_image", ""), "file": data["archive"]}
    upload = _given(user, team, purpose=purpose, **names)
    if upload is None:
        login = Login(user=data.get("registry_user", ""), password=data.get("registry_password", ""))
        upload = refer(user=user, phase=phase, reference=data.get("reference", ""), login=login, now=now)
    names = {
        "upload_id": data.get("model_upload_id"),
        "sha256": data.get("kept_model", ""),
        "file": data.get("model"),
    }
    model = _given(user, team, purpose=Upload.Purpose.MODEL, **names)
    entry = Entry(
        user=user,
        phase=phase,
        team=team,
        upload=upload,
        name=data["name"],
        description=data["description"],
        url=data["url"],
        origin_hash=origin_of(request, challenge_id=phase.challenge_id),
        division=data.get("division", ""),
        allows_duplicate=data["allow_duplicate"],
        model=model,
        model_folder=data.get("model_folder") or MODEL_FOLDER,
        command=data.get("command", ""),
    )
    return flow.submit(entry, now=now)


def _given(
    user: User, team: Team | None, *, purpose: Upload.Purpose, upload_id: UUID | None, sha256: str, file: object
) -> Upload | None:
    """The file that a form names: a new one before one that the team has handed in before."""
    if upload_id is None and isinstance(file, UploadedFile):
        return _take(user, purpose, file)
    return given_file(person=user, team=team, upload_id=upload_id, sha256=sha256, purpose=purpose)


def _take(user: User, purpose: Upload.Purpose, archive: "UploadedFile[bytes]") -> Upload:
    """Without JavaScript the file comes with the form, in one piece. It takes the same road from here."""
    now = timezone.now()
    upload = uploads.start_upload(
        user=user, filename=archive.name or "archive", purpose=purpose, total_bytes=archive.size or 0, now=now
    )
    return uploads.append(upload=upload, offset_bytes=0, stream=archive, now=now)


def _see(request: HttpRequest, submission_id: UUID) -> tuple[Submission, bool]:
    """The submission, and whether the viewer may cancel it: its team and organizers. Others read it once a release has opened it."""
    submission = get_readable_submission(person=request.user, submission_id=submission_id, now=timezone.now())
    organizes = is_organizer(person=request.user, challenge=submission.challenge)
    submission = as_seen(submission, is_insider=False)  # organizers have a page of their own
    return submission, organizes or submission.team.members.filter(pk=request.user.pk).exists()


@require_GET
def detail(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    """Everything about one submission."""
    submission, can_cancel = _see(request, submission_id)
    view = submission_page(submission, is_organizer=False, can_cancel=can_cancel, now=timezone.now())
    if not can_cancel:
        view = replace(view, intake=(), intake_warnings=(), has_receipt=False)
    if (as_format := request.GET.get("format", "")) in FORMATS:
        header = ["case", "verdict", *(metric.name for metric in view.metrics), "seconds", "peak_memory_bytes"]
        rows = [[row.name, row.verdict, *row.values, row.seconds, row.peak_memory_bytes] for row in view.case_rows]
        return table_file(name=f"submission-{submission.number}", header=header, rows=rows, as_format=as_format)
    page = frame(request, submission.challenge, tab="phase", phase=submission.phase, submission=submission, view=view)
    return render(request, "portal/submission.html", page)


@require_GET
def live(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    """The changing part alone; 204 while it is what the page shows already."""
    submission, can_cancel = _see(request, submission_id)
    if request.GET.get("v") == page_version(submission, is_organizer=False, now=timezone.now()):
        return HttpResponse(status=204)
    view = submission_page(submission, is_organizer=False, can_cancel=can_cancel, now=timezone.now())
    return render(request, "pages/_submission_live.html", {"submission": submission, "view": view})


@require_POST
def decide(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    """What a team decides about its own submission: choose it, take it back, take it up again."""
    submission, user = get_own_submission(person=request.user, submission_id=submission_id)
    now = timezone.now()
    match request.POST.get("action"):
        case "choose":
            flow.choose(submission=submission, by=user, now=now)
            messages.success(request, _("This submission stands for your team now."))
        case "withdraw":
            flow.withdraw(submission=submission, by=user, now=now)
            messages.success(request, _("Taken back. The leaderboard no longer shows it."))
        case "restore":
            flow.take_up_again(submission=submission, by=user, now=now)
            messages.success(request, _("Taken up again. The leaderboard counts it."))
        case "ask-deletion":
            ask_for_deletion(submission=submission, by=user, now=now)
            messages.success(request, _("Asked. The organizers decide, and this page says when the files are gone."))
    return redirect("portal:submission", submission.pk)


@require_POST
def cancel(request: HttpRequest, submission_id: UUID) -> HttpResponse:
    """Stop it, wherever it is."""
    submission, can_cancel = _see(request, submission_id)
    if can_cancel:
        flow.cancel(submission_id=submission.pk, by=signed_in(request.user), now=timezone.now())
    return redirect("portal:submission", submission.pk)
