"""What is uploaded: accepted and queued, or refused in words its sender can use, and never charged when refused."""

import io
import zipfile

import numpy as np
import pytest
from django.utils import timezone

import factories
import image_archives
from assay.evaluations.models import Evaluation
from assay.submissions.models import AlgorithmImage, Upload
from assay.testsets import storage
from assay.workflow.workers import checking
from evaluator.protocol import load_protocol


def stored_upload(stage, content: bytes, *, purpose: str) -> Upload:
    stored = storage.save_file(key=f"uploads/{purpose}", stream=io.BytesIO(content), max_bytes=2**26)
    return factories.complete_upload(user=stage.scene.pia, purpose=purpose, key=stored.key, sha256=stored.sha256)


def submit_image(stage, content: bytes):
    upload = stored_upload(stage, content, purpose="image")
    image = AlgorithmImage.objects.create(
        team=stage.scene.team,
        upload=upload,
        archive_sha256=upload.sha256,
        created_at=factories.NOW,
        status=AlgorithmImage.Status.CHECKING,
    )
    return stage.submit(image=image)


def honest_archive(tmp_path) -> bytes:
    layer = image_archives.tar_of(image_archives.entry("copy", b"\x7fELF"))
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/copy"], "Cmd": None})
    return image_archives.docker_save(tmp_path / "image.tar", layer, config=config).read_bytes()


def test_an_honest_archive_is_rewritten_under_our_identity_and_queued(stage, tmp_path):
    submission = submit_image(stage, honest_archive(tmp_path))
    stage.check()
    submission.refresh_from_db()
    image = submission.image
    assert (submission.status, image.status) == ("queued", "accepted")
    assert image.image_id.startswith("sha256:")
    assert image.image_id != image.uploaded_image_id
    assert storage.size(image.rewritten_key) == image.rewritten_bytes


@pytest.mark.parametrize(("command", "status"), [(None, "failed"), (["/copy"], "queued")])
def test_a_program_that_cannot_be_started_is_refused_where_the_phase_does_not_bring_one(
    stage, tmp_path, command, status
):
    layer = image_archives.tar_of(
        image_archives.entry("copy", b"\x7fELF"), image_archives.entry("run.sh", b"#!/bin/bash\r\n")
    )
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/run.sh"]})
    archive = image_archives.docker_save(tmp_path / "image.tar", layer, config=config)
    protocol = stage.scene.phase.protocol
    protocol.document = {**protocol.document, "resources": {**protocol.document["resources"], "command": command}}
    protocol.sha256 = f"{command!s:0>64.64}"
    protocol.save()
    submission = submit_image(stage, archive.read_bytes())
    stage.check()
    submission.refresh_from_db()
    assert submission.status == status
    if status == "failed":
        assert (submission.verdict, submission.reason) == ("image_invalid", "entry_point")
        assert "line ends of Windows" in submission.facts["detail"]
        assert not submission.is_charged


@pytest.mark.parametrize(("profile", "status"), [("default", "queued"), ("image-user", "failed")])
def test_a_user_nobody_can_name_matters_where_the_image_runs_as_that_user(stage, tmp_path, profile, status):
    layer = image_archives.tar_of(image_archives.entry("copy", b"\x7fELF"))
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/copy"], "User": "ghost"})
    archive = image_archives.docker_save(tmp_path / "image.tar", layer, config=config)
    protocol = stage.scene.phase.protocol
    protocol.document = {**protocol.document, "resources": {**protocol.document["resources"], "profile": profile}}
    protocol.sha256 = f"{profile:0>64}"
    protocol.save()
    submission = submit_image(stage, archive.read_bytes())
    stage.check()
    submission.refresh_from_db()
    assert submission.status == status
    if status == "failed":
        assert "useradd --create-home ghost" in submission.verdict_text
        assert (submission.verdict, submission.is_charged) == ("image_invalid", False)


def test_the_same_archive_again_is_not_inspected_again(stage, tmp_path, monkeypatch):
    first = submit_image(stage, honest_archive(tmp_path))
    stage.check()
    monkeypatch.setattr(checking, "inspect_archive", lambda **_: pytest.fail("inspected twice"))
    second = stage.submit(image=AlgorithmImage.objects.get(pk=first.image_id))
    stage.check()
    second.refresh_from_db()
    assert second.status == "queued"


