"""The evaluator as other platforms call it: three contracts in folders, and the image itself where there is a Docker Engine."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from containers.base.build import base_image
from evaluator.container.__main__ import main
from evaluator.container.build import build
from evaluator.errors import EvaluatorError
from tests.evaluator.volume_files import box, save_nifti

PROTOCOL = """\
protocol: 1
name: liver
labels: {liver: {values: 1, tolerance_mm: 1}}
outputs: [{name: segmentation, kind: label_map, file: "{case}.nii.gz"}]
metrics: [{name: dice}, {name: nsd}]
"""
FOLDERS = {
    "codabench": ("app/input/res", "app/input/ref", "app/output/scores.json"),
    "medperf": ("mlcommons/volumes/predictions", "mlcommons/volumes/labels", "mlcommons/volumes/results/results.yaml"),
    "grand-challenge": ("input", "opt/ml/input/data/ground_truth", "output/metrics.json"),
}


def lay_out(root, contract):
    """Case a is perfect, case b is missing."""
    predictions, references, result = (root / place for place in FOLDERS[contract])
    liver = box((8, 8, 8), (2, 6), (2, 6), (2, 6)).astype(np.uint8)
    for folder in (predictions, references, result.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for name in "ab":
        save_nifti(references / f"{name}.nii.gz", liver)
    save_nifti(predictions / "a.nii.gz", liver)
    (references / "protocol.yaml").write_text(PROTOCOL)
    return predictions, result


@pytest.mark.parametrize("contract", FOLDERS)
def test_each_contract_is_recognised_and_answered_in_its_way(tmp_path, contract):
    _, result = lay_out(tmp_path, contract)
    main(root=tmp_path, arguments=[])
    document = json.loads(result.read_text())
    if contract == "codabench":
        assert document == {"dice": 0.5, "nsd": 0.5, "dice_liver": 0.5, "nsd_liver": 0.5}
    else:
        assert document["aggregates"]["dice"]["mean"] == 0.5
        assert [case["failure"] for case in document["results"]] == ["", "output_missing"]


def test_codabench_may_name_its_folders(tmp_path):
    lay_out(tmp_path / "elsewhere", "codabench")
    (tmp_path / "out").mkdir()
    main(root=tmp_path, arguments=[str(tmp_path / "elsewhere" / "app" / "input"), str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["dice"] == 0.5


def test_grand_challenges_jobs_are_found_by_their_input_image(tmp_path):
    predictions, result = lay_out(tmp_path, "grand-challenge")
    volume = predictions / "job-1" / "output" / "images" / "liver"
    volume.mkdir(parents=True)
    shutil.move(predictions / "a.nii.gz", volume / "7f3c.nii.gz")
    escape = {
        "pk": "..",
        "inputs": [{"image": {"name": "b.nii.gz"}}],
        "outputs": [{"socket": {"relative_path": "../../etc"}}],
    }
    job = {
        "pk": "job-1",
        "inputs": [{"image": {"name": "a.nii.gz"}}],
        "outputs": [{"image": {"pk": "7f3c"}, "socket": {"relative_path": "images/liver"}}],
    }
    (predictions / "predictions.json").write_text(json.dumps([job, escape]))
    main(root=tmp_path, arguments=[])
    assert json.loads(result.read_text())["aggregates"]["dice"]["mean"] == 0.5


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(EvaluatorError, match="no predictions beside references"):
        main(root=tmp_path, arguments=[])
    lay_out(tmp_path, "medperf")
    (tmp_path / FOLDERS["medperf"][1] / "protocol.yaml").unlink()
    with pytest.raises(EvaluatorError, match=r"expected protocol\.yaml"):
        main(root=tmp_path, arguments=[])


@pytest.fixture(scope="session")
def image():
    """The image of `make evaluator-image`, built here where it is missing or of other sources."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker Engine answers here: make setup")
    try:
        return build(base_image())
    except subprocess.CalledProcessError as problem:
        if "uv" not in problem.cmd:
            raise
        pytest.skip("its two wheels could not be fetched; `make evaluator-image` says why")


@pytest.mark.docker
@pytest.mark.xdist_group("evaluator-image")
@pytest.mark.parametrize("contract", FOLDERS)
def test_the_image_scores_without_network_root_or_a_writable_root(tmp_path, image, contract):
    tmp_path.chmod(0o755)
    _, result = lay_out(tmp_path, contract)
    result.parent.chmod(0o777)
    top = {place.split("/")[0] for place in FOLDERS[contract]}
    mounts = [part for name in top for part in ("-v", f"{tmp_path / name}:/{name}")]
    if contract == "grand-challenge":
        mounts = [part for place in ("input", "opt/ml", "output") for part in ("-v", f"{tmp_path / place}:/{place}")]
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--user",
        "65532:65532",
        *mounts,
        image,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(result.read_text())
    assert (document["dice"] if contract == "codabench" else document["aggregates"]["dice"]["mean"]) == 0.5
