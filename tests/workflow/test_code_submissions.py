"""Submissions of code without an engine of their own: who waits for whom, and whose fault a build is."""

import contextlib
import io
import zipfile

import pytest
from django.utils import timezone

import factories
import image_archives
from assay.accounts.errors import AssayError
from assay.submissions.models import AlgorithmImage, CodePart
from assay.submissions.services import Entry, create_submission
from assay.testsets import storage
from assay.workflow.workers import building, checking, images_of_organizers
from code_zips import wheel
from containers.engines.fake import FakeEnding, FakeEngine
from containers.errors import EngineUnreachable


def zip_of(files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in dict(files).items():
            archive.writestr(name, text)
    return content.getvalue()


def uploaded(user, content: bytes, *, purpose: str):
    stored = storage.save_file(
        key=f"uploads/{factories.digest(str(content))}", stream=io.BytesIO(content), max_bytes=2**26
    )
    return factories.complete_upload(
        user=user,
        purpose=purpose,
        key=stored.key,
        sha256=stored.sha256,
        total_bytes=stored.bytes,
        offset_bytes=stored.bytes,
        filename="it",
    )


@pytest.fixture
def parts(stage, tmp_path):
    """A base image and a wheel house, pushed and named in the rules."""
    layer = image_archives.tar_of(image_archives.entry("usr/bin/python3", b"#!", mode=0o755))
    archive = image_archives.docker_save(tmp_path / "base.tar", layer, config=image_archives.config_of(layer))
    contents = {
        "base": ("image", archive.read_bytes()),
        "wheels": ("wheels", zip_of([wheel("leaf"), wheel("leaf", version="1.1")])),
    }
    olga, challenge = stage.scene.olga, stage.scene.phase.challenge
    pushed = {
        kind: building.take_code_part(
            challenge=challenge,
            user=olga,
            kind=CodePart.Kind(kind),
            upload=uploaded(olga, content, purpose=purpose),
            now=timezone.now(),
        )
        for kind, (purpose, content) in contents.items()
    }
    stage.change_resources(code_base=pushed["base"].identity, code_wheels=pushed["wheels"].identity)
    stage.scene.phase.refresh_from_db()
    return pushed


@pytest.fixture
def hand_in(stage, parts, monkeypatch):
    """Submit a zip, and build it with an engine that behaves as the script says."""

    def go(files, script=None):
        engine = FakeEngine(script or (lambda call: FakeEnding(exit_code=9)))
        monkeypatch.setattr(images_of_organizers, "open_engine", lambda: contextlib.nullcontext(engine))
        monkeypatch.setattr(images_of_organizers, "load_archive", lambda *_given: None)
        pia = stage.scene.pia
        upload = uploaded(pia, files if isinstance(files, bytes) else zip_of(files), purpose="code")
        entry = Entry(user=pia, phase=stage.scene.phase, team=stage.scene.team, upload=upload, name="Mine")
        submission = create_submission(entry, now=timezone.now())
        checking.build_submission(submission_id=submission.pk, clock=timezone.now)
        submission.refresh_from_db()
        return submission

    return go


def installs(call):
    """What pip writes, as the installer packs it."""
    assert (call.input_dir / "requirements.txt").read_text() == "leaf>1\n"
    assert {path.name for path in call.read_only[0].iterdir()} == {
        "leaf-1.0-py3-none-any.whl",
        "leaf-1.1-py3-none-any.whl",
    }
    assert sorted(path.name for path in call.input_dir.iterdir()) == ["requirements.txt"], "nothing of the team's code"
    (call.output_dir / "packages.zip").write_bytes(zip_of({"leaf.py": "", ".libs/leaf.so": "x"}))
    return FakeEnding()


def test_the_code_and_its_packages_lie_in_the_image(hand_in, parts):
    submission = hand_in({"predict.py": "pass", "requirements.txt": "leaf>1  # one\n"}, installs)
    assert submission.status == "queued", submission.verdict_text
    image = submission.image
    assert image.report["entrypoint"] == ["python3", "/app/program/predict.py"]
    assert image.image_id != parts["base"].identity
    text = storage.local_path(image.rewritten_key).read_bytes()
    for name in (
        b"app/program/predict.py",
        b"app/packages/leaf.py",
        b"app/packages/.libs/leaf.so",
        b"PYTHONPATH=/app/packages",
    ):
        assert name in text, name


def test_whose_fault_a_build_is(hand_in, parts):
    """A team's lines and versions are the team's, a base without pip is the organizers', an engine that is gone is ours."""
    code = {"predict.py": "pass", "requirements.txt": "leaf==9"}
    said = b"ERROR: Could not find a version that satisfies the requirement leaf==9 (from versions: 1.0)\nERROR: No matching"
    rows = [
        (code, FakeEnding(exit_code=building.NOT_INSTALLED, log=said), "participant", "asks for leaf==9. The wheel house of this phase has leaf 1.0, 1.1"),
        ({**code, "a": "b"}, FakeEnding(exit_code=building.NO_PIP), "organizer", "the base image has no python3 with pip"),
        ({**code, "a": "c"}, FakeEnding(exit_code=1), "participant", "nonzero_exit"),
        ({"main.py": ""}, FakeEnding(), "participant", "Found main.py; expected predict.py"),
        ({"predict.py": "", "../x": ""}, FakeEnding(), "participant", "leads out of its folder"),
        ({"predict.py": "", "metadata": "command: [1]"}, FakeEnding(), "participant", "no line of text"),
        (b"PK no zip", FakeEnding(), "participant", "no zip"),
    ]  # fmt: skip
    for files, ending, fault, words in rows:
        submission = hand_in(files, lambda _call, ending=ending: ending)
        assert (submission.status, submission.fault, submission.is_charged) == ("failed", fault, False), files
        assert words in submission.verdict_text, submission.verdict_text

    def gone(_call):
        raise EngineUnreachable("gone")

    submission = hand_in({**code, "a": "d"}, gone)
    assert (submission.status, submission.image.status) == ("checking", AlgorithmImage.Status.CHECKING)


def test_a_phase_takes_code_or_images_and_says_what_is_missing(stage, parts):
    pia, phase = stage.scene.pia, stage.scene.phase
    image = uploaded(pia, b"an image", purpose="image")
    code = uploaded(pia, zip_of({"predict.py": ""}), purpose="code")
    entry = Entry(user=pia, phase=phase, team=stage.scene.team, upload=image, name="Mine")
    with pytest.raises(AssayError, match="something else"):
        create_submission(entry, now=timezone.now())
    parts["wheels"].delete()
    with pytest.raises(AssayError) as refusal:
        create_submission(
            Entry(user=pia, phase=phase, team=stage.scene.team, upload=code, name="Mine"), now=timezone.now()
        )
    assert refusal.value.code == "code_part_missing"


@pytest.mark.parametrize(
    ("files", "words"),
    [({"numpy-1.0.tar.gz": "x"}, "no wheel"), ({}, "no wheel"), (b"x", "no zip"), ({"a/x-1-py3-none-any.whl": "", "b/x-1-py3-none-any.whl": ""}, "twice")],
)  # fmt: skip
def test_a_wheel_house_holds_wheels_only(stage, files, words):
    olga = stage.scene.olga
    upload = uploaded(olga, files if isinstance(files, bytes) else zip_of(files), purpose="wheels")
    with pytest.raises(AssayError, match=words):
        building.take_wheels(challenge=stage.scene.phase.challenge, user=olga, upload=upload, now=timezone.now())
    assert not CodePart.objects.exists()
