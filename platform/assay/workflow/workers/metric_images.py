"""Organizers' own metric images: taken in like an algorithm's image, run in the same sandbox, on the scoring pool.

Theory of operation
-------------------
A protocol names an image by ID under `evaluation` and leaves its `external_…` metrics to it. One run scores all cases of an
evaluation, under grand-challenge's contract for evaluation images:

    /input/predictions.json                        one job per case that has a usable prediction
    /input/<job>/output/images/<output>/<case>.nii.gz  canonical copies, written by us
    /opt/ml/input/data/ground_truth/               the references: <case>.nii.gz, or <case>/<structure>.nii.gz
    /output/metrics.json                           what it has to write; `evaluator/scoring/external.py` has its form

This is the only place where a container sees a reference. Both folders are staged copies, read-only; there is no network, and
all of the sandbox's limits hold. The image is the organizers': whatever it does wrong raises `MetricImageFailed`, which ends the
evaluation at their charge. What the engine does wrong is ours, and tried again.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import User
from assay.challenges.models import Challenge
from assay.evaluations.models import Evaluation, MetricImage
from assay.evaluations.receipts import installation_name
from assay.evaluations.services import keep_metric_image
from assay.evaluations.specs import PreparedCase
from assay.submissions.models import Upload
from assay.testsets import storage
from containers.engines import OWNER_LABEL, Engine
from containers.engines.choice import EngineChoice, EngineKind
from containers.intake import ImageInvalid, inspect_archive, load_archive
from containers.log_text import readable
from containers.sandbox import remove_strays, run
from containers.spec import MEBIBYTE, Limits, OutputSpec, ReadOnlyFolder, RunResult, RunSpec
from containers.verdicts import Verdict
from evaluator.protocol import MetricImage as WantedImage
from evaluator.protocol import Protocol
from evaluator.scoring import MAX_METRICS_BYTES, ExternalScores, MetricsInvalid, parse_metrics

INPUT_MOUNT, REFERENCE_MOUNT = "/input", "/opt/ml/input/data/ground_truth"
METRICS = "metrics.json"
LOG_LETTERS = 160


class MetricImageFailed(Exception):
    """The organizers' metric image cannot be run, or wrote nothing usable. The text is for them."""


def open_engine() -> AbstractContextManager[Engine]:
    """The scoring worker's container engine."""
    return EngineChoice(kind=EngineKind(settings.METRIC_ENGINE), socket=settings.METRIC_ENGINE_SOCKET).open()


def take_metric_image(*, challenge: Challenge, user: User, upload: Upload, now: datetime) -> MetricImage:
    """Inspect an uploaded archive as a submission's is, and keep its rewritten form."""
    if upload.purpose != Upload.Purpose.IMAGE:
        raise InvalidError(_("This upload is for something else."), found=str(upload.purpose), expected="image")
    if upload.completed_at is None:
        raise ConflictError(
            _("The upload is not complete."), code="upload_incomplete", what_to_do=_("Continue it first.")
        )
    with storage.scratch_folder() as folder:
        rewritten = folder / "image.tar"
        try:
            report = inspect_archive(
                source=storage.unchanged_path(upload.key, sha256=upload.sha256), destination=rewritten
            )
        except ImageInvalid as problem:
            raise InvalidError(
                str(problem), code="image_invalid", found=str(problem.reason), expected=_("a docker save archive")
            ) from problem
        key = f"metric-images/{challenge.pk}/{report.image_id[7:]}.tar"
        stored = storage.keep_file(source=rewritten, key=key, move=True)
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
    lay_out(cases=cases, input_dir=scratch / "input", reference_dir=scratch / "references")
    owner = f"{installation_name(folder=Path(settings.KEY_FOLDER))}/metrics-{evaluation.id}"
    spec = spec_of(evaluation, wanted=wanted, scratch=scratch)
    with open_engine() as engine:
        remove_strays(engine, owner=owner, keep=set())  # of an attempt that died
        if image.image_id not in engine.image_ids():
            load_archive(engine, storage.local_path(image.rewritten_key), image.image_id)
        result = run(spec, engine=engine, scratch=scratch, should_cancel=should_cancel, labels={OWNER_LABEL: owner})
    try:
        return parse_metrics(metrics_of(result), protocol=protocol, case_ids=cases.keys())
    except MetricsInvalid as problem:
        raise MetricImageFailed(f"{METRICS}: {problem}") from problem


def spec_of(evaluation: Evaluation, *, wanted: WantedImage, scratch: Path) -> RunSpec:
    """One run for all cases; the references are mounted here and nowhere else."""
    return RunSpec(
        name=f"assay-metrics-{evaluation.id.hex}-f{evaluation.fence}",
        image_id=wanted.image,
        input_dir=scratch / "input",
        input_mount=INPUT_MOUNT,
        read_only=(ReadOnlyFolder(source=scratch / "references", mount=REFERENCE_MOUNT),),
        outputs=(OutputSpec(name="metrics", path=METRICS, max_bytes=MAX_METRICS_BYTES),),
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


def lay_out(*, cases: Mapping[str, PreparedCase], input_dir: Path, reference_dir: Path) -> None:
    """Copies of references and predictions where the contract wants them. Our files stay unreadable to the container's user."""
    jobs = []
    input_dir.mkdir()
    reference_dir.mkdir()
    for number, (case_id, case) in enumerate(cases.items()):
        is_single = len(case.references) == 1
        for name, path in case.references.items():
            place(path, reference_dir / (f"{case_id}.nii.gz" if is_single else f"{case_id}/{name}.nii.gz"))
        if case.predictions is None:
            continue
        job = f"job-{number}"
        outputs = [{"socket": {"slug": name, "relative_path": f"images/{name}"}} for name in case.predictions]
        image = {"image": {"name": f"{case_id}.nii.gz"}}
        jobs.append({"pk": job, "status": "Succeeded", "inputs": [image], "outputs": outputs})
        for name, path in case.predictions.items():
            place(path, input_dir / job / "output" / "images" / name / f"{case_id}.nii.gz")
    (input_dir / "predictions.json").write_text(json.dumps(jobs))


def place(source: Path, destination: Path) -> None:
    """A copy that the sandbox may share with the container."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)
    destination.chmod(0o444)
