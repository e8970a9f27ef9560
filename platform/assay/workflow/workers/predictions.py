"""Phases that take predictions instead of containers: a zip of files, named by `Protocol.archive_files`.

The archive is read by Python's own zip reader with a cap on members and on bytes, one expected name at a time. What is not
expected is never opened. Each file goes through the strict reader. What comes out is a run whose case runs have ended, so that
scoring knows one shape only. Where a protocol scores one table for all cases, the table itself may be handed in without a zip. It is
read and stored once, and every case finds its row in it.
"""

import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from uuid import uuid4

from django.db import transaction

from assay.accounts.audit import log_event
from assay.challenges.protocols import rules_of
from assay.evaluations import services as evaluations
from assay.runs.models import CaseRun, Run
from assay.runs.specs import grid_of, limits_of, resources_of
from assay.submissions.models import Submission
from assay.submissions.reasons import Fact, Reason, Told
from assay.submissions.services import Ended, change_status
from assay.testsets import storage
from assay.testsets.models import Case
from assay.testsets.storage import StoredFile
from assay.workflow import flow
from assay.workflow.flow import doorbells
from assay.workflow.workers.zip_files import LONGEST_PATH, ArchiveRefused, Extract, opened_zip
from containers.verdicts import Fault, Verdict
from evaluator.errors import InvalidVolume
from evaluator.protocol import Protocol
from evaluator.scoring import ROW_MISSING
from evaluator.volumes import (
    CANONICAL_SUFFIX,
    DOCUMENT_SUFFIX,
    CanonicalFile,
    TableForm,
    canonicalise,
    canonicalise_json,
    canonicalise_table,
    read_table,
)

SHOWN_PATHS = 3
OTHER_ENDING = "other_ending"
"""A file of the expected name is there, with another ending."""


def check_predictions(*, submission: Submission, clock: Callable[[], datetime]) -> None:
    """Unpack, check every case, and hand the submission to scoring. Refuse it when nothing in it can be used."""
    upload = submission.predictions
    if upload is None:
        raise LookupError(f"submission {submission.pk} has neither an image nor predictions")
    try:
        case_runs = read_archive(
            submission=submission, archive=storage.unchanged_path(upload.key, sha256=upload.sha256)
        )
    except ArchiveRefused as problem:
        flow.refuse(
            submission_id=submission.pk,
            verdict=Verdict.OUTPUT_INVALID,
            told=problem.told,
            now=clock(),
        )
        return
    store_predictions(submission=submission, case_runs=case_runs, now=clock())


def read_archive(*, submission: Submission, archive: Path) -> list[CaseRun]:
    """One ended case run per case of the test set, by what the archive holds for it. Raises ArchiveRefused."""
    rules = rules_of(submission.protocol)
    cases = list(submission.testset.cases.all())
    wanted = dict.fromkeys(path for case in cases for path in rules.archive_files(case.case_id).values())
    with _opened(archive, rules=rules) as handed_in:
        files = handed_in if wanted.keys() & handed_in.keys() else _below_their_folder(handed_in, wanted=wanted.keys())
        reader = _Reader(
            files=files,
            rules=rules,
            max_bytes=limits_of(resources_of(submission)).output_bytes,
            cases=cases,
            folder=f"runs/{uuid4()}",
        )
        case_runs = [reader.read_case(case, position=position) for position, case in enumerate(cases)]
    if all(case_run.reason in ("missing", OTHER_ENDING) for case_run in case_runs):
        raise ArchiveRefused(Reason.NO_EXPECTED_FILE, expected=_listed(wanted), found=_listed(handed_in))
    return case_runs


