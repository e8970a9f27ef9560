"""Images people already have, each rebuilt, handed in to a server and run by a node in the real sandbox."""

import json
import tarfile
import zipfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from django.utils import timezone

import factories
from assay.challenges.models import Phase
from assay.client.importing.codabench import read_codabench
from assay.client.importing.grand_challenge import read_grand_challenge
from assay.client.importing.options import Options
from assay.evaluations.models import Evaluation
from assay.runs.models import CaseRun
from assay.submissions.services import frozen_limits
from assay.testsets import storage
from assay.workflow.workers import checking, metric_images, scoring
from containers.engines.docker import DockerEngine
from evaluator.protocol import load_named_protocol, load_protocol
from existing_things import SHAPE, cube, explained, scan, write_manifest, write_volume

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("engine")]


def wheel(name: str) -> bytes:
    """A pure wheel of one empty module, without a build tool."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return content.getvalue()


def scores_of(submission) -> dict[str, float]:
    """Case → its Dice, or the mean over its structures."""
    found = {}
    for row in Evaluation.objects.get(submission=submission).case_scores.select_related("case"):
        values = [value for _, metric, value, _ in row.scores if metric == "dice" and value is not None]
        found[row.case.case_id] = sum(values) / len(values)
    return found


def tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of weights, as `tar -czf model.tar.gz -C model .` makes it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.uid = len(content), 0o600, 1000
            archive.addfile(info, BytesIO(content))
    return path


USER_OF_TEMPLATE = [
    "RUN groupadd -r user && useradd -m --no-log-init -r -g user user && chmod 0750 /home/user",
    "USER user",
    "WORKDIR /opt/app",
    "COPY --chown=user:user requirements.txt /opt/app/",
    "COPY --chown=user:user wheels /opt/app/wheels",
    "RUN python -m pip install --user --no-cache-dir --no-index --break-system-packages --find-links wheels -r requirements.txt",
]
"""The packages come from a folder, because a build here has no network; everything else is as the template has it."""

FORGE = r"""
import json, pathlib, uuid
import of_the_user  # only where HOME is the user's
from volumes import threshold_mha

INPUT, OUTPUT, MODEL = pathlib.Path("/input"), pathlib.Path("/output"), pathlib.Path("/opt/ml/model")


def run():
    sockets = json.loads((INPUT / "inputs.json").read_text())
    interface = tuple(sorted(socket["interface"]["slug"] for socket in sockets))
    return {("ct-image",): without_age, ("age-in-months", "ct-image"): with_age}[interface](sockets)


def with_age(sockets):
    age = json.loads((INPUT / "age-in-months.json").read_text())
    (told,) = [socket["value"] for socket in sockets if socket["interface"]["slug"] == "age-in-months"]
    assert age == told == 17, (age, told)
    return without_age(sockets)


def without_age(sockets):
    (socket,) = [socket for socket in sockets if socket["interface"]["super_kind"] == "Image"]
    folder = INPUT / socket["interface"]["relative_path"]
    found = [*folder.glob("*.tif"), *folder.glob("*.tiff"), *folder.glob("*.mha")]
    target = OUTPUT / "images/liver-segmentation"
    target.mkdir(parents=True, exist_ok=True)
    above = int((MODEL / "a_tarball_subdirectory/threshold.txt").read_text())
    voxels = threshold_mha(found[0], target / f"{uuid.uuid4()}.mha", above=above)
    (OUTPUT / "liver-volume.json").write_text(json.dumps({"voxels": voxels, "boxes": []}))


