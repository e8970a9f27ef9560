"""Every table that people download or that a command writes for them: no text in it is a formula, numbers stay numbers."""

import csv
import io
from types import SimpleNamespace

import pytest

from assay.client.importing.draft import DraftCase, write_cases
from assay.pages.tables import table_file
from assay.testsets.export import manifest_text
from assay.testsets.manifest import parse_manifest
from evaluator.layouts import load_layout, read_tables, write_tables
from evaluator.protocol import load_named_protocol
from evaluator.ranking.rank_files import write_rows
from evaluator.results import CaseResult, ScoreRow
from evaluator.scoring.score_files import read_scores, write_scores
from evaluator.spreadsheets import as_written, harmless

STARTS = ["=", "+", "-", "@", "\t", "\r", "\n"]
NUMBERS = ["-0.5", "+3", "-1e-3", "-.5", "+7."]
FORMULA = "=1+1"


@pytest.mark.parametrize("start", STARTS)
def test_text_that_starts_a_formula_gets_an_apostrophe_and_is_read_back(start):
    assert harmless(f"{start}1+1") == f"'{start}1+1"
    assert as_written(f"'{start}1+1") == f"{start}1+1"


@pytest.mark.parametrize("cell", [*NUMBERS, "case 1", "", "'quoted'", -1.5, 3, None])
def test_numbers_and_harmless_text_stay_as_they_are(cell):
    assert harmless(cell) == cell
    assert not isinstance(cell, str) or as_written(cell) == cell


@pytest.mark.parametrize("cell", ["-0.5\n", "\t5", "-1-1", "+1_0", "-inf", "--1"])
def test_what_only_resembles_a_number_is_text(cell):
    assert harmless(cell) == f"'{cell}"


def written_by_ranking(folder):
    write_rows([{"algorithm": FORMULA, "mean": -0.5, FORMULA: None}], folder / "ranks.csv")
    return (folder / "ranks.csv").read_text()


def written_by_scoring(folder):
    rows = (ScoreRow(label=FORMULA, metric="dice", value=-0.5, reason=FORMULA),)
    write_scores(folder / "scores.csv", [CaseResult(case_id=FORMULA, rows=rows)])
    assert read_scores(folder / "scores.csv") == [(FORMULA, FORMULA, "dice", -0.5, FORMULA)]
    return (folder / "scores.csv").read_text()


def written_by_a_page(folder):
    page = table_file(name="board", header=["team", FORMULA], rows=[[FORMULA, -0.5]], as_format="csv")
    return page.content.decode()


def written_by_the_export(folder):
    row = {"case_id": "-a", "reference": "labels/a.nii.gz", FORMULA: "-0.5", "site": FORMULA}
    text = manifest_text([row])
    (case,) = parse_manifest(text)
    assert (case.case_id, case.attributes) == ("-a", {FORMULA: "-0.5", "site": FORMULA})
    return text


def written_by_an_importer(folder):
    case = DraftCase(case_id="-a", inputs={}, references={}, attributes={"site": FORMULA, "shift": "-0.5"})
    write_cases([case], folder=folder)
    return (folder / "manifest.csv").read_text()


WRITERS = (written_by_ranking, written_by_scoring, written_by_a_page, written_by_the_export, written_by_an_importer)


@pytest.mark.parametrize("writer", WRITERS)
def test_no_file_that_is_written_holds_a_formula(writer, tmp_path):
    cells = [cell for line in csv.reader(io.StringIO(writer(tmp_path))) for cell in line]
    assert f"'{FORMULA}" in cells
    assert [cell for cell in cells if cell.startswith(tuple(STARTS))] == ["-0.5"]


def test_tables_in_the_columns_of_another_platform_hold_none_either():
    layout, protocol = load_layout("flare"), load_named_protocol("flare22")
    rows = tuple(
        ScoreRow(label=label.name, metric=spec.id, value=0.5)
        for spec in protocol.metrics
        for label in (protocol.labels if spec.metric.name in ("dice", "nsd") else (SimpleNamespace(name=""),))
    )
    tables = write_tables(layout, protocol, [CaseResult(case_id=FORMULA, rows=rows)])
    assert tables
    cells = [cell for text in tables.values() for line in csv.reader(io.StringIO(text)) for cell in line]
    assert any(cell.startswith(f"'{FORMULA}") for cell in cells)
    assert not [cell for cell in cells if cell.startswith(tuple(STARTS))]
    assert [result.case_id for result in read_tables(layout, protocol, tables)] == [FORMULA]
