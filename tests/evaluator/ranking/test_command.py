"""`assay rank`: files in, files out, and messages that say line, column, found and expected."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluator.protocol import load_named_protocol
from evaluator.ranking import parse_ranking, rank_algorithms
from evaluator.ranking.cli import rank
from evaluator.ranking.io import read_scores

WIDE = """algorithm,case,site,dice,hd95
a,c1,s0,0.9,3
a,c2,s1,0.8,4
b,c1,s0,0.7,5
b,c2,s1,0.6,6
"""
LONG = """algorithm,case,metric,value,site
a,c1,dice,0.9,s0
a,c1,hd95,3,s0
a,c2,dice,0.8,s1
a,c2,hd95,4,s1
b,c1,dice,0.7,s0
b,c1,hd95,5,s0
b,c2,dice,0.6,s1
b,c2,hd95,6,s1
"""
CONFIG = "metrics: [dice, hd95]\nscheme: mean_of_ranks\nmissing: {any: rank_last}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ranking.yaml").write_text(CONFIG)
    return tmp_path


def run(folder: Path, text: str, *options: str):
    (folder / "scores.csv").write_text(text)
    return CliRunner().invoke(rank, [str(folder / "scores.csv"), *options], catch_exceptions=False)


def test_wide_and_long_files_give_the_same_ranks(folder: Path) -> None:
    outputs = []
    for text in (WIDE, LONG, WIDE.replace("\n", "\r\n"), "\ufeff" + WIDE):
        result = run(folder, text, "--bootstrap", "50", "-o", str(folder / "ranks.csv"))
        assert result.exit_code == 0, result.output
        outputs.append((folder / "ranks.csv").read_text())
    assert len(set(outputs)) == 1
    with (folder / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["algorithm", "rank", "score"]
    assert {"dice", "dice_low", "dice_high", "hd95", "rank_low", "rank_high"} < set(rows[0])
    assert [(row["algorithm"], row["rank"], row["score"]) for row in rows] == [("a", "1", "1.0"), ("b", "2", "2.0")]
    assert float(rows[0]["dice"]) == pytest.approx(0.85)
    assert float(rows[0]["dice_low"]) <= 0.85 <= float(rows[0]["dice_high"])


def test_structures_come_in_a_label_column(folder: Path) -> None:
    text = "algorithm,case,label,dice\na,c1,liver,0.9\na,c1,tumour,0.1\nb,c1,liver,0.8\nb,c1,tumour,0.8\n"
    result = run(folder, text, "--bootstrap", "0")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[2] == "b"


def test_the_board_is_printed_with_what_the_reader_must_know(folder: Path) -> None:
    result = run(folder, WIDE, "--config", str(folder / "ranking.yaml"), "--bootstrap", "20")
    lines = result.output.splitlines()
    assert lines[0].split() == ["rank", "95", "%", "algorithm", "score", "dice", "hd95"]
    assert any("only 2 independent units" in line for line in lines)


def test_everything_can_be_written_as_json(folder: Path) -> None:
    result = run(folder, WIDE, "--bootstrap", "20", "--seed", "7", "--json", str(folder / "all.json"))
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "all.json").read_text())
    assert (document["bootstrap"], document["seed"]) == (20, 7)
    assert [entry["rank"] for entry in document["entries"]] == [1, 2]
    assert len(document["input_sha256"]) == 64


def test_the_command_gives_what_the_engine_gives(folder: Path) -> None:
    run(folder, WIDE, "--config", str(folder / "ranking.yaml"), "-o", str(folder / "ranks.csv"))
    table, config = read_scores(folder / "scores.csv", parse_ranking({"scheme": "mean_of_ranks"}))
    ranking = rank_algorithms(table, config)
    with (folder / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [entry.score for entry in ranking.entries]
    assert [float(row["hd95"]) for row in rows] == [entry.aggregates["hd95"] for entry in ranking.entries]


def test_presets_are_listed_with_a_line_each_and_shown(folder: Path) -> None:
    listed = CliRunner().invoke(rank, ["--list-presets"]).output
    assert "flare22" in listed
    assert "half weight" in listed
    shown = CliRunner().invoke(rank, ["--show-preset", "kits23"]).output
    assert "dice.tumor" in shown
    assert run(folder, WIDE.replace("hd95", "iou"), "--preset", "drac22", "--bootstrap", "0").exit_code == 0


def test_a_protocol_ranks_as_it_says(folder: Path) -> None:
    config = parse_ranking(load_named_protocol("kits23").ranking)
    text = "algorithm,case,label," + ",".join(spec.id for spec in config.metrics) + "\n"
    for algorithm, value in (("a", 0.9), ("b", 0.8)):
        cells = ",".join(str(value if spec.larger_is_better else 1 - value) for spec in config.metrics)
        text += "".join(f"{algorithm},c1,{label},{cells}\n" for label in ("kidney", "tumor"))
    result = run(folder, text, "--protocol", "kits23", "--bootstrap", "0")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[:2] == ["1", "1"]


BROKEN = {
    "an empty file": ("", "line 1: found columns none; expected a column algorithm"),
    "only a header": ("algorithm,case,dice\n", "found no scores"),
    "no case column": ("algorithm,dice\na,1\n", "line 1: found columns algorithm, dice; expected a column case"),
    "a doubled column": ("algorithm,case,dice,dice\na,c1,1,1\n", "line 1, column dice: found it twice"),
    "no metric at all": ("algorithm,case,sharpness\na,c1,1\n", "expected a column for a metric we know"),
    "a duplicate": (
        WIDE + "a,c1,s0,0.5,9\n",
        "line 6, column dice: found a / c1 / dice again (first on line 2); expected one row",
    ),
    "a word for a number": (WIDE.replace("0.7", "high"), "line 4, column dice: found 'high'; expected a number"),
    "an infinite number": (WIDE.replace(",5\n", ",inf\n"), "line 4, column hd95: found inf; expected a finite number"),
    "a missing value without a rule": (
        WIDE.replace("0.7", "NaN"),
        "line 4, column dice: found no value for b / c1 / dice; expected a number, or a rule under missing",
    ),
    "unequal case sets": (WIDE.replace("b,c2,s1,0.6,6\n", ""), "found no row for b / c2 / dice, unequal case sets"),
    "one algorithm only": ("algorithm,case,dice\na,c1,1\na,c2,1\n", "found one algorithm, a; expected at least two"),
    "a short line": (WIDE + "c,c1\n", "line 6: found 2 cells; expected 5"),
    "an algorithm without a name": (
        WIDE + ",c1,s0,1,1\n",
        "line 6, column algorithm: found nothing; expected the name",
    ),
    "an unknown metric": (LONG + "a,c1,sharpness,3,s0\n", "line 10, column metric: found unknown metric 'sharpness'"),
    "a case at two sites": (
        WIDE.replace("b,c1,s0", "b,c1,s9"),
        "line 4, column site: found 's9' for case c1; expected 's0' as on line 2",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_place(folder: Path, name: str) -> None:
    text, message = BROKEN[name]
    result = run(folder, text)
    assert result.exit_code == 1
    assert message in result.output


def test_a_configured_metric_the_file_lacks_is_named(folder: Path) -> None:
    (folder / "ranking.yaml").write_text("metrics: [dice, nsd]\n")
    for text in (WIDE, LONG):
        result = run(folder, text, "--config", str(folder / "ranking.yaml"))
        assert result.exit_code == 1
        assert "nsd" in result.output


def test_a_rule_for_missing_values_lets_holes_and_absent_rows_pass(folder: Path) -> None:
    text = WIDE.replace("0.7", "NA").replace("b,c2,s1,0.6,6\n", "")
    result = run(folder, text, "--config", str(folder / "ranking.yaml"), "--bootstrap", "0")
    assert result.exit_code == 0, result.output


def test_wrong_configurations_are_refused(folder: Path) -> None:
    (folder / "list.yaml").write_text("- dice\n")
    (folder / "broken.yaml").write_text("metrics: [dice\n")
    assert "found no mapping" in run(folder, WIDE, "--config", str(folder / "list.yaml")).output
    assert "broken.yaml" in run(folder, WIDE, "--config", str(folder / "broken.yaml")).output
    both = run(folder, WIDE, "--config", str(folder / "ranking.yaml"), "--preset", "feta")
    assert both.exit_code == 2
    assert "expected one" in both.output
    assert CliRunner().invoke(rank, []).exit_code == 2
    assert "found 'nobody'" in run(folder, WIDE, "--preset", "nobody").output
