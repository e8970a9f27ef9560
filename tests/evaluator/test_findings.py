"""Points, boxes and landmarks: equal to scikit-learn, to the rules of LUNA16 and COCO written out, and to numbers worked out by hand."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as oracle

from evaluator.commands.evaluate import evaluate
from evaluator.errors import InvalidReference, InvalidVolume, ProtocolError
from evaluator.metrics.assignment import best_assignment
from evaluator.metrics.classification import mean_over_rows
from evaluator.metrics.findings import CaseFindings, froc_by_rate, match_case
from evaluator.metrics.registry import REGISTRY
from evaluator.protocol import load_protocol
from evaluator.scoring.case import summarise
from evaluator.scoring.tables import score_table
from evaluator.volumes.findings import Cells, Finding, parse_answer, parse_reference
from evaluator.volumes.tables import TableForm, canonicalise_table, read_table, rows_in_form

RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)


def options_of(name: str, **chosen):
    return {key: option.default for key, option in REGISTRY[name].options.items()} | chosen


def score(name: str, cases: list[CaseFindings], **chosen) -> float | None:
    return mean_over_rows(REGISTRY[name].over_findings(cases, options_of(name, **chosen)))


def nodules(seed: int, *, cases: int = 12) -> list[CaseFindings]:
    """Nodules with diameters, some of them ignored, and marks near and far. Confidences repeat."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(cases):
        reference = [
            Finding(
                tuple(random.uniform(0, 60, 3)), diameter=float(random.uniform(6, 30)), is_ignored=random.random() < 0.2
            )
            for _ in range(random.integers(0, 4))
        ]
        near = [
            Finding(tuple(np.add(finding.place, random.normal(0, 5, 3))), float(random.integers(0, 40)) / 40)
            for finding in reference
            for _ in range(random.integers(0, 3))
        ]
        far = [
            Finding(tuple(random.uniform(0, 60, 3)), float(random.integers(0, 40)) / 40)
            for _ in range(random.integers(0, 6))
        ]
        made.append(CaseFindings(tuple(reference), tuple(near + far)))
    return made


def luna16(cases: list[CaseFindings]) -> tuple[np.ndarray, np.ndarray]:
    """LUNA16's own steps: every nodule looks for marks, marks that hit nothing are false, scikit-learn draws the curve."""
    truths, scores, is_excluded = [], [], []
    for case in cases:
        left = list(case.answer)
        for nodule in case.reference:
            hits = []
            for mark in case.answer:
                if (
                    sum((a - b) ** 2 for a, b in zip(mark.place, nodule.place, strict=True))
                    < (nodule.diameter / 2) ** 2
                ):
                    hits.append(mark)
                    left = [other for other in left if other is not mark]
            if nodule.is_ignored:
                continue
            truths.append(1.0)
            scores.append(max((mark.confidence for mark in hits), default=-1e9))
            is_excluded.append(not hits)
        truths += [0.0] * len(left)
        scores += [mark.confidence for mark in left]
        is_excluded += [False] * len(left)
    kept = [position for position, excluded in enumerate(is_excluded) if not excluded]
    y, p = np.array(truths)[kept], np.array(scores)[kept]
    false_rate, true_rate, _ = oracle.roc_curve(y, p)
    return false_rate * (len(y) - y.sum()) / len(cases), true_rate * y.sum() / sum(truths)


@pytest.mark.parametrize("seed", range(12))
def test_froc_is_what_luna16_computes(seed: int) -> None:
    cases = nodules(seed)
    options = options_of("froc", rule="each", spare_predictions="forgiven")
    by_rate = froc_by_rate(cases, options)
    means = [np.mean([value for value in values if value is not None]) for values in by_rate.values()]
    assert np.mean(means) == pytest.approx(score("froc", cases, rule="each", spare_predictions="forgiven"), abs=1e-9)
    assert (np.diff(means) >= -1e-12).all(), "more false answers never find less"
    false, sensitivity = luna16(cases)
    at_rates = np.interp(RATES, false, sensitivity)
    luna = {"rule": "each", "spare_predictions": "forgiven"}
    assert score("froc", cases, **luna) == pytest.approx(at_rates.mean(), abs=1e-9)
    for rate, expected in zip(RATES, at_rates, strict=True):
        found = score("finding_sensitivity", cases, false_positives_per_case=float(rate), **luna)
        assert found == pytest.approx(expected, abs=1e-9)


