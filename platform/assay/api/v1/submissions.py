"""Submissions: entering one, following it, and what organizers may do to it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Router, Status

from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError, NotFoundError
from assay.accounts.origins import origin_of
from assay.api.auth import person_of, user_of
from assay.api.v1 import schemas
from assay.challenges.access import Person, get_phase, is_organizer, organized_challenges
from assay.challenges.protocols import rules_of
from assay.evaluations import selectors as evaluations
from assay.evaluations.disclosure import as_seen, is_closed
from assay.runs import selectors as runs
from assay.runs.selectors import CaseRow, Progress
from assay.submissions.access import (
    competing_team,
    get_organized_submission,
    get_own_submission,
    get_readable_submission,
    get_submission,
    get_submissions,
    given_file,
    may_see_log,
    visible_submissions,
)
from assay.submissions.images import warnings_of
from assay.submissions.kept import kept_files, kept_json
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.referring import refer
from assay.submissions.registry import Login
from assay.submissions.selectors import case_aliases, stepper, submission_list
from assay.submissions.services import Entry, purpose_of, twin_of
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.flow import resuming
from assay.workflow.flow.keeping import ask_for_deletion, delete_files
from assay.workflow.flow.waiting import line_of
from containers.log_text import readable

router = Router()
phase_router = Router()
PAGE_LIMIT = 200
INTAKE_FACTS = (
    "architecture",
    "layers",
    "bytes",
    "entrypoint",
    "user",
    "base_os",
    "versions",
    "neutralised",
)


@phase_router.post("/{slug}/phases/{phase}/submissions", response={201: schemas.SubmissionOut})
def submit(request: HttpRequest, slug: str, phase: str, body: schemas.SubmissionIn) -> Status[dict[str, Any]]:
    """Enter an uploaded image, a zip of code or of predictions, in a phase."""
    user = user_of(request)
    row = get_phase(person=user, challenge_slug=slug, phase_slug=phase)
    team = competing_team(person=user, phase=row, team_slug=body.team)
    upload = given_file(person=user, team=team, upload_id=body.upload_id, sha256=body.sha256, purpose=purpose_of(row))
    if upload is None and body.reference:
        login = Login(user=body.registry_user, password=body.registry_password)
        upload = refer(user=user, phase=row, reference=body.reference, login=login, now=timezone.now())
    if upload is None:
        raise InvalidError(_("Nothing was handed in."), expected=_("`upload_id`, `sha256` or `reference`"))
    model = given_file(
        person=user,
        team=team,
        upload_id=body.model_upload_id,
        sha256=body.model_sha256,
        purpose=Upload.Purpose.MODEL,
    )
    entry = Entry(
        user=user,
        phase=row,
        team=team,
        upload=upload,
        name=body.name,
        description=body.description,
        url=body.url,
        allows_duplicate=body.allow_duplicate,
        origin_hash=origin_of(request, challenge_id=row.challenge_id),
        division=body.division,
        model=model,
        model_folder=body.model_folder,
        command=body.command,
    )
    submission = flow.submit(entry, now=timezone.now())
    return Status(201, detail(submission=get_submission(person=user, submission_id=submission.pk), person=user))


@phase_router.get("/{slug}/phases/{phase}/kept", response=list[schemas.KeptFileOut])
def kept(request: HttpRequest, slug: str, phase: str) -> list[dict[str, Any]]:
    """Images and models that your team has handed in before, newest first. Submit them by their `sha256`."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    team = competing_team(person=person, phase=row)
    return [kept_json(file) for file in kept_files(team)] if team else []


@phase_router.get("/{slug}/phases/{phase}/twin", response=schemas.TwinOut)
def twin(request: HttpRequest, slug: str, phase: str, sha256: str, model_sha256: str = "") -> dict[str, Any]:
    """Whether your team has submitted this very file to the phase before, to be asked before it is sent."""
    person = person_of(request)
    row = get_phase(person=person, challenge_slug=slug, phase_slug=phase)
    team = competing_team(person=person, phase=row)
    found = twin_of(phase=row, team=team, sha256=sha256, model_sha256=model_sha256) if team else None
    return {"number": found.number if found else None, "name": found.name if found else ""}


