"""What people already have, rebuilt: images of their own, archives as they hand them in, and a server that takes them.

A rebuild follows the lines of the real Dockerfile that matter (user, home, working directory, entry point, paths) on a small Debian
with Python; the algorithm is a threshold. `docs/site/existing_things_page.py` makes the table of the documentation from the markers
of these tests.
"""

import gzip
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from django.utils import timezone

import factories
import people
from assay.challenges.models import Phase
from assay.evaluations.models import Evaluation
from assay.node.agent import Agent
from assay.runs.models import CaseRun
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.testsets import storage
from assay.workflow.workers import checking, scoring
from containers.engines.docker import DockerEngine
from containers.log_text import readable
from image_archives import build_image

PROGRAMS = Path(__file__).parent / "ecosystem"
SMALL = {
    "memory_mb": 256,
    "shm_mb": 16,
    "tmp_mb": 64,
    "output_mb": 16,
    "pids": 128,
    "cpus": 1,
    "gpus": 0,
    "wall_seconds": 120,
}
SHAPE = (8, 10, 12)
"""Of a case, as z, y, x."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Builds images, and saves them as people hand them in."""

    base: str
    folder: Path

    def archive(self, name: str, lines: list[str], files: dict[str, str | bytes], *, zipped: bool = False) -> Path:
        """The archive of an image of these Dockerfile lines."""
        context = self.folder / name
        context.mkdir()
        shutil.copy(PROGRAMS / "volumes.py", context / "volumes.py")
        for path, content in files.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        built = build_image(context, [f"FROM {self.base}", *lines])
        archive = context / "image.tar"
        subprocess.run(["docker", "save", "-o", str(archive), built], check=True)
        subprocess.run(["docker", "rmi", "--force", built], check=True, capture_output=True)
        if not zipped:
            return archive
        target = archive.with_suffix(".tar.gz")
        with archive.open("rb") as source, gzip.open(target, "wb", compresslevel=1) as compressed:
            shutil.copyfileobj(source, compressed)
        return target


def cube(case: int) -> np.ndarray:
    """What a threshold finds, in another place for each case."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 2 : 6 + case, 3:8] = 1
    return mask


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    """A folder of cases as an organizer pushes it."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    (folder / "manifest.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    return folder


def write_volume(array: np.ndarray, path: Path) -> str:
    """A volume with a spacing of its own; its name."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path.name


def scan(case: int) -> np.ndarray:
    """An image in which the cube is bright."""
    return np.where(cube(case), 200, 7).astype(np.int16)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A phase that takes submissions, a node, and a scoring worker."""

    scene: people.Scene
    phase: Phase
    agent: Agent

    def uploaded(self, archive: Path, *, purpose: str) -> Upload:
        """The file as an upload that has arrived."""
        key = f"uploads/{uuid.uuid4().hex}"
        with archive.open("rb") as stream:
            stored = storage.save_file(key=key, stream=stream, max_bytes=2**31)
        return factories.complete_upload(
            user=self.scene.pia, purpose=purpose, key=key, sha256=stored.sha256, total_bytes=stored.bytes
        )

    def submit(
        self,
        archive: Path,
        *,
        name: str = "brought",
        model: Path | None = None,
        model_folder: str = "/opt/ml/model",
        **fields,
    ) -> Submission:
        """Hand in an archive, with a model beside it, and play it to its end; the submission with its scores."""
        upload = self.uploaded(archive, purpose="image")
        weights = self.uploaded(model, purpose="model") if model else None
        image = AlgorithmImage.objects.create(
            team=self.scene.team,
            upload=upload,
            archive_sha256=upload.sha256,
            model_upload=weights,
            model_sha256=weights.sha256 if weights else "",
            model_folder=model_folder if weights else "",
            created_at=factories.NOW,
            status=AlgorithmImage.Status.CHECKING,
        )
        submission = factories.submission(phase=self.phase, team=self.scene.team, image=image, name=name, **fields)
        checking.check_submission(submission_id=submission.pk, clock=timezone.now)
        with DockerEngine() as engine:
            while self.agent.work_once(engine):
                pass
        submission.refresh_from_db()
        for pk in Evaluation.objects.filter(status="queued").values_list("pk", flat=True):
            assert scoring.score_evaluation(evaluation_id=pk, worker="test", clock=timezone.now)
        submission.refresh_from_db()
        return submission


def explained(submission: Submission) -> str:
    """Why a submission ended as it did: for the message of an assertion."""
    keys = [row.log_key for row in CaseRun.objects.filter(run__submission=submission) if row.log_key]
    logs = [readable(storage.local_path(key).read_bytes())[-1500:] for key in keys]
    return "\n".join([submission.status, submission.verdict, submission.verdict_text, *logs])
