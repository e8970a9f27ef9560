"""Changes to submissions. What decides a result is frozen here, in the transaction that accepts the submission."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError, TooLargeError
from assay.accounts.models import Team, User
from assay.accounts.names import clean_line
from assay.challenges.models import Challenge, Phase, ProtocolVersion
from assay.challenges.protocols import rules_of
from assay.challenges.teams import team_of_organizers
from assay.submissions.choosing import chosen_division
from assay.submissions.code_parts import built_on, refuse_without_code_parts, takes_code
from assay.submissions.kept import is_kept
from assay.submissions.lifecycle import ENDINGS, FINAL, RESUMED, sources_of
from assay.submissions.limits import ATTEMPTS_USED, Eligibility, is_late
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.submissions.reasons import Told
from assay.submissions.run_time import longest_run
from assay.submissions.selectors import eligibility_of
from assay.submissions.selectors import rules_of as phase_rules
from assay.submissions.telling import tell_disqualification, tell_ending
from assay.testsets.fitness import too_many_scores
from assay.testsets.models import TestSet
from containers.spec import MODEL_FOLDER, is_model_folder

NOTHING_TO_SAY = Told()
LONGEST_COMMAND = 2000
NOT_THE_TEAMS = ("platform", "organizer")
"""Faults that cost a team nothing."""
PURPOSES = {Phase.Kind.CONTAINER: Upload.Purpose.IMAGE, Phase.Kind.PREDICTIONS: Upload.Purpose.PREDICTIONS}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What somebody enters in a phase. `allows_duplicate`: an attempt may go on a file that the team has submitted before.

    `origin_hash`: see `accounts.origins`.
    """

    user: User
    phase: Phase
    team: Team | None
    upload: Upload
    name: str
    description: str = ""
    url: str = ""
    allows_duplicate: bool = False
    origin_hash: str = ""
    division: str = ""
    model: Upload | None = None
    """An archive of weights that lies in `model_folder` of the image. Nobody has to put them into the image then."""
    model_folder: str = MODEL_FOLDER
    command: str = ""
    """What is started in the image, where the phase lets teams say it."""
    is_baseline: bool = False
    """The organizers' own: neither the phase's window nor a limit holds, and it is never ranked."""


def create_submission(entry: Entry, *, now: datetime) -> Submission:
    """Accept a submission, or say which condition does not hold. Doors call `workflow.flow.submit`, which has it checked as well.

    The rows of the challenge, the phase and the person are locked while we count and insert, always in this order, so two requests at
    once cannot both take the last attempt, or the last hour on the nodes.
    """
    team, upload = entry.team, entry.upload
    refuse_unfit_upload(upload=upload, phase=entry.phase)
    refuse_unfit_model(entry)
    refuse_unfit_command(entry)
    shown = clean_line(entry.name, what=_("The algorithm's name"), longest=120, field="name")
    with transaction.atomic():
        phase = lock_phase(entry.phase)
        user = lock_person(entry.user)
        started_at = beginning_of(entry)
        if entry.is_baseline:
            refuse_without_testset(phase)
            team = team_of_organizers(phase.challenge, now=now)
        else:
            eligibility = eligibility_of(person=user, phase=phase, now=now, started_at=started_at, sha256=upload.sha256)
            refuse_ineligible(eligibility)
        if team is None:  # an eligible person has a team. This is for the type checker and for callers who forgot
            raise NotAllowedError(_("You compete in no team here."), what_to_do=_("Join the challenge first."))
        refuse_duplicate(entry, phase=phase, team=team)
        refuse_too_many_scores(phase)
        refuse_without_code_parts(phase)
        division = chosen_division(phase=phase, team=team, wanted=entry.division)
        testset = freeze_testset(testset=phase.chosen_testset.testset, user=user, now=now)
        is_image = phase.kind == Phase.Kind.CONTAINER
        submission = Submission.objects.create(
            phase=phase,
            challenge=phase.challenge,
            number=next_number(phase),
            protocol=phase.protocol,
            testset=testset,
            created_at=now,
            status_changed_at=now,
            team=team,
            submitted_by=user,
            image=image_of(entry, team=team, now=now) if is_image else None,
            predictions=None if is_image else upload,
            name=shown or upload.filename[:120],
            description=entry.description,
            url=entry.url,
            limits=frozen_limits(phase=phase, command=entry.command),
            reserved_seconds=longest_run(phase=phase, testset=testset) if is_image else 0.0,
            origin_hash=entry.origin_hash,
            division=division,
            is_late=not entry.is_baseline and is_late(rules=phase_rules(phase), now=now, started_at=started_at),
            is_baseline=entry.is_baseline,
            is_charged=not entry.is_baseline,
            is_refunded=entry.is_baseline,
        )
        record_event(
            actor=user,
            verb="submission.received",
            subject=submission,
            challenge_slug=phase.challenge.slug,
            now=now,
            phase=phase.slug,
            team=team.slug,
            protocol=phase.protocol.sha256,
            testset=testset.sha256,
        )
    return submission


