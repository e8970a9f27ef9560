"""Phases that take predictions instead of containers: a zip of files, named as an algorithm would have written them.

The archive is read by Python's own zip reader with a cap on members and on bytes, one expected name at a time; what is not
expected is never opened. Each file goes through the strict reader. What comes out is a run whose case runs have ended, so that
scoring knows one shape only.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from assay.challenges.protocols import rules_of
from assay.evaluations import services as evaluations
from assay.runs.models import CaseRun, Run
from assay.runs.specs import limits_of, resources_of
from assay.submissions.models import Submission
from assay.submissions.services import change_status
from assay.testsets import storage
from assay.testsets.models import Case
from assay.workflow import doorbells, flow
from containers.spec import Limits
from containers.verdicts import Fault, Verdict
from evaluator.errors import InvalidVolume
from evaluator.protocol import Protocol
from evaluator.volumes import Grid, canonicalise

MAX_MEMBERS = 100_000
CHUNK_BYTES = 2**20


class ArchiveRefused(Exception):
    """The archive as a whole cannot be used; the text is for the participant."""


def check_predictions(*, submission: Submission, clock: Callable[[], datetime]) -> None:
    """Unpack, check every case, and hand the submission to scoring; refuse it when nothing in it can be used."""
    upload = submission.predictions
    if upload is None:
        raise LookupError(f"submission {submission.pk} has neither an image nor predictions")
    try:
        case_runs = read_archive(submission=submission, archive=storage.local_path(upload.key))
    except ArchiveRefused as problem:
        flow.refuse(
            submission_id=submission.pk,
            verdict=Verdict.OUTPUT_INVALID,
            text=str(problem),
            fault=Fault.PARTICIPANT,
            now=clock(),
            is_charged=False,
        )
        return
    store_predictions(submission=submission, case_runs=case_runs, now=clock())


def read_archive(*, submission: Submission, archive: Path) -> list[CaseRun]:
    """One ended case run per case of the test set, by what the archive holds for it. Raises ArchiveRefused."""
    rules, limits = rules_of(submission.protocol), limits_of(resources_of(submission))
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError):
        raise ArchiveRefused("the upload is not a zip archive; expected one zip with a file per case") from None
    with opened:
        members = {member.filename: member for member in opened.infolist()}
        if len(members) > MAX_MEMBERS:
            raise ArchiveRefused(f"the zip holds {len(members)} files; expected at most {MAX_MEMBERS}")
        case_runs = []
        for position, case in enumerate(submission.testset.cases.all()):
            case_runs.append(
                _read_case(case=case, position=position, opened=opened, members=members, rules=rules, limits=limits)
            )
    if all(case_run.reason == "missing" for case_run in case_runs):
        pattern = rules.output.file
        raise ArchiveRefused(f"the zip holds none of the expected files; expected one {pattern} per case")
    return case_runs


def store_predictions(*, submission: Submission, case_runs: list[CaseRun], now: datetime) -> None:
    """Write the run that stands for the archive, and ask for its evaluation; once."""
    failed = [case_run for case_run in case_runs if case_run.verdict != Verdict.OK]
    text = f"{len(failed)} of {len(case_runs)} cases failed" if failed else ""
    if failed:
        detail = failed[0].reason.replace("_", " ")
        text = f"{text}: {detail}"
    with transaction.atomic():
        if not change_status(
            submission_id=submission.pk,
            to=Submission.Status.SCORING,
            sources=[Submission.Status.CHECKING],
            now=now,
            actor_label="checker",
            verdict=failed[0].verdict if failed else Verdict.OK,
            verdict_text=text,
            fault=Fault.PARTICIPANT if failed else Fault.NONE,
        ):
            return
        run = Run.objects.create(
            submission=submission,
            number=1,
            status=Run.Status.DONE,
            pool="",
            created_at=now,
            finished_at=now,
        )
        for case_run in case_runs:
            case_run.run, case_run.finished_at = run, now
        CaseRun.objects.bulk_create(case_runs)
        evaluation = evaluations.ask_for_evaluation(submission=submission, run=run, now=now)
        doorbells.ring_scoring(evaluation.id)


def _read_case(
    *,
    case: Case,
    position: int,
    opened: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    rules: Protocol,
    limits: Limits,
) -> CaseRun:
    case_run = CaseRun(case=case, position=position, status=CaseRun.Status.DONE, verdict=Verdict.OK)
    stored: list[dict[str, Any]] = []
    with storage.scratch_folder() as folder:
        for name, path in rules.output_files(case.case_id).items():
            member = members.get(path)
            if member is None:
                return _failed(case_run, Verdict.OUTPUT_MISSING, "missing")
            source, canonical = folder / "source.nii.gz", folder / "canonical.nii.gz"
            if not _extract(opened, member, destination=source, max_bytes=limits.output_bytes):
                return _failed(case_run, Verdict.OUTPUT_TOO_LARGE, "too_large")
            try:
                canonicalise(
                    source=source,
                    destination=canonical,
                    grid=Grid.from_json(case.grid),
                    allowed_values=rules.allowed_values,
                    channels=rules.channels,
                    tolerance=rules.geometry,
                )
            except InvalidVolume as problem:
                return _failed(case_run, Verdict.OUTPUT_INVALID, str(problem.reason))
            key = f"runs/{case_run.id}/{len(stored)}.nii.gz"
            kept = storage.keep_file(source=canonical, key=key, move=True)
            stored.append({"name": name, "key": kept.key, "sha256": kept.sha256, "bytes": kept.bytes})
    case_run.outputs = stored
    return case_run


def _failed(case_run: CaseRun, verdict: Verdict, reason: str) -> CaseRun:
    case_run.status, case_run.verdict, case_run.reason = CaseRun.Status.FAILED, verdict, reason
    case_run.fault = verdict.fault
    return case_run


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, *, destination: Path, max_bytes: int) -> bool:
    """Write one member out; False when it is larger than allowed, whatever its header says."""
    written = 0
    try:
        with opened.open(member) as source, destination.open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > max_bytes:
                    return False
                target.write(chunk)
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,
        OSError,
    ) as problem:
        raise ArchiveRefused(
            "a file of the zip cannot be unpacked; expected an undamaged, unencrypted zip"
        ) from problem
    return True