run()
"""


def socket(slug, path, super_kind, **more):
    return {"slug": slug, "relative_path": path, "kind": "Image", "super_kind": super_kind, **more}


def write_pack(path: Path) -> Path:
    """A challenge pack of two interfaces: the age of a patient is optional."""
    ct, age = socket("ct-image", "images/ct-image", "Image"), socket("age-in-months", "age-in-months.json", "Value")
    segments = [{"name": "liver", "voxel_value": 1, "visible": True}]
    outputs = [
        socket("liver-segmentation", "images/liver-segmentation", "Image", overlay_segments=segments),
        socket("liver-volume", "liver-volume.json", "Value"),
    ]
    interfaces = [{"inputs": [ct], "outputs": outputs}, {"inputs": [ct, age], "outputs": outputs}]
    phase = {"slug": "test", "algorithm_interfaces": interfaces}
    challenge = {"slug": "livers", "url": "https://example.org", "archives": [], "phases": [phase]}
    path.write_text(json.dumps({"challenge": challenge}))
    return path


@pytest.mark.existing_thing(
    "grand-challenge: algorithm of the current template (USER, pip install --user, inputs.json, optional input, model.tar.gz, JSON output)",
    runs="unchanged",
    through="submission",
)
def test_an_algorithm_of_the_forge_template(workshop, serve, tmp_path):
    options = Options(slug="livers", title="Livers", protocol="")
    draft = read_grand_challenge(write_pack(tmp_path / "pack.json"), options=options)
    folder = tmp_path / "cases"
    folder.mkdir()
    rows = []
    for number, case in enumerate(("with-age", "without-age"), start=2):
        row = {
            "case_id": case,
            "input:ct-image": write_volume(scan(number), folder / f"{case}-ct.mha"),
            "reference": write_volume(cube(number), folder / f"{case}.nii.gz"),
        }
        if case == "with-age":
            (folder / "age.json").write_text("17")
            row["input:age-in-months"] = "age.json"
        rows.append(row)
    archive = workshop.archive(
        "forge",
        [
            *USER_OF_TEMPLATE,
            "COPY --chown=user:user inference.py volumes.py /opt/app/",
            'ENTRYPOINT ["python", "inference.py"]',
        ],
        {
            "inference.py": FORGE,
            "requirements.txt": "of_the_user\n",
            "wheels/of_the_user-1.0-py3-none-any.whl": wheel("of_the_user"),
        },
        zipped=True,
    )
    model = tar_gz(tmp_path / "model.tar.gz", {"a_tarball_subdirectory/threshold.txt": b"100"})
    submission = serve(draft.protocol, write_manifest(folder, rows)).submit(archive, model=model)
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"with-age": 1.0, "without-age": 1.0}
    documents = {
        row.case.case_id: json.loads(storage.local_path(output["key"]).read_bytes())
        for row in CaseRun.objects.filter(run__submission=submission).select_related("case")
        for output in row.outputs
        if output["name"].endswith("liver-volume")
    }
    assert documents == {
        "with-age": {"boxes": [], "voxels": int(cube(2).sum())},
        "without-age": {"boxes": [], "voxels": int(cube(3).sum())},
    }


SEGRAP = r"""
import os, pathlib
from volumes import read_mha, write_mha


class Algorithm:
    def __init__(self):
        self.input = pathlib.Path("/input/images/head-neck-ct")
        self.output = pathlib.Path("/output/images/gross-tumor-volume-segmentation")
        for folder in ("nnUNet_raw_data_base/imagesTs", "nnUNet_results"):
            os.makedirs(f"/opt/app/{folder}", exist_ok=True)

    def process(self):
        (scan,) = self.input.glob("*.mha")
        (other,) = pathlib.Path("/input/images/head-neck-contrast-enhanced-ct").glob("*.mha")
        header, values = read_mha(scan)
        pathlib.Path("/opt/app/nnUNet_raw_data_base/imagesTs/case_0000.txt").write_text(str(len(values)))
        self.output.mkdir(parents=True, exist_ok=True)
        mask = bytes(value > 100 for value in values)
        write_mha(self.output / scan.name, header, mask * 2, channels=2)


if __name__ == "__main__":
    Algorithm().process()