def beginning_of(entry: Entry) -> datetime | None:
    """When the upload began, for the grace after closing. What was handed in before begins nothing: its bytes are here already."""
    upload = entry.upload
    is_used = upload.images.exists() or upload.submissions.exists()
    return None if is_used or (entry.model is not None and entry.model.model_images.exists()) else upload.created_at


def lock_phase(phase: Phase) -> Phase:
    """The phase as it is now, with its row locked until the transaction ends: submissions to it are numbered one after the other.

    The row of the challenge is locked before, because its time on nodes is counted. A person's row is locked after both.
    """
    Challenge.objects.select_for_update(no_key=True).get(pk=phase.challenge_id)
    return Phase.objects.select_for_update(of=("self",)).select_related("challenge", "protocol").get(pk=phase.pk)


def lock_person(user: User) -> User:
    """Somebody as they are now, locked until the transaction ends: what they use is counted. After `lock_phase`, never before."""
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def next_number(phase: Phase) -> int:
    """The number of the next submission to a phase that the caller has locked."""
    return (phase.submissions.aggregate(last=Max("number"))["last"] or 0) + 1


def purpose_of(phase: Phase) -> Upload.Purpose:
    """What teams hand in: images, zips of code, or predictions."""
    return Upload.Purpose.CODE if takes_code(phase) else PURPOSES[Phase.Kind(phase.kind)]


def refuse_unfit_upload(*, upload: Upload, phase: Phase) -> None:
    """The upload must be complete, of the right kind, and not too large for this phase."""
    if upload.completed_at is None:
        raise ConflictError(
            _("The upload is not complete."),
            code="upload_incomplete",
            found=_("%(offset_bytes)s bytes") % {"offset_bytes": upload.offset_bytes},
            expected=_("%(total_bytes)s bytes") % {"total_bytes": upload.total_bytes},
            what_to_do=_("Continue it, then submit."),
        )
    wanted = purpose_of(phase)
    if upload.purpose != wanted:
        raise InvalidError(_("This phase takes something else."), found=str(upload.purpose), expected=str(wanted))
    if upload.total_bytes > phase.max_image_bytes:
        raise TooLargeError(
            _("The file is larger than this phase takes."),
            found=_("%(total_bytes)s bytes") % {"total_bytes": upload.total_bytes},
            expected=_("at most %(max_image_bytes)s bytes") % {"max_image_bytes": phase.max_image_bytes},
            field="archive",
        )


def refuse_unfit_model(entry: Entry) -> None:
    """A model comes beside an image: complete, of its kind, and not too large together with it."""
    model, phase = entry.model, entry.phase
    if model is None:
        return
    if phase.kind != Phase.Kind.CONTAINER:
        raise InvalidError(_("This phase takes something else."), found="model", expected=_("predictions only"))
    if takes_code(phase):
        raise InvalidError(
            _("This phase takes something else."),
            found="model",
            expected="code",
            what_to_do=_("Put the weights into the zip, beside the code."),
        )
    if model.purpose != Upload.Purpose.MODEL:
        raise InvalidError(_("This upload is for something else."), found=str(model.purpose), expected="model")
    if model.completed_at is None or not (model.key or (entry.team and is_kept(model, team=entry.team))):
        raise ConflictError(
            _("The upload of the model is not complete, or is not kept any more."),
            code="upload_incomplete",
            what_to_do=_("Upload it, then submit."),
        )
    if not is_model_folder(entry.model_folder):
        raise InvalidError(
            _("The model cannot lie there."),
            found=entry.model_folder[:80],
            expected=_("a folder such as /opt/ml/model"),
            field="model_folder",
        )
    total_bytes = entry.upload.total_bytes + model.total_bytes
    if total_bytes > phase.max_image_bytes:
        raise TooLargeError(
            _("The image and the model together are larger than this phase takes."),
            found=_("%(total_bytes)s bytes") % {"total_bytes": total_bytes},
            expected=_("at most %(max_image_bytes)s bytes") % {"max_image_bytes": phase.max_image_bytes},
            field="model",
        )


