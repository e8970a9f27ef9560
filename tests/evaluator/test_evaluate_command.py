"""`assay evaluate` and `assay protocol`: pairing, files written, and exit codes, on folders small enough to look into."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.commands import evaluate as cli
from evaluator.commands.protocol import protocol as command
from evaluator.protocol import load_named_protocol
from evaluator.protocol.quick import quick_protocol
from evaluator.results import CaseResult
from evaluator.scoring.many_cases import Budget, fragile_tolerances, score_cases
from evaluator.scoring.pairing import pair_folders
from evaluator.volumes.geometry import Grid
from tests.evaluator.volume_files import box, save_nifti

SHAPE = (12, 12, 12)


@pytest.fixture
def folders(tmp_path):
    """Cases a and b are predicted, c is not. Z is predicted but no case."""
    references, predictions = tmp_path / "references", tmp_path / "predictions"
    references.mkdir()
    predictions.mkdir()
    liver = box(SHAPE, (2, 8), (2, 8), (2, 8)).astype(np.uint8)
    for name in "abc":
        save_nifti(references / f"{name}.nii.gz", liver)
    save_nifti(predictions / "a.nii.gz", liver)
    save_nifti(predictions / "b.nii.gz", np.roll(liver, 1, axis=0))
    save_nifti(predictions / "z.nii.gz", liver)
    return references, predictions


def run_evaluate(folders, tmp_path, *more):
    references, predictions = folders
    arguments = ["--references", str(references), "--predictions", str(predictions), "-o", str(tmp_path / "scores.csv")]
    return CliRunner().invoke(cli.evaluate, [*arguments, *more])


def rows_of(path):
    with path.open(newline="") as source:
        return list(csv.DictReader(source))


def test_two_folders_become_a_long_table_and_a_summary(folders, tmp_path):
    ended = run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--metrics", "dice,hd95")
    assert ended.exit_code == 0, ended.output
    rows = {(row["case"], row["metric"]): row for row in rows_of(tmp_path / "scores.csv")}
    assert float(rows["a", "dice"]["value"]) == 1.0
    assert float(rows["b", "dice"]["value"]) == pytest.approx(5 / 6)
    assert rows["c", "dice"] == {
        "case": "c",
        "label": "liver",
        "metric": "dice",
        "value": "0.0",
        "reason": "output_missing",
        "detail": "",
    }
    assert "c (output_missing)" in ended.output
    assert "z.nii.gz" in ended.output


def test_strict_exits_with_one_when_a_case_failed(folders, tmp_path):
    assert run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--strict").exit_code == 1


def test_jobs_and_memory_change_nothing_but_the_time(folders, tmp_path):
    run_evaluate(folders, tmp_path, "--labels", "1:liver:1")
    alone = (tmp_path / "scores.csv").read_text()
    run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--jobs", "2", "--max-memory", "1K")
    assert (tmp_path / "scores.csv").read_text() == alone


def test_the_json_names_everything_the_numbers_depend_on(folders, tmp_path):
    run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--json", str(tmp_path / "scores.json"))
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["protocol"]["preset"] == "deepmind"
    assert len(document["protocol"]["sha256"]) == len(document["evaluator_sha256"]) == 64
    assert document["summary"]["dice"]["n"] == 3
    assert document["unpaired"] == {"without_prediction": ["c"], "leftover": ["z.nii.gz"]}
    assert CaseResult.from_json(document["cases"][0]).to_json() == document["cases"][0]


def test_where_nothing_can_be_written_is_said_before_a_case_is_scored(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluator.commands.evaluation.score_cases", lambda **_: pytest.fail("scored for nothing"))
    (tmp_path / "file").write_text("")
    for option in ("--output", "--json", "--figures"):
        ended = run_evaluate(folders, tmp_path, "--labels", "1:liver:1", option, str(tmp_path / "file" / "below"))
        assert ended.exit_code == 2, ended.output
        assert "Invalid value for" in ended.output


def test_figures_are_drawn_for_every_case_with_a_prediction(folders, tmp_path):
    run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--figures", str(tmp_path / "figures"))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "figures" / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Give either --protocol or --labels"),
        (["--protocol", "flare99"], "expected one of"),
        (["--labels", "one:liver"], "value:name:tolerance"),
        (["--labels", "1:liver:nan"], "labels.0.tolerance_mm: found nan; expected a finite number"),
        (["--labels", "1:liver:1e400"], "labels.0.tolerance_mm: found inf; expected a finite number"),
        (["--labels", "1:liver:1", "--max-memory", "-1"], "expected a size such as 500M or 4G"),
        (["--labels", "1:liver:1", "--max-memory", "inf"], "expected a size such as 500M or 4G"),
        (["--labels", "1:liver:1", "--json", "no/such/folder/all.json"], "found no folder 'no/such/folder'"),
        (["--labels", "1:liver", "--metrics", "nsd"], "without a tolerance"),
        (["--labels", "1:liver:1", "--max-memory", "much"], "500M or 4G"),
        (["--labels", "1:liver:1", "--backend", "abacus"], "'abacus' is not one of"),
    ],
)
def test_a_wrong_command_line_is_explained(folders, tmp_path, arguments, text):
    ended = run_evaluate(folders, tmp_path, *arguments)
    assert ended.exit_code != 0
    assert text in " ".join(ended.output.replace("│", " ").split())
    assert "Traceback" not in ended.output


def test_a_folder_without_volumes_is_no_reference(tmp_path):
    (tmp_path / "empty").mkdir()
    ended = run_evaluate((tmp_path / "empty", tmp_path / "empty"), tmp_path, "--labels", "1:liver:1")
    assert ended.exit_code == 1
    assert "holds no volumes" in ended.output


def test_cases_may_be_folders_with_one_file_per_structure(tmp_path):
    references, predictions = tmp_path / "r", tmp_path / "p"
    mask = box(SHAPE, (2, 8), (2, 8), (2, 8)).astype(np.uint8)
    for folder in (references / "c1", predictions / "c1"):
        folder.mkdir(parents=True)
        save_nifti(folder / "liver.nii.gz", mask)
    pairing = pair_folders(
        protocol=quick_protocol(labels="1:liver:1", metrics="dice"), references=references, predictions=predictions
    )
    assert pairing.cases[0].references.keys() == {"liver"}
    assert pairing.cases[0].predictions == {"liver": predictions / "c1" / "liver.nii.gz"}


def test_the_protocols_template_finds_the_prediction(tmp_path):
    references, predictions = tmp_path / "r", tmp_path / "p"
    references.mkdir()
    predictions.mkdir()
    save_nifti(references / "sub-1.nii.gz", np.zeros(SHAPE, np.uint8))
    save_nifti(predictions / "sub-1_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    pairing = pair_folders(
        protocol=load_named_protocol("feta24-segmentation"), references=references, predictions=predictions
    )
    assert pairing.missing == ()
    assert pairing.leftover == ()


def test_one_unreadable_prediction_does_not_stop_the_others(folders, tmp_path):
    (folders[1] / "a.nii.gz").write_bytes(b"\x1f\x8b broken")
    ended = run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--metrics", "dice")
    rows = {row["case"]: row for row in rows_of(tmp_path / "scores.csv")}
    assert ended.exit_code == 0
    assert rows["a"]["reason"].startswith("output_invalid:")
    assert float(rows["b"]["value"]) > 0.8


def test_links_are_followed_for_people_who_score_their_own_files_and_for_nobody_else(folders, tmp_path):
    references, predictions = folders
    (predictions / "c.nii.gz").symlink_to(references / "c.nii.gz")
    (references / "a.nii.gz").rename(tmp_path / "elsewhere.nii.gz")
    (references / "a.nii.gz").symlink_to(tmp_path / "elsewhere.nii.gz")
    run_evaluate(folders, tmp_path, "--labels", "1:liver:1", "--metrics", "dice")
    rows = {row["case"]: row for row in rows_of(tmp_path / "scores.csv")}
    assert float(rows["a"]["value"]) == float(rows["c"]["value"]) == 1.0
    protocol = quick_protocol(labels="1:liver:1", metrics="dice")
    pairing = pair_folders(protocol=protocol, references=references, predictions=predictions)
    results = {
        result.case_id: result for result in score_cases(protocol=protocol, cases=pairing.cases, budget=Budget())
    }
    assert results["c"].failure == "output_invalid:not_a_regular_file"
    assert results["a"].failure == ""


def test_a_broken_reference_is_named_and_blamed_on_nobody_else(folders, tmp_path):
    (folders[0] / "b.nii.gz").write_bytes(b"\x1f\x8b broken")
    ended = run_evaluate(folders, tmp_path, "--labels", "1:liver:1")
    assert ended.exit_code == 1
    assert "The reference of case b cannot be used" in " ".join(ended.output.split())
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert {line.partition(",")[0] for line in lines[1:]} == {"a", "c"}


@pytest.mark.parametrize(
    "statement", ["import evaluator", "import evaluator; evaluator.evaluate", "import evaluator.scoring.case"]
)
def test_importing_the_evaluator_needs_numpy_and_nothing_else(statement):
    heavy = "{'yaml', 'jsonschema', 'scipy', 'SimpleITK', 'matplotlib', 'click', 'rich', 'nibabel', 'cupy', 'django'}"
    script = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_tolerance_that_ties_only_up_to_rounding_is_reported():
    protocol = quick_protocol(labels="1:liver:0.8,2:spleen:1", metrics="nsd")
    spacing = float(np.float32(0.8))
    identity = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
    assert list(fragile_tolerances(protocol, Grid(shape=SHAPE, spacing_mm=(spacing, 1.0, 1.0), affine=identity))) == [
        "liver"
    ]
    assert fragile_tolerances(protocol, Grid(shape=SHAPE, spacing_mm=(2.0, 1.0, 1.0), affine=identity)) == {}


def test_every_case_is_scored_even_when_none_fits_the_budget(folders):
    protocol = quick_protocol(labels="1:liver:1", metrics="dice")
    pairing = pair_folders(protocol=protocol, references=folders[0], predictions=folders[1])
    results = list(score_cases(protocol=protocol, cases=pairing.cases, budget=Budget(jobs=2, memory_bytes=1)))
    assert {result.case_id for result in results} == {"a", "b", "c"}


def test_protocols_can_be_listed_shown_validated_and_compared(tmp_path):
    runner = CliRunner()
    assert "flare22" in runner.invoke(command, ["list"]).output
    shown = runner.invoke(command, ["show", "kits23"]).output
    (tmp_path / "mine.yaml").write_text(shown.replace("1.1498198361434828", "2.0"))
    assert "3 labels, 2 metrics" in runner.invoke(command, ["validate", str(tmp_path / "mine.yaml")]).output
    compared = runner.invoke(command, ["diff", "kits23", str(tmp_path / "mine.yaml")])
    assert compared.output == "~ labels.tumor.tolerance_mm: 1.1498198361434828 → 2.0\n"
    assert compared.exit_code == 1
    assert runner.invoke(command, ["diff", "kits23", "kits23"]).exit_code == 0


def test_a_protocol_with_a_mistake_is_explained_with_its_line(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "protocol: 1\nname: x\nlabels: {a: 0}\noutputs: [{name: s, kind: label_map, file: s}]\nmetrics: [{name: dice}]\n"
    )
    ended = CliRunner().invoke(command, ["validate", str(tmp_path / "bad.yaml")])
    assert ended.exit_code == 1
    assert "line 3" in ended.output
    assert "    3 | labels: {a: 0}\n" + " " * 20 + "^" in ended.output


def test_a_protocol_file_that_is_not_there_is_said_in_words(tmp_path):
    ended = CliRunner().invoke(command, ["validate", str(tmp_path / "none.yaml")])
    assert ended.exit_code == 1
    assert "none.yaml: No such file or directory" in ended.output


def test_both_modes_of_a_protocol_are_listed_shown_and_validated():
    runner = CliRunner()
    listed = runner.invoke(command, ["list"]).output.splitlines()
    assert [line.split()[:2] for line in listed if line.startswith("flare22 ")] == [["flare22", "@published"]]
    assert [line.split()[1] for line in listed if line.startswith("btcv ")] == ["BTCV:"]
    heading = runner.invoke(command, ["show", "flare22@published"]).output.partition("\nprotocol: 1\n")[0]
    assert "# mode published: what the code does, defects included\n" in heading
    assert "aorta on slices 3 to 6, predicted on 3 to 5: dice 0.8571 corrected, 1 published (+0.1429)" in heading
    assert "dice 0.5 → 1, a gain; nsd 0.5 → 1, a gain" in heading
    corrected = runner.invoke(command, ["show", "flare22"]).output
    assert "not in force (see flare22@published)" in corrected
    assert "a gain" not in corrected
    both = runner.invoke(command, ["validate", "flare22"]).output.splitlines()
    assert [line.partition(":")[0] for line in both] == ["flare22", "flare22@published"]


def test_the_schema_can_be_printed_for_other_tools():
    schema = json.loads(CliRunner().invoke(command, ["schema"]).output)
    assert schema["required"] == ["protocol", "name", "labels", "outputs", "metrics"]
