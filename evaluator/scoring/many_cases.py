"""Many cases scored side by side, within a memory budget.

Cases run in threads: reading, inflating and measuring all happen outside the interpreter lock. A case starts when a job is free
and its estimated memory fits beside the cases already running. A case larger than the whole budget runs alone.
"""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from evaluator.errors import InvalidReference, InvalidVolume
from evaluator.protocol import Protocol
from evaluator.results import CaseResult
from evaluator.scoring.case import score_case
from evaluator.scoring.pairing import CaseFiles
from evaluator.volumes.geometry import Grid
from evaluator.volumes.strict import read_grid

BYTES_PER_VOXEL = 6
"""What a case needs where metrics look at voxels: 4 to 5.2 were measured on 52 million (crop, lesions, topology); 0.2 where none does."""
DEFAULT_MEMORY_BYTES = 4 << 30
FRAGILE_MM = 1e-4


@dataclass(frozen=True, kw_only=True)
class UnusableReference:
    """A case that cannot be scored, because its reference cannot be read: the organizer's fault, and no score of anybody."""

    case_id: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many cases may run side by side, and how much memory they may use together."""

    jobs: int = 1
    memory_bytes: int = DEFAULT_MEMORY_BYTES


def score_cases(
    *, protocol: Protocol, cases: Sequence[CaseFiles], budget: Budget, backend: str = "auto"
) -> Iterator[CaseResult | UnusableReference]:
    """Every case's scores, as they are finished. A reference that cannot be used costs its own case only."""
    waiting = list(reversed(cases))
    running: dict[Future[CaseResult | UnusableReference], int] = {}
    threads = max(1, len(os.sched_getaffinity(0)) // budget.jobs)
    with ThreadPoolExecutor(max_workers=budget.jobs) as pool:
        while waiting or running:
            while waiting and len(running) < budget.jobs:
                needed = estimate_bytes(waiting[-1])
                if running and sum(running.values()) + needed > budget.memory_bytes:
                    break
                running[pool.submit(_score, protocol, waiting.pop(), backend, threads)] = needed
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                yield future.result()


def estimate_bytes(case: CaseFiles) -> int:
    """Memory one case is expected to need, from its reference's header. 0 when that cannot be read."""
    try:
        return BYTES_PER_VOXEL * read_grid(next(iter(case.references.values()))).voxels
    except InvalidVolume:
        return 0


def fragile_tolerances(protocol: Protocol, grid: Grid) -> dict[str, str]:
    """Labels whose tolerance ties with a multiple of a spacing only up to rounding, and how: their NSD depends on the reader.

    NIfTI headers keep spacings in single precision, so 0.8 mm is read as 0.800000012 and a distance of one voxel no longer is
    within a tolerance of 0.8 mm. The tie rule `tolerant` takes such distances in.
    """
    fragile = {}
    for label in protocol.labels:
        for spacing_mm in grid.spacing_mm:
            tolerance_mm = label.tolerance_mm or 0.0
            steps = round(tolerance_mm / spacing_mm)
            gap_mm = math.fabs(steps * spacing_mm - tolerance_mm)
            if steps and 0 < gap_mm < FRAGILE_MM:
                fragile[label.name] = f"{tolerance_mm:g} mm is {steps} × {spacing_mm:.9g} mm but for {gap_mm:.1g} mm"
    return fragile


def unreadable_headers(cases: Sequence[CaseFiles]) -> dict[str, str]:
    """Case → what is wrong with the header of its reference, looked at before anything is scored."""
    found = {}
    for case in cases:
        try:
            for path in case.references.values():
                read_grid(path)
        except InvalidVolume as problem:
            found[case.case_id] = f"{', '.join(p.name for p in case.references.values())}: {problem}"
    return found


def _score(protocol: Protocol, case: CaseFiles, backend: str, threads: int) -> CaseResult | UnusableReference:
    try:
        return score_case(
            protocol=protocol,
            case_id=case.case_id,
            references=case.references,
            predictions=case.predictions,
            backend=backend,
            threads=threads,
        )
    except InvalidReference as problem:
        return UnusableReference(case_id=case.case_id, problem=str(problem))
