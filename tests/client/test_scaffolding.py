"""`assay challenge new`: whatever the protocol, the bundle can be pushed and its starter kit passes its own test."""

import importlib.util
import json
import runpy
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

from assay.challenges.definition import parse_definition
from assay.client.bundles import bundle_source
from assay.client.errors import ClientError
from assay.client.scaffolding import plan_bundle, write_bundle
from evaluator.protocol import load_named_protocol, load_protocol, named_protocols

pytestmark = pytest.mark.slow

TODAY = date(2027, 1, 1)
SIGN_IN = ("--url", "http://server", "--token", "assay_x")


def scaffold(name: str, folder: Path, *, slug="our-challenge", title="") -> Path:
    write_bundle(plan_bundle(name, slug=slug, title=title, today=TODAY), folder=folder)
    return folder


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"kit_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_protocols_to_scaffold():
    assert len(named_protocols()) >= 36


@pytest.mark.parametrize("name", named_protocols())
def test_the_bundle_of_every_protocol_can_be_pushed_and_its_sample_keeps_the_contract(name, tmp_path, monkeypatch):
    folder = scaffold(name, tmp_path / "bundle")
    protocol = load_named_protocol(name)

    definition = parse_definition(bundle_source(folder))
    assert definition.slug == "our-challenge"
    assert [phase.slug for phase in definition.phases] == ["validation", "final"]
    assert definition.phases[0].protocol.sha256 == protocol.sha256
    assert "⟨" in definition.rules  # the pages travel with the file

    kit = folder / "starter-kit"

    def run(inputs: Path, outputs: Path) -> None:
        monkeypatch.setenv("KIT_INPUTS", str(inputs))
        monkeypatch.setenv("KIT_OUTPUTS", str(outputs))
        runpy.run_path(str(kit / "predict.py"), run_name="__main__")

    results = load(kit / "selftest.py").check(load_protocol(kit / "protocol.yaml"), run=run)
    assert results
    assert [result.failure for result in results] == [""] * len(results)
    unusable = ("output_", "row_missing", "cell_invalid")
    assert not [row for result in results for row in result.rows if row.reason.startswith(unusable)]


def test_the_rounds_of_an_interactive_challenge_are_played_and_mend_the_answer(tmp_path, monkeypatch):
    kit = scaffold("cvpr25-interactive", tmp_path / "bundle") / "starter-kit"
    rounds = []

    def run(inputs: Path, outputs: Path) -> None:
        told = json.loads((inputs / "prompts.json").read_text())
        (structure,) = told["structures"]
        rounds.append((told["round"], len(structure["clicks"]), (inputs / "example_previous.nii.gz").is_file()))
        monkeypatch.setenv("KIT_INPUTS", str(inputs))
        monkeypatch.setenv("KIT_OUTPUTS", str(outputs))
        runpy.run_path(str(kit / "predict.py"), run_name="__main__")

    (result,) = load(kit / "selftest.py").check(load_protocol(kit / "protocol.yaml"), run=run)
    assert [number for number, _, _ in rounds] == [0, 1, 2, 3, 4, 5]
    assert [has_previous for _, _, has_previous in rounds] == [False, *[True] * 5]
    values = {row.metric: row.value for row in result.rows}
    assert values["dice"] == 1.0  # the example's structure is a box, and the sample believes the box it is told
    assert values["dice_auc"] == 4.0


def test_the_self_test_runs_as_a_person_runs_it(tmp_path):
    kit = scaffold("flare22", tmp_path / "bundle") / "starter-kit"
    ended = subprocess.run([sys.executable, kit / "selftest.py"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("example: read; dice 0.")


def test_the_self_test_says_what_a_forgetful_algorithm_did_not_write(tmp_path):
    kit = scaffold("flare22", tmp_path / "bundle") / "starter-kit"
    (kit / "predict.py").write_text("print('done')\n")
    ended = subprocess.run([sys.executable, kit / "selftest.py"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Not written: example.nii.gz." in ended.stdout


def test_the_contract_is_the_protocols(tmp_path):
    kit = scaffold("flare22", tmp_path / "bundle") / "starter-kit"
    contract = json.loads((kit / "contract.json").read_text())
    assert contract["inputs"] == {"ct": "{case}_0000.nii.gz"}
    assert (contract["input_folder"], contract["output_folder"]) == ("/workspace/inputs", "/workspace/outputs")
    assert contract["values"] == list(range(1, 14))
    assert contract["limits"]["memory_mb"] == 28672
    assert "COPY predict.sh predict.sh" in (kit / "Dockerfile").read_text()  # its command is `sh predict.sh`
    assert "WORKDIR /workspace\n" in (kit / "Dockerfile").read_text()
    readme = (kit / "README.md").read_text()
    assert "  example_0000.nii.gz\n/workspace/outputs/\n  example.nii.gz\n" in readme
    assert "| inferior vena cava | 6 |" in readme


def test_what_nobody_confirmed_is_put_before_the_organizer(tmp_path):
    readme = (scaffold("touchstone", tmp_path / "bundle") / "README.md").read_text()
    assert "- NSD tolerance (2 mm is our choice" in readme
    assert (
        "case_id,test_set,age_band,sex,race,diagnosis,institute,manufacturer,scanner_model,input:ct,reference" in readme
    )


def test_a_protocol_file_of_ones_own_will_do(tmp_path):
    document = {**load_named_protocol("btcv").document, "name": "ours", "title": "Ours"}
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(document))
    folder = scaffold(str(tmp_path / "ours.yaml"), tmp_path / "bundle", title="Our organs")
    assert load_protocol(folder / "starter-kit/protocol.yaml").sha256 == load_protocol(document).sha256
    phase = parse_definition(bundle_source(folder)).phases[0]
    assert phase.protocol.sha256 == load_protocol(document).sha256


def test_a_published_mode_is_used_by_its_name(tmp_path):
    folder = scaffold("flare22@published", tmp_path / "bundle")
    assert "  use: flare22@published\n" in (folder / "challenge.yaml").read_text()
    phase = parse_definition(bundle_source(folder)).phases[0]
    assert phase.protocol.sha256 == load_named_protocol("flare22@published").sha256


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ClientError, match="is not empty"):
        scaffold("flare22", folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_page_that_is_also_a_key_is_refused(tmp_path):
    folder = scaffold("flare22", tmp_path / "bundle")
    with (folder / "challenge.yaml").open("a") as file:
        file.write("rules: none\n")
    with pytest.raises(ClientError, match="rules is written twice"):
        bundle_source(folder)


def test_new_and_push_from_the_command_line(assay, server, tmp_path):
    folder = tmp_path / "My Challenge 2027"
    made = assay("challenge", "new", str(folder), "--from", "kits23")
    assert made.exit_code == 0, made.output
    assert "starter-kit/predict.py" in made.output
    change = {"path": "phases.final", "text": "phases.final: new", "note": ""}
    server.will_answer("PUT", "challenges/my-challenge-2027", {"changes": [change]})
    pushed = assay(*SIGN_IN, "challenge", "push", str(folder), "--dry-run")
    assert pushed.exit_code == 0, pushed.output
    assert "phases.final: new" in pushed.output
    (_, path, body) = server.requests[-1]
    assert path == "challenges/my-challenge-2027"
    assert parse_definition(body["source"]).title.startswith("KiTS 2023")


def test_an_unknown_protocol_is_answered_with_those_there_are(assay, tmp_path):
    result = assay("challenge", "new", str(tmp_path / "bundle"), "--from", "flare2022")
    assert result.exit_code == 1
    assert "flare22" in result.output
    assert not (tmp_path / "bundle").exists()