def boxes(seed: int, *, cases: int = 15) -> list[CaseFindings]:
    random = np.random.default_rng(seed)

    def box(corner, size):
        return (*corner, *np.add(corner, size))

    made = []
    for _ in range(cases):
        reference = [box(random.uniform(0, 40, 2), random.uniform(4, 15, 2)) for _ in range(random.integers(0, 4))]
        answer = [
            Finding(tuple(np.add(place, random.normal(0, 1.5, 4).clip(-1.9, 1.9))), float(random.random()))
            for place in reference
            for _ in range(random.integers(0, 3))
        ]
        answer += [
            Finding(box(random.uniform(0, 40, 2), random.uniform(4, 15, 2)), float(random.random()))
            for _ in range(random.integers(0, 3))
        ]
        made.append(CaseFindings(tuple(Finding(tuple(place)) for place in reference), tuple(answer)))
    return made


def overlap(a, b) -> float:
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    both = sides[0] * sides[1]
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matched_greedily(cases: list[CaseFindings], iou: float) -> list[tuple[float, bool]]:
    """Answers of all cases with whether they are right, as COCO matches them."""
    said = []
    for case in cases:
        free = [finding.place for finding in case.reference]
        for mark in sorted(case.answer, key=lambda mark: -mark.confidence):
            best = max(free, key=lambda place: overlap(place, mark.place), default=None)
            is_right = best is not None and overlap(best, mark.place) >= iou
            if is_right:
                free.remove(best)
            said.append((mark.confidence, is_right))
    return sorted(said, reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_scikit_learns_with_missed_findings_behind_everything(seed: int) -> None:
    cases = boxes(seed)
    said = matched_greedily(cases, 0.5)
    missed = sum(len(case.reference) for case in cases) - sum(is_right for _, is_right in said)
    # A missed finding is a positive without a score. Far behind all false ones it adds a precision of next to nothing.
    y = [float(is_right) for _, is_right in said]
    area = oracle.average_precision_score(y, [confidence for confidence, _ in said])
    expected = area * sum(y) / (sum(y) + missed)
    assert score("finding_precision", cases) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_map_is_cocos_over_ten_overlaps_and_101_recalls(seed: int) -> None:
    cases = boxes(seed)
    total = sum(len(case.reference) for case in cases)
    areas = []
    for iou in np.arange(0.5, 1.0, 0.05):
        right = np.cumsum([is_right for _, is_right in matched_greedily(cases, round(float(iou), 6))])
        recall, precision = right / total, right / np.arange(1, len(right) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        areas.append(np.mean([envelope[i] if i < len(envelope) else 0.0 for i in at]))
    found = score("finding_precision", cases, iou_to=0.95, interpolation="coco")
    assert found == pytest.approx(np.mean(areas), abs=1e-9)


def test_the_envelope_never_falls_and_the_step_does() -> None:
    one = (0.0, 0.0, 10.0, 10.0)
    far = (50.0, 50.0, 60.0, 60.0)
    cases = [
        CaseFindings(
            (Finding(one), Finding(far)), (Finding(one, 0.9), Finding((90.0, 90.0, 99.0, 99.0), 0.8), Finding(far, 0.7))
        )
    ]
    assert score("finding_precision", cases) == pytest.approx((1 + 2 / 3) / 2)
    assert score("finding_precision", cases[:1], interpolation="envelope") == pytest.approx((1 + 2 / 3) / 2)
    late = [
        CaseFindings(
            (Finding(one), Finding(far)),
            (Finding((90.0, 90.0, 99.0, 99.0), 0.95), Finding(one, 0.9), Finding(far, 0.7)),
        )
    ]
    assert score("finding_precision", late) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert score("finding_precision", late, interpolation="envelope") == pytest.approx(2 / 3)


@pytest.mark.parametrize("rule", ["each", "best_first", "most_overlap"])
def test_a_chain_of_overlaps_shows_the_rules_apart(rule: str) -> None:
    """Two findings, two answers: the surer one hits both, the other one only the left. 1 + overlap prefers two pairs."""
    left, right = Finding((0.0, 0.0, 10.0, 10.0)), Finding((10.0, 0.0, 20.0, 10.0))
    middle, other = Finding((3.0, 0.0, 14.0, 10.0), 0.9), Finding((0.0, 0.0, 4.0, 10.0), 0.5)
    found = match_case(
        CaseFindings((left, right), (other, middle)), options_of("finding_precision", rule=rule, iou=0.2)
    )
    expected = {"each": (0.9, 0.9), "best_first": (0.9, -math.inf), "most_overlap": (0.5, 0.9)}[rule]
    assert found.confidences == expected


def test_an_assignment_is_the_best_of_all_there_are() -> None:
    random = np.random.default_rng(3)
    for rows, columns in itertools.product(range(1, 5), range(1, 5)):
        worth = random.random((rows, columns))
        of_rows = best_assignment(worth)
        got = sum(worth[row, column] for row, column in enumerate(of_rows) if column >= 0)
        small, large = sorted((rows, columns))
        table = worth if rows <= columns else worth.T
        best = max(
            sum(table[i, p] for i, p in enumerate(chosen)) for chosen in itertools.permutations(range(large), small)
        )
        assert got == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("name", ["froc", "finding_sensitivity", "finding_precision", "finding_auc"])
@pytest.mark.parametrize("seed", range(4))
def test_leaving_a_case_out_never_helps(name: str, seed: int) -> None:
    cases = nodules(seed)
    whole = score(name, cases, **({} if name == "finding_auc" else {"rule": "each"}))
    for at in range(len(cases)):
        without = [*cases[:at], CaseFindings(cases[at].reference, None), *cases[at + 1 :]]
        assert score(name, without, **({} if name == "finding_auc" else {"rule": "each"})) <= whole + 1e-12


def test_a_script_that_forgets_failed_cases_can_be_followed() -> None:
    empty_case = CaseFindings((), None)
    cases = [CaseFindings((Finding((0.0, 0.0), diameter=4.0),), (Finding((0.0, 0.0), 0.5),)), empty_case]
    assert score("froc", cases, rule="each", failed_cases="no_findings") == 1
    assert score("froc", cases, rule="each") < 0.1


def test_only_the_surest_answers_count() -> None:
    target = Finding((0.0, 0.0), diameter=4.0)
    flood = tuple(Finding((50.0, float(n)), 0.9 - n / 1000) for n in range(20))
    cases = [CaseFindings((target,), (*flood, Finding((0.0, 0.0), 0.1)))]
    assert score("finding_sensitivity", cases, rule="each", false_positives_per_case=30.0) == 1
    assert score("finding_sensitivity", cases, rule="each", false_positives_per_case=30.0, most_findings=20) == 0


# --- files

PROTOCOL = """
protocol: 1
name: t
labels: {nodule: {}}
outputs: [{name: s, kind: table, file: s.csv, cells: points_3d}]
metrics: [{name: froc, rule: each, spare_predictions: forgiven}, {name: finding_auc}]
"""
REFERENCE = "case,nodule\na,0 0 0 10; 20 0 0 4\nb,\nc,!5 5 5 6\n"


def scores_of(folder: Path, *, answer: str, reference: str = REFERENCE, protocol: str = PROTOCOL):
    (folder / "r.csv").write_text(reference)
    (folder / "p.csv").write_text(answer)
    loaded = load_protocol(protocol)
    results = score_table(protocol=loaded, reference=folder / "r.csv", prediction=folder / "p.csv")
    return results, summarise(loaded, results)


def test_a_cell_per_case_and_a_row_per_finding_score_alike(tmp_path: Path) -> None:
    cells = "case,nodule\na,1 0 0 0.9; 30 0 0 0.2\nb,5 5 5 0.4\nc,5 5 5 0.8\n"
    rows = "seriesuid,coordX,coordY,coordZ,probability\na,1,0,0,0.9\nb,5,5,5,0.4\na,30,0,0,0.2\nc,5,5,5,0.8\n"
    results, summary = scores_of(tmp_path, answer=cells)
    assert scores_of(tmp_path, answer=rows)[1] == summary
    # One of two nodules is found before the first false answer. The mark on the ignored nodule counts as nothing.
    assert summary["froc"]["mean"] == pytest.approx(0.5)
    assert [row.reason for result in results for row in result.rows if row.metric == "froc"] == [
        "",
        "class_absent",
        "class_absent",
    ]
    points = {row.metric: row.value for row in results[0].rows if "@" in row.metric}
    assert points == {f"froc@{rate}": pytest.approx(0.5) for rate in ("0.125", "0.25", "0.5", "1", "2", "4", "8")}
    assert set(summary) == {"froc", "finding_auc"}, "the points of the curve are no metrics of the protocol"


def test_a_cell_that_is_none_costs_its_case_and_says_so(tmp_path: Path) -> None:
    good = "case,nodule\na,0 0 0 0.9; 20 0 0 0.8\nb,\nc,\n"
    assert scores_of(tmp_path, answer=good)[1]["froc"]["mean"] == 1
    results, summary = scores_of(tmp_path, answer="case,nodule\na,0 0 0 0.9; 20 0 0 0.8\nb,\n")
    assert summary["froc"]["mean"] < 1
    assert results[2].failure == "row_missing"
    with_word, _ = scores_of(tmp_path, answer="case,nodule\na,here\nb,\nc,\n")
    assert with_word[0].failure == "output_invalid:table_rows"
    assert "'here'" in with_word[0].detail


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("case,nodule\na,1 2\n", "2 numbers"),
        ("case,nodule\na,1 2 three\n", "'three'"),
        ("case,nodule\na,1 2 3\n", "without a size"),
    ],
)
def test_a_reference_that_is_none_is_the_organizers_fault(tmp_path: Path, reference: str, found: str) -> None:
    with pytest.raises(InvalidReference, match=found):
        scores_of(tmp_path, answer="case,nodule\na,\n", reference=reference)


