"""`assay import`: each format becomes a bundle that the server's own readers accept. Bad sources leave nothing behind."""

import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from assay.challenges.definition import ChallengeDefinition, parse_definition
from assay.client.bundles import bundle_source, check_folder
from assay.client.cli import main
from assay.client.importing import sources
from assay.testsets.ingestion import ingest_cases


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def volume(path: Path, *values: int, channels: int = 0) -> None:
    """A small volume with a cube per value. With channels, a 4-D image whose channel k is filled with k."""
    array = np.zeros((6, 5, 4), np.uint8)
    for number, value in enumerate(values):
        array[number, :2, :2] = value
    if channels:
        array = np.stack([np.full((6, 5, 4), k, np.uint8) for k in range(channels)], axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def accepted(folder: Path, place: Path) -> tuple[ChallengeDefinition, dict[str, list[str]]]:
    """What the server makes of the bundle: the challenge, and the case ids of every test set."""
    definition = parse_definition(bundle_source(folder))
    cases = {}
    for testset in sorted(folder.glob("*-cases")):
        check_folder(folder=testset)
        ingested = ingest_cases(folder=testset, target=place / "ingested" / testset.name)
        cases[testset.name] = [case.source.case_id for case in ingested]
    return definition, cases


def imported(source: Path, place: Path, *options: object) -> tuple[ChallengeDefinition, dict[str, list[str]], str]:
    result = run(source, place / "bundle", *options)
    assert result.exit_code == 0, result.output
    definition, cases = accepted(place / "bundle", place)
    return definition, cases, result.output


def nnunet(folder: Path, *, which: str = "Tr", **changes: object) -> Path:
    for case in ("BRATS_001", "BRATS_002"):
        volume(folder / f"labels{which}/{case}.nii.gz", 1, 2)
        for channel in range(2):
            volume(folder / f"images{which}/{case}_{channel:04d}.nii.gz", 7)
    description = {
        "channel_names": {"0": "FLAIR", "1": "T1w"},
        "labels": {"background": 0, "whole tumor": [1, 2], "core": 2},
        "regions_class_order": [1, 2],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    write(folder / "dataset.json", description | changes)
    return folder


@pytest.mark.existing_thing("nnU-Net v2: raw data folder with dataset.json", runs="one command", through="import")
def test_an_nnunet_folder_becomes_a_challenge_with_its_channels_and_regions(place: Path) -> None:
    definition, cases, _ = imported(nnunet(place / "Dataset001_Brain"), place)
    protocol = definition.phases[0].protocol
    assert [(item.name, item.file) for item in protocol.inputs] == [
        ("FLAIR", "{case}_0000.nii.gz"),
        ("T1w", "{case}_0001.nii.gz"),
    ]
    assert {label.name: tuple(label.values) for label in protocol.labels} == {"whole tumor": (1, 2), "core": (2,)}
    assert cases == {"hidden-cases": ["BRATS_001", "BRATS_002"]}
    assert "knows these references" in (place / "bundle/IMPORTED.md").read_text()


def test_test_references_are_preferred_to_training_cases(place: Path) -> None:
    source = nnunet(nnunet(place / "Dataset002_Two"), which="Ts")
    (source / "labelsTs/BRATS_002.nii.gz").unlink()
    for channel in range(2):
        (source / f"imagesTs/BRATS_002_{channel:04d}.nii.gz").unlink()
    _, cases, _ = imported(source, place)
    assert cases == {"hidden-cases": ["BRATS_001"]}


@pytest.mark.existing_thing(
    "Medical Segmentation Decathlon: task folder with dataset.json", runs="one command", through="import"
)
def test_a_decathlon_folder_is_split_into_its_channels(place: Path) -> None:
    source = place / "Task01_Prostate"
    for case in ("p_01", "p_02"):
        volume(source / f"imagesTr/{case}.nii.gz", channels=2)
        volume(source / f"labelsTr/{case}.nii.gz", 1)
    pairs = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in ("p_01", "p_02")]
    write(source / "dataset.json", {"name": "Prostate", "licence": "CC-BY-SA 4.0", "modality": {"0": "T2", "1": "ADC"},
                                    "labels": {"0": "background", "1": "PZ"}, "numTraining": 2, "training": pairs, "test": []})  # fmt: skip
    definition, cases, _ = imported(source, place)
    assert (definition.title, definition.licence) == ("Prostate", "CC-BY-SA 4.0")
    assert cases == {"hidden-cases": ["p_01", "p_02"]}
    adc = nibabel.load(place / "bundle/hidden-cases/inputs/ADC/p_01.nii.gz")
    assert adc.shape == (6, 5, 4)
    assert np.unique(np.asarray(adc.dataobj)).tolist() == [1]


@pytest.mark.existing_thing("FLARE: folders of images and labels", runs="one command", through="import")
def test_a_flare_folder_takes_its_structures_from_the_protocol(place: Path) -> None:
    source = place / "FLARE"
    volume(source / "images/A_0000.nii.gz", 3)
    volume(source / "labels/A.nii.gz", 1)
    refused = run(source, place / "none")
    assert refused.exit_code == 1
    assert "--protocol flare22" in refused.output
    definition, cases, _ = imported(source, place, "--protocol", "flare22")
    assert len(definition.phases[0].protocol.labels) == 13
    assert cases == {"hidden-cases": ["A"]}


def bids(source: Path) -> Path:
    write(source / "dataset_description.json", {"Name": "Lesions", "BIDSVersion": "1.10.0", "License": "CC0"})
    write(source / "participants.tsv", "participant_id\tsex\tscanner\nsub-01\tF\tA\nsub-02\tn/a\tB\n")
    write(source / "derivatives/manual/dseg.tsv", "index\tname\n0\tbackground\n1\tlesion\n")
    for subject in ("sub-01", "sub-02"):
        volume(source / f"{subject}/anat/{subject}_T1w.nii.gz", 9)
        volume(source / f"{subject}/anat/{subject}_FLAIR.nii.gz", 9)
        volume(source / f"derivatives/manual/{subject}/anat/{subject}_space-orig_dseg.nii.gz", 1)
    return source


@pytest.mark.existing_thing("BIDS: data set with derivatives", runs="one command", through="import")
def test_bids_subjects_become_cases_with_their_attributes(place: Path) -> None:
    definition, cases, _ = imported(bids(place / "ds"), place)
    assert [item.name for item in definition.phases[0].protocol.inputs] == ["FLAIR", "T1w"]
    assert cases == {"hidden-cases": ["sub-01", "sub-02"]}
    rows = list(csv.DictReader((place / "bundle/hidden-cases/manifest.csv").read_text().splitlines()))
    assert [(row["scanner"], row["sex"]) for row in rows] == [("A", "F"), ("B", "")]


def test_bids_masks_per_structure_are_taken(place: Path) -> None:
    source = bids(place / "ds")
    for subject in ("sub-01", "sub-02"):
        folder = source / f"derivatives/manual/{subject}/anat"
        (folder / f"{subject}_space-orig_dseg.nii.gz").unlink()
        for label in ("core", "edema"):
            volume(folder / f"{subject}_label-{label}_mask.nii.gz", 1)
    definition, cases, _ = imported(source, place)
    assert [label.name for label in definition.phases[0].protocol.labels] == ["core", "edema"]
    assert cases == {"hidden-cases": ["sub-01", "sub-02"]}


def test_a_probabilistic_segmentation_is_refused(place: Path) -> None:
    source = bids(place / "ds")
    volume(source / "derivatives/manual/sub-01/anat/sub-01_label-GM_probseg.nii.gz", 1)
    assert "probabilistic" in run(source, place / "none").output


def pack(path: Path) -> Path:
    socket = {"slug": "ct", "relative_path": "images/ct", "kind": "Image", "super_kind": "Image"}
    age = {"slug": "age", "relative_path": "age.json", "kind": "Integer", "super_kind": "Value"}
    segments = [
        {"name": "background", "voxel_value": 0, "visible": True},
        {"name": "liver", "voxel_value": 1, "visible": True},
    ]
    output = {"slug": "liver-segmentation", "relative_path": "images/liver-segmentation", "kind": "Segmentation",
              "super_kind": "Image", "overlay_segments": segments}  # fmt: skip
    likelihood = {"slug": "score", "relative_path": "score.json", "kind": "Float", "super_kind": "Value"}
    phase = {"slug": "preliminary", "archive": {"slug": "a", "url": "https://example.org/a"},
             "algorithm_interfaces": [{"inputs": [socket, age], "outputs": [output, likelihood]}]}  # fmt: skip
    write(path, {"challenge": {"slug": "livers", "url": "https://example.org", "archives": [], "phases": [phase]}})
    return path


@pytest.mark.existing_thing(
    "grand-challenge: challenge pack (phases, interfaces, sockets)", runs="one command", through="import"
)
def test_a_grand_challenge_pack_keeps_its_socket_paths(place: Path) -> None:
    definition, cases, output = imported(pack(place / "pack.json"), place)
    protocol = definition.phases[0].protocol
    assert [item.file for item in protocol.inputs] == ["images/ct/image.mha", "age.json", "inputs.json"]
    assert [item.kind for item in protocol.inputs] == ["image", "value", "sockets"]
    assert protocol.output.file == "images/liver-segmentation/*"
    assert protocol.documents == {"score"}
    assert protocol.resources.profile == "image-user"
    assert [label.name for label in protocol.labels] == ["liver"]
    assert cases == {}
    assert "output score: a JSON document" in output


def test_inputs_that_not_every_interface_has_are_optional(place: Path) -> None:
    source = json.loads(pack(place / "pack.json").read_text())
    (phase,) = source["challenge"]["phases"]
    (interface,) = phase["algorithm_interfaces"]
    phase["algorithm_interfaces"].append({**interface, "inputs": interface["inputs"][:1]})
    write(place / "pack.json", source)
    definition, _, output = imported(place / "pack.json", place)
    assert {item.name: item.required for item in definition.phases[0].protocol.inputs} == {
        "ct": True, "age": False, "inputs": True,
    }  # fmt: skip
    assert "optional: 1 of 2 interfaces have it" in output


def competition(folder: Path, **changes: object) -> Path:
    for case in ("a", "b"):
        volume(folder / f"reference_data/{case}.nii.gz", 1, 2)
        volume(folder / f"input_data/{case}.nii.gz", 9)
    write(folder / "scoring_program/metadata.yaml", "command: python3 score.py $input $output\n")
    write(folder / "scoring_program/score.py", "print('score')\n")
    write(folder / "pages/data.md", "# Data\n\nTwo cases.\n")
    write(folder / "terms.md", "Be honest.\n")
    description = {
        "version": 2,
        "title": "Two cubes",
        "description": "Find the cubes",
        "terms": "terms.md",
        "pages": [{"title": "Data", "file": "pages/data.md"}],
        "registration_auto_approve": False,
        "tasks": [{"index": 0, "name": "cubes", "reference_data": "reference_data", "input_data": "input_data",
                   "scoring_program": "scoring_program"}],
        "phases": [{"index": 0, "name": "Development", "start": "11-1-2026", "end": "12-31-2026", "tasks": [0],
                    "max_submissions": 50, "max_submissions_per_day": 5, "accepts_only_result_submissions": True}],
        "leaderboards": [{"title": "Results", "key": "main", "columns": [{"title": "Dice", "key": "dice", "index": 0}]}],
    }  # fmt: skip
    write(folder / "competition.yaml", yaml.safe_dump(description | changes, sort_keys=False))
    return folder


@pytest.mark.existing_thing(
    "CodaBench: bundle version 2 (pages, terms, phases, limits, reference data)", runs="one command", through="import"
)
def test_a_codabench_bundle_brings_pages_terms_phases_limits_and_reference_data(place: Path) -> None:
    folder = competition(place / "bundle-source")
    archive = place / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    definition, cases, output = imported(archive, place)
    phase = definition.phases[0]
    assert (phase.submission_limit, phase.submission_limit_total, phase.kind) == (5, 50, "predictions")
    assert f"{phase.opens_at:%Y-%m-%d} {phase.closes_at:%Y-%m-%d}" == "2026-11-01 2026-12-31"
    assert [tuple(label.values) for label in phase.protocol.labels] == [(1,), (2,)]
    assert "Two cases." in definition.description
    assert definition.rules == "Be honest."
    assert definition.requires_approval
    assert cases == {"task-0-cases": ["a", "b"]}
    assert "columns Dice" in output
    assert (place / "bundle/scoring-program-0/score.py").is_file()
    recipe = (place / "bundle/scoring-program-0.Dockerfile").read_text()
    assert recipe.startswith("FROM codalab/codalab-legacy:py37\nCOPY scoring-program-0 /app/program\n")
    assert "python3 score.py /app/input /app/output && " in recipe
    assert "layout: codabench" in (place / "bundle/IMPORTED.md").read_text()


@pytest.mark.existing_thing("EvalAI: challenge configuration", runs="one command", through="import")
def test_an_evalai_challenge_brings_its_phases(place: Path) -> None:
    folder = place / "evalai"
    volume(folder / "annotations/a.nii.gz", 1)
    write(folder / "templates/description.html", "<p>What it is.</p>")
    write(folder / "challenge_config.yaml", yaml.safe_dump({
        "title": "Cubes", "short_description": "Find cubes", "description": "templates/description.html",
        "evaluation_script": "evaluation_script.zip", "is_docker_based": False,
        "challenge_phases": [{"id": 1, "codename": "dev", "name": "Dev Phase", "start_date": "2026-01-19 00:00:00",
                              "end_date": "2099-04-25 23:59:59", "test_annotation_file": "annotations", "max_submissions_per_day": 5,
                              "max_submissions": 50, "leaderboard_public": True}],
    }))  # fmt: skip
    definition, cases, output = imported(folder, place)
    assert [(phase.slug, phase.submission_limit) for phase in definition.phases] == [("dev", 5)]
    assert cases == {"dev-cases": ["a"]}
    assert "evaluation_script" in output


@pytest.mark.existing_thing("MedPerf: container_config.yaml, and mlcube.yaml", runs="one command", through="import")
def test_medperf_and_mlcube_descriptions_become_mounts_and_a_command(place: Path) -> None:
    write(place / "medperf/container_config.yaml", yaml.safe_dump({
        "container_type": "DockerImage", "image": "example/model:1",
        "tasks": {"infer": {"run_args": {"command": "infer --fast"},
                            "input_volumes": {"data_path": {"mount_path": "/mlcommons/volumes/data", "type": "directory"}},
                            "output_volumes": {"predictions": {"mount_path": "/mlcommons/volumes/out", "type": "directory"}}}},
    }))  # fmt: skip
    definition, _, _ = imported(place / "medperf", place, "--protocol", "brats23-lesionwise")
    resources = definition.phases[0].protocol.resources
    assert (resources.input_mount, resources.output_mount) == ("/mlcommons/volumes/data", "/mlcommons/volumes/out")
    assert list(resources.command or ()) == ["infer", "--fast"]


def test_mlcube_arguments_are_numbered_mounts(place: Path) -> None:
    write(place / "cube/mlcube.yaml", yaml.safe_dump({"tasks": {"infer": {"parameters": {
        "inputs": {"data_path": "data/", "parameters_file": "parameters.yaml"}, "outputs": {"output_path": "predictions/"}}}}}))  # fmt: skip
    definition, _, _ = imported(place / "cube", place, "--protocol", "brats23-lesionwise")
    resources = definition.phases[0].protocol.resources
    assert list(resources.command or ()) == [
        "infer", "--data_path=/mlcube_io0", "--parameters_file=/mlcube_io1/parameters.yaml", "--output_path=/mlcube_io2"
    ]  # fmt: skip
    assert (resources.input_mount, resources.output_mount) == ("/mlcube_io0", "/mlcube_io2")


@pytest.mark.existing_thing("Kaggle: pair of CSV files", runs="one command", through="import")
def test_kaggle_tables_are_split_by_usage(place: Path) -> None:
    write(place / "k/solution.csv", "id,tumor,Usage\na,1,Public\nb,0,Public\nc,1,Private\nd,0,Private\n")
    write(place / "k/sample_submission.csv", "id,tumor\na,0\nb,0\nc,0\nd,0\n")
    definition, cases, _ = imported(place / "k", place)
    assert [(phase.slug, phase.testset) for phase in definition.phases] == [("public", "public"), ("final", "hidden")]
    assert cases == {"hidden-cases": ["c", "d"], "public-cases": ["a", "b"]}


BAD = {
    "no labels": (lambda p: nnunet(p, labels={"background": 0}), "names no structure"),
    "a value that is no number": (lambda p: nnunet(p, labels={"background": 0, "liver": "one"}), "line"),
    "a yes for a value": (lambda p: nnunet(p, labels={"background": 0, "liver": True}), "whole number"),
    "channels from one": (lambda p: nnunet(p, channel_names={"1": "CT"}), "from 0"),
    "pictures": (lambda p: nnunet(p, file_ending=".png"), "volume format"),
    "a path outside": (
        lambda p: nnunet(p, dataset={"a": {"images": ["../x", "../y"], "label": "z"}}),
        "inside the bundle",
    ),
    "an unknown task": (
        lambda p: competition(p, phases=[{"name": "D", "start": "11-1-2026", "tasks": [4]}]),
        "competition.yaml, line",
    ),
    "an end before the start": (
        lambda p: competition(p, phases=[{"name": "D", "start": "11-1-2026", "end": "10-1-2026", "tasks": [0]}]),
        "not after the start",
    ),
    "a missing page": (lambda p: competition(p, pages=[{"title": "x", "file": "nowhere.md"}]), "does not exist"),
    "another version": (lambda p: competition(p, version=1), "another version"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_source_names_what_is_wrong_and_leaves_nothing(name: str, place: Path) -> None:
    make, words = BAD[name]
    result = run(make(place / "source"), place / "bundle")
    assert result.exit_code == 1, result.output
    assert words in result.output
    assert sorted(path.name for path in place.iterdir()) == ["source"]


def decathlon(folder: Path) -> Path:
    for case in "ab":
        volume(folder / f"imagesTr/{case}.nii.gz", channels=2)
        volume(folder / f"labelsTr/{case}.nii.gz", 1)
    pairs = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in "ab"]
    labels = {"0": "background", "1": "liver"}
    write(folder / "dataset.json", {"modality": {"0": "T1", "1": "T2"}, "labels": labels, "training": pairs})
    return folder


def flare(folder: Path) -> Path:
    for case in "ab":
        volume(folder / f"images/{case}_0000.nii.gz", 5)
        volume(folder / f"labels/{case}.nii.gz", 1)
    return folder


def evalai(folder: Path) -> Path:
    volume(folder / "annotations/a.nii.gz", 1)
    phase = {"id": 1, "name": "Dev", "start_date": "2026-01-19 00:00:00", "end_date": "2099-04-25 23:59:59",
             "test_annotation_file": "annotations"}  # fmt: skip
    write(folder / "challenge_config.yaml", yaml.safe_dump({"title": "Cubes", "challenge_phases": [phase]}))
    return folder


def medperf(folder: Path) -> Path:
    data, out = ({"mount_path": path, "type": "directory"} for path in ("/data", "/out"))
    infer = {"input_volumes": {"data_path": data}, "output_volumes": {"predictions": out}}
    write(
        folder / "container_config.yaml", yaml.safe_dump({"container_type": "DockerImage", "tasks": {"infer": infer}})
    )
    return folder


def kaggle(folder: Path) -> Path:
    write(folder / "solution.csv", "id,tumor\na,1\nb,0\n")
    write(folder / "sample_submission.csv", "id,tumor\na,0\nb,0\n")
    return folder


BUNDLES = {
    "nnunet": (nnunet, "dataset.json", "labelsTr/BRATS_001.nii.gz", ()),
    "decathlon": (decathlon, "dataset.json", "labelsTr/a.nii.gz", ()),
    "bids": (bids, "dataset_description.json", "derivatives/manual/sub-01/anat/sub-01_space-orig_dseg.nii.gz", ()),
    "flare": (flare, "", "labels/a.nii.gz", ("--protocol", "touchstone")),
    "pack": (lambda folder: pack(folder / "pack.json").parent, "pack.json", "", ()),
    "codabench": (competition, "competition.yaml", "reference_data/a.nii.gz", ()),
    "evalai": (evalai, "challenge_config.yaml", "annotations/a.nii.gz", ()),
    "medperf": (medperf, "container_config.yaml", "", ("--protocol", "brats23-lesionwise")),
    "kaggle": (kaggle, "solution.csv", "", ()),
}
"""Format → how to make one, its description, one of its references, what the command needs."""
TEXTS = {
    "cut off": lambda text: text[: len(text) // 2].rstrip(b"}]\n") + b" [{",
    "not UTF-8": lambda text: text.replace(b"a", b"\xff", 1),
    "nested without end": lambda text: b"[" * 100_000,
    "a list": lambda text: b"[1, 2]",
    "empty": lambda text: b"",
    "a tag that does not fit": lambda text: b"title: !!bool x\n",
    "a number of thousands of digits": lambda text: b'{"title": ' + b"9" * 5000 + b"}",
    "half a character": lambda text: text.replace(b'"', b'"\\ud800', 1) if text[:1] == b"{" else text[:9] + b"\x00",
}


@pytest.mark.parametrize("name", [name for name, (_, file, _, _) in BUNDLES.items() if file])
def test_a_broken_description_is_named_and_nothing_is_left(name: str, place: Path) -> None:
    make, file, _, options = BUNDLES[name]
    path = make(place / "source") / file
    good = path.read_bytes()
    for what, broken in TEXTS.items():
        path.write_bytes(broken(good))
        result = run(place / "source", place / "bundle", *options)
        assert (result.exit_code, type(result.exception)) == (1, SystemExit), (what, result.output, result.exception)
        assert file in result.output or "in no format that we know" in result.output, (what, result.output)
        assert [path.name for path in place.iterdir()] == ["source"], what


@pytest.mark.parametrize("name", [name for name, (_, _, reference, _) in BUNDLES.items() if reference])
def test_a_reference_that_is_none_is_named_and_nothing_is_left(name: str, place: Path) -> None:
    make, _, reference, options = BUNDLES[name]
    path = make(place / "source") / reference
    for what in ("a link to nowhere", "links in a circle", "a folder", "missing"):
        path.unlink()
        if what != "missing":
            path.mkdir() if what == "a folder" else path.symlink_to("/nowhere" if "nowhere" in what else path.name)
        result = run(place / "source", place / "bundle", *options)
        is_alone = name in ("codabench",) and what in ("a folder", "missing")  # then there is one case less
        assert result.exit_code == (0 if is_alone else 1), (what, result.output)
        assert isinstance(result.exception, SystemExit | None), (what, result.exception)
        if is_alone:
            shutil.rmtree(place / "bundle")
        assert [path.name for path in place.iterdir()] == ["source"], what
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": []}, "lists no task"),
        ({"title": "a\0b"}, "a character that no file can hold"),
        ({"terms": "x" * 400}, "competition.yaml, line"),
        ({"terms": "pages"}, "competition.yaml, line"),
        ({"phases": [{"name": "D", "start": "0001-01-01", "tasks": [0]}]}, "a year from 1970"),
        ({"phases": [{"name": "D", "start": "9999-12-31", "tasks": [0]}]}, "a year from 1970"),
    ],
)
def test_values_that_nothing_can_be_done_with_are_named(change: dict[str, object], words: str, place: Path) -> None:
    result = run(competition(place / "source", **change), place / "bundle")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.exception
    assert words in result.output
    assert [path.name for path in place.iterdir()] == ["source"]


def test_a_program_of_a_bundle_brings_no_other_file_of_this_machine(place: Path) -> None:
    write(place / "secret.txt", "secret")
    source = competition(place / "source")
    (source / "scoring_program/key").symlink_to(place / "secret.txt")
    result = run(source, place / "bundle")
    assert result.exit_code == 1
    assert "key is a link to another place" in result.output
    assert not (place / "bundle").exists()


def test_an_mlcube_without_paths_is_refused(place: Path) -> None:
    parameters = {"inputs": {}, "outputs": {}}
    write(place / "cube/mlcube.yaml", yaml.safe_dump({"tasks": {"infer": {"parameters": parameters}}}))
    result = run(place / "cube", place / "bundle", "--protocol", "brats23-lesionwise")
    assert "names no path" in result.output


def test_names_that_are_not_utf8_are_told(place: Path) -> None:
    source = nnunet(place / "source")
    (source / "labelsTr" / os.fsdecode(b"x\xff.nii.gz")).write_bytes(b"")
    result = run(source, place / "bundle")
    assert result.exit_code == 1
    assert "labelsTr holds a file whose name is not UTF-8" in result.output
    assert "x\\xff.nii.gz" in result.output


def zipped(path: Path, *, size: int = 0, link: bool = False) -> Path:
    """A zip that unpacks to far more than it holds, or has a link in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        member = zipfile.ZipInfo("competition.yaml")
        member.external_attr = (0o120777 if link else 0o100644) << 16
        packed.writestr(member, b"0" * size or b"/etc/passwd", zipfile.ZIP_DEFLATED)
    return path


def test_bombs_links_and_what_is_no_zip_are_refused(place: Path) -> None:
    (place / "torn.zip").write_bytes(zipped(place / "good.zip").read_bytes()[:40])
    for path, words in (
        (zipped(place / "bomb.zip", size=65 << 20), "unpacks to far more than it holds"),
        (zipped(place / "link.zip", link=True), "no links"),
        (place / "torn.zip", "cannot be unpacked"),
    ):
        before = sorted(place.iterdir())
        result = run(path, place / "bundle")
        assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.exception
        assert words in result.output
        assert sorted(place.iterdir()) == before


def test_missing_references_are_named(place: Path) -> None:
    source = nnunet(place / "source")
    (source / "labelsTr/BRATS_002.nii.gz").rename(source / "labelsTr/BRATS_02.nii.gz")
    output = run(source, place / "bundle").output
    assert "BRATS_002" in output
    assert "references without an image: BRATS_02" in output


def test_hidden_entries_are_no_cases(place: Path) -> None:
    source = nnunet(place / "source")
    (source / "labelsTr/._BRATS_001.nii.gz").write_bytes(b"junk")
    (source / "labelsTr/.ipynb_checkpoints").mkdir()
    _, cases, _ = imported(source, place)
    assert cases == {"hidden-cases": ["BRATS_001", "BRATS_002"]}


def test_an_alias_bomb_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_NODES", 5_000)  # the real number only takes longer to count to
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    write(place / "source/competition.yaml", "\n".join(lines))
    result = run(place / "source", place / "bundle")
    assert result.exit_code == 1
    assert "too large" in result.output


@pytest.mark.parametrize("member", ["../outside.yaml", "/etc/outside.yaml"])
def test_a_zip_does_not_write_outside(member: str, place: Path) -> None:
    with zipfile.ZipFile(place / "bundle.zip", "w") as packed:
        packed.writestr(member, "x")
    result = run(place / "bundle.zip", place / "out")
    assert result.exit_code == 1
    assert "not taken" in result.output
    assert sorted(path.name for path in place.iterdir()) == ["bundle.zip"]


def test_a_dry_run_writes_nothing_and_answers_in_json(place: Path) -> None:
    result = run(nnunet(place / "source"), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["cases"] == {"hidden": 2}
    assert sorted(path.name for path in place.iterdir()) == ["source"]


def test_a_full_folder_is_not_touched(place: Path) -> None:
    write(place / "bundle/mine.txt", "mine")
    assert "not empty" in run(nnunet(place / "source"), place / "bundle").output
    assert [path.name for path in (place / "bundle").iterdir()] == ["mine.txt"]