"""


@pytest.mark.existing_thing(
    "SegRap 2023: the organizers' example (USER, working directory of its own that it writes into)",
    runs="unchanged",
    through="submission",
)
def test_the_published_example_of_segrap(workshop, serve, tmp_path):
    document = load_named_protocol("segrap23-gtv").document
    folder = tmp_path / "cases"
    folder.mkdir()
    for name in ("ct", "contrast"):
        write_volume(scan(2), folder / f"{name}.mha")
    image = sitk.GetImageFromArray(cube(2))
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(folder / "reference.mha"))
    row = {"case_id": "c0", "input:ct": "ct.mha", "input:contrast_ct": "contrast.mha", "reference": "reference.mha"}
    archive = workshop.archive(
        "segrap",
        [
            "RUN groupadd -r user && useradd -m --no-log-init -r -g user user",
            "RUN mkdir -p /opt/app /input /output && chown user:user /opt/app /input /output",
            "USER user",
            "WORKDIR /opt/app",
            "COPY --chown=user:user process.py volumes.py /opt/app/",
            'ENTRYPOINT ["python", "-m", "process"]',
        ],
        {"process.py": SEGRAP},
    )
    submission = serve(document, write_manifest(folder, [row])).submit(archive)
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"c0": 1.0}


@pytest.mark.existing_thing(
    "FLARE 2021 to 2024: image with predict.sh, as a tar.gz", runs="unchanged", through="submission"
)
def test_a_flare_image(workshop, serve, tmp_path):
    document = {**load_named_protocol("flare22").document}
    folder = tmp_path / "cases"
    folder.mkdir()
    row = {
        "case_id": "FLARETs_0001",
        f"input:{document['inputs'][0]['name']}": write_volume(scan(2), folder / "image.nii.gz"),
        "reference": write_volume(cube(2), folder / "label.nii.gz"),
    }
    program = (
        "import pathlib\nfrom volumes import threshold_nifti\n"
        "for scan in pathlib.Path('inputs').glob('*_0000.nii.gz'):\n"
        "    pathlib.Path('tmp').mkdir(exist_ok=True)\n"
        "    threshold_nifti(scan, pathlib.Path('outputs') / scan.name.replace('_0000.nii.gz', '.nii.gz'))\n"
    )
    archive = workshop.archive(
        "flare",
        ["WORKDIR /workspace", "COPY predict.sh predict.py volumes.py ./", 'CMD ["sh", "predict.sh"]'],
        {"predict.sh": "python predict.py\n", "predict.py": program},
        zipped=True,
    )
    submission = serve(document, write_manifest(folder, [row])).submit(archive)
    assert submission.status == "done", explained(submission)
    scores = Evaluation.objects.get(submission=submission).case_scores.get().scores
    assert [value for label, metric, value, _ in scores if (label, metric) == ("liver", "dice")] == [1.0]


def threshold_rules(**changes) -> dict:
    """One structure, scored by Dice."""
    return {
        "protocol": 1,
        "name": "cube",
        "labels": {"cube": 1},
        "inputs": [{"name": "ct", "file": "{case}_0000.nii.gz"}],
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
        "metrics": [{"name": "dice"}],
    } | changes


def two_cases(folder: Path, *, column: str = "input:ct", **more: str) -> Path:
    folder.mkdir()
    rows = [
        {
            "case_id": f"case_{number:03}",
            column: write_volume(scan(number), folder / f"ct-{number}.nii.gz"),
            "reference": write_volume(cube(number), folder / f"label-{number}.nii.gz"),
            **more,
        }
        for number in (2, 3)
    ]
    return write_manifest(folder, rows)


NNUNET = r"""
import argparse, json, pathlib
from volumes import threshold_nifti
options = argparse.ArgumentParser()
options.add_argument("-i", type=pathlib.Path)
options.add_argument("-o", type=pathlib.Path)
given = options.parse_args()
for scan in sorted(given.i.glob("*_0000.nii.gz")):
    threshold_nifti(scan, given.o / scan.name.replace("_0000", ""))
for name in ("plans.json", "dataset.json", "predict_from_raw_data_args.json"):
    (given.o / name).write_text("{}")
