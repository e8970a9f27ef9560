"""Labels that follow from the reference, and values of a file that no label names."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.backends import measure_files
from evaluator.commands import evaluate as cli
from evaluator.errors import ProtocolError
from evaluator.protocol import load_named_protocol, load_protocol
from evaluator.scoring import structures
from evaluator.scoring.case import score_case, summarise
from evaluator.scoring.interaction import make_prompts
from tests.evaluator.volume_files import save_nifti

SHAPE = (16, 12, 8)
SCRIPTS = ("cvpr24-laptop@published", "cvpr25-interactive@published", "sam-med3d")


def cubes(**values):
    """A cube of 3 voxels for each value, side by side. `at_2=7` puts value 7 at place 2."""
    array = np.zeros(SHAPE, np.uint8)
    for place, value in values.items():
        start = 4 * int(place.removeprefix("at_"))
        array[start : start + 3, 2:5, 2:5] = value
    return array


@pytest.fixture
def score(tmp_path):
    def go(protocol, reference, prediction, *, backend="auto"):
        return score_case(
            protocol=protocol,
            case_id="c",
            references={"r": save_nifti(tmp_path / "r.nii.gz", reference)},
            predictions={protocol.output.name: save_nifti(tmp_path / "p.nii.gz", prediction)},
            backend=backend,
        )

    return go


def values_of(result, metric="dice"):
    return {row.label: row.value for row in result.rows if row.metric == metric}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_every_value_of_the_reference_is_a_label(name, backend, score):
    protocol = load_named_protocol(name)
    result = score(protocol, cubes(at_0=1, at_1=2), cubes(at_0=1), backend=backend)
    assert values_of(result) == {"target 1": 1.0, "target 2": 0.0}
    assert summarise(protocol, [result])["dice"]["mean"] == 0.5


def test_values_between_are_labels_where_the_script_counts_to_the_largest(score):
    """Values 1 and 3: CVPR 2024 walks 1, 2, 3, the others 1 and 3. What only the prediction has is not looked at."""
    reference, prediction = cubes(at_0=1, at_1=3), cubes(at_0=1, at_1=3, at_2=9)
    assert values_of(score(load_named_protocol("sam-med3d"), reference, prediction)) == {"target 1": 1, "target 3": 1}
    published = score(load_named_protocol("cvpr24-laptop@published"), reference, prediction)
    assert values_of(published) == {"target 1": None, "target 2": None, "target 3": None}  # 0/0 at 2 spoils the case
    corrected = score(load_named_protocol("cvpr24-laptop"), reference, prediction)
    assert values_of(corrected) == {"target 1": 1, "target 2": 1, "target 3": 1}


def test_an_empty_reference_has_one_label_of_whatever_is_there(score):
    protocol = load_named_protocol("cvpr24-laptop")
    assert values_of(score(protocol, cubes(), cubes())) == {"target": 1.0}
    assert values_of(score(protocol, cubes(), cubes(at_0=4))) == {"target": 0.0}


def test_prompts_are_made_for_every_value_the_reference_has(tmp_path):
    reference = save_nifti(tmp_path / "r.nii.gz", cubes(at_0=1, at_2=5))
    prompts = make_prompts(
        protocol=load_named_protocol("cvpr25-interactive"),
        number=0,
        references={"r": reference},
        predictions=None,
        earlier=None,
    )
    assert [(label.name, label.values) for label in prompts.labels] == [("target 1", (1,)), ("target 5", (5,))]


def test_the_rule_is_refused_where_labels_are_listed():
    document = load_named_protocol("sam-med3d").document
    two = [*document["labels"], {**document["labels"][0], "name": "other", "values": [2]}]
    with pytest.raises(ProtocolError, match="one label that gives name and tolerance"):
        load_protocol({**document, "labels": two})


def test_a_protocol_without_the_rule_keeps_its_hash():
    document = load_named_protocol("kits23").document
    assert "labels_from_reference" not in document
    assert load_protocol({**document, "labels_from_reference": None}).document == document


def evaluate(tmp_path, reference, prediction, *more):
    for name, array in (("r", reference), ("p", prediction)):
        (tmp_path / name).mkdir()
        save_nifti(tmp_path / name / "c1.nii.gz", array)
    arguments = [
        "--references",
        str(tmp_path / "r"),
        "--predictions",
        str(tmp_path / "p"),
        "-o",
        str(tmp_path / "o.csv"),
    ]
    ended = CliRunner().invoke(cli.evaluate, [*arguments, "--json", str(tmp_path / "o.json"), *more])
    assert ended.exit_code == 0, ended.output
    return " ".join(ended.output.split()), json.loads((tmp_path / "o.json").read_text())["cases"][0]


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_values_of_the_reference_that_no_label_names_are_said(tmp_path, backend):
    two = cubes(at_0=1, at_1=2, at_2=7)
    text, case = evaluate(tmp_path, two, cubes(at_0=1), "--labels", "1:liver:1", "--backend", backend)
    assert "References hold more than is scored: values that no label names, not scored: 2, 7" in text
    assert case["reference_notes"] == ["values that no label names, not scored: 2, 7"]


def test_they_are_said_of_a_case_without_a_prediction_too(tmp_path):
    reference = {"r": save_nifti(tmp_path / "r.nii.gz", cubes(at_0=1, at_1=2))}
    protocol = load_named_protocol("cellseg22")
    assert score_case(protocol=protocol, case_id="c", references=reference, predictions=None).reference_notes == ()
    result = score_case(protocol=load_named_protocol("kits19"), case_id="c", references=reference, predictions=None)
    assert result.reference_notes == ()
    result = score_case(protocol=load_named_protocol("msd-colon"), case_id="c", references=reference, predictions=None)
    assert result.reference_notes == ("values that no label names, not scored: 2",)


def test_nothing_is_said_where_every_value_has_a_label(tmp_path):
    text, case = evaluate(tmp_path, cubes(at_0=1), cubes(at_0=1), "--labels", "1:liver:1")
    assert "more than is scored" not in text
    assert case["reference_notes"] == case["notes"] == []


def test_a_mask_of_255_scores_as_before_and_is_said(tmp_path):
    text, case = evaluate(tmp_path, cubes(at_0=1), cubes(at_0=255), "--labels", "1:liver:1", "--metrics", "dice")
    assert case["scores"] == [["liver", "dice", 0.0, "prediction_empty"]]
    assert case["notes"] == ["values found that stand for nothing: 255"]
    assert "values found that stand for nothing: 255" in text


@pytest.mark.parametrize("stored_type", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("stray", [(7,), (7, 200, 254), (255,), (7, 300), (2, 7, -3)])
@pytest.mark.parametrize("labels", [[(1,)], [(1,), (1, 300)]], ids=["small labels", "a label beyond a byte"])
def test_a_measurement_names_the_values_it_met_or_says_that_it_cannot(tmp_path, stored_type, stray, labels):
    """An unnamed value is never overlooked and never a wrong one. Most of the time nobody has to read the file again."""
    array = cubes(at_0=1).astype(stored_type)
    for place, value in enumerate(stray):
        array[12:15, 8:10, place] = np.array(value).astype(stored_type)
    there = {int(value) for value in np.unique(array)} - {0} - {value for values in labels for value in values}
    files = {name: save_nifti(tmp_path / f"{name}.nii.gz", array) for name in ("reference", "prediction")}
    for found in measure_files(**files, labels=labels).unnamed_values:
        assert found == there or (found is None and there), found
        assert found is not None or max(there) >= 255 or min(there) < 0 or len(labels) > 1
    assert measure_files(**files, labels=labels, backend="numpy").unnamed_values == (there, there)


def test_a_mask_with_unnamed_values_is_inflated_once(tmp_path, monkeypatch):
    """The scan has met every value. To read a file again only to name them costs more than the whole case."""
    monkeypatch.setattr(structures, "open_volume", None)
    monkeypatch.setattr(structures, "present_values", None)
    reference = {"r": save_nifti(tmp_path / "r.nii.gz", cubes(at_0=1, at_1=2))}
    protocol = load_named_protocol("msd-colon")
    predicted = {protocol.output.name: save_nifti(tmp_path / "p.nii.gz", cubes(at_0=1))}
    result = score_case(protocol=protocol, case_id="c", references=reference, predictions=predicted)
    assert result.reference_notes == ("values that no label names, not scored: 2",)
