"""The checker's work: is what was uploaded something that can be run, or scored?

Container archives are inspected and rewritten by `containers.intake`, in its own limited child process. Prediction archives are
unpacked, and every file goes through the strict reader. Refusals are reasons of `submissions.reasons`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from assay.challenges.protocols import rules_of
from assay.notices.outbound import NotReachedError
from assay.submissions.images import accept_image, reject_image
from assay.submissions.kept import Source, image_source, model_source
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.reasons import LONGEST_FACT, Reason, Told
from assay.submissions.referring import fetched, forget_logins
from assay.submissions.registry import RegistryRefusedError
from assay.submissions.services import change_status
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.flow import doorbells
from assay.workflow.workers import predictions
from assay.workflow.workers.building import build_image
from assay.workflow.workers.locks import only_one
from containers.intake import ImageInvalid, IntakeUnavailable, KeptImage, inspect_archive
from containers.spec import MODEL_FOLDER
from containers.verdicts import Fault, Verdict
from evaluator.protocol import Resources

log = logging.getLogger(__name__)

Status = Submission.Status
IMAGE_DELETED = Told(reason=Reason.IMAGE_DELETED)


def check_submission(*, submission_id: UUID, clock: Callable[[], datetime]) -> None:
    """Check one submission, unless it is checked already or somebody is at it. A row that is not there (yet) is normal.

    Code is built by the scoring pool, which has an engine: see `build_submission`.
    """
    _check(submission_id=submission_id, clock=clock, builds=False)


def build_submission(*, submission_id: UUID, clock: Callable[[], datetime]) -> None:
    """The same where a container engine is."""
    _check(submission_id=submission_id, clock=clock, builds=True)


def _check(*, submission_id: UUID, clock: Callable[[], datetime], builds: bool) -> None:
    with only_one(purpose="check", subject=submission_id) as is_mine:
        if not is_mine:
            return
        change_status(
            submission_id=submission_id,
            to=Status.CHECKING,
            sources=[Status.RECEIVED],
            now=clock(),
            actor_label="checker",
        )
        submission = (
            Submission.objects.select_related(
                "image__upload", "image__model_upload", "predictions", "phase", "testset", "protocol"
            )
            .defer("testset__report")
            .filter(pk=submission_id, status=Status.CHECKING)
            .first()
        )
        if submission is None:
            return
        if submission.image is not None:
            check_image(submission=submission, image=submission.image, clock=clock, builds=builds)
        else:
            predictions.check_predictions(submission=submission, clock=clock)


def check_image(
    *, submission: Submission, image: AlgorithmImage, clock: Callable[[], datetime], builds: bool = False
) -> None:
    """Inspect the archive once per image. A second submission of the same archive reuses the answer."""
    if image.status == AlgorithmImage.Status.CHECKING:
        if image.built_on and not builds:
            doorbells.ring_build(submission.pk)
            return
        try:
            if image.built_on:
                build_image(submission=submission, image=image, resources=resources_in_force(submission))
            else:
                inspect_image(image)
        except IntakeUnavailable:  # ours: the reaper rings again until the deadline
            log.exception("image.check_failed", extra={"image": str(image.pk)})
            return
        forget_logins()
        image.refresh_from_db()
        if image.status == AlgorithmImage.Status.CHECKING:  # its submission was cancelled during the build
            return
    is_accepted = image.status == AlgorithmImage.Status.ACCEPTED
    told = why_not_in(resources_in_force(submission), image=image) if is_accepted else why_unusable(image)
    if told is None:
        flow.finish_check(submission_id=submission.pk, now=clock())
        return
    fault = Fault.ORGANIZER if told.reason == Reason.BUILD_FAULT else Fault.PARTICIPANT
    flow.refuse(submission_id=submission.pk, verdict=Verdict.IMAGE_INVALID, told=told, fault=fault, now=clock())


def resources_in_force(submission: Submission) -> Resources:
    """The phase's resources, with the command that the team gave."""
    resources = rules_of(submission.protocol).resources
    command = submission.limits.get("command")
    return replace(resources, command=tuple(command)) if command else resources


def why_unusable(image: AlgorithmImage) -> Told:
    """What its team is told of an image that is not accepted."""
    if image.reason == Reason.UPLOAD_GONE:
        return Told(reason=Reason.UPLOAD_GONE)
    detail = str(image.report.get("message") or "")
    if image.reason == Reason.BUILD_FAULT:
        return Told(reason=Reason.BUILD_FAULT, facts={"detail": detail[:LONGEST_FACT]})
    return Told(reason=Reason.IMAGE_REFUSED, facts={"detail": detail[:LONGEST_FACT]}) if detail else IMAGE_DELETED


def why_not_in(resources: Resources, *, image: AlgorithmImage) -> Told | None:
    """Why an accepted image cannot be run in this phase; None when it can."""
    if resources.command is None and not says_what_to_run(image):
        return Told(reason=Reason.NO_COMMAND)
    if resources.command is None and (problem := image.report.get("entry_point_problem")):
        return Told(reason=Reason.ENTRY_POINT, facts={"detail": str(problem)[:LONGEST_FACT]})
    if resources.profile == "image-user" and (problem := image.report.get("user_problem")):
        return Told(reason=Reason.IMAGE_USER, facts={"detail": str(problem)[:LONGEST_FACT]})
    return None


def says_what_to_run(image: AlgorithmImage) -> bool:
    """Whether the image has a command of its own. It is checked once, for all phases: some bring the command."""
    return bool(image.report.get("entrypoint", True) or image.report.get("command", True))


def kept_facts(source: Source) -> KeptImage | None:
    """What the first check said of an image that is taken from our own archive."""
    within = source.within
    return KeptImage.of_report(within.report, has_model=bool(within.model_sha256)) if within else None


def inspect_image(image: AlgorithmImage) -> None:
    """Inspect the uploaded archive and keep its rewritten form."""
    with storage.scratch_folder() as folder:
        try:
            source = image_source(image) or fetched(image, folder=folder)
        except (NotReachedError, RegistryRefusedError) as problem:
            reject_image(image_id=image.pk, reason=Reason.IMAGE_REFUSED, message=f"The registry: {problem}")
            return
        model = model_source(image) if image.model_sha256 else None
        if source is None or (image.model_sha256 and model is None):
            reject_image(image_id=image.pk, reason=Reason.UPLOAD_GONE, message="the upload is gone")
            return
        rewritten = folder / "image.tar"
        try:
            report = inspect_archive(
                source=source.path,
                destination=rewritten,
                needs_command=False,
                kept=kept_facts(source),
                model=model.path if model else None,
                model_folder=image.model_folder or MODEL_FOLDER,
                model_kept_in=model.within.model_folder if model and model.within else "",
            )
        except ImageInvalid as problem:
            reject_image(image_id=image.pk, reason=str(problem.reason), message=str(problem))
            log.info("image.rejected", extra={"image": str(image.pk), "reason": str(problem.reason)})
            return
        key = f"images/{image.pk}/{report.image_id[7:]}.tar"
        stored = storage.keep_file(source=rewritten, key=key, move=True, sha256=report.sha256)
    accept_image(
        image_id=image.pk, key=stored.key, sha256=stored.sha256, size_bytes=stored.bytes, report=report.to_json()
    )
    log.info("image.accepted", extra={"image": str(image.pk), "image_id": report.image_id})