def store_predictions(*, submission: Submission, case_runs: list[CaseRun], now: datetime) -> None:
    """Write the run that stands for the archive, and ask for its evaluation; once."""
    failed = [case_run for case_run in case_runs if case_run.verdict != Verdict.OK]
    told = Told()
    if failed:
        facts: dict[str, Fact] = {"failed": len(failed), "total": len(case_runs), "case_reason": failed[0].reason}
        told = Told(reason=Reason.CASES_FAILED, facts=facts)
    with transaction.atomic():
        if not change_status(
            submission_id=submission.pk,
            to=Submission.Status.SCORING,
            sources=[Submission.Status.CHECKING],
            now=now,
            actor_label="checker",
            ended=Ended(
                verdict=failed[0].verdict if failed else Verdict.OK,
                told=told,
                fault=Fault.PARTICIPANT if failed else Fault.NONE,
            ),
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
        log_event(verb="run.done", subject=run, submission=submission.pk)
        for case_run in case_runs:
            case_run.run, case_run.finished_at = run, now
        CaseRun.objects.bulk_create(case_runs)
        evaluation = evaluations.ask_for_evaluation(submission=submission, run=run, now=now)
        doorbells.ring_scoring(evaluation.id)


def _listed(paths: Iterable[str]) -> str:
    """The first few paths and how many there are: all of them may be thousands."""
    listed = list(paths)
    more = f" and {len(listed) - SHOWN_PATHS} more" if len(listed) > SHOWN_PATHS else ""
    return f"{', '.join(path[:LONGEST_PATH] for path in listed[:SHOWN_PATHS])}{more}" if listed else "no file"


@contextmanager
def _opened(archive: Path, *, rules: Protocol) -> Iterator[Mapping[str, Extract]]:
    """What was handed in, by name: the members of a zip, or the one table that the protocol scores."""
    if rules.has_shared_table and not zipfile.is_zipfile(archive):
        yield {rules.output.file: partial(_copy, archive)}
        return
    with opened_zip(archive) as files:
        yield files


def _below_their_folder(files: Mapping[str, Extract], *, wanted: Collection[str]) -> Mapping[str, Extract]:
    """The same files, named from the folder that the expected ones lie in: people zip a folder as often as what is in it.

    Unchanged where expected names lie in several folders, or a name leads outside.
    """
    if any(name.startswith("/") or ".." in PurePosixPath(name).parts for name in files):
        return files
    folders = {folder for name in files for folder, rest in _cuts(name) if rest in wanted}
    if len(folders) != 1:
        return files
    folder = folders.pop()
    return {name.removeprefix(folder): extract for name, extract in files.items() if name.startswith(folder)}


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """A path cut after each of its folders."""
    parts = name.split("/")
    return (("/".join(parts[:cut]) + "/", "/".join(parts[cut:])) for cut in range(1, len(parts)))


def _without_ending(path: str) -> str:
    """A name as far as its first full stop, whatever its case."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}".casefold()


def _document(source: Path, canonical: Path) -> CanonicalFile:
    return canonicalise_json(source=source, destination=canonical)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """One archive on its way to case runs."""

    files: Mapping[str, Extract]
    rules: Protocol
    max_bytes: int
    cases: Sequence[Case]
    folder: str
    tables: dict[str, "_Table"] = field(default_factory=dict)
    """Path → what came of a table that was read before."""

    @cached_property
    def stems(self) -> frozenset[str]:
        """The names of all files without their endings: `c1.nrrd`, `c1.mhd` and `C1.NII` are not `c1.nii.gz`, and not missing either."""
        return frozenset(map(_without_ending, self.files))

    def read_case(self, case: Case, *, position: int) -> CaseRun:
        """The case run that stands for what the archive holds for the case."""
        case_run = CaseRun(case=case, position=position, status=CaseRun.Status.DONE, verdict=Verdict.OK)
        for name, path in self.rules.archive_files(case.case_id).items():
            made = self._made(name, path, case=case)
            if isinstance(made, _Refusal):
                return _failed(case_run, made.verdict, made.reason)
            case_run.outputs.append({"name": name, "key": made.key, "sha256": made.sha256, "bytes": made.bytes})
        return case_run

    def _made(self, name: str, path: str, *, case: Case) -> "StoredFile | _Refusal":
        """Our own form of one output, by what the protocol says it is."""
        if name in self.rules.documents:
            return self._kept(path, suffix=DOCUMENT_SUFFIX, convert=_document)
        return self._table(path, case=case) if self.rules.table_form else self._volume(path, case=case)

    def _volume(self, path: str, *, case: Case) -> "StoredFile | _Refusal":
        def convert(source: Path, canonical: Path) -> CanonicalFile:
            return canonicalise(
                source=source,
                destination=canonical,
                grid=grid_of(case),
                allowed_values=self.rules.allowed_values,
                channels=self.rules.channels,
                tolerance=self.rules.geometry,
            )

        return self._kept(path, suffix=CANONICAL_SUFFIX, convert=convert)

    def _table(self, path: str, *, case: Case) -> "StoredFile | _Refusal":
        """The table at `path`, unless it has no row of the case."""
        if path not in self.tables:
            self.tables[path] = self._read_table(path, case=case)
        table = self.tables[path]
        if isinstance(table.file, _Refusal) or case.case_id in table.cases:
            return table.file
        return _Refusal(verdict=Verdict.OUTPUT_MISSING, reason=ROW_MISSING)

    def _read_table(self, path: str, *, case: Case) -> "_Table":
        form, answered = self.rules.table_form, self.cases if self.rules.has_shared_table else [case]
        names = {each.case_id: each.case_id for each in answered}
        present: set[str] = set()

        def convert(source: Path, canonical: Path) -> CanonicalFile:
            made = canonicalise_table(
                source=source, destination=canonical, form=form or TableForm(columns=()), names=names
            )
            present.update(read_table(canonical))
            return made

        return _Table(file=self._kept(path, suffix=".csv", convert=convert), cases=present)

    def _kept(
        self, path: str, *, suffix: str, convert: Callable[[Path, Path], CanonicalFile]
    ) -> "StoredFile | _Refusal":
        """One expected file in our own form, in storage. Or why there is none."""
        extract = self.files.get(path)
        if extract is None:
            is_there = _without_ending(path) in self.stems
            return _Refusal(verdict=Verdict.OUTPUT_MISSING, reason=OTHER_ENDING if is_there else "missing")
        with storage.scratch_folder() as folder:
            source, canonical = folder / "source", folder / f"canonical{suffix}"
            if not extract(source, self.max_bytes):
                return _Refusal(verdict=Verdict.OUTPUT_TOO_LARGE, reason="too_large")
            try:
                convert(source, canonical)
            except InvalidVolume as problem:
                return _Refusal(verdict=Verdict.OUTPUT_INVALID, reason=str(problem.reason))
            return storage.keep_file(source=canonical, key=f"{self.folder}/{uuid4().hex}{suffix}", move=True)


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    """Why an expected file is of no use."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table that was read, and the cases it has rows of."""

    file: StoredFile | _Refusal
    cases: Collection[str]


def _failed(case_run: CaseRun, verdict: Verdict, reason: str) -> CaseRun:
    case_run.status, case_run.verdict, case_run.reason = CaseRun.Status.FAILED, verdict, reason
    case_run.fault = verdict.fault
    return case_run


def _copy(source: Path, destination: Path, max_bytes: int) -> bool:
    """Copy a file; False when it is larger than allowed."""
    if source.stat().st_size > max_bytes:
        return False
    shutil.copyfile(source, destination)
    return True