@router.get("", response=schemas.SubmissionPage)
def list_submissions(
    request: HttpRequest,
    challenge: str = "",
    phase: str = "",
    status: str = "",
    mine: bool = False,
    limit: int = 50,
    offset: schemas.Offset = 0,
) -> dict[str, Any]:
    """Submissions you may see, newest first. Positions in the queue and metrics are in the single submission."""
    person = person_of(request)
    rows = submission_list(person=person, challenge=challenge, phase=phase, status=status, is_mine=mine)
    page = list(rows[max(0, offset) : max(0, offset) + min(max(1, limit), PAGE_LIMIT)])
    progress = runs.progress([row.pk for row in page])
    organized = organized_challenges(person=person)
    items = [brief(submission=row, progress=progress[row.pk], is_insider=row.challenge_id in organized) for row in page]
    return {"items": items, "count": rows.count()}


@router.post("/cancel", response=schemas.CancelledOut)
def cancel_all(request: HttpRequest, chosen: schemas.SubmissionsIn) -> dict[str, Any]:
    """Stop many at once. Running containers are killed. Those that had ended already are left out of `cancelled`."""
    user = user_of(request)
    known = get_submissions(person=user, submission_ids=chosen.submission_ids)
    ids = [submission.pk for submission in known]
    return {"cancelled": flow.cancel_all(submission_ids=ids, by=user, now=timezone.now())}


@router.post("/resume", response=schemas.ResumedOut)
def resume_all(request: HttpRequest, chosen: schemas.SubmissionsIn) -> dict[str, Any]:
    """Take up again what failed by no fault of its team, where it stopped. What has not is left out of `resumed`."""
    person = person_of(request)
    found = [get_organized_submission(person=person, submission_id=pk)[0] for pk in chosen.submission_ids]
    ids = [submission.pk for submission in found]
    return {"resumed": resuming.resume_all(submission_ids=ids, by=user_of(request), now=timezone.now())}


@router.post("/delete-files", response=schemas.DeletedFilesOut)
def delete_files_of(request: HttpRequest, chosen: schemas.FilesIn) -> dict[str, Any]:
    """Delete the images, predictions and logs of these submissions, for good. Scores, ranks and receipts stay."""
    person = person_of(request)
    found = [get_organized_submission(person=person, submission_id=pk)[0] for pk in chosen.submission_ids]
    ids = [submission.pk for submission in found]
    return {"deleted": delete_files(submission_ids=ids, reason=chosen.reason, by=user_of(request), now=timezone.now())}