GC_BOXES = {
    "type": "Multiple 2D bounding boxes",
    "boxes": [
        {"name": "n", "corners": [[10, 20, 0.5], [30, 20, 0.5], [30, 40, 0.5], [10, 40, 0.5]], "probability": 0.7},
        {"name": "n", "corners": [[1, 2, 0.5], [3, 4, 0.5]]},
    ],
    "version": {"major": 1, "minor": 0},
}


def test_grand_challenges_documents_are_read() -> None:
    form = TableForm(columns=("n",), cells=Cells.BOXES_2D, is_document=True)
    rows = rows_in_form(json.dumps(GC_BOXES).encode(), form=form, names=["c"])
    assert rows["c"].cells == {"n": "10.0 20.0 30.0 40.0 0.7; 1.0 2.0 3.0 4.0 1.0"}
    flat = TableForm(columns=("n",), cells=Cells.BOXES_3D, is_document=True)
    assert (
        rows_in_form(json.dumps(GC_BOXES).encode(), form=flat, names=["c"])["c"]
        .cells["n"]
        .startswith("10.0 20.0 0.5 30.0")
    )
    points = {
        "type": "Multiple points",
        "points": [{"name": "a", "point": [1, 2, 3]}, {"name": "b", "point": [4, 5, 6]}],
    }
    several = TableForm(columns=("a", "b"), cells=Cells.POINTS_3D, is_document=True)
    assert rows_in_form(json.dumps(points).encode(), form=several, names=["c"])["c"].cells == {
        "a": "1.0 2.0 3.0 1.0", "b": "4.0 5.0 6.0 1.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("[]", "list"),
        ('{"boxes": [3]}', "int as a finding"),
        ('{"boxes": [{"corners": []}]}', "without 'corners'"),
        ('{"boxes": [{"corners": [[1]]}]}', "1 numbers as a place"),
        ('{"boxes": [{"corners": [["a", 1]]}]}', "'a' as a coordinate"),
        ('{"boxes": [{"corners": [[1, 2]], "probability": true}]}', "'True' as a probability"),
        ('{"boxes": [{"corners": [[1, 2]], "probability": NaN}]}', "NaN"),
        ('{"points": []}', "keys points"),
        ("{", "document_invalid"),
    ],
)
def test_a_document_that_is_none_is_refused_with_what_it_holds(document: str, found: str) -> None:
    form = TableForm(columns=("n",), cells=Cells.BOXES_2D, is_document=True)
    with pytest.raises(InvalidVolume, match=found):
        rows_in_form(document.encode(), form=form, names=["c"])


