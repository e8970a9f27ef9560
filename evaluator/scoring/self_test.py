"""Does a protocol score what it means to score? Four answers whose worth is known beforehand, made of the reference itself.

| trial       | the answer                                  | expected                                                     |
| ----------- | ------------------------------------------- | ------------------------------------------------------------ |
| `reference` | the reference                               | the best value of every metric, or none where it is undefined |
| `empty`     | nothing but background                      | no structure that is there gets the best value               |
| `shifted`   | the reference, moved beyond every tolerance | no metric better than the reference, and one of them worse   |
| `missing`   | no file                                     | no structure that is there gets the best value               |

For a table `empty` has no rows, and in `shifted` each case has the row of the next one. A metric of time, memory, rounds or an
organizers' own image is not looked at.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.errors import reference_errors
from evaluator.metrics.registry import Direction, Metric, Scope
from evaluator.protocol import OutputKind, Protocol
from evaluator.results import CaseResult
from evaluator.scoring.case import OUTPUT_MISSING, score_case
from evaluator.scoring.structures import for_reference, reference_grid, reference_masks
from evaluator.scoring.summaries import summarise
from evaluator.scoring.tables import score_rows
from evaluator.volumes.canonical import write_canonical_channels
from evaluator.volumes.findings import Cells, as_answer
from evaluator.volumes.geometry import Grid
from evaluator.volumes.strict import read_label_map
from evaluator.volumes.tables import TableRow

TRIALS = ("reference", "empty", "shifted", "missing")
LOOKED_AT = (Scope.LABEL, Scope.COHORT, Scope.TABLE)
ENOUGH = 1e-6
"""How far from its best value a metric may be by rounding alone."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one answer: the mean of each metric over all structures and cases, what is wrong, and what to know."""

    name: str
    means: Mapping[str, float | None]
    troubles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Scored = Mapping[str, Sequence[CaseResult]]
"""Trial → the results of all cases."""


def try_case(
    *, protocol: Protocol, case_id: str, references: Mapping[str, Path], scratch: Path
) -> dict[str, CaseResult]:
    """The four results of one case of volumes. Raises InvalidReference. `scratch` is an empty folder."""
    own, grid = for_reference(protocol, references), reference_grid(references)
    with reference_errors():
        channels = answer_of(own, references)
    by = shift_of(list(channels.values()), grid=grid, protocol=own)
    made = {
        "reference": channels,
        "empty": {name: np.zeros_like(array) for name, array in channels.items()},
        "shifted": {name: moved(array, by=by) for name, array in channels.items()},
    }
    results = {}
    for trial in TRIALS:
        predictions = written(own, made[trial], grid=grid, folder=scratch / trial) if trial in made else None
        rounds = protocol.interaction.rounds - 1 if protocol.interaction else 0
        results[trial] = score_case(
            protocol=protocol,
            case_id=case_id,
            references=references,
            predictions=predictions,
            failure=None if predictions else OUTPUT_MISSING,
            earlier_rounds=[predictions] * rounds,
        )
    return results


def try_rows(*, protocol: Protocol, references: Mapping[str, TableRow]) -> dict[str, list[CaseResult]]:
    """The four results of a table."""
    names = list(references)
    perfect = perfect_answers(protocol, references)
    answers: dict[str, Mapping[str, TableRow]] = {
        "reference": perfect,
        "empty": {},
        "shifted": {name: perfect[other] for name, other in zip(names, [*names[1:], *names[:1]], strict=True)},
        "missing": {},
    }
    return {
        trial: score_rows(
            protocol=protocol,
            references=references,
            predictions=answers[trial],
            failures=dict.fromkeys(names, OUTPUT_MISSING) if trial == "missing" else {},
        )
        for trial in TRIALS
    }


def perfect_answers(protocol: Protocol, references: Mapping[str, TableRow]) -> Mapping[str, TableRow]:
    """The reference's rows as an answer has them: findings have a confidence and no size, risks are large where times are short."""
    cells, names = Cells(protocol.output.cells), [label.name for label in protocol.labels]
    if any(spec.metric.name == "concordance" for spec in protocol.metrics):
        return {
            case: TableRow({name: f"-{row.cells[name].strip()}" for name in names if name in row.cells})
            for case, row in references.items()
        }
    if cells is Cells.TEXT:
        return references
    with reference_errors():
        return {
            case: TableRow({name: as_answer(row.cells.get(name, ""), cells=cells) for name in names})
            for case, row in references.items()
        }


def answer_of(protocol: Protocol, references: Mapping[str, Path]) -> dict[str, Array]:
    """The reference in the form of an answer: name of a structure or channel → voxels. One map stands under an empty name."""
    if protocol.output.kind is OutputKind.LABEL_MAP:
        return {"": _as_map(protocol, references)}
    masks = {
        label.name: mask.astype(np.uint8) for label, mask in reference_masks(protocol=protocol, references=references)
    }
    if protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        return masks
    nothing = np.zeros_like(next(iter(masks.values())))
    by_channel = {label.channel or 0: masks[label.name] for label in protocol.labels}
    return {str(number): by_channel.get(number, nothing) for number in range(protocol.channels)}


def _as_map(protocol: Protocol, references: Mapping[str, Path]) -> Array:
    if len(references) == 1:
        array = read_label_map(next(iter(references.values()))).array
        allowed = protocol.allowed_values
        return array if allowed is None else np.where(np.isin(array, [*allowed]), array, 0).astype(array.dtype)
    masks = {label.name: mask for label, mask in reference_masks(protocol=protocol, references=references)}
    array = np.zeros(next(iter(masks.values())).shape, np.uint16)
    for label in sorted(protocol.labels, key=lambda label: len(label.values)):  # what has parts comes after its parts
        if label.values:
            array[masks[label.name] & (array == 0)] = label.values[0]
    return array