@router.get("/{submission_id}", response=schemas.SubmissionOut)
def show(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """One submission: where it is, what it waits for, how it ended, and its metrics once they are released.

    Where the release of a phase has opened its submissions, those of others as well, without their image.
    """
    person, now = person_of(request), timezone.now()
    submission = get_readable_submission(person=person, submission_id=submission_id, now=now)
    is_theirs = submission in visible_submissions(person=person).filter(pk=submission_id)
    return detail(submission=submission, person=person) | ({} if is_theirs else {"image": None, "facts": {}})


@router.get("/{submission_id}/cases", response=list[schemas.CaseOut])
def cases(request: HttpRequest, submission_id: UUID) -> list[dict[str, Any]]:
    """Every case: how its run ended, and its scores where they are released. Hidden cases have numbers for names.

    Where the protocol releases no single cases the list is empty, for everybody but organizers.
    """
    person = person_of(request)
    submission = get_readable_submission(person=person, submission_id=submission_id, now=timezone.now())
    is_insider = is_organizer(person=person, challenge=submission.challenge)
    if not is_insider and is_closed(submission):
        return []
    aliases = case_aliases(submission=submission, is_insider=is_insider)
    scores = evaluations.case_scores(submission, is_organizer=is_insider, now=timezone.now())
    scored = {row.case_id: row.scores for row in scores or []}
    return [
        case_document(row, alias=aliases.get(row.case_id, f"run {row.position + 1}"), scores=scored.get(row.case_id))
        for row in runs.case_progress(submission.pk)
    ]


@router.post("/{submission_id}/cancel", response=schemas.SubmissionOut)
def cancel(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """Stop it wherever it is. Running containers are killed."""
    user = user_of(request)
    submission = get_submission(person=user, submission_id=submission_id)
    if not flow.cancel(submission_id=submission.pk, by=user, now=timezone.now()):
        raise ConflictError(
            _("It has ended or is being cancelled already."), code="not_running", found=submission.status
        )
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.get("/{submission_id}/receipt", response=schemas.SignedDocument)
def receipt(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """The signed receipt; `assay verify` checks it offline."""
    person = person_of(request)
    submission = get_submission(person=person, submission_id=submission_id)
    is_insider = is_organizer(person=person, challenge=submission.challenge)
    document = evaluations.receipt(submission, is_organizer=is_insider)
    if document is None:
        raise NotFoundError(
            _("There is no receipt yet."), found=submission.status, what_to_do=_("Wait until it is scored.")
        )
    return document


@router.get("/{submission_id}/logs", response={200: None}, openapi_extra=schemas.file_of("text/plain"))
def logs(request: HttpRequest, submission_id: UUID) -> StreamingHttpResponse:
    """What the algorithm wrote to its log, case by case. For organizers. For participants where all cases are public."""
    person = person_of(request)
    submission = get_submission(person=person, submission_id=submission_id)
    if not may_see_log(person=person, submission=submission):
        raise NotAllowedError(
            _("Logs on hidden cases are for organizers: a log is a way out for hidden data."),
            what_to_do=_("Run your image on the public cases, where you see everything: `assay run`."),
        )
    aliases = case_aliases(
        submission=submission, is_insider=is_organizer(person=person, challenge=submission.challenge)
    )
    return StreamingHttpResponse(
        log_lines(runs.case_progress(submission.pk), aliases=aliases), content_type="text/plain; charset=utf-8"
    )


@router.post("/{submission_id}/choose", response=schemas.SubmissionOut)
def choose(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """Let it stand for your team in a phase whose board shows what teams choose. Until the phase closes."""
    submission, user = get_own_submission(person=person_of(request), submission_id=submission_id)
    flow.choose(submission=submission, by=user, now=timezone.now())
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.post("/{submission_id}/withdraw", response=schemas.SubmissionOut)
def withdraw(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """Take it off the leaderboard. Its attempt stays used. Until the phase closes."""
    submission, user = get_own_submission(person=person_of(request), submission_id=submission_id)
    flow.withdraw(submission=submission, by=user, now=timezone.now())
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.post("/{submission_id}/restore", response=schemas.SubmissionOut)
def restore(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """Undo a withdrawal. Until the phase closes."""
    submission, user = get_own_submission(person=person_of(request), submission_id=submission_id)
    flow.take_up_again(submission=submission, by=user, now=timezone.now())
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.post("/{submission_id}/ask-deletion", response={202: schemas.SubmissionOut})
def ask_deletion(request: HttpRequest, submission_id: UUID) -> Status[dict[str, Any]]:
    """Ask the organizers to delete the image, predictions and logs of a submission of your team. They decide."""
    submission, user = get_own_submission(person=person_of(request), submission_id=submission_id)
    if not ask_for_deletion(submission=submission, by=user, now=timezone.now()):
        raise ConflictError(_("You have asked already, or the files are gone."), code="asked_already")
    return Status(202, detail(submission=get_submission(person=user, submission_id=submission_id), person=user))


@router.post("/{submission_id}/disqualify", response=schemas.SubmissionOut)
def disqualify(request: HttpRequest, submission_id: UUID, body: schemas.Reason) -> dict[str, Any]:
    """Take it out of the ranking, with a reason its team reads. Its scores stay."""
    submission, user = get_organized_submission(person=person_of(request), submission_id=submission_id)
    if not flow.disqualify(submission_id=submission.pk, reason=body.reason, by=user, now=timezone.now()):
        raise ConflictError(_("It is disqualified already."), found=submission.disqualified_reason)
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.post("/{submission_id}/rejudge", response={202: schemas.RejudgeOut})
def rejudge(request: HttpRequest, submission_id: UUID) -> Status[dict[str, Any]]:
    """Score again what its run produced, by the phase's present rules. Nothing ranks until it is activated."""
    submission, user = get_organized_submission(person=person_of(request), submission_id=submission_id)
    asked = flow.rejudge(submission_ids=[submission.pk], by=user, now=timezone.now())
    if not asked:
        raise ConflictError(_("There is no finished run to score again."), found=submission.status)
    return Status(202, {"evaluations": [evaluation.pk for evaluation in asked]})


@router.post("/{submission_id}/resume", response=schemas.SubmissionOut)
def resume(request: HttpRequest, submission_id: UUID) -> dict[str, Any]:
    """Take it up again where it stopped, by the phase's present rules: cases that ended well are kept, and nobody is charged."""
    submission, user = get_organized_submission(person=person_of(request), submission_id=submission_id)
    if not resuming.resume(submission_id=submission.pk, by=user, now=timezone.now()):
        raise ConflictError(
            _("Only what failed by the organizers' fault or ours is taken up again."),
            found=f"{submission.status} {submission.fault}".strip(),
            what_to_do=_("Run a single case again, or ask the team to submit again."),
        )
    return detail(submission=get_submission(person=user, submission_id=submission_id), person=user)


@router.post("/{submission_id}/cases/{case}/rerun", response={202: schemas.RerunOut})
def rerun(request: HttpRequest, submission_id: UUID, case: str) -> Status[dict[str, Any]]:
    """Run one case again and keep the others. A finished submission's rank waits until the new scores are activated."""
    submission, user = get_organized_submission(person=person_of(request), submission_id=submission_id)
    run = resuming.rerun_case(submission_id=submission.pk, case_id=case, by=user, now=timezone.now())
    return Status(202, {"run": run.number})


def detail(*, submission: Submission, person: Person) -> dict[str, Any]:
    """One submission with everything this person may know of it."""
    now = timezone.now()
    is_insider = is_organizer(person=person, challenge=submission.challenge)
    place = line_of(submission, now=now)
    return {
        **brief(submission=submission, progress=runs.progress([submission.pk])[submission.pk], is_insider=is_insider),
        "queue": {
            "position": place.position,
            "eta_seconds": place.eta_seconds if is_insider or not is_closed(submission) else None,
            "why": place.why,
        },
        "metrics": evaluations.released_summary(submission, is_organizer=is_insider, now=now),
    }


def brief(*, submission: Submission, progress: Progress, is_insider: bool) -> dict[str, Any]:
    """A submission as it stands in a list. Needs no further query."""
    has_started = progress.has_started
    if not is_insider and is_closed(submission):
        submission, progress = as_seen(submission, is_insider=False), Progress()
    names = (
        "id number name description status verdict reason facts verdict_text fault is_charged is_disqualified disqualified_reason "
        "is_withdrawn is_chosen is_late division rerun_of_id created_at finished_at"
    )
    return {
        **{name: getattr(submission, name) for name in names.split()},
        "rerun_of": submission.rerun_of_id,
        "challenge": submission.challenge.slug,
        "phase": submission.phase.slug,
        "team": submission.team.name,
        "repository_url": submission.url,
        "stepper": [{"name": step.name, "state": step.state} for step in stepper(submission, has_started=has_started)],
        "image": image_document(submission, submission.image) if submission.image else None,
        "protocol_sha256": submission.protocol.sha256,
        "testset_sha256": submission.testset.sha256,
        "progress": {
            "total": progress.total,
            "done": progress.done + progress.failed,
            "failed": progress.failed,
            "running": progress.running,
            "waiting": progress.waiting,
        },
        "queue": None,
        "metrics": None,
        "url": f"{settings.PUBLIC_URL}/s/{submission.pk}/",
    }


def image_document(submission: Submission, image: AlgorithmImage) -> dict[str, Any]:
    """What intake found, in facts its team may read."""
    return {
        "status": image.status,
        "reason": image.reason,
        "archive_sha256": image.archive_sha256,
        "reference": image.upload.reference if image.upload else "",
        "model_sha256": image.model_sha256,
        "model_folder": image.model_folder,
        "uploaded_image_id": image.uploaded_image_id,
        "image_id": image.image_id,
        **{name: image.report[name] for name in INTAKE_FACTS if name in image.report},
        "warnings": warnings_of(image, profile=rules_of(submission.protocol).resources.profile),
    }


def case_document(row: CaseRow, *, alias: str, scores: list[list[Any]] | None) -> dict[str, Any]:
    """One case under the name this person may know it by."""
    names = "position status verdict reason seconds peak_memory_bytes attempt"
    return {**{name: getattr(row, name) for name in names.split()}, "case": alias, "scores": scores}


def log_lines(rows: list[CaseRow], *, aliases: dict[str, str]) -> Iterator[bytes]:
    """The logs one after the other, each under its case's name, control characters as visible symbols."""
    for row in rows:
        if row.log_key and storage.has_file(row.log_key):
            yield f"==> {aliases.get(row.case_id, f'run {row.position + 1}')}\n".encode()
            with storage.open_file(row.log_key) as file:
                while piece := file.readline(storage.CHUNK_BYTES):
                    yield readable(piece).encode()
            yield b"\n"
