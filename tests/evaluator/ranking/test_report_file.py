"""The JSON of a ranking is complete: it fits its schema, and makes the same ranking and page again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from evaluator.commands.rank import rank
from evaluator.protocol import load_named_protocol, named_protocols
from evaluator.ranking import ScoreTable, analyse, parse_ranking, rank_algorithms
from evaluator.ranking.document.presets import preset_titles
from evaluator.ranking.document.writing import ranking_document
from evaluator.ranking.report_file import SCHEMA

CONFIG = """metrics: [dice, hd95]
missing: {any: {dice: 0, hd95: drop_pair}}
scheme: {type: mean_of_ranks, rank_at: [case]}
subgroups: [{attribute: site, minimum_cases: 3}]
"""


DOCUMENTS = {f"preset {name}": {"preset": name} for name in preset_titles()}


@pytest.mark.parametrize("name", [*DOCUMENTS, *named_protocols()])
def test_a_configuration_is_written_as_the_document_that_reads_as_it(name: str) -> None:
    config = parse_ranking(DOCUMENTS[name] if name in DOCUMENTS else load_named_protocol(name).ranking)
    written = json.loads(json.dumps(ranking_document(config)))
    assert parse_ranking(written) == config


def scores(folder: Path) -> Path:
    random = np.random.default_rng(0)
    rows = [
        f"{name},c{i},{'AB'[i % 2]},{'xyz'[i % 3]},{min(1, skill + random.normal(0, 0.05)):.4f},{random.random() * 9:.3f}"
        for name, skill in (("a", 0.9), ("b", 0.85), ("c", 0.5))
        for i in range(18)
    ]
    rows[7] = rows[7].rsplit(",", 1)[0] + ","
    (folder / "s.csv").write_text("\n".join(["algorithm,case,site,task,dice,hd95", *rows, ""]))
    (folder / "r.yaml").write_text(CONFIG)
    return folder / "s.csv"


def run(*arguments: object):
    return CliRunner().invoke(rank, [*map(str, arguments)], catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "multi_task: {by: task}\n"], ids=["one task", "three tasks"])
def test_a_report_file_fits_its_schema_and_makes_the_report_again(tmp_path: Path, more: str) -> None:
    path = scores(tmp_path)
    (tmp_path / "r.yaml").write_text(CONFIG + more)
    first = run(
        path, "--config", tmp_path / "r.yaml", "--bootstrap", 40, "--seed", 5, "--json", tmp_path / "one.json",
        "--report", tmp_path / "one.html",
    )  # fmt: skip
    assert first.exit_code == 0, first.output
    document = json.loads((tmp_path / "one.json").read_text())
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    again = run("--from", tmp_path / "one.json", "--json", tmp_path / "two.json", "--report", tmp_path / "two.html")
    assert again.output == first.output
    assert (tmp_path / "two.json").read_text() == (tmp_path / "one.json").read_text()
    assert (tmp_path / "two.html").read_text() == (tmp_path / "one.html").read_text()


def test_the_file_holds_raw_p_and_n_frequencies_and_subgroups(tmp_path: Path) -> None:
    run(scores(tmp_path), "--config", tmp_path / "r.yaml", "--bootstrap", 40, "--json", tmp_path / "one.json")
    document = json.loads((tmp_path / "one.json").read_text())
    found = document["significance"]["hd95"]
    assert found["n"][0][0] in (17, 18)
    assert min(map(min, found["n"])) == 17
    p = [value for row in found["p"] for value in row if value is not None]
    assert len(p) == 6
    assert [sum(row) for row in document["rank_frequencies"]["counts"]] == [40, 40, 40]
    assert document["subgroups"][0]["ranks"].keys() == {"A", "B"}
    assert document["plan"]["pairs"][0]["units"] == 18
    assert document["versions"].keys() == {"evaluator", "numpy"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "found no JSON"),
        ("[]", "found the format 'list'; expected assay-ranking/1"),
        ('{"format": "assay-ranking/1"}', "found a broken report"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    result = run("--from", tmp_path / "x.json")
    assert result.exit_code == 1
    assert message in result.output


def task_table() -> ScoreTable:
    """b is best in two small tasks, a in one with many cases: pooled cases say a, the consensus says b."""
    rows, attributes = [], {}
    for task, count, best in (("x", 3, "b"), ("y", 3, "b"), ("z", 30, "a")):
        for i in range(count):
            attributes[f"{task}{i}"] = {"task": task}
            rows += [(name, f"{task}{i}", "", "dice", 0.9 if name == best else 0.5, "") for name in "ab"]
    return ScoreTable.from_rows(rows, attributes=attributes)


def test_the_consensus_over_tasks_is_the_result_everywhere() -> None:
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "multi_task": {"by": "task"}})
    pooled = parse_ranking({"metrics": ["dice"], "scheme": "value"})
    assert rank_algorithms(task_table(), pooled).ranks() == {"a": 1, "b": 2}
    assert rank_algorithms(task_table(), config).ranks() == {"b": 1, "a": 2}
    analysis = analyse(task_table(), config, bootstrap=20)
    assert analysis.algorithms == ("b", "a")
    assert [entry["rank"] for entry in analysis.to_json()["entries"]] == [1, 2]
    assert analysis.ranking.entries[0].aggregates["dice"] == pytest.approx((0.9 + 0.9 + 0.5) / 3)
    assert any("euclidean consensus of 3 tasks" in note for note in analysis.ranking.notes)
    assert analysis.winner_shares.tolist() == [1, 0]


def test_who_is_disqualified_in_one_task_has_no_rank() -> None:
    rows = [(n, c, "", "dice", v, "") for n, c, v in (("a", "x", 0.9), ("b", "x", 0.8), ("a", "y", 0.9))]
    table = ScoreTable.from_rows(rows, attributes={"x": {"task": "X"}, "y": {"task": "Y"}})
    document = {"metrics": ["dice"], "scheme": "value", "missing": {"any": "disqualify"}, "multi_task": {}}
    ranking = rank_algorithms(ScoreTable.from_rows([*rows, ("b", "y", "", "dice", None, "failed")], attributes=table.attributes),
                              parse_ranking(document))  # fmt: skip
    assert ranking.ranks() == {"a": 1, "b": None}
    assert ranking.entries[1].note.startswith("Y: ")


def test_a_plan_is_printed_for_scores_and_for_a_pilot(tmp_path: Path) -> None:
    result = run(scores(tmp_path), "--plan", "--missing", "hd95=20")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Is the test set big enough? 18 cases, Wilcoxon test at 0.05, power 80%")
    pilot = run(scores(tmp_path), "--plan", "--difference", "0.01", "--missing", "hd95=20")
    assert pilot.exit_code == 0
    (tmp_path / "t.csv").write_text("algorithm,case,dice\na,c,1\nb,c,0.5\n")
    assert "expected two algorithms and 5 cases" in run(tmp_path / "t.csv", "--plan").output


def test_the_hash_of_a_ranking_is_the_same_in_every_process() -> None:
    program = """
from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
table = ScoreTable.from_rows([("a", "c1", "", "dice", 0.9, ""), ("b", "c1", "", "dice", 0.8, "")])
rules = parse_ranking({"metrics": ["dice"], "scheme": {"type": "mean_of_ranks", "rank_at": ["case", "structure"]}})
print(rank_algorithms(table, rules).input_sha256)
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1