def refuse_unfit_command(entry: Entry) -> None:
    """A command comes with an image, where the phase takes one, and is one line that a shell can read."""
    if not entry.command:
        return
    if entry.phase.kind != Phase.Kind.CONTAINER or not rules_of(entry.phase.protocol).resources.takes_command:
        raise InvalidError(
            _("This phase takes no command."),
            found=entry.command[:80],
            expected=_("what the image or the phase starts"),
            what_to_do=_("Put the command into the image (CMD), or ask the organizers for `takes_command: true`."),
            field="command",
        )
    if len(entry.command) > LONGEST_COMMAND or not entry.command.isprintable():
        raise InvalidError(
            _("The command cannot be used."),
            found=_("%(length)s characters") % {"length": len(entry.command)},
            expected=_("one line of at most %(longest)s characters") % {"longest": LONGEST_COMMAND},
            field="command",
        )


def frozen_limits(*, phase: Phase, command: str = "") -> dict[str, Any]:
    """The phase's resources as they are now, with the team's command for the shell of the image."""
    limits = dict(phase.protocol.document.get("resources", {}))
    return limits | ({"command": shell_words(command)} if command else {})


def shell_words(command: str) -> list[str]:
    """The command as the image's shell is given it. Variables such as `$inputDataset` are the shell's to fill in."""
    return ["sh", "-c", command]


def command_of(submission: Submission) -> str:
    """The command that the team gave with the submission; empty where it gave none."""
    words = submission.limits.get("command")
    is_own = words and words != submission.protocol.document.get("resources", {}).get("command")
    return str(words[-1]) if is_own else ""


def refuse_without_testset(phase: Phase) -> None:
    """Without cases there is nothing to be judged on."""
    if not hasattr(phase, "chosen_testset"):
        raise ConflictError(
            _("The phase has no test set yet."), code="no_testset", found=phase.title, what_to_do=_("Add one first.")
        )


def refuse_too_many_scores(phase: Phase) -> None:
    """A protocol and a test set that nobody could score together take no submission."""
    cases = phase.chosen_testset.testset.cases.count()
    if why := too_many_scores(protocol=rules_of(phase.protocol), cases=cases):
        raise ConflictError(
            _("This phase asks for more scores than a submission may have."),
            code="too_many_scores",
            found=why,
            what_to_do=_("Tell the organizers: their protocol or their test set has to be smaller."),
        )


def refuse_ineligible(eligibility: Eligibility) -> None:
    """Say which condition does not hold: a limit is 429 (come back later), anything else 409."""
    failing = eligibility.failing
    if failing is None:
        return
    message = failing.text[:1].upper() + failing.text[1:] + "."
    if failing.code == ATTEMPTS_USED:
        raise LimitReachedError(message, found=_("0 left"), expected=failing.cure, retry_at=eligibility.next_at)
    raise ConflictError(message, code="cannot_submit", what_to_do=failing.cure)


def twin_of(*, phase: Phase, team: Team, sha256: str, model_sha256: str = "", command: str = "") -> Submission | None:
    """The team's submission of this very file, with this model and command, unless it failed or was cancelled."""
    if not sha256:
        return None
    same = Q(image__archive_sha256=sha256, image__model_sha256=model_sha256) | Q(predictions__sha256=sha256)
    if rules_of(phase.protocol).resources.takes_command:
        has_command = Q(limits__command=frozen_limits(phase=phase, command=command).get("command"))
        same &= has_command if command else has_command | Q(limits__command=None)
    return phase.submissions.filter(same, team=team).exclude(status__in=ENDINGS).first()


