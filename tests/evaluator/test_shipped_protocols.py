"""Every protocol that ships, on small masks made to measure: a perfect answer is best, no answer gains nothing."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

import hosting
from evaluator.metrics.registry import Scope
from evaluator.protocol import PROTOCOLS_FOLDER, OutputKind, load_named_protocol
from evaluator.protocol.modes import Mode
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.scoring.case import score_case, summarise
from evaluator.scoring.tables import score_table

FOLDER = PROTOCOLS_FOLDER
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MASKED = [
    name for name in NAMES if all(output.kind is OutputKind.LABEL_MAP for output in load_named_protocol(name).outputs)
]


def test_there_are_protocols_to_test():
    assert len(NAMES) >= 36
    assert len(MASKED) >= 28


@pytest.fixture(params=MASKED)
def protocol(request):
    return load_named_protocol(request.param)


def reference_of(protocol) -> np.ndarray:
    """Each single value a block of its own, so that every label of every protocol is there. Or each channel."""
    if protocol.output.kind is OutputKind.MULTICHANNEL:
        image = np.zeros((9, 10, 10, protocol.channels), np.uint8)
        image[3:9, 2:8, 2:8] = 1
        return image
    values = sorted({value for label in protocol.labels for value in label.values})
    image = np.zeros((9 * len(values) + 3, 10, 10), np.uint8)
    for number, value in enumerate(values):
        image[9 * number + 3 : 9 * number + 9, 2:8, 2:8] = value
    return image


def write_nifti(path: Path, image: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


def rows_of(protocol, tmp_path, *, prediction=None, failure=None):
    reference = write_nifti(tmp_path / "reference.nii.gz", reference_of(protocol))
    name = protocol.outputs[0].name
    predictions = {name: prediction} if prediction else None
    return score_case(
        protocol=protocol, case_id="c1", references={name: reference}, predictions=predictions, failure=failure
    ).rows


def test_a_perfect_answer_has_the_best_value_of_every_label_metric(protocol, tmp_path):
    prediction = write_nifti(tmp_path / "prediction.nii.gz", reference_of(protocol))
    specs = {spec.id: spec for spec in protocol.metrics}
    checked = 0
    for row in rows_of(protocol, tmp_path, prediction=prediction):
        spec = specs[row.metric]
        if spec.metric.scope is Scope.LABEL and spec.metric.direction != "":
            assert row.value == spec.metric.best, row
            checked += 1
    assert checked or all(
        spec.metric.scope is not Scope.LABEL or not spec.metric.direction for spec in protocol.metrics
    )


def test_leaving_the_case_out_never_beats_an_honest_answer(protocol, tmp_path):
    honest = reference_of(protocol)
    honest[:, :4] = 0  # cut every structure: a mediocre answer
    rows = {
        "honest": rows_of(protocol, tmp_path, prediction=write_nifti(tmp_path / "honest.nii.gz", honest)),
        "absent": rows_of(protocol, tmp_path, failure="output_missing"),
    }
    label_metrics = {spec.id for spec in protocol.metrics if spec.metric.scope is Scope.LABEL}
    table = ScoreTable.from_rows(
        (who, "c1", row.label, row.metric, row.value, row.reason)
        for who, found in rows.items()
        for row in found
        if row.metric in label_metrics
    )
    ranking = {
        entry.algorithm: entry.rank
        for entry in rank_algorithms(table, parse_ranking({"metrics": _ranked(protocol)})).entries
    }
    assert ranking["absent"] is None or ranking["honest"] < ranking["absent"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", Mode)
def test_the_better_of_two_submissions_leads_under_the_protocols_own_ranking(name, mode, tmp_path):
    """Eight alike cases, so that a difference is significant too. Attributes as the breakdowns and levels want them."""
    protocol = load_named_protocol(f"{name}@{mode}")
    results = {
        who: table_results(protocol, tmp_path, is_good=who == "good")
        if protocol.output.kind is OutputKind.TABLE
        else mask_results(protocol, tmp_path, is_good=who == "good")
        for who in ("good", "bad")
    }
    attributes = {"site": "s", "cohort": "a", "task": "t", "domain": "in"}
    table = ScoreTable.from_rows(
        (
            (who, result.case_id, row.label, row.metric, row.value, row.reason)
            for who, found in results.items()
            for result in found
            for row in result.rows
        ),
        attributes={result.case_id: attributes for result in results["good"]},
    )
    entries = rank_algorithms(table, parse_ranking(protocol.ranking)).entries
    assert [(entry.algorithm, entry.rank) for entry in entries] == [("good", 1), ("bad", 2)]
    summary = summarise(protocol, results["good"])
    ranked = [spec for spec in protocol.metrics if spec.metric.direction]
    assert {
        spec.id: summary[spec.id]["mean"] for spec in ranked if spec.metric.scope not in (Scope.CASE, Scope.ROUNDS)
    } == {
        spec.id: pytest.approx(1.0 if spec.metric.best is None else spec.metric.best)
        for spec in ranked
        if spec.metric.scope not in (Scope.CASE, Scope.ROUNDS)
    }


def mask_results(protocol, tmp_path, *, is_good):
    reference = reference_of(protocol)
    prediction = reference.copy()
    if not is_good:
        prediction[:, :5] = 0
    files = [write_nifti(tmp_path / f"{name}.nii.gz", image) for name, image in (("r", reference), ("p", prediction))]
    usage = {
        spec.metric.name: 40.0 if is_good else 4000.0 for spec in protocol.metrics if spec.metric.scope is Scope.CASE
    }
    output = protocol.output.name
    result = score_case(
        protocol=protocol, case_id="", references={output: files[0]}, predictions={output: files[1]}, telemetry=usage
    )
    return [replace(result, case_id=f"c{number}") for number in range(8)]


def table_results(protocol, tmp_path, *, is_good):
    """Every column has both classes, and measurements, findings and answers that are right or wrong."""
    cases = [f"c{number}" for number in range(8)]
    hosting.table(protocol, cases, is_right=True, path=tmp_path / "r.csv")
    hosting.table(protocol, cases, is_right=is_good, path=tmp_path / "p.csv", is_answer=True)
    return score_table(protocol=protocol, reference=tmp_path / "r.csv", prediction=tmp_path / "p.csv")


def _ranked(protocol) -> list[dict[str, str]]:
    return [
        {"id": spec.id, "direction": str(spec.metric.direction)}
        for spec in protocol.metrics
        if spec.metric.scope is Scope.LABEL and spec.metric.direction
    ] or [{"id": "intersection_voxels", "direction": "max"}]


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_says_where_its_facts_come_from_and_ranks_something(name):
    protocol = load_named_protocol(name)
    assert protocol.document["sources"]
    assert parse_ranking(protocol.ranking).metrics
    ranked = [metric for metric in parse_ranking(protocol.ranking).metrics if metric.pooled is None]
    assert {metric.id for metric in ranked} <= {spec.id for spec in protocol.metrics}
    assert protocol.document["title"]