def shift_of(arrays: Sequence[Array], *, grid: Grid, protocol: Protocol) -> tuple[int, ...]:
    """How many voxels to move along each axis: a third of what is there, and beyond twice the widest tolerance."""
    there = np.any([array != 0 for array in arrays], axis=0)
    tolerance = max((label.tolerance_mm or 0.0 for label in protocol.labels), default=0.0)
    steps = []
    for axis, length in enumerate(there.shape):
        used = np.flatnonzero(there.any(axis=tuple(other for other in range(there.ndim) if other != axis)))
        extent = int(used[-1] - used[0]) + 1 if used.size else 1
        wide = math.ceil(2 * tolerance / grid.spacing_mm[axis]) + 1
        steps.append(min(max(1, extent // 3, wide), max(length - 1, 0)))
    return tuple(steps)


def moved(array: Array, *, by: Sequence[int]) -> Array:
    """The array moved along every axis, with background where nothing comes from."""
    result = np.zeros_like(array)
    target = tuple(slice(step, None) for step in by)
    source = tuple(slice(None, length - step) for step, length in zip(by, array.shape, strict=True))
    result[target] = array[source]
    return result


def written(protocol: Protocol, channels: Mapping[str, Array], *, grid: Grid, folder: Path) -> dict[str, Path]:
    """The answer as files, in the form that the protocol asks for."""
    folder.mkdir()
    if protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        groups = {name: [array] for name, array in channels.items()}
    else:
        groups = {protocol.output.name: list(channels.values())}
    files = {name: folder / f"{number}.nii.gz" for number, name in enumerate(groups)}
    for name, arrays in groups.items():
        with files[name].open("wb") as target:
            write_canonical_channels(arrays, grid=grid, count=len(arrays), target=target)
    return files


def judge_trials(protocol: Protocol, scored: Scored) -> list[Trial]:
    """What each trial shows."""
    metrics = {
        spec.id: spec.metric
        for spec in protocol.metrics
        if spec.metric.scope in LOOKED_AT and spec.metric.direction is not Direction.NONE
    }
    means = {trial: _means(protocol, scored[trial], metrics) for trial in TRIALS}
    own = _values(scored["reference"], metrics)
    troubles: dict[str, list[str]] = {trial: [] for trial in TRIALS}
    notes: dict[str, list[str]] = {trial: [] for trial in TRIALS}
    for name, metric in metrics.items():
        if metric.best is None:
            continue
        if metric.scope is not Scope.LABEL:  # one value of all cases together
            troubles["reference"] += _not_best(name, means["reference"][name], metric, where="of all cases")
            continue
        for (case, label, found), (value, reason) in own.items():
            if found != name or reason or value is None:
                continue
            troubles["reference"] += _not_best(name, value, metric, where=f"of {label} in {case}")
            for trial in ("empty", "missing"):
                other = _values(scored[trial], metrics).get((case, label, found), (None, ""))[0]
                if other is None:
                    notes[trial].append(f"{name} of {label} in {case} is left out: this answer costs nothing there")
                elif math.isclose(other, metric.best, abs_tol=ENOUGH):
                    troubles[trial].append(f"{name} of {label} in {case} is {other:g}, the best value there is")
    worse, better = _compare(means["reference"], means["shifted"], metrics)
    troubles["shifted"] += [f"{name} is better than for the reference itself" for name in better]
    if metrics and not worse:
        troubles["shifted"].append("no metric is worse than for the reference itself")
    return [
        Trial(name=trial, means=means[trial], troubles=tuple(troubles[trial]), notes=tuple(notes[trial]))
        for trial in TRIALS
    ]


def _not_best(name: str, value: float | None, metric: Metric, *, where: str) -> list[str]:
    if value is None or metric.best is None or math.isclose(value, metric.best, abs_tol=ENOUGH):
        return []
    return [f"{name} {where} is {value:g}; expected {metric.best:g}"]


Values = dict[tuple[str, str, str], tuple[float | None, str]]
"""(case, label, metric) → value and reason."""


def _values(results: Sequence[CaseResult], metrics: Mapping[str, Metric]) -> Values:
    return {
        (result.case_id, row.label, row.metric): (row.value, row.reason)
        for result in results
        for row in result.rows
        if row.metric in metrics
    }


def _means(protocol: Protocol, results: Sequence[CaseResult], metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    found = summarise(protocol, results, {})
    return {name: found.get(name, {}).get("mean") for name in metrics}


def _compare(
    before: Mapping[str, float | None], after: Mapping[str, float | None], metrics: Mapping[str, Metric]
) -> tuple[list[str], list[str]]:
    """Metrics that are worse afterwards, and those that are better."""
    changes = dict(_changes(before, after, metrics))
    return [name for name, by in changes.items() if by < -ENOUGH], [name for name, by in changes.items() if by > ENOUGH]


def _changes(
    before: Mapping[str, float | None], after: Mapping[str, float | None], metrics: Mapping[str, Metric]
) -> Iterator[tuple[str, float]]:
    for name, metric in metrics.items():
        first, second = before[name], after[name]
        if first is not None and second is not None:
            yield name, (second - first) * (1 if metric.direction is Direction.MAX else -1)
