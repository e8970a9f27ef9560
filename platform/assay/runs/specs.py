"""Rows → work orders: what a node is told about a case run, in plain values. Pure, but for the rows it reads.

The algorithm never sees a case's real name: `{case}` in a file name becomes a name made up for this case run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from assay.testsets.models import Case
from containers.spec import Limits, OutputSpec

MEBIBYTE = 2**20


def limits_of(resources: Mapping[str, Any]) -> Limits:
    """The protocol's `resources`, as frozen on the submission, in the runner's units."""
    defaults = Limits()
    output_bytes = int(resources.get("output_mb", defaults.output_bytes // MEBIBYTE)) * MEBIBYTE
    return Limits(
        wall_seconds=float(resources.get("wall_seconds", defaults.wall_seconds)),
        memory_bytes=int(resources.get("memory_mb", defaults.memory_bytes // MEBIBYTE)) * MEBIBYTE,
        shm_bytes=int(resources.get("shm_mb", defaults.shm_bytes // MEBIBYTE)) * MEBIBYTE,
        tmp_bytes=int(resources.get("tmp_mb", defaults.tmp_bytes // MEBIBYTE)) * MEBIBYTE,
        cpus=int(resources.get("cpus", defaults.cpus)),
        gpus=int(resources.get("gpus", defaults.gpus)),
        output_bytes=output_bytes,
    )


def opaque_name(case_run: CaseRun, case: Case) -> str:
    """What a case is called inside the container: says nothing about the case, and differs from run to run."""
    return f"case_{case_run.id.hex[:8]}" if case_run.case_id else f"case_{case_run.id.hex[:6]}_{case.position:04d}"


def input_path(document: Mapping[str, Any], *, name: str, case_name: str) -> str:
    """Where an input image lies below the input mount, by the protocol's pattern."""
    for declared in document.get("inputs", []):
        if declared["name"] == name:
            return str(declared["file"]).format(case=case_name)
    raise LookupError(
        f"the protocol declares no input {name!r}; it has {[i['name'] for i in document.get('inputs', [])]}"
    )


def expected_outputs(document: Mapping[str, Any], *, case_name: str, output_bytes: int) -> tuple[OutputSpec, ...]:
    """The files one case must produce, each under its output's name, or its structure's where each has a file of its own."""
    found = []
    for declared in document.get("outputs", []):
        pattern, name = str(declared["file"]), str(declared["name"])
        structures: Sequence[str | None] = [None]
        if declared.get("kind") == "mask_per_structure":
            structures = [label for label, _ in labels_of(document)]
        for structure in structures:
            path = pattern.format(case=case_name, label=structure, structure=structure)
            found.append(OutputSpec(name=structure or name, path=path, max_bytes=output_bytes))
    return tuple(found)


def labels_of(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The protocol's labels, in order, whether written as a mapping or as a list."""
    labels = document.get("labels", {})
    if isinstance(labels, Mapping):
        return list(labels.items())
    return [(str(label["name"]), label) for label in labels]


def allowed_values(document: Mapping[str, Any]) -> list[int] | None:
    """The voxel values a prediction may hold: background and every label; for one mask per structure, 0 and 1."""
    kinds = {declared.get("kind", "label_map") for declared in document.get("outputs", [])}
    if kinds == {"mask_per_structure"}:
        return [0, 1]
    if kinds != {"label_map"}:
        return None
    values = {0}
    for _, label in labels_of(document):
        given = label.get("values", [])
        values.update([given] if isinstance(given, int) else given)
    return sorted(values)


def resources_of(submission: Submission) -> dict[str, Any]:
    """The limits frozen on the submission; its protocol's for rows older than the freezing."""
    return dict(submission.limits or submission.protocol.document.get("resources", {}))


def container_name(run: Run, case_run: CaseRun) -> str:
    """`assay-<run>-<n>-a<attempt>`: the engine's unique names make it the node-level mutex."""
    return f"assay-{run.id.hex}-{case_run.position}-a{case_run.attempt}"


def work_order(
    *,
    case_run: CaseRun,
    cases: Sequence[Case],
    sign: Callable[[str], str],
    lease_seconds: float,
    heartbeat_seconds: float,
) -> dict[str, Any]:
    """Everything a node needs for one case run; `sign` turns a storage key into a short-lived address."""
    run, submission = case_run.run, case_run.run.submission
    image, document, resources = submission.image, submission.protocol.document, resources_of(case_run.run.submission)
    if image is None:
        raise LookupError(f"submission {submission.pk} has no image; only image submissions are run")
    limits = limits_of(resources)
    inputs, outputs = [], []
    for case in cases:
        name = opaque_name(case_run, case)
        for file in case.inputs:
            path = input_path(document, name=file["name"], case_name=name)
            inputs.append({"path": path, "sha256": file["sha256"], "bytes": file["bytes"], "url": sign(file["key"])})
        for output in expected_outputs(document, case_name=name, output_bytes=limits.output_bytes):
            key = output.name if case_run.case_id else f"{case.position}/{output.name}"
            outputs.append({**asdict(output), "name": key, "grid": case.grid})
    command = resources.get("command")
    return {
        "case_run_id": str(case_run.id),
        "run_id": str(run.id),
        "fence": case_run.fence,
        "container_name": container_name(run, case_run),
        "lease_seconds": lease_seconds,
        "heartbeat_seconds": heartbeat_seconds,
        "image": {
            "image_id": image.image_id,
            "sha256": image.rewritten_sha256,
            "bytes": image.rewritten_bytes,
            "url": sign(image.rewritten_key),
        },
        "inputs": inputs,
        "spec": {
            "limits": asdict(limits),
            "command": command.split() if isinstance(command, str) else command,
            "environment": dict(resources.get("environment") or {}),
            "input_mount": resources.get("input_mount") or "/input",
            "output_mount": resources.get("output_mount") or "/output",
            "profile": resources.get("profile") or "default",
            "outputs": outputs,
        },
        "allowed_values": allowed_values(document),
    }
