"""Rows → work orders: what a node is told about a case run, in plain values. Pure, but for the rows it reads.

The algorithm never sees a case's real name: `{case}` in a file name becomes a name made up for this case run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from assay.challenges.protocols import rules_of
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from assay.testsets.models import Case
from containers.spec import Limits
from evaluator.protocol import Protocol
from evaluator.volumes import CANONICAL_SUFFIX, Grid


def resources_of(submission: Submission) -> dict[str, Any]:
    """The limits frozen on the submission, over the protocol's own defaults."""
    return {**rules_of(submission.protocol).document["resources"], **submission.limits}


def limits_of(resources: Mapping[str, Any]) -> Limits:
    """The protocol's `resources` in the runner's units."""
    return Limits.from_resources(resources)


def opaque_name(case_run: CaseRun, case: Case) -> str:
    """What a case is called inside the container: says nothing about the case, and differs from run to run.

    It never holds `_0000`: that is what nnU-Net calls a channel, and many programs cut it out wherever it stands.
    """
    own = (case_run.kept_from_id or case_run.id).hex
    return f"case_{own[:8]}" if case_run.case_id else f"case_{own[:6]}p{case.position:04d}"


def output_key(case_run: CaseRun, case: Case, *, name: str) -> str:
    """What an output is called between server and node: a cohort's carry the case's position."""
    return name if case_run.case_id else f"{case.position}/{name}"


def grid_of(case: Case) -> Grid | None:
    """Where the case's voxels lie; None for a case that is no volume."""
    return Grid.from_json(case.grid) if case.grid else None


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
    submission = case_run.run.submission
    image, rules, resources = submission.image, rules_of(submission.protocol), resources_of(submission)
    if image is None:
        raise LookupError(f"submission {submission.pk} has no image; only image submissions are run")
    limits = limits_of(resources)
    if resources["wall_seconds_per"] == "case":
        limits = replace(limits, wall_seconds=limits.wall_seconds * len(cases))
    return {
        "case_run_id": str(case_run.id),
        "run_id": str(case_run.run_id),
        "fence": case_run.fence,
        "container_name": container_name(case_run.run, case_run),
        "lease_seconds": lease_seconds,
        "heartbeat_seconds": heartbeat_seconds,
        "image": {
            "image_id": image.image_id,
            "sha256": image.rewritten_sha256,
            "bytes": image.rewritten_bytes,
            "url": sign(image.rewritten_key),
        },
        "inputs": [file for case in cases for file in input_orders(case_run, case, rules=rules, sign=sign)],
        "sockets": (
            rules.input_sockets(opaque_name(case_run, cases[0]), present={file["name"] for file in cases[0].inputs})
            if case_run.case is not None
            else {}
        ),
        "tables": rules.input_tables({opaque_name(case_run, case): case.attributes for case in cases}),
        "spec": {
            "limits": asdict(limits),
            "command": resources["command"],
            "environment": environment_of(resources, case_run=case_run),
            "input_mount": resources["input_mount"],
            "input_aliases": resources["input_aliases"],
            "output_mount": resources["output_mount"],
            "profile": resources["profile"],
            "gpu_memory_tolerance_bytes": round(rules.gpu_memory_tolerance_mb * 2**20),
            "outputs": (
                shared_table_order(case_run, cases, rules=rules, limits=limits)
                if rules.has_shared_table
                else [output for case in cases for output in output_orders(case_run, case, rules=rules, limits=limits)]
            ),
        },
        "interaction": interaction_order(case_run, rules=rules),
        "table_form": asdict(rules.table_form) if rules.table_form else None,
        "allowed_values": None if rules.allowed_values is None else sorted(rules.allowed_values),
        "channels": rules.channels,
        "geometry": asdict(rules.geometry),
    }


def output_names(case_run: CaseRun) -> frozenset[str]:
    """Every name under which the order of this case run lets an output be sent. One query for a cohort."""
    submission = case_run.run.submission
    rules = rules_of(submission.protocol)
    if rules.has_shared_table:
        return frozenset({rules.output.name})
    cases = [case_run.case] if case_run.case else list(submission.testset.cases.all())
    names = [
        output_key(case_run, case, name=name)
        for case in cases
        for name in rules.output_files(opaque_name(case_run, case))
    ]
    order = interaction_order(case_run, rules=rules)
    if order is not None:
        names += [round_key(number, name=name) for number in range(order["rounds"]) for name in tuple(names)]
    return frozenset(names)


def interaction_order(case_run: CaseRun, *, rules: Protocol) -> dict[str, Any] | None:
    """How many rounds the case is played in, and where its container finds prompts and its last answer."""
    if rules.interaction is None or case_run.case is None:
        return None
    name = opaque_name(case_run, case_run.case)
    return {
        "rounds": rules.interaction.rounds,
        "prompts_path": rules.interaction.prompts_file.replace("{case}", name),
        "previous_path": rules.interaction.previous_file.replace("{case}", name),
    }


def round_key(number: int, *, name: str) -> str:
    """What an output of a round is called between server and node."""
    return f"round-{number}/{name}"


def environment_of(resources: Mapping[str, Any], *, case_run: CaseRun) -> dict[str, str]:
    """The phase's variables; `{case}` in one is what the only case is called inside the container."""
    given: Mapping[str, str] = resources["environment"]
    if case_run.case is None:
        return dict(given)
    name = opaque_name(case_run, case_run.case)
    return {variable: value.replace("{case}", name) for variable, value in given.items()}


def input_orders(case_run: CaseRun, case: Case, *, rules: Protocol, sign: Callable[[str], str]) -> list[dict[str, Any]]:
    """The case's files: where each goes, what it must be, where to get it. What the protocol does not name is not sent."""
    paths = rules.input_files(opaque_name(case_run, case))
    return [
        {
            "path": paths[file["name"]],
            "sha256": file["sha256"],
            "bytes": file["bytes"],
            "url": sign(file["key"]),
            "is_volume": file["key"].endswith(CANONICAL_SUFFIX),
        }
        for file in case.inputs
        if file["name"] in paths
    ]


def output_orders(case_run: CaseRun, case: Case, *, rules: Protocol, limits: Limits) -> list[dict[str, Any]]:
    """The files the case must produce: the grid their voxels must lie on, or the row a table must have."""
    opaque = opaque_name(case_run, case)
    return [
        {
            "name": output_key(case_run, case, name=name),
            "path": path,
            "max_bytes": limits.output_bytes,
            "grid": case.grid or None,
            "is_document": name in rules.documents,
            "case": str(case.position),
            "rows": {opaque: str(case.position)} if rules.table_form else {},
        }
        for name, path in rules.output_files(opaque).items()
    ]


def shared_table_order(
    case_run: CaseRun, cases: Sequence[Case], *, rules: Protocol, limits: Limits
) -> list[dict[str, Any]]:
    """The one table in which a container answers for all its cases."""
    return [
        {
            "name": rules.output.name,
            "path": rules.output.file,
            "max_bytes": limits.output_bytes,
            "grid": None,
            "case": "",
            "rows": {opaque_name(case_run, case): str(case.position) for case in cases},
        }
    ]


def attempt_folder(case_run: CaseRun, *, attempt: int) -> str:
    """Where an attempt's artefacts lie: attempts never overwrite one another."""
    return f"runs/{case_run.run_id}/{case_run.position}/a{attempt}"