@pytest.mark.parametrize("content", [b"", b"not a tar", b"PK\x03\x04 a zip"])
def test_what_is_no_image_archive_is_refused_and_not_charged(stage, content):
    submission = submit_image(stage, content)
    stage.check()
    submission.refresh_from_db()
    assert (submission.status, submission.verdict, submission.is_charged) == ("failed", "image_invalid", False)
    assert submission.fault == "participant"
    assert len(submission.verdict_text) > 20
    assert submission.image.status == "rejected"


def test_an_inspection_we_could_not_do_is_tried_again(stage, tmp_path, monkeypatch):
    submission = submit_image(stage, honest_archive(tmp_path))

    def fail(**_):
        raise checking.IntakeUnavailable("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(checking, "inspect_archive", fail)
        stage.check()
    submission.refresh_from_db()
    assert submission.status == "checking"
    stage.check()
    submission.refresh_from_db()
    assert submission.status == "queued"


def prediction_zip(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


@pytest.fixture
def truths(stage) -> dict[str, bytes]:
    """Perfect predictions: the references under the names a participant gives them."""
    cases = stage.scene.phase.chosen_testset.testset.cases.all()
    return {f"{c.case_id}.nii.gz": storage.local_path(c.references[0]["key"]).read_bytes() for c in cases}


def submit_zip(stage, content: bytes):
    upload = stored_upload(stage, content, purpose="predictions")
    submission = stage.submit(image=None, predictions=upload)
    stage.check()
    stage.score()
    stage.rank()
    submission.refresh_from_db()
    return submission


def test_predictions_are_scored_and_ranked_without_a_container(stage, truths):
    submission = submit_zip(stage, prediction_zip(truths))
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert submission.entries.get().rank == 1
    assert submission.entries.get().metrics["dice"]["mean"] == 1.0
    assert submission.evaluations.get().receipt["predictions_sha256"] == submission.predictions.sha256


@pytest.mark.parametrize("folder", ["predictions/", "me/predictions/", "./"])
def test_a_zip_of_a_folder_is_read_from_the_folder(stage, truths, folder):
    """As a file manager packs it, with what macOS adds."""
    inside = {folder: b"", **{f"{folder}{name}": content for name, content in truths.items()}}
    submission = submit_zip(stage, prediction_zip({**inside, f"__MACOSX/{folder}._a.nii.gz": b"x"}))
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert submission.entries.get().metrics["dice"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("folder", "beside"),
    [
        ("predictions\\", "README.txt"),
        ("./", ".ipynb_checkpoints/a.nii.gz"),
        (".//predictions/", "predictions/._a.nii.gz"),
        ("me/predictions/", "@eaDir/a.nii.gz"),
    ],
)
def test_a_zip_as_people_make_it_is_read(stage, truths, folder, beside):
    files = {f"{folder}{name}": content for name, content in truths.items()}
    submission = submit_zip(stage, prediction_zip(files | {beside: b"x"}))
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert submission.entries.get().metrics["dice"]["mean"] == 1.0


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["a.nii.gz", "./a.nii.gz"])
def test_two_files_of_one_name_are_refused_and_neither_is_chosen(stage, truths, again):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in (*truths, again):
            archive.writestr(name, truths[name.removeprefix("./")])
    submission = submit_zip(stage, memory.getvalue())
    assert (submission.status, submission.is_charged) == ("failed", False)
    assert submission.verdict_text == "the zip holds a.nii.gz twice; expected each file once"


def test_files_in_several_folders_are_not_guessed_at(stage, truths):
    files = {f"{folder}/{name}": content for folder in ("new", "old") for name, content in truths.items()}
    assert "none of the expected files" in submit_zip(stage, prediction_zip(files)).verdict_text


@pytest.mark.parametrize("other", ["b.nrrd", "b.mhd", "B.NII"])
def test_a_file_with_another_ending_is_not_called_missing(stage, truths, other):
    truths[other] = truths.pop("b.nii.gz")
    submission = submit_zip(stage, prediction_zip(truths))
    assert submission.verdict_text == "1 of 2 cases failed: a file of that name has another ending"
    assert submission.entries.get().metrics["dice"]["mean"] == 0.5


def test_a_missing_case_gets_the_worst_value_and_is_counted(stage, truths):
    truths.pop("b.nii.gz")
    submission = submit_zip(stage, prediction_zip(truths))
    assert submission.verdict_text == "1 of 2 cases failed: missing"
    assert submission.entries.get().metrics["dice"]["mean"] == 0.5
    assert submission.entries.get().failed_cases == 1


def test_a_prediction_that_is_no_image_counts_as_failed(stage, truths):
    truths["b.nii.gz"] = b"junk"
    submission = submit_zip(stage, prediction_zip(truths))
    assert submission.status == "done"
    assert submission.verdict == "output_invalid"
    assert submission.entries.get().failed_cases == 1


def test_a_file_that_inflates_beyond_the_limit_is_cut_short(stage, truths):
    stage.change_resources(output_mb=1)
    truths["b.nii.gz"] = bytes(2 * 2**20)
    submission = submit_zip(stage, prediction_zip(truths))
    assert submission.verdict == "output_too_large"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip at all", "not a zip archive"),
        (prediction_zip({"../a.nii.gz": b"x", "A.NII.GZ": b"x"}), "none of the expected files"),
        (prediction_zip({}), "none of the expected files"),
        (prediction_zip({"../a.nii.gz": b"x", "../b.nii.gz": b"x"}), "none of the expected files"),
        (prediction_zip({"/a.nii.gz": b"x", "b/b.nii.gz": b"x"}), "none of the expected files"),
        (prediction_zip({"x/a.nii.gz": b"x", "y/b.nii.gz": b"x"}), "none of the expected files"),
    ],
)
def test_an_archive_without_one_usable_name_is_refused_and_not_charged(stage, content, words):
    submission = submit_zip(stage, content)
    assert (submission.status, submission.is_charged) == ("failed", False)
    assert words in submission.verdict_text