"""


@pytest.mark.existing_thing(
    "nnU-Net v2: a container called with -i and -o for all cases", runs="unchanged", through="submission"
)
def test_an_nnunet_container(workshop, serve, tmp_path):
    document = threshold_rules(resources={"run_mode": "cohort"})
    archive = workshop.archive(
        "nnunet",
        [
            "COPY volumes.py predict.py /app/",
            'ENTRYPOINT ["python", "/app/predict.py", "-i", "/input", "-o", "/output"]',
        ],
        {"predict.py": NNUNET},
    )
    submission = serve(document, two_cases(tmp_path / "cases")).submit(archive)
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"case_002": 1.0, "case_003": 1.0}


MLCUBE = r"""
import argparse, pathlib
from volumes import threshold_nifti
options = argparse.ArgumentParser()
options.add_argument("task", choices=["infer"])
for name in ("data_path", "parameters_file", "output_path"):
    options.add_argument(f"--{name}", type=pathlib.Path, required=True)
given = options.parse_args()
above = int(given.parameters_file.read_text().partition("threshold:")[2])
for scan in sorted(given.data_path.glob("*_0000.nii.gz")):
    threshold_nifti(scan, given.output_path / scan.name.replace("_0000", ""), above=above)
"""


@pytest.mark.existing_thing(
    "MLCube of BraTS (infer --data_path --parameters_file --output_path, with its parameters.yaml)",
    runs="unchanged",
    through="submission",
)
def test_an_mlcube_with_its_parameters(workshop, serve, tmp_path):
    """The parameters are a YAML file: what it is, the protocol says, not its suffix."""
    command = ["python", "/mlcube_project/mlcube.py", "infer", "--data_path=/mlcube_io0", "--parameters_file=/mlcube_io0/parameters.yaml",
               "--output_path=/mlcube_io1"]  # fmt: skip
    inputs = [*threshold_rules()["inputs"], {"name": "parameters", "kind": "file", "file": "parameters.yaml"}]
    resources = {"command": command, "input_mount": "/mlcube_io0", "output_mount": "/mlcube_io1"}
    folder = two_cases(tmp_path / "cases", **{"input:parameters": "parameters.yaml"})
    (folder / "parameters.yaml").write_text("threshold: 100\n")
    archive = workshop.archive("mlcube", ["COPY volumes.py mlcube.py /mlcube_project/"], {"mlcube.py": MLCUBE})
    submission = serve(threshold_rules(inputs=inputs, resources=resources), folder).submit(archive)
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"case_002": 1.0, "case_003": 1.0}


MEDPERF = r"""
import json, pathlib
from volumes import threshold_nifti
volumes = pathlib.Path("/mlcommons/volumes")
above = json.loads((volumes / "additional_files/model.json").read_text())["threshold"]
for scan in sorted((volumes / "data").glob("*_0000.nii.gz")):
    threshold_nifti(scan, volumes / "predictions" / scan.name.replace("_0000", ""), above=above)
"""


@pytest.mark.existing_thing(
    "MedPerf: container_config image of a model, with its additional_files", runs="unchanged", through="submission"
)
def test_a_medperf_model_with_its_additional_files(workshop, serve, tmp_path):
    resources = {
        "input_mount": "/mlcommons/volumes/data",
        "output_mount": "/mlcommons/volumes/predictions",
        "run_mode": "cohort",
    }
    archive = workshop.archive(
        "medperf", ["COPY volumes.py infer.py /app/", 'ENTRYPOINT ["python", "/app/infer.py"]'], {"infer.py": MEDPERF}
    )
    model = tar_gz(tmp_path / "additional_files.tar.gz", {"model.json": b'{"threshold": 100}'})
    server = serve(threshold_rules(resources=resources), two_cases(tmp_path / "cases"))
    submission = server.submit(archive, model=model, model_folder="/mlcommons/volumes/additional_files")
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"case_002": 1.0, "case_003": 1.0}


TIRA = r"""
import pathlib, sys
from volumes import threshold_nifti
source, target = map(pathlib.Path, sys.argv[1:])
for scan in sorted(source.glob("*_0000.nii.gz")):
    threshold_nifti(scan, target / scan.name.replace("_0000", ""))
