"""Organizers' own metric images: taken in like an algorithm's image, run in the same sandbox, on the scoring pool.

Theory of operation
-------------------
A protocol names an image by ID under `evaluation` and leaves its `external_…` metrics to it. One run scores all cases of an
evaluation, under grand-challenge's contract for evaluation images:

    /input/predictions.json                        one job per case that has a usable prediction
    /input/<job>/output/<socket>/<uuid>.mha         canonical copies, written by us; JSON outputs at their own path
    /opt/ml/input/data/ground_truth/               the references: <case>.mha, or <case>/<structure>.mha
    /output/metrics.json                           what it has to write; `evaluator/scoring/external.py` has its form

With `layout: codabench` it is CodaBench's contract for scoring programs: `/app/input/res` holds the predictions by the names that the
protocol gives them, `/app/input/ref` the references by the same names, and `/app/output/scores.json` the numbers over all cases.

Entries of a job have the keys that the platform writes: `interface` with slug, kind, super_kind and relative_path, and the name of
the case's image at every Image input. Volumes have the format that their socket names, .mha unless the protocol says otherwise.

An image whose packages or working directory are its own USER's runs as that user, as `profile: image-user` has it.

This is the only place where a container sees a reference. Both folders are staged copies, read-only. There is no network, and
all of the sandbox's limits hold. The image is the organizers': whatever it does wrong raises `MetricImageFailed`, which ends the
evaluation at their charge. What the engine does wrong is ours, and tried again.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from assay.accounts.models import User
from assay.challenges.models import Challenge
from assay.evaluations.models import Evaluation, MetricImage
from assay.evaluations.services import keep_metric_image
from assay.evaluations.specs import PreparedCase
from assay.submissions.models import Upload
from assay.submissions.uploads import require_complete
from assay.testsets import storage
from assay.workflow.workers.images_of_organizers import keep_inspected, run_image
from containers.log_text import readable
from containers.spec import MEBIBYTE, Limits, OutputSpec, ReadOnlyFolder, RunResult, RunSpec
from containers.verdicts import Verdict
from evaluator.protocol import MetricImage as WantedImage
from evaluator.protocol import Protocol, slug_of, socket_entry
from evaluator.scoring import MAX_METRICS_BYTES, ExternalScores, MetricsInvalid, parse_metrics
from evaluator.volumes import CANONICAL_SUFFIX, write_as_named

INPUT_MOUNT, REFERENCE_MOUNT = "/input", "/opt/ml/input/data/ground_truth"
METRICS, SCORES = "metrics.json", "scores.json"
CODABENCH = "codabench"
DEFAULT, IMAGE_USER = "default", "image-user"
LOG_LETTERS = 160


class MetricImageFailed(Exception):
    """The organizers' metric image cannot be run, or wrote nothing usable. The text is for them."""


def take_metric_image(*, challenge: Challenge, user: User, upload: Upload, now: datetime) -> MetricImage:
    """Inspect an uploaded archive as a submission's is, and keep its rewritten form."""
    require_complete(upload, purpose=Upload.Purpose.IMAGE)
    report, stored = keep_inspected(upload, below=f"metric-images/{challenge.pk}")
    return keep_metric_image(
        challenge=challenge,
        user=user,
        archive_sha256=upload.sha256,
        key=stored.key,
        size_bytes=stored.bytes,
        report=report.to_json(),
        now=now,
    )