def test_an_untrusted_document_becomes_our_own_table(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(json.dumps(GC_BOXES))
    form = TableForm(columns=("n",), cells=Cells.BOXES_2D, is_document=True)
    made = canonicalise_table(source=tmp_path / "x", destination=tmp_path / "o.csv", form=form, names={"opaque": "c1"})
    cells = read_table(made.path)["c1"].cells["n"]
    assert parse_answer(cells, cells=Cells.BOXES_2D)[0] == Finding((10.0, 20.0, 30.0, 40.0), confidence=0.7)


def test_cells_say_what_is_wrong_with_them() -> None:
    with pytest.raises(InvalidVolume, match="no lower corner above"):
        parse_reference("5 5 1 9", cells=Cells.BOXES_2D)
    with pytest.raises(InvalidVolume, match="at most 500"):
        parse_answer("1 2 3;" * 501, cells=Cells.POINTS_3D)
    with pytest.raises(InvalidVolume, match="plain decimal"):
        parse_answer("1 2 inf 0.5", cells=Cells.POINTS_3D)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("cells: points_3d", "cells: text"), "froc of cells that hold text"),
        (("{name: finding_auc}", "{name: macro_auc}"), "macro_auc of cells that hold points_3d"),
        (("kind: table, file: s.csv", "kind: label_map, file: s.nii.gz"), "cells of a label_map"),
        (("cells: points_3d", "cells: boxes_3d}, {name: u, kind: json, file: u.json"), None),
        (("{name: finding_auc}", "{name: landmark_error}"), "no worth of landmark_error"),
    ],
)
def test_a_protocol_of_findings_is_checked_where_it_stands(change: tuple[str, str], found: str | None) -> None:
    text = PROTOCOL.replace("labels: {nodule: {}}", "labels: {nodule: {values: 1}}").replace(*change)
    if found is None:
        assert load_protocol(text).output.cells == "boxes_3d"
        return
    with pytest.raises(ProtocolError, match=found):
        load_protocol(text)