def refuse_duplicate(entry: Entry, *, phase: Phase, team: Team) -> None:
    """The very same file again would give the very same result and cost an attempt: ask first."""
    upload, model_sha256 = entry.upload, entry.model.sha256 if entry.model else ""
    twin = twin_of(phase=phase, team=team, sha256=upload.sha256, model_sha256=model_sha256, command=entry.command)
    if twin is not None and not entry.allows_duplicate:
        raise ConflictError(
            _("This is the same file as your team's submission #%(number)s.") % {"number": twin.number},
            code="duplicate",
            found=_("sha256 %(sha256)s") % {"sha256": upload.sha256},
            what_to_do=_("Submit something else, or allow the same file again, which uses an attempt."),
            field="allow_duplicate",
        )


def freeze_testset(*, testset: TestSet, user: User, now: datetime) -> TestSet:
    """From the first submission on, a test set never changes. What needs changing becomes a new version."""
    if TestSet.objects.filter(pk=testset.pk, frozen_at=None).update(frozen_at=now):
        testset.refresh_from_db()
        record_event(
            actor=user,
            verb="testset.frozen",
            subject=testset,
            challenge_slug=testset.challenge.slug,
            now=now,
            sha256=testset.sha256,
        )
    return testset


def image_of(entry: Entry, *, team: Team, now: datetime) -> AlgorithmImage:
    """The team's image of this archive and model: the accepted one when we know it already, otherwise one to be checked."""
    upload, model = entry.upload, entry.model
    image, is_new = AlgorithmImage.objects.get_or_create(
        team=team,
        archive_sha256=upload.sha256,
        model_sha256=model.sha256 if model else "",
        model_folder=entry.model_folder if model else "",
        built_on=built_on(rules_of(entry.phase.protocol).resources) if takes_code(entry.phase) else "",
        defaults={"upload": upload, "model_upload": model, "created_at": now},
    )
    if is_new and not is_kept(upload, team=team):
        raise ConflictError(
            _("This archive was checked before and is not kept."),
            code="upload_gone",
            what_to_do=_("Send the file itself."),
        )
    if not is_new and image.status in (AlgorithmImage.Status.REJECTED, AlgorithmImage.Status.DELETED):
        if not upload.key and not upload.reference:
            raise ConflictError(
                _("This archive was checked before and is not kept."),
                code="upload_gone",
                found=str(image.report.get("message") or image.reason or image.status),
                what_to_do=_("Correct the image, or upload the archive again."),
            )
        AlgorithmImage.objects.filter(pk=image.pk, status=image.status).update(
            status=AlgorithmImage.Status.CHECKING, upload=upload, model_upload=model, reason="", report={}
        )
        image.refresh_from_db()
    return image


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a submission, or its run, ended. `is_charged`: None leaves it as it is."""

    verdict: str
    told: Told = NOTHING_TO_SAY
    fault: str = ""
    is_charged: bool | None = None

    def columns(self) -> dict[str, Any]:
        """What is written into the row."""
        values: dict[str, Any] = {
            "verdict": self.verdict,
            "reason": self.told.reason or "",
            "facts": dict(self.told.facts),
            "earlier_text": "",
            "fault": self.fault,
        }
        if self.is_charged is not None:
            values["is_charged"] = Q(is_refunded=False) if self.is_charged else False
        return values

    def history(self) -> dict[str, Any]:
        """What the audit log says of it."""
        said = {"verdict": str(self.verdict), "reason": str(self.told.reason or ""), "fault": str(self.fault)}
        charged = {} if self.is_charged is None else {"is_charged": str(self.is_charged)}
        return {**said, **charged, **({"facts": dict(self.told.facts)} if self.told.facts else {})}


def change_status(
    *,
    submission_id: UUID,
    to: Submission.Status,
    now: datetime,
    actor_label: str,
    actor: User | None = None,
    sources: Collection[Submission.Status] | None = None,
    ended: Ended | None = None,
) -> bool:
    """Move a submission to `to`, if that is legal from where it is now, in ONE conditional UPDATE with its line of history.

    `sources` narrows from where; `ended` is written with it. What was refunded once is never charged. `False`: somebody was there
    first, which is normal.
    """
    allowed = sources_of(to) if sources is None else sources_of(to) & frozenset(sources)
    values: dict[str, Any] = {"status": to, "status_changed_at": now, **(ended.columns() if ended else {})}
    if to in FINAL:
        values["finished_at"] = now
    with transaction.atomic(savepoint=False):
        if not Submission.objects.filter(pk=submission_id, status__in=allowed).update(**values):
            return False
        slug = Submission.objects.values_list("challenge__slug", flat=True).get(pk=submission_id)
        record_event(
            actor=actor,
            actor_label=actor_label,
            verb=f"submission.{to.value}",
            subject=("submission", submission_id),
            challenge_slug=slug,
            now=now,
            **(ended.history() if ended else {}),
        )
        if to in FINAL:
            tell_ending(submission_id=submission_id, now=now)
    return True


def resume_submission(
    *,
    submission_id: UUID,
    to: Submission.Status,
    protocol: ProtocolVersion,
    testset: TestSet,
    by: User,
    now: datetime,
    faults: Collection[str] = NOT_THE_TEAMS,
    ended: Ended | None = None,
) -> bool:
    """Take up a failed submission again, in ONE conditional UPDATE with its line of history. What was no team's fault
    stays uncharged.

    `protocol` and `testset` count from now on, because what was wrong may have been the old ones. The resource limits stay.
    `ended`: how its run ended, where only the scores are missing. `False`: it has not failed, or not
    through one of these `faults`.
    """
    if to not in RESUMED:
        raise ValueError(f"a submission is not taken up again as {to}; expected one of {sorted(RESUMED)}")
    was_not_the_teams = Q(fault__in=NOT_THE_TEAMS)
    with transaction.atomic():
        failed = Submission.objects.filter(pk=submission_id, status=Submission.Status.FAILED, fault__in=faults)
        changed = failed.update(
            status=to,
            status_changed_at=now,
            finished_at=None,
            cancel_requested_at=None,
            **(ended or Ended(verdict="")).columns(),
            is_refunded=was_not_the_teams | Q(is_refunded=True),
            protocol=protocol,
            testset=testset,
        )
        if changed:
            slug = Submission.objects.values_list("challenge__slug", flat=True).get(pk=submission_id)
            record_event(
                actor=by,
                verb="submission.resumed",
                subject=("submission", submission_id),
                challenge_slug=slug,
                now=now,
                status=to.value,
                protocol=protocol.sha256,
                testset=testset.sha256,
            )
    return bool(changed)


def disqualify_submission(*, submission_id: UUID, reason: str, user: User, now: datetime) -> bool:
    """Take a submission out of the ranking, with a reason its team reads; `False` when it was out already."""
    with transaction.atomic():
        changed = Submission.objects.filter(pk=submission_id, is_disqualified=False).update(
            is_disqualified=True, disqualified_reason=reason.strip()[:300]
        )
        if changed:
            slug = Submission.objects.values_list("challenge__slug", flat=True).get(pk=submission_id)
            record_event(
                actor=user,
                verb="submission.disqualified",
                subject=("submission", submission_id),
                challenge_slug=slug,
                now=now,
                reason=reason,
            )
            tell_disqualification(submission_id=submission_id, now=now)
    return bool(changed)


def reinstate_submission(*, submission_id: UUID, user: User, now: datetime) -> bool:
    """Undo a disqualification; `False` when there was none. The reason that was given stays in the audit log."""
    with transaction.atomic():
        changed = Submission.objects.filter(pk=submission_id, is_disqualified=True).update(
            is_disqualified=False, disqualified_reason=""
        )
        if changed:
            slug = Submission.objects.values_list("challenge__slug", flat=True).get(pk=submission_id)
            record_event(
                actor=user,
                verb="submission.reinstated",
                subject=("submission", submission_id),
                challenge_slug=slug,
                now=now,
            )
            tell_disqualification(submission_id=submission_id, now=now)
    return bool(changed)


def withdraw_submission(*, submission: Submission, user: User, now: datetime) -> None:
    """Take a submission off the leaderboard at its own team's wish. It stays charged."""
    with transaction.atomic():
        if Submission.objects.filter(pk=submission.pk, is_withdrawn=False).update(is_withdrawn=True):
            record_event(
                actor=user,
                verb="submission.withdrawn",
                subject=submission,
                challenge_slug=submission.challenge.slug,
                now=now,
            )
