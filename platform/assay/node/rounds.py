"""A case played in rounds: prompts from elsewhere, a fresh container each time, its last answer handed back.

The node never sees the reference. The program that holds it (the scoring pool behind the server; on one's own machine the same process)
is asked before every round what the container is to be told, and makes that from the answer of the round before. The rounds of a
case share one time limit, which comes with the first prompts because it may grow with the structures of the case.

A round that leaves nothing usable counts with what stood before it. Only running out of time, being cancelled, faults of ours and
an image that cannot be started end the case. Every container of a case has the same name, one after the other.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.node.folder import made_place, write_input_table
from assay.node.orders import InteractionOrder, WorkOrder
from assay.node.outputs import CheckedFile, CheckedOutputs, check_outputs
from containers.spec import RoundUsage, RunResult, RunSpec, Usage
from containers.verdicts import Reason, Verdict

ENDING = (Verdict.CANCELLED, Verdict.INFRASTRUCTURE, Verdict.IMAGE_INVALID, Verdict.TIMEOUT)
ADDED_UP = (
    "wall_seconds", "startup_seconds", "cpu_seconds", "cpu_area_percent_seconds",
    "memory_area_byte_seconds", "gpu_memory_area_byte_seconds", "gpu_memory_area_over_tolerance_byte_seconds",
)  # fmt: skip
LARGEST = ("peak_memory_bytes", "stable_memory_bytes", "gpu_peak_memory_bytes", "largest_gap_seconds", "output_bytes")
ALL_TRUE = ("is_valid", "gpu_is_valid")


class RoundsStopped(Exception):
    """Nobody waits for this case any more."""


@dataclass(frozen=True, kw_only=True)
class RoundOrder:
    """What a round is told, and how long all rounds of the case may take together."""

    prompts: Sequence[Mapping[str, Any]]
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class RoundsOutcome:
    """The case as one run: its verdict and usage over all rounds, and every round's answer."""

    result: RunResult
    checked: CheckedOutputs


def round_name(number: int, name: str) -> str:
    """What an output of a round is called between node and server."""
    return f"round-{number}/{name}"


def run_rounds(
    order: WorkOrder,
    *,
    interaction: InteractionOrder,
    spec: RunSpec,
    folder: Path,
    ask: Callable[[int], RoundOrder],
    start: Callable[[RunSpec], RunResult],
    keep: Callable[[CheckedFile], None],
) -> RoundsOutcome:
    """Play every round. `ask` says what a round is told, `start` runs its container, `keep` is given each usable answer."""
    results: list[RunResult] = []
    files: list[CheckedFile] = []
    ended = RunResult(verdict=Verdict.OUTPUT_MISSING, reason=Reason.MISSING)
    for number in range(interaction.rounds):
        try:
            told = ask(number)
        except RoundsStopped:
            ended = RunResult(verdict=Verdict.CANCELLED)
            break
        left = told.wall_seconds - sum(result.usage.wall_seconds or 0.0 for result in results)
        if left <= 0:
            ended = RunResult(verdict=Verdict.TIMEOUT, reason=Reason.TIME_LIMIT)
            break
        _tell(told, number=number, interaction=interaction, spec=spec, previous=files[-1:])
        ended = start(replace(spec, limits=replace(spec.limits, wall_seconds=left)))
        results.append(ended)
        if ended.verdict in ENDING:
            break
        place = folder / f"round-{number}"
        place.mkdir()
        for file in check_outputs(order, result=ended, folder=place).files:
            files.append(replace(file, name=round_name(number, file.name)))
            keep(files[-1])
    return _outcome(ended, results=results, files=files, log_bytes=order.limits.log_bytes)


def _tell(
    told: RoundOrder, *, number: int, interaction: InteractionOrder, spec: RunSpec, previous: Sequence[CheckedFile]
) -> None:
    """Put the prompts, and the last answer if there is one, into the container's input."""
    place = made_place(spec.input_dir, interaction.prompts_path)
    place.unlink(missing_ok=True)
    write_input_table(json.dumps({"round": number, "structures": list(told.prompts)}, indent=1), destination=place)
    for file in previous:
        place = made_place(spec.input_dir, interaction.previous_path)
        place.unlink(missing_ok=True)
        place.write_bytes(file.path.read_bytes())
        place.chmod(0o444)


def _outcome(
    ended: RunResult, *, results: Sequence[RunResult], files: Sequence[CheckedFile], log_bytes: int
) -> RoundsOutcome:
    is_over = ended.verdict in ENDING
    verdict, reason = (ended.verdict, ended.reason) if is_over or not files else (Verdict.OK, "")
    if not is_over and not files and ended.verdict == Verdict.OK:  # files were there, and none could be used
        verdict, reason = Verdict.OUTPUT_INVALID, ""
    merged = RunResult(
        verdict=verdict,
        reason=reason,
        exit_code=ended.exit_code,
        log=b"".join(result.log for result in results)[-log_bytes:],
        usage=merge_usage(results),
        names_found=ended.names_found,
    )
    usable = tuple(files) if verdict == Verdict.OK else ()
    return RoundsOutcome(result=merged, checked=CheckedOutputs(verdict=verdict, reason=reason, files=usable))


def merge_usage(results: Sequence[RunResult]) -> Usage:
    """What all rounds consumed: amounts added up, peaks as the largest, and how each round ended."""
    usages = [result.usage for result in results]
    merged: dict[str, Any] = {}
    for names, combine in ((ADDED_UP, sum), (LARGEST, max), (ALL_TRUE, all)):
        for name in names:
            values = [value for usage in usages if (value := getattr(usage, name)) is not None]
            if values:
                merged[name] = combine(values)
    rounds = tuple(
        RoundUsage(verdict=result.verdict, reason=result.reason, wall_seconds=result.usage.wall_seconds)
        for result in results
    )
    return replace(usages[-1] if usages else Usage(), **merged, rounds=rounds)