def test_a_table_of_text_is_no_json() -> None:
    text = "protocol: 1\nname: t\nlabels: {x: {}}\nmetrics: [{name: accuracy}]\noutputs: [{name: s, kind: table, file: s.json}]\n"
    with pytest.raises(ProtocolError, match=r"found s.json; expected a .csv"):
        load_protocol(text)


LANDMARKS = """
protocol: 1
name: t
labels: {sella: {}, nasion: {}}
outputs: [{name: s, kind: table, file: s.csv, cells: points_2d}]
metrics: [{name: landmark_error}, {name: landmark_hit, id: within_2}, {name: landmark_hit, id: within_4, within_mm: 4}]
conventions: {failed: {landmark_error: 50}}
"""


def test_landmarks_have_an_error_and_a_share_that_hits(tmp_path: Path) -> None:
    reference = "case,sella,nasion\na,0 0,10 10\nb,0 0,\n"
    answer = "case,sella,nasion\na,3 0,10 12\nb,0 1 0.5,4 4\n"
    results, summary = scores_of(tmp_path, answer=answer, reference=reference, protocol=LANDMARKS)
    rows = {
        (result.case_id, row.label, row.metric): (row.value, row.reason) for result in results for row in result.rows
    }
    assert rows["a", "sella", "landmark_error"] == (3, "")
    assert rows["a", "nasion", "within_2"] == (1, "")
    assert rows["b", "nasion", "landmark_error"] == (None, "class_absent")
    assert summary["within_4"]["per_label"]["sella"]["mean"] == 1
    two = "case,sella,nasion\na,3 0; 1 0,10 12\n"
    results, _ = scores_of(tmp_path, answer=two, reference=reference, protocol=LANDMARKS)
    rows = {
        (result.case_id, row.label, row.metric): (row.value, row.reason) for result in results for row in result.rows
    }
    assert rows["a", "sella", "landmark_error"] == (50, "cell_invalid")
    assert rows["b", "sella", "within_2"] == (0, "row_missing")


def test_the_command_scores_a_table_of_findings(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROTOCOL)
    (tmp_path / "r.csv").write_text(REFERENCE)
    (tmp_path / "a.csv").write_text("case,x,y,z,score\na,1,0,0,0.9\n")
    done = CliRunner().invoke(
        evaluate,
        [
            "--protocol",
            str(tmp_path / "p.yaml"),
            "--references",
            str(tmp_path / "r.csv"),
            "--predictions",
            str(tmp_path / "a.csv"),
            "-o",
            str(tmp_path / "o.csv"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "a,nodule,froc,0.5" in (tmp_path / "o.csv").read_text()