def run_metric_image(
    *,
    evaluation: Evaluation,
    protocol: Protocol,
    wanted: WantedImage,
    cases: Mapping[str, PreparedCase],
    scratch: Path,
    should_cancel: Callable[[], bool],
) -> dict[str, ExternalScores]:
    """Case → what the image says of it. MetricImageFailed is the organizers' fault; RuntimeError ours."""
    image = MetricImage.objects.filter(challenge=evaluation.submission.challenge, image_id=wanted.image).first()
    if image is None:
        raise MetricImageFailed(f"found no metric image {wanted.image[:19]}… of this challenge; push it first")
    if wanted.layout == CODABENCH:
        lay_out_for_codabench(protocol=protocol, cases=cases, input_dir=scratch / "input")
    else:
        lay_out(protocol=protocol, cases=cases, input_dir=scratch / "input", reference_dir=scratch / "references")
    spec = spec_of(evaluation, wanted=wanted, scratch=scratch, profile=profile_of(image))
    result = run_image(
        spec,
        work=f"metrics-{evaluation.id}",
        archive=lambda: storage.local_path(image.rewritten_key),
        scratch=scratch,
        should_cancel=should_cancel,
    )
    try:
        keys = {key: case_id for number, case_id in enumerate(cases) for key in keys_of(case_id, number=number)}
        metrics = metrics_of(result)
        if wanted.layout == CODABENCH:
            metrics = as_aggregates(metrics)
        return parse_metrics(metrics, protocol=protocol, case_ids=cases.keys(), keys=keys)
    except MetricsInvalid as problem:
        raise MetricImageFailed(f"{spec.outputs[0].path}: {problem}") from problem


def profile_of(image: MetricImage) -> str:
    """As its own USER where its files were found to need that: grand-challenge's template installs its packages for the user."""
    is_for_its_user = image.report.get("needed_profile") == IMAGE_USER and not image.report.get("user_problem")
    return IMAGE_USER if is_for_its_user else DEFAULT


def spec_of(evaluation: Evaluation, *, wanted: WantedImage, scratch: Path, profile: str) -> RunSpec:
    """One run for all cases. The references are mounted here and nowhere else."""
    is_codabench = wanted.layout == CODABENCH
    references = ReadOnlyFolder(source=scratch / "references", mount=REFERENCE_MOUNT)
    return RunSpec(
        name=f"assay-metrics-{evaluation.id.hex}-f{evaluation.fence}",
        image_id=wanted.image,
        input_dir=scratch / "input",
        input_mount="/app/input" if is_codabench else INPUT_MOUNT,
        output_mount="/app/output" if is_codabench else "/output",
        profile=profile,
        read_only=() if is_codabench else (references,),
        outputs=(OutputSpec(name="metrics", path=SCORES if is_codabench else METRICS, max_bytes=MAX_METRICS_BYTES),),
        limits=Limits(
            wall_seconds=wanted.wall_seconds,
            memory_bytes=wanted.memory_mb * MEBIBYTE,
            cpus=wanted.cpus,
            output_bytes=2 * MAX_METRICS_BYTES,
        ),
    )


def metrics_of(result: RunResult) -> bytes:
    """What the image wrote, if it ended well."""
    if result.verdict == Verdict.OK:
        return result.outputs[0].path.read_bytes()
    if result.verdict in (Verdict.INFRASTRUCTURE, Verdict.CANCELLED):
        raise RuntimeError(f"the metric image was not run: {result.verdict} {result.reason}")
    said = readable(result.log).strip()[-LOG_LETTERS:]
    raise MetricImageFailed(
        f"the metric image ended with {result.verdict} {result.reason}; it said: {said or 'nothing'}"
    )