def test_a_damaged_member_is_refused_in_words(stage, truths):
    content = bytearray(prediction_zip({name: np.random.default_rng(1).bytes(4000) for name in truths}))
    content[200:260] = bytes(60)
    submission = submit_zip(stage, bytes(content))
    assert submission.status == "failed"
    assert "cannot be unpacked" in submission.verdict_text


def test_checking_a_submission_that_ended_changes_nothing(stage):
    submission = stage.submit(status="done")
    checking.check_submission(submission_id=submission.pk, clock=timezone.now)
    submission.refresh_from_db()
    assert submission.status == "done"


def one_name_for_every_case(stage) -> None:
    """The phase's protocol names its output without `{case}`, as a container that sees one case does."""
    version = stage.scene.phase.protocol
    outputs = [{"name": "segmentation", "kind": "label_map", "file": "out/seg.nii.gz"}]
    factories.rewrite_protocol(version, {**version.document, "outputs": outputs})


def test_one_file_is_never_scored_for_every_case(stage, truths):
    one_name_for_every_case(stage)
    submission = submit_zip(stage, prediction_zip({"out/seg.nii.gz": truths["a.nii.gz"]}))
    assert (submission.status, submission.is_charged) == ("failed", False)
    assert submission.verdict_text == (
        "the zip holds none of the expected files; expected a/out/seg.nii.gz, b/out/seg.nii.gz, found out/seg.nii.gz"
    )


def test_an_output_without_a_case_in_its_name_lies_in_a_folder_of_the_case(stage, truths):
    one_name_for_every_case(stage)
    files = {f"{name.removesuffix('.nii.gz')}/out/seg.nii.gz": content for name, content in truths.items()}
    submission = submit_zip(stage, prediction_zip(files))
    assert (submission.status, submission.verdict_text) == ("done", "")
    assert submission.entries.get().metrics["dice"] == submission.entries.get().metrics["dice"] | {"mean": 1.0, "n": 2}


@pytest.mark.parametrize(("text", "dice"), [('{"voxels": 8}', 1.0), ("{broken", 0.0)])
def test_a_document_beside_the_mask_is_kept_or_fails_its_case(stage, truths, text, dice):
    protocol = stage.scene.phase.protocol
    outputs = [*protocol.document["outputs"], {"name": "volume", "kind": "json", "file": "{case}.json"}]
    factories.rewrite_protocol(protocol, load_protocol({**protocol.document, "outputs": outputs}).document)
    files = truths | {name.replace(".nii.gz", ".json"): text.encode() for name in truths}
    submission = submit_zip(stage, prediction_zip(files))
    evaluation = Evaluation.objects.filter(submission=submission).first()
    found = {row.scores[0][2] for row in evaluation.case_scores.all()} if evaluation else {0.0}
    assert found == {dice}, submission.verdict_text
