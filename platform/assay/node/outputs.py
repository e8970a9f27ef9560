"""What came out of a container, once the strict reader has seen it: canonical files, or why a case has none.

A container that sees one case either has all its outputs or failed. One that sees a cohort may fail some cases only: then the
others count, and every failed case carries its own verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assay.node.orders import ExpectedOutput, WorkOrder
from containers.spec import RunResult
from containers.verdicts import Verdict
from evaluator.errors import InvalidVolume
from evaluator.scoring import ROW_MISSING
from evaluator.volumes import (
    CANONICAL_SUFFIX,
    CanonicalFile,
    canonicalise,
    canonicalise_json,
    canonicalise_table,
    read_table,
)

OF_SINGLE_FILES = (Verdict.OUTPUT_MISSING, Verdict.OUTPUT_INVALID, Verdict.OUTPUT_TOO_LARGE)
"""Verdicts that speak of one file and leave the others be."""


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """One output in our own canonical form."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CheckedOutputs:
    """The verdict of the whole, the usable files, and which cases of a cohort have none, and why."""

    verdict: Verdict
    reason: str = ""
    files: tuple[CheckedFile, ...] = ()
    failed_cases: Mapping[str, tuple[Verdict, str]] = field(default_factory=dict)


def check_outputs(order: WorkOrder, *, result: RunResult, folder: Path) -> CheckedOutputs:
    """Read every output with the strict reader. Canonical files go below `folder`."""
    is_about_files = result.verdict in OF_SINGLE_FILES and bool(result.problems)
    if result.verdict != Verdict.OK and not is_about_files:
        return CheckedOutputs(verdict=result.verdict, reason=result.reason)
    failed: dict[str, tuple[Verdict, str]] = {}
    files: list[tuple[ExpectedOutput, CheckedFile]] = []
    for place, expected in enumerate(order.outputs):
        checked = _check(order, expected=expected, result=result, target=folder / f"canonical-{place}")
        if isinstance(checked, CheckedFile):
            files.append((expected, checked))
            lacking = _cases_without_row(expected, checked)
            failed = dict.fromkeys(lacking, (Verdict.OUTPUT_MISSING, ROW_MISSING)) | failed
        else:
            failed = dict.fromkeys(expected.cases, checked) | failed
    cases = {case for expected in order.outputs for case in expected.cases}
    if cases <= failed.keys():
        verdict, reason = next(iter(failed.values()))
        return CheckedOutputs(verdict=verdict, reason=reason)
    usable = tuple(file for expected, file in files if not failed.keys() >= set(expected.cases))
    return CheckedOutputs(verdict=Verdict.OK, files=usable, failed_cases=failed)


def _check(
    order: WorkOrder, *, expected: ExpectedOutput, result: RunResult, target: Path
) -> CheckedFile | tuple[Verdict, str]:
    name = expected.spec.name
    problem = next((problem for problem in result.problems if problem.name == name), None)
    if problem is not None:
        return problem.verdict, problem.reason
    source = next(output.path for output in result.outputs if output.name == name)
    try:
        made = _canonical(order, expected=expected, source=source, target=target)
    except InvalidVolume as refusal:
        return Verdict.OUTPUT_INVALID, str(refusal.reason)
    return CheckedFile(name=name, path=made.path, sha256=made.sha256)


def _canonical(order: WorkOrder, *, expected: ExpectedOutput, source: Path, target: Path) -> CanonicalFile:
    """The output in our own form: a table of the rows that were asked for, or a volume on the case's grid."""
    if expected.is_document:
        return canonicalise_json(source=source, destination=target.with_suffix(".json"))
    if order.table_form is not None:
        names = {name: name for name in expected.rows}
        return canonicalise_table(
            source=source, destination=target.with_suffix(".csv"), form=order.table_form, names=names
        )
    return canonicalise(
        source=source,
        destination=target.with_suffix(CANONICAL_SUFFIX),
        grid=expected.grid,
        allowed_values=order.allowed_values,
        channels=order.channels,
        tolerance=order.tolerance,
    )


def _cases_without_row(expected: ExpectedOutput, checked: CheckedFile) -> list[str]:
    if not expected.rows:
        return []
    present = read_table(checked.path)
    return [case for name, case in expected.rows.items() if name not in present]
