"""Organizers' own metrics: an image that is taken in like a submission's, sees references nowhere else, and is theirs to mend."""

import contextlib
import io
import json
import subprocess

import pytest
from django.utils import timezone

import factories
import image_archives
from assay.accounts.errors import InvalidError
from assay.evaluations.models import Evaluation, MetricImage
from assay.evaluations.receipts import build_receipt
from assay.testsets import storage
from assay.workflow.workers import images_of_organizers, metric_images
from containers.engines.docker import DockerEngine
from containers.engines.fake import FakeEnding, FakeEngine
from containers.errors import EngineUnreachable
from evaluator.protocol import load_protocol

PROGRAM = r"""
/* Compares every prediction with its reference, byte by byte: canonical copies of equal volumes are equal. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#define TRUTH "/opt/ml/input/data/ground_truth/"
static int is_same(const char *one, const char *other) {
    FILE *a = fopen(one, "rb"), *b = fopen(other, "rb");
    int left, right, same = a && b;
    if (!same) return 0;
    do { left = getc(a); right = getc(b); } while (left == right && left != EOF);
    return left == right;
}
int main(void) {
    const char *cases[] = {"a", "b"};
    FILE *out = fopen("/output/metrics.json", "w");
    if (access("/input/predictions.json", R_OK) || creat(TRUTH "x", 0600) >= 0 || creat("/input/x", 0600) >= 0) return 3;
    fprintf(out, "{\"results\": [");
    for (int n = 0; n < 2; n++) {
        char reference[200], prediction[400] = "", folder[200];
        sprintf(reference, TRUTH "%s.mha", cases[n]);
        sprintf(folder, "/input/job-%d/output/images/segmentation", n);
        DIR *listed = opendir(folder);
        for (struct dirent *file; listed && (file = readdir(listed));)
            if (file->d_name[0] != '.') sprintf(prediction, "%s/%s", folder, file->d_name);
        fprintf(out, "%s{\"case\": \"%s\", \"metrics\": {\"agreement\": %d}}", n ? "," : "", cases[n], is_same(reference, prediction));
    }
    fprintf(out, "]}");
    return fclose(out);
}
"""


def honest(call):
    """Every case that has a prediction is half right."""
    jobs = json.loads((call.input_dir / "predictions.json").read_text())
    names = [job["inputs"][0]["image"]["name"].removesuffix(".mha") for job in jobs]
    for job, name in zip(jobs, names, strict=True):
        (output,) = job["outputs"]
        assert output["interface"]["super_kind"] == "Image"
        where = call.input_dir / job["pk"] / "output" / output["interface"]["relative_path"]
        assert [file.suffix for file in where.iterdir()] == [".mha"]
        assert (call.read_only[0] / f"{name}.mha").stat().st_size > 0
    results = [{"case": name, "metrics": {"agreement": 0.5}} for name in names]
    (call.output_dir / "metrics.json").write_text(json.dumps({"results": results}))
    return FakeEnding()


def writes(text: str):
    def script(call):
        (call.output_dir / "metrics.json").write_text(text)
        return FakeEnding()

    return script


def use_image(stage, image_id: str, *, wall_seconds: float = 60) -> None:
    """The phase's protocol, with one metric more."""
    protocol = stage.scene.phase.protocol
    metrics = [*protocol.document["metrics"], {"name": "external_score", "id": "agreement"}]
    conventions = {"failed": {"agreement": 0.0}}
    document = load_protocol(
        {
            **protocol.document,
            "metrics": metrics,
            "conventions": conventions,
            "evaluation": {"image": image_id, "memory_mb": 64, "wall_seconds": wall_seconds},
        }
    ).document
    factories.rewrite_protocol(protocol, document)


def test_a_scoring_program_of_codabench_finds_its_folders(stage, with_metrics):
    """Predictions and references by the names that participants use, and numbers over all cases by their keys."""
    protocol = stage.scene.phase.protocol
    evaluation = {**protocol.document["evaluation"], "layout": "codabench"}
    factories.rewrite_protocol(protocol, load_protocol({**protocol.document, "evaluation": evaluation}).document)
    seen = {}

    def script(call):
        for folder in ("res", "ref"):
            place = call.input_dir / folder
            seen[folder] = sorted(str(file.relative_to(place)) for file in place.rglob("*") if file.is_file())
        assert call.read_only == ()
        (call.output_dir / "scores.json").write_text('{"agreement": 0.25, "duration": 3.5}')
        return FakeEnding()

    _submission, scored = with_metrics(script)
    assert seen["res"] == seen["ref"]
    assert {name.partition(".")[0].partition("/")[0] for name in seen["ref"]} == {"a", "b"}
    assert values(scored) == {"a": (0.25, ""), "b": (0.25, "")}


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"agreement": "x"}'])
def test_scores_that_cannot_be_read_are_the_organizers_fault(stage, with_metrics, text):
    protocol = stage.scene.phase.protocol
    evaluation = {**protocol.document["evaluation"], "layout": "codabench"}
    factories.rewrite_protocol(protocol, load_protocol({**protocol.document, "evaluation": evaluation}).document)

    def script(call):
        (call.output_dir / "scores.json").write_text(text)
        return FakeEnding()

    submission, scored = with_metrics(script)
    assert (submission.verdict, submission.fault, submission.is_charged) == ("metrics_failed", "organizer", False)
    assert "scores.json" in scored.error


