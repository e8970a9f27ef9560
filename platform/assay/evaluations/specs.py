"""Rows → what the evaluator is given for one case: paths of the references, canonical copies of the predictions, or a failure.

Predictions are written by strangers. They are read here only by the strict reader in its limited child process, which never
sees a reference; the evaluator reads the canonical files that child wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.evaluations.models import CaseScores
from assay.runs.models import CaseRun
from assay.runs.specs import output_key
from assay.testsets import storage
from assay.testsets.models import Case
from containers.verdicts import Verdict
from evaluator.errors import InvalidVolume
from evaluator.protocol import Protocol
from evaluator.results import CaseResult, ScoreRow
from evaluator.volumes import Grid, canonicalise


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """One case, ready for the evaluator: `predictions` is None exactly when `failure` says why."""

    references: Mapping[str, Path]
    predictions: Mapping[str, Path] | None
    failure: str | None


def prepare_case(*, case: Case, case_run: CaseRun | None, protocol: Protocol, scratch: Path) -> PreparedCase:
    """Find the case's reference files and make canonical copies of its predictions below `scratch`."""
    references = {file["name"]: storage.local_path(file["key"]) for file in case.references}
    failure = failure_of(case_run, case=case)
    if failure is not None or case_run is None:
        return PreparedCase(references=references, predictions=None, failure=failure)
    predictions: dict[str, Path] = {}
    for output in outputs_of(case_run, case=case):
        canonical = scratch / f"{len(predictions)}.nii.gz"
        try:
            canonicalise(
                source=storage.local_path(output["key"]),
                destination=canonical,
                grid=Grid.from_json(case.grid),
                allowed_values=protocol.allowed_values,
                channels=protocol.channels,
                tolerance=protocol.geometry,
            )
        except InvalidVolume as problem:
            failure = with_reason(Verdict.OUTPUT_INVALID, problem.reason)
            return PreparedCase(references=references, predictions=None, failure=failure)
        predictions[output["name"]] = canonical
    return PreparedCase(references=references, predictions=predictions, failure=None)


def failure_of(case_run: CaseRun | None, *, case: Case) -> str | None:
    """Why there is no usable prediction, as `verdict:reason`; None when there is one. Some cases of a cohort may have failed."""
    if case_run is None or case_run.verdict in ("", Verdict.UNRUN):
        return str(Verdict.UNRUN)
    if case_run.verdict != Verdict.OK:
        return with_reason(case_run.verdict, case_run.reason)
    failed = case_run.usage.get("failed_cases", {}).get(str(case.position))
    return with_reason(*failed) if failed else None


def with_reason(verdict: str, reason: str = "") -> str:
    """Both from closed vocabularies; rules about a failure look at the verdict, people at the reason too."""
    return f"{verdict}:{reason}" if reason else str(verdict)


def telemetry_of(case_run: CaseRun | None) -> dict[str, float]:
    """What the run of a case consumed, by the names metrics have; only what was measured without a gap."""
    usage = case_run.usage if case_run is not None else {}
    if not usage.get("is_valid", True):
        usage = {"wall_seconds": usage.get("wall_seconds")}
    area = usage.get("gpu_memory_area_over_tolerance_byte_seconds")
    measured = {
        "wall_seconds": usage.get("wall_seconds"),
        "cpu_seconds": usage.get("cpu_seconds"),
        "cpu_percent_seconds": usage.get("cpu_area_percent_seconds"),
        "peak_memory_mb": _megabytes(usage.get("peak_memory_bytes")),
        "gpu_memory_mb": _megabytes(usage.get("gpu_peak_memory_bytes")),
        "gpu_memory_mb_seconds": _megabytes(area) if usage.get("gpu_is_valid", True) else None,
    }
    return {name: float(value) for name, value in measured.items() if value is not None}


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / 2**20


def outputs_of(case_run: CaseRun, *, case: Case) -> Sequence[Mapping[str, Any]]:
    """The case's stored predictions, named as the protocol's outputs (a cohort's carry the case's position)."""
    prefix = output_key(case_run, case, name="")
    return [{**o, "name": o["name"].removeprefix(prefix)} for o in case_run.outputs if o["name"].startswith(prefix)]


def stored_result(row: CaseScores, *, backend: str) -> CaseResult:
    """A case's stored scores as the evaluator's record."""
    rows = tuple(ScoreRow.from_json(score) for score in row.scores)
    return CaseResult(case_id=row.case.case_id, rows=rows, backend=backend)