def lay_out(*, protocol: Protocol, cases: Mapping[str, PreparedCase], input_dir: Path, reference_dir: Path) -> None:
    """Copies of references and predictions where the contract wants them. Our files stay unreadable to the container's user."""
    jobs = []
    input_dir.mkdir()
    reference_dir.mkdir()
    for number, (case_id, case) in enumerate(cases.items()):
        is_single = len(case.references) == 1
        for name, path in case.references.items():
            place(path, reference_dir / (f"{case_id}.mha" if is_single else f"{case_id}/{name}.mha"))
        if case.predictions is None:
            continue
        job = job_of(number)
        output_dir = input_dir / job / "output"
        outputs = []
        for name, path in {**case.predictions, **case.documents}.items():
            entry = output_entry(protocol, name=name, case_id=case_id)
            interface = entry["interface"]
            if interface["super_kind"] == "Image":
                place(path, output_dir / interface["relative_path"] / entry["image"]["name"])
            else:
                place(path, output_dir / interface["relative_path"])
                entry["value"] = json.loads(path.read_bytes())
            outputs.append(entry)
        inputs = [input_entry(item.slug, file=item.file, case_id=case_id) for item in protocol.inputs if item.is_image]
        jobs.append(
            {
                "pk": job,
                "status": "Succeeded",
                "inputs": inputs or [input_entry("image", file="images/image/{case}.mha", case_id=case_id)],
                "outputs": outputs,
            }
        )
    (input_dir / "predictions.json").write_text(json.dumps(jobs))


def lay_out_for_codabench(*, protocol: Protocol, cases: Mapping[str, PreparedCase], input_dir: Path) -> None:
    """Predictions in `res` by the names that the protocol gives them, and references in `ref` by the same names."""
    for folder in ("res", "ref"):
        (input_dir / folder).mkdir(parents=True)
    for case_id, case in cases.items():
        for name, path in case.references.items():
            place(path, input_dir / "ref" / named_file(protocol, name=name, case_id=case_id))
        for name, path in {**(case.predictions or {}), **(case.documents if case.predictions else {})}.items():
            place(path, input_dir / "res" / named_file(protocol, name=name, case_id=case_id))


def named_file(protocol: Protocol, *, name: str, case_id: str) -> str:
    """The file of an output as participants hand it in. A name without a kind of file gets ours."""
    item = next((output for output in protocol.outputs if output.name == name), protocol.output)
    file = item.file.replace("{case}", case_id).replace("{structure}", name)
    return f"{file.removesuffix('*.mha')}{case_id}.mha" if "*" in file else file


def as_aggregates(raw: bytes) -> bytes:
    """CodaBench's scores are numbers over all cases, by their column's key."""
    try:
        scores = json.loads(raw)
    except ValueError as problem:
        raise MetricsInvalid(f"found no JSON: {problem}") from problem
    return json.dumps({"aggregates": scores}).encode()


def job_of(number: int) -> str:
    """The job's identifier: its folder."""
    return f"job-{number}"


def keys_of(case_id: str, *, number: int) -> tuple[str, ...]:
    """What a metric image may call a case by: everything in predictions.json that tells which image it was."""
    return (case_id, f"{case_id}.mha", f"{case_id}.nii.gz", job_of(number))


def input_entry(slug: str, *, file: str, case_id: str) -> dict[str, Any]:
    """An Image input: its image is named after the case, which is how an evaluation finds the reference."""
    folder = file.rpartition("/")[0] or f"images/{slug}"
    return socket_entry(slug, kind="image", path=f"{folder}/{case_id}.mha", case_id=case_id)


def output_entry(protocol: Protocol, *, name: str, case_id: str) -> dict[str, Any]:
    """An output as the protocol names it: the folder of a volume is its socket, unless it lies at the top."""
    item = next((output for output in protocol.outputs if output.name == name), protocol.output)
    folder, _, file = item.file.replace("{case}", case_id).replace("{structure}", name).rpartition("/")
    slug = slug_of(name)
    if name in protocol.documents:
        return socket_entry(slug, kind="value", path=f"{folder}/{file}".lstrip("/"), case_id=case_id)
    folder = folder if folder.startswith("images/") else f"images/{slug}"
    return socket_entry(slug, kind="image", path=f"{folder}/{uuid.uuid4()}.mha", case_id=case_id)


def place(source: Path, destination: Path) -> None:
    """A copy that the sandbox may share with the container. A canonical volume in the format of its new name."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.name.endswith(CANONICAL_SUFFIX):
        write_as_named(source=source, destination=destination)
    else:
        shutil.copyfile(source, destination)
    destination.chmod(0o444)