"""


@pytest.mark.existing_thing(
    "TIRA: software with the command given at submission ($inputDataset, $outputDir)",
    runs="one command",
    through="submission",
)
def test_tira_software_with_its_command(workshop, serve, tmp_path):
    """`assay submit --command '…'`. The two variables are the phase's, the command is the team's."""
    resources = {
        "takes_command": True,
        "environment": {"inputDataset": "/input", "outputDir": "/output"},
        "run_mode": "cohort",
    }
    archive = workshop.archive("tira", ["COPY volumes.py predict.py /app/", 'CMD ["/bin/false"]'], {"predict.py": TIRA})
    server = serve(threshold_rules(resources=resources), two_cases(tmp_path / "cases"))
    command = "python /app/predict.py $inputDataset $outputDir"
    submission = server.submit(archive, limits=frozen_limits(phase=server.phase, command=command))
    assert submission.status == "done", explained(submission)
    assert scores_of(submission) == {"case_002": 1.0, "case_003": 1.0}


SCORING_PROGRAM = r"""
import gzip, json, pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:])
same = [gzip.open(truth).read()[352:] == gzip.open(source / "res" / truth.name).read()[352:]
        for truth in sorted((source / "ref").iterdir())]
(target / "scores.txt").write_text(f"accuracy: {sum(same) / len(same)}\nduration: 1.5\n")
"""


@pytest.mark.existing_thing(
    "CodaBench: bundle with its scoring program ($input, $output, scores.txt), and a result submission",
    runs="one command",
    through="metric image",
)
def test_a_bundle_of_codabench_with_its_scoring_program(workshop, serve, tmp_path):
    """`assay import` writes the Dockerfile, which is built as it is but for its first line: a build here has no network."""
    source = tmp_path / "bundle"
    write_volume(cube(2), source / "reference_data/case_002.nii.gz")
    (source / "scoring_program").mkdir()
    files = {"score.py": SCORING_PROGRAM, "metadata": "command: python3 $program/score.py $input $output\n"}
    for name, content in files.items():
        (source / "scoring_program" / name).write_text(content)
    task = {"index": 0, "name": "t", "reference_data": "reference_data", "scoring_program": "scoring_program"}
    phase = {"index": 0, "name": "Final", "start": "2026-11-01", "tasks": [0], "accepts_only_result_submissions": True}
    description = {"version": 2, "title": "Cubes", "tasks": [task], "phases": [phase]}
    (source / "competition.yaml").write_text(json.dumps(description))
    with ExitStack() as stack:
        draft = read_codabench(source, options=Options(slug="cubes", title="", protocol=""), stack=stack)
        _from, *recipe = draft.kept["scoring-program-0.Dockerfile"].read_text().splitlines()
    context = {f"scoring-program-0/{name}": content for name, content in files.items()}
    archive = workshop.archive("codabench", recipe, context)
    evaluation, submission = scored_by(
        serve(threshold_rules(), two_cases(tmp_path / "cases")),
        archive,
        rules=threshold_rules(
            metrics=[{"name": "dice"}, {"name": "external_score", "id": "accuracy"}],
            evaluation={"layout": "codabench"},
            conventions={"failed": {"accuracy": 0.0}},
        ),
        folder=tmp_path,
    )
    assert submission.status == "done", (explained(submission), evaluation.error)
    assert evaluation.aggregates["accuracy"]["mean"] == 0.5, "one of two results is the reference, to the voxel"


def scored_by(server, archive: Path, *, rules: dict, folder: Path):
    """Two prediction files, of which one is right, scored by this metric image; the evaluation, and the submission."""
    Phase.objects.filter(pk=server.phase.pk).update(kind="predictions")
    server.phase.refresh_from_db()
    taken = metric_images.take_metric_image(
        challenge=server.phase.challenge,
        user=server.scene.olga,
        upload=server.uploaded(archive, purpose="image"),
        now=timezone.now(),
    )
    rules = {**rules, "evaluation": {"image": taken.image_id, **rules.get("evaluation", {})}}
    factories.rewrite_protocol(server.phase.protocol, load_protocol(rules).document)
    zipped = folder / "results.zip"
    with zipfile.ZipFile(zipped, "w") as results:
        for number, voxels in ((2, cube(2)), (3, cube(2))):
            results.write(
                folder / "cases" / write_volume(voxels, folder / "cases/made.nii.gz"), f"case_{number:03}.nii.gz"
            )
    upload = server.uploaded(zipped, purpose="predictions")
    submission = factories.submission(
        phase=server.phase, team=server.scene.team, image=None, predictions=upload, status="received"
    )
    checking.check_submission(submission_id=submission.pk, clock=timezone.now)
    evaluation = Evaluation.objects.get(submission=submission)
    try:
        is_scored = scoring.score_evaluation(evaluation_id=evaluation.pk, worker="test", clock=timezone.now)
    finally:
        with DockerEngine() as engine:
            engine.remove_image(taken.image_id)
    evaluation.refresh_from_db()
    submission.refresh_from_db()
    assert is_scored, (explained(submission), evaluation.error)
    return evaluation, submission


EVALUATION = r"""
import json, multiprocessing, pathlib
from concurrent.futures import ProcessPoolExecutor, as_completed
import of_the_user  # psutil stands here: only where HOME is the user's
from volumes import read_mha

