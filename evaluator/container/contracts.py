"""Where three other platforms put predictions and references, and what they want back.

| contract          | predictions                                | references                        | result                     |
| ----------------- | ------------------------------------------ | --------------------------------- | -------------------------- |
| `grand-challenge` | `/input`, with or without predictions.json | `/opt/ml/input/data/ground_truth` | `/output/metrics.json`     |
| `codabench`       | `<input>/res`                              | `<input>/ref`                     | `<output>/scores.json`     |
| `medperf`         | `predictions` below `/mlcommons/volumes`   | `labels` there                    | `results/results.yaml`     |

The protocol is `protocol.yaml` in the references folder (or beside the program, baked into an image of your own). On
grand-challenge the algorithm's jobs are listed in predictions.json: the case is the name of the job's input image, and the
prediction is the one volume in the job's output folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from evaluator.errors import EvaluatorError
from evaluator.protocol import Protocol
from evaluator.results import CaseResult
from evaluator.scoring.pairing import VOLUME_EXTENSIONS, CaseFiles, Pairing, case_name, pair_folders

PROTOCOL_NAME = "protocol.yaml"
JOBS_NAME = "predictions.json"
MAX_JOBS_BYTES = 64 << 20


class Contract(StrEnum):
    """Which platform's container contract is used."""

    GRAND_CHALLENGE = "grand-challenge"
    CODABENCH = "codabench"
    MEDPERF = "medperf"


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is where inside the container."""

    contract: Contract
    predictions: Path
    references: Path
    result: Path


def find_places(*, root: Path, arguments: Sequence[str]) -> Places:
    """The contract whose folders exist below `root`. CodaBench may name its two folders as arguments."""
    source = Path(arguments[0]) if arguments else root / "app" / "input"
    target = Path(arguments[1]) if len(arguments) > 1 else source.parent / "output"
    volumes = root / "mlcommons" / "volumes"
    known = (
        Places(
            contract=Contract.CODABENCH,
            predictions=source / "res",
            references=source / "ref",
            result=target / "scores.json",
        ),
        Places(
            contract=Contract.MEDPERF,
            predictions=volumes / "predictions",
            references=volumes / "labels",
            result=volumes / "results" / "results.yaml",
        ),
        Places(
            contract=Contract.GRAND_CHALLENGE,
            predictions=root / "input",
            references=root / "opt" / "ml" / "input" / "data" / "ground_truth",
            result=root / "output" / "metrics.json",
        ),
    )
    for places in known:
        if places.references.is_dir() and places.predictions.is_dir():
            return places
    expected = "; ".join(f"{places.predictions} and {places.references} ({places.contract})" for places in known)
    raise EvaluatorError(f"found no predictions beside references; expected {expected}")


def pair(*, protocol: Protocol, places: Places) -> Pairing:
    """The cases of the references with their predictions, wherever the platform put those."""
    jobs = places.predictions / JOBS_NAME
    plain = pair_folders(protocol=protocol, references=places.references, predictions=places.predictions)
    if not jobs.is_file():
        return plain
    found = _predictions_of_jobs(jobs, folder=places.predictions, name=protocol.output.name)
    cases = tuple(
        CaseFiles(case_id=case.case_id, references=case.references, predictions=found.get(case.case_id, {}))
        for case in plain.cases
    )
    return Pairing(cases=cases, leftover=tuple(sorted(set(found) - {case.case_id for case in cases})))


def _predictions_of_jobs(jobs: Path, *, folder: Path, name: str) -> dict[str, dict[str, Path]]:
    if jobs.stat().st_size > MAX_JOBS_BYTES:
        raise EvaluatorError(f"{JOBS_NAME} is larger than {MAX_JOBS_BYTES} bytes")
    found: dict[str, dict[str, Path]] = {}
    for job in json.loads(jobs.read_text(encoding="utf-8")):
        case_ids = [case_name(Path(value["image"]["name"])) for value in job["inputs"] if value.get("image")]
        volumes = [path for value in job["outputs"] for path in _volumes_of(folder, str(job["pk"]), value)]
        if case_ids and len(volumes) == 1:
            found[case_ids[0]] = {name: volumes[0]}
    return found


def _volumes_of(folder: Path, job_pk: str, value: Mapping[str, Any]) -> list[Path]:
    socket = value.get("socket") or value.get("interface") or {}
    below = folder / job_pk / "output" / str(socket.get("relative_path", ""))
    inside = below.resolve().is_relative_to(folder.resolve())
    if not inside or not below.is_dir():
        return []
    return sorted(path for path in below.iterdir() if path.name.endswith(VOLUME_EXTENSIONS))


def result_document(
    *, contract: Contract, protocol: Protocol, summary: Mapping[str, Any], results: Sequence[CaseResult]
) -> dict[str, Any]:
    """What the platform reads: flat numbers for CodaBench, aggregates and cases for the others."""
    if contract is Contract.CODABENCH:
        means = {metric: row["mean"] for metric, row in summary.items()}
        per_label = {
            f"{metric}_{label}": cell["mean"]
            for metric, row in summary.items()
            for label, cell in row["per_label"].items()
        }
        return {key: value for key, value in (means | per_label).items() if value is not None}
    provenance = {"name": protocol.name, "sha256": protocol.sha256, "preset": protocol.preset}
    # These platforms show the document to participants: what is said of references stays with the organizer.
    cases = [replace(result, reference_notes=()).to_json() for result in results]
    return {"aggregates": dict(summary), "results": cases, "protocol": provenance}
