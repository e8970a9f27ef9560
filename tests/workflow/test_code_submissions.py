"""Submissions of code without an engine of their own: who waits for whom, and whose fault a build is."""

import contextlib
import io
import zipfile

import httpx
import pytest
import yaml
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone

import factories
import image_archives
from assay import Client as ApiClient
from assay.accounts.errors import AssayError
from assay.accounts.tokens import issue_token
from assay.client import http
from assay.client.cli import main
from assay.client.errors import ClientError
from assay.submissions.models import AlgorithmImage, CodePart, Submission
from assay.submissions.services import Entry, create_submission
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.workers import building, checking, images_of_organizers
from code_zips import wheel, zipped
from containers.engines.fake import FakeEnding, FakeEngine
from containers.errors import EngineUnreachable
from wire import send_through


@pytest.fixture
def assay_as(monkeypatch, tmp_path):
    """Run the `assay` command as somebody: the real command and the real views."""
    ask = httpx.Client
    monkeypatch.setattr(http.httpx, "Client", lambda **options: ask(**{**options, "transport": send_through(Client())}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(person, *arguments):
        _, token = issue_token(user=person, name="test", days=1, now=timezone.now())
        monkeypatch.setenv("ASSAY_URL", "http://testserver")
        monkeypatch.setenv("ASSAY_TOKEN", token)
        return CliRunner().invoke(main, list(map(str, arguments)))

    return run


def pushed(result) -> dict:
    """The line that a push prints for the protocol, as a protocol has it."""
    assert result.exit_code == 0, result.output
    return yaml.safe_load(result.output.partition("Write this into the protocol:\n")[2])["resources"]


def test_the_commands_of_organizer_and_team_meet(assay_as, stage, tmp_path):
    """`assay code push-base` and `push-wheels` print what the rules need. `assay submit --code` and `Client` hand in by these rules."""
    layer = image_archives.tar_of(image_archives.entry("usr/bin/python3", b"#!", mode=0o755))
    base = image_archives.docker_save(tmp_path / "base.tar", layer, config=image_archives.config_of(layer))
    wheels = zipped(tmp_path / "wheels.zip", dict([wheel("leaf")]))
    code = zipped(tmp_path / "code.zip", {"predict.py": "pass", "requirements.txt": "leaf\n"})
    olga, pia = stage.scene.olga, stage.scene.pia
    refused = assay_as(pia, "code", "push-base", base, "--challenge", "brains")
    assert (refused.exit_code, CodePart.objects.count()) == (1, 0), "Pia does not organize it"
    named = pushed(assay_as(olga, "code", "push-base", base, "--challenge", "brains"))
    named |= pushed(assay_as(olga, "code", "push-wheels", wheels, "--challenge", "brains"))
    assert named == {f"code_{part.kind}": part.identity for part in CodePart.objects.all()}
    stage.change_resources(**named)

    submit = ("submit", "--phase", "brains/final", "--name", "Mine")
    assert "Name one thing to submit" in assay_as(pia, *submit).output
    assert "Name one thing to submit" in assay_as(pia, *submit, base, "--code", code).output
    image = assay_as(pia, *submit, base)
    assert image.exit_code == 1
    assert "something else" in image.output
    told = assay_as(pia, *submit, "--code", code)
    assert told.exit_code == 0, told.output
    submission = Submission.objects.get()
    assert "#1 Mine: received" in told.output
    assert submission.image.built_on, "it is code"
    flow.cancel(submission_id=submission.pk, by=pia, now=timezone.now())

    _, token = issue_token(user=pia, name="test", days=1, now=timezone.now())
    with ApiClient("http://testserver", token) as client:
        with pytest.raises(ClientError, match="One thing is submitted at a time"):
            client.submit(base, code=code, phase="brains/final", name="Mine")
        with pytest.raises(ClientError, match="is not a file"):
            client.submit(code=tmp_path / "nothing.zip", phase="brains/final", name="Mine")
        second = client.submit(code=code, phase="brains/final", name="By a program", allow_duplicate=True)
    assert Submission.objects.get(pk=second.id).image.upload == submission.image.upload


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
    """Submit a zip, and build it with an engine that behaves as the script says. `go.engines`: those that were used."""

    def go(files, script=None):
        engine = FakeEngine(script or (lambda call: FakeEnding(exit_code=9)))
        go.engines.append(engine)
        monkeypatch.setattr(images_of_organizers, "open_engine", lambda: contextlib.nullcontext(engine))
        monkeypatch.setattr(images_of_organizers, "load_archive", lambda *_given: None)
        pia = stage.scene.pia
        upload = uploaded(pia, files if isinstance(files, bytes) else zip_of(files), purpose="code")
        entry = Entry(user=pia, phase=stage.scene.phase, team=stage.scene.team, upload=upload, name="Mine")
        submission = create_submission(entry, now=timezone.now())
        checking.build_submission(submission_id=submission.pk, clock=timezone.now)
        submission.refresh_from_db()
        return submission

    go.engines = []
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


@pytest.mark.parametrize("who", ["pia", "olga"])
def test_a_build_that_is_cancelled_stops_and_leaves_nothing(hand_in, stage, caplog, who):
    """By its team or its organizers, in the middle of an installation that would take an hour. The same zip can be built afterwards."""
    code = zip_of({"predict.py": "pass", "requirements.txt": "leaf>1\n"})

    def slow(_call):
        (running,) = Submission.objects.filter(status="checking")
        assert flow.cancel(submission_id=running.pk, by=getattr(stage.scene, who), now=timezone.now())
        return FakeEnding(seconds=3600)

    submission = hand_in(code, slow)
    assert (submission.status, submission.verdict, submission.is_charged) == ("cancelled", "cancelled", False)
    (engine,) = hand_in.engines
    assert (len(engine.bodies), engine.containers, engine.volumes) == (1, {}, {})
    with storage.scratch_folder() as scratch:
        assert list(scratch.parent.iterdir()) == [scratch], "the build's folder is gone"
    assert (submission.image.status, submission.image.rewritten_key) == (AlgorithmImage.Status.CHECKING, "")
    assert not [entry for entry in caplog.records if entry.exc_info], "a cancel is no fault, and nothing is tried again"
    checking.build_submission(submission_id=submission.pk, clock=timezone.now)
    submission.refresh_from_db()
    assert (submission.status, len(hand_in.engines[0].bodies)) == ("cancelled", 1)
    again = hand_in(code, installs)
    assert (again.status, again.image) == ("queued", submission.image), again.verdict_text


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