@pytest.fixture
def metric_image(stage) -> MetricImage:
    key, image_id = "metric-images/1/image.tar", f"sha256:{factories.digest('metrics')}"
    storage.save_file(key=key, stream=io.BytesIO(b"archive"), max_bytes=100)
    use_image(stage, image_id, wall_seconds=1)
    return MetricImage.objects.create(
        challenge=stage.scene.phase.challenge, image_id=image_id, archive_sha256="0" * 64, rewritten_key=key,
        rewritten_bytes=7, created_by=stage.scene.olga, created_at=factories.NOW,
    )  # fmt: skip


@pytest.fixture
def with_metrics(stage, metric_image, monkeypatch):
    """Play a submission to its end with a metric image that behaves as the script says."""

    def play(script):
        engine = FakeEngine(script)
        monkeypatch.setattr(images_of_organizers, "open_engine", lambda: contextlib.nullcontext(engine))
        submission = stage.submit(image=factories.image(team=stage.scene.team))
        stage.play()
        submission.refresh_from_db()
        assert not engine.containers
        return submission, Evaluation.objects.get(submission=submission)

    return play


def values(evaluation, metric="agreement"):
    return {
        row.case.case_id: (value, reason)
        for row in evaluation.case_scores.all()
        for _, name, value, reason in row.scores
        if name == metric
    }


def test_what_the_image_says_stands_beside_our_own_metrics_and_in_the_receipt(with_metrics, metric_image):
    submission, evaluation = with_metrics(honest)
    assert submission.status == "done"
    assert values(evaluation) == {"a": (0.5, ""), "b": (0.5, "")}
    assert {value for value, _ in values(evaluation, "dice").values()} == {1.0}
    assert evaluation.aggregates["agreement"]["mean"] == 0.5
    assert evaluation.receipt["metric_image_id"] == metric_image.image_id


def test_a_case_that_failed_is_not_given_to_the_image_and_keeps_its_reason(stage, with_metrics):
    perfect, seen = stage.script, []

    def first_case_fails(call):
        seen.append(call.name)
        return FakeEnding(exit_code=1) if len(seen) == 1 else perfect(call)

    stage.script = first_case_fails
    submission, evaluation = with_metrics(honest)
    assert submission.status == "done"
    assert sorted(values(evaluation).values()) == [(0.0, "nonzero_exit"), (0.5, "")]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (lambda call: FakeEnding(exit_code=3, log=b"no such label"), "nonzero_exit ; it said: no such label"),
        (lambda call: FakeEnding(seconds=1e6), "timeout"),
        (lambda call: FakeEnding(), "output_missing"),
        (writes('{"results": [{"case": "a", "metrics": {"agreement": true}}]}'), "True for agreement"),
        (writes("[1"), "not JSON"),
    ],
)
def test_what_the_image_does_wrong_is_the_organizers_and_costs_the_team_nothing(with_metrics, script, told):
    submission, evaluation = with_metrics(script)
    assert (submission.verdict, submission.fault, submission.is_charged) == ("metrics_failed", "organizer", False)
    assert "organizers' own metrics" in submission.verdict_text
    assert (evaluation.status, evaluation.attempt) == ("failed", 1)
    assert told in evaluation.error
    assert not evaluation.case_scores.exists()


def test_an_image_nobody_pushed_is_named_to_the_organizers(with_metrics, metric_image):
    metric_image.delete()
    submission, evaluation = with_metrics(honest)
    assert submission.fault == "organizer"
    assert "push it first" in evaluation.error


def test_an_engine_that_does_not_answer_is_ours_and_tried_again(with_metrics, monkeypatch):
    def script(call):
        raise EngineUnreachable("gone")

    submission, evaluation = with_metrics(script)
    assert (submission.status, evaluation.status, evaluation.attempt) == ("scoring", "queued", 1)


def metric_archive(folder, program: str) -> bytes:
    (folder / "metric.c").write_text(program)
    binary = folder / "metric"
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", str(binary), str(folder / "metric.c")], check=True)
    layer = image_archives.tar_of(image_archives.entry("metric", binary.read_bytes(), mode=0o755))
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/metric"], "Cmd": None})
    return image_archives.docker_save(folder / "metric.tar", layer, config=config).read_bytes()


def take(stage, content: bytes) -> MetricImage:
    olga = stage.scene.olga
    stored = storage.save_file(key="uploads/metric", stream=io.BytesIO(content), max_bytes=2**26)
    upload = factories.complete_upload(user=olga, purpose="image", key=stored.key, sha256=stored.sha256)
    challenge = stage.scene.phase.challenge
    return metric_images.take_metric_image(challenge=challenge, user=olga, upload=upload, now=timezone.now())


@pytest.mark.docker
def test_a_real_image_in_the_real_sandbox_compares_predictions_with_references(stage, tmp_path):
    try:
        engine = DockerEngine()
    except EngineUnreachable:
        pytest.skip("no Docker Engine answers here")
    with engine:
        image = take(stage, metric_archive(tmp_path, PROGRAM))
        assert take(stage, (tmp_path / "metric.tar").read_bytes()).pk == image.pk
        use_image(stage, image.image_id)
        submission = stage.submit(image=factories.image(team=stage.scene.team))
        try:
            stage.play()
            evaluation = Evaluation.objects.get(submission=submission)
            assert values(evaluation) == {"a": (1.0, ""), "b": (1.0, "")}, evaluation.error
            assert image.image_id in json.dumps(build_receipt(evaluation, results=[], now=timezone.now()))
        finally:
            engine.remove_image(image.image_id)


def test_an_archive_that_is_no_image_is_refused_in_words(stage):
    with pytest.raises(InvalidError) as refusal:
        take(stage, b"not a tar")
    assert refusal.value.code == "image_invalid"
    assert not MetricImage.objects.exists()
