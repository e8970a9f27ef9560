"""`assay site run` on a login node: it polls, and every case runs as an Apptainer job of a real Slurm, several at the same time.

`make test-cluster` runs it. It installs Slurm and Apptainer as root.
"""

import shutil

import pytest

import factories
import installation
from assay.evaluation_sites.models import SiteEvaluation
from assay.testsets import storage
from cluster_programs import apptainer_program
from containers.intake import inspect_archive
from slurm_cluster import running_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]
FILES = {
    "inputs": [{"name": "t1", "file": "t1.nii.gz", "required": True}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "segmentation.nii.gz"}],
}
SMALL = {"wall_seconds": 60, "memory_mb": 64, "shm_mb": 8, "tmp_mb": 8, "output_mb": 8}


@pytest.fixture
def login_node(scene, hospitals):
    """A hospital whose algorithms find their files under fixed names."""
    document = {**factories.PROTOCOL, **FILES, "resources": {"run_mode": "case", **SMALL}}
    factories.rewrite_protocol(scene.phase.protocol, document)
    return hospitals("st-mary")


def keep_image(submission, *, folder):
    """The image of the submission as intake leaves it on a server."""
    target = folder / "rewritten.tar"
    report = inspect_archive(source=installation.copying_image(folder), destination=target, needs_command=True)
    image = submission.image
    image.rewritten_key = storage.keep_file(source=target, key=f"images/{report.sha256}.tar").key
    image.image_id, image.rewritten_sha256, image.rewritten_bytes = report.image_id, report.sha256, report.bytes
    image.save()


def test_a_site_on_a_login_node_runs_its_cases_as_jobs_and_releases(login_node, scene, tmp_path, monkeypatch):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: the image is compiled")
    submission = factories.submission(phase=scene.phase, team=scene.team, status="done")
    keep_image(submission, folder=tmp_path)
    folder = tmp_path / "shared"
    folder.mkdir()
    with running_cluster() as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        program = str(apptainer_program(tmp_path))
        engine = ["--engine", "slurm", "--engine-folder", str(folder), "--engine-socket", program]
        ran = login_node.command(monkeypatch, "run", "--approve-all", "--at-once", "3", *engine)
        assert ran.exit_code == 0, ran.output
        assert cluster.jobs() == []
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release["metrics"]["dice"]["n"], row.release["metrics"]["dice"]["mean"]) == (
        "released",
        5,
        1.0,
    )
    assert ran.output.count(" ok\n") == 5
    assert list((folder / "containers").iterdir()) == []
    assert list((login_node.home.folder / "st-mary" / "scratch").iterdir()) == []