INPUT, OUTPUT, TRUTH = pathlib.Path("/input"), pathlib.Path("/output"), pathlib.Path("/opt/ml/input/data/ground_truth")


def entry_of(values, slug):
    return next(value for value in values if value["interface"]["slug"] == slug)


def process(job):
    relative = entry_of(job["outputs"], "segmentation")["interface"]["relative_path"]
    folder = INPUT / job["pk"] / "output" / relative
    found = [*folder.glob("*.tiff"), *folder.glob("*.mha")]
    name = entry_of(job["inputs"], "image")["image"]["name"]
    return {"my_metric": int(read_mha(found[0])[1] == read_mha(TRUTH / name)[1])}


def work(jobs, results, errors):
    with ProcessPoolExecutor(max_workers=min(4, multiprocessing.cpu_count())) as pool:
        asked = {pool.submit(process, job): job["pk"] for job in jobs}
        for one in as_completed(asked):
            (errors if one.exception() else results)[asked[one]] = repr(one.exception()) if one.exception() else one.result()


def main():
    jobs = json.loads((INPUT / "predictions.json").read_text())
    with multiprocessing.Manager() as manager:
        results, errors = manager.dict(), manager.dict()
        worker = multiprocessing.Process(target=work, args=(jobs, results, errors))
        worker.start()
        worker.join()
        assert not errors, dict(errors)
        found = list(results.values())
    mean = sum(result["my_metric"] for result in found) / len(found)
    (OUTPUT / "metrics.json").write_text(json.dumps({"results": found, "aggregates": {"my_metric": mean}}, indent=4))


if __name__ == "__main__":
    main()
"""


@pytest.mark.existing_thing(
    "grand-challenge: evaluation of the current template (USER, pip install --user, predictions.json, a pool of processes, results without a case)",
    runs="unchanged",
    through="metric image",
)
def test_an_evaluation_of_the_forge_template(workshop, serve, tmp_path):
    archive = workshop.archive(
        "forge-evaluation",
        [
            *USER_OF_TEMPLATE,
            "COPY --chown=user:user evaluate.py volumes.py /opt/app/",
            'ENTRYPOINT ["python", "evaluate.py"]',
        ],
        {
            "evaluate.py": EVALUATION,
            "requirements.txt": "of_the_user\n",
            "wheels/of_the_user-1.0-py3-none-any.whl": wheel("of_the_user"),
        },
        zipped=True,
    )
    inputs = [{"name": "image", "file": "images/image/{case}.mha"}]
    server = serve(threshold_rules(inputs=inputs), two_cases(tmp_path / "cases", column="input:image"))
    evaluation, submission = scored_by(
        server,
        archive,
        rules=threshold_rules(
            inputs=inputs,
            metrics=[{"name": "dice"}, {"name": "external_score", "id": "my_metric"}],
            conventions={"failed": {"my_metric": 0.0}},
        ),
        folder=tmp_path,
    )
    assert submission.status == "done", (explained(submission), evaluation.error)
    assert evaluation.aggregates["my_metric"]["mean"] == 0.5, "one of two results is the reference, to the voxel"


def test_the_rebuilt_cases_are_what_a_threshold_finds():
    assert scan(2).shape == SHAPE
    assert np.array_equal(scan(3) > 100, cube(3) == 1)
