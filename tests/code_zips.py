"""Zips of code and of wheels, as teams and organizers make them, and a phase that takes them."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from django.test import Client
from django.utils import timezone

import factories
from assay.evaluations.models import Evaluation
from assay.submissions.models import CodePart, Submission
from assay.workflow.workers import checking, scoring
from assay.workflow.workers.building import take_code_part
from containers.engines.docker import DockerEngine
from evaluator.protocol import load_protocol
from existing_things import Server


def wheel(name: str, *, version: str = "1.0", module: str = "", needs: str = "") -> tuple[str, bytes]:
    """A pure wheel of one module, without a build tool: its file name and its bytes."""
    content, folder = io.BytesIO(), f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}.py", module)
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl", content.getvalue()


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    """A zip of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@dataclass(kw_only=True)
class CodePhase:
    """A phase that takes code, on a base image and wheels that its organizer has pushed."""

    server: Server
    folder: Path
    base: CodePart
    wheels: CodePart

    @classmethod
    def open(cls, server: Server, *, base: Path, wheels: Path, **resources) -> "CodePhase":
        """Push both, and name them in the rules."""
        pushed = [
            take_code_part(
                challenge=server.phase.challenge,
                user=server.scene.olga,
                kind=kind,
                upload=server.uploaded(path, purpose=purpose),
                now=timezone.now(),
            )
            for kind, path, purpose in ((CodePart.Kind.BASE, base, "image"), (CodePart.Kind.WHEELS, wheels, "wheels"))
        ]
        phase = cls(server=server, folder=base.parent, base=pushed[0], wheels=pushed[1])
        phase.change_rules(code_base=pushed[0].identity, code_wheels=pushed[1].identity, **resources)
        return phase

    def change_rules(self, **resources) -> None:
        """Other resources from here on."""
        document = self.server.phase.protocol.document
        rules = load_protocol({**document, "resources": {**document["resources"], **resources}})
        factories.rewrite_protocol(self.server.phase.protocol, rules.document)
        self.server.phase.refresh_from_db()

    def submit(self, name: str, files: dict[str, str | bytes]) -> Submission:
        """Hand a zip in by the API, and have it checked and built."""
        upload = self.server.uploaded(zipped(self.folder / f"{name}.zip", files), purpose="code")
        client = Client()
        client.force_login(self.server.scene.pia)
        phase = self.server.phase
        answer = client.post(
            f"/api/v1/challenges/{phase.challenge.slug}/phases/{phase.slug}/submissions",
            {"upload_id": str(upload.pk), "name": name},
            content_type="application/json",
        )
        assert answer.status_code == 201, answer.json()
        submission = Submission.objects.get(pk=answer.json()["id"])
        checking.check_submission(submission_id=submission.pk, clock=timezone.now)
        submission.refresh_from_db()
        assert submission.status == "checking", "the checker has no engine, and leaves it to the scoring pool"
        checking.build_submission(submission_id=submission.pk, clock=timezone.now)
        submission.refresh_from_db()
        return submission

    def play(self, submission: Submission) -> Submission:
        """Run and score what was built."""
        with DockerEngine() as engine:
            while self.server.agent.work_once(engine):
                pass
        for pk in Evaluation.objects.filter(status="queued").values_list("pk", flat=True):
            assert scoring.score_evaluation(evaluation_id=pk, worker="test", clock=timezone.now)
        submission.refresh_from_db()
        return submission

    def clean(self) -> None:
        """The base image was loaded for building."""
        with DockerEngine() as engine:
            engine.remove_image(self.base.identity)
