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
from evaluator.volumes import canonicalise

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
    """Read every output with the strict reader; canonical files go below `folder`."""
    is_about_files = result.verdict in OF_SINGLE_FILES and bool(result.problems)
    if result.verdict != Verdict.OK and not is_about_files:
        return CheckedOutputs(verdict=result.verdict, reason=result.reason)
    failed: dict[str, tuple[Verdict, str]] = {}
    files: dict[str, list[CheckedFile]] = {output.case: [] for output in order.outputs}
    for place, expected in enumerate(order.outputs):
        checked = _check(order, expected=expected, result=result, target=folder / f"canonical-{place}.nii.gz")
        if isinstance(checked, CheckedFile):
            files[expected.case].append(checked)
        else:
            failed.setdefault(expected.case, checked)
    if len(failed) == len(files):
        verdict, reason = next(iter(failed.values()))
        return CheckedOutputs(verdict=verdict, reason=reason)
    usable = [file for case, found in files.items() if case not in failed for file in found]
    return CheckedOutputs(verdict=Verdict.OK, files=tuple(usable), failed_cases=failed)


def _check(
    order: WorkOrder, *, expected: ExpectedOutput, result: RunResult, target: Path
) -> CheckedFile | tuple[Verdict, str]:
    name = expected.spec.name
    problem = next((problem for problem in result.problems if problem.name == name), None)
    if problem is not None:
        return problem.verdict, problem.reason
    source = next(output.path for output in result.outputs if output.name == name)
    try:
        made = canonicalise(
            source=source,
            destination=target,
            grid=expected.grid,
            allowed_values=order.allowed_values,
            channels=order.channels,
            tolerance=order.tolerance,
        )
    except InvalidVolume as refusal:
        return Verdict.OUTPUT_INVALID, str(refusal.reason)
    return CheckedFile(name=name, path=target, sha256=made.sha256)
