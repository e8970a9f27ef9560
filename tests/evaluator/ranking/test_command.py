"""`assay rank`: files in, files out, and messages that say line, column, found and expected."""

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluator.commands.rank import rank
from evaluator.protocol import load_named_protocol
from evaluator.ranking import parse_ranking, rank_algorithms
from evaluator.ranking.score_files import read_scores

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
    for text in (
        *(WIDE, LONG, WIDE.replace("\n", "\r\n"), "\ufeff" + WIDE, WIDE.replace("algorithm,case", "Algorithm,Case")),
        *(WIDE.replace(",", ";"), LONG.replace(",", "\t"), WIDE.replace("\n", "\n\n"), WIDE.replace(",", " , ")),
    ):
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
    assert lines[0].split() == ["rank", "95", "%", "algorithm", "rank", "set", "score", "dice", "hd95"]
    assert any("only 2 independent cases" in line for line in lines)


def test_everything_can_be_written_as_json(folder: Path) -> None:
    result = run(folder, WIDE, "--bootstrap", "20", "--seed", "7", "--json", str(folder / "all.json"))
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "all.json").read_text())
    assert (document["bootstrap"], document["seed"]) == (20, 7)
    assert [entry["rank"] for entry in document["entries"]] == [1, 2]
    assert len(document["input_sha256"]) == 64


def test_the_command_gives_what_the_engine_gives(folder: Path) -> None:
    run(folder, WIDE, "--config", str(folder / "ranking.yaml"), "-o", str(folder / "ranks.csv"))
    found = read_scores(folder / "scores.csv", parse_ranking({"scheme": "mean_of_ranks"}))
    ranking = rank_algorithms(found.table, found.config)
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
    shares = re.sub(r",(\d)$", r",0.\1", WIDE.replace("hd95", "iou"), flags=re.MULTILINE)
    assert run(folder, shares, "--preset", "drac22", "--bootstrap", "0").exit_code == 0


def test_a_protocol_ranks_as_it_says(folder: Path) -> None:
    config = parse_ranking(load_named_protocol("kits23").ranking)
    text = "algorithm,case,label," + ",".join(spec.id for spec in config.metrics) + "\n"
    for algorithm, value in (("a", 0.9), ("b", 0.8)):
        cells = ",".join(str(value if spec.larger_is_better else 1 - value) for spec in config.metrics)
        text += "".join(f"{algorithm},c1,{label},{cells}\n" for label in ("kidney", "tumor"))
    result = run(folder, text, "--protocol", "kits23", "--bootstrap", "0")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split()[:2] == ["1", "1"]


TEAMS = """algorithm,team,case,dice
a1,A,c1,0.9
a2,A,c1,0.5
b1,B,c1,0.6
b2,B,c1,0.7
c1,C,c1,0.8
"""


@pytest.mark.parametrize(
    ("rule", "expected", "left_out"),
    [
        ("best", [("a1", "1"), ("c1", "2"), ("b2", "3")], "a2, b1"),
        ("latest", [("c1", "1"), ("b2", "2"), ("a2", "3")], "a1, b1"),
        ("all", [("a1", "1"), ("c1", "2"), ("b2", "3"), ("b1", "4"), ("a2", "5")], ""),
    ],
)
def test_one_submission_of_each_team_is_ranked_and_the_others_are_named(folder, rule, expected, left_out) -> None:
    (folder / "teams.yaml").write_text(f"{{metrics: [dice], scheme: value, submissions: {{per_team: {rule}}}}}")
    result = run(folder, TEAMS, "--config", str(folder / "teams.yaml"), "-o", str(folder / "ranks.csv"))
    assert result.exit_code == 0, result.output
    with (folder / "ranks.csv").open() as file:
        assert [(row["algorithm"], row["rank"]) for row in csv.DictReader(file)] == expected
    assert (f"left out: {left_out}" in result.output) if left_out else ("left out" not in result.output)


def test_a_file_without_teams_is_ranked_whole_and_says_so(folder: Path) -> None:
    result = run(folder, TEAMS.replace("team", "group"), "--preset", "grand-challenge-abs")
    assert result.exit_code == 1, "one case cannot be in two groups"
    result = run(folder, WIDE, "--preset", "grand-challenge-abs", "--bootstrap", "0")
    assert "each team's best submission counts, but no column team" in result.output


BROKEN = {
    "an empty file": ("", "line 1: found columns none; expected a column algorithm"),
    "only a header": ("algorithm,case,dice\n", "found no scores"),
    "no case column": (
        "algorithm,dice\na,1\na,0.5\nb,1\n",
        "line 1: found columns algorithm, dice, and a on several lines; expected a column case",
    ),
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
    "an algorithm of two teams": (
        TEAMS + "a1,B,c2,0.5\n",
        "line 7, column team: found 'B' for a1; expected 'A' as before",
    ),
    "an algorithm of no team": (TEAMS.replace("b1,B", "b1,"), "line 4, column team: found nothing; expected the team"),
    "a metric we do not know among those we do": (
        WIDE.replace("hd95", "sharpness"),
        "line 4, column sharpness: found '5' for case c1; expected '3' as on line 2, for sharpness is no metric we know",
    ),
    "a Dice in percent": (
        WIDE.replace("0.7", "70"),
        "line 4, column dice: found 70; expected a number from 0 to 1, or other bounds for dice in --config",
    ),
    "a negative distance": (WIDE.replace("0.7,5", "0.7,-5"), "line 4, column hd95: found -5; expected at least 0"),
    "decimal commas beside points": (
        WIDE.replace(",", ";").replace("0.9", "0,9"),
        "line 3, column dice: found '0.8'; expected a decimal comma as on line 2",
    ),
    "a number with underscores": (WIDE.replace("0.7", "0_7"), "line 4, column dice: found '0_7'; expected a number"),
    "a share with a sign": (WIDE.replace("0.7", "70%"), "line 4, column dice: found '70%'; expected a number"),
    "a column without a name": (",algorithm,case,dice\n7,a,c1,1\n", "line 1, column 1: found no name; expected a name"),
    "a quote that is never closed": (
        'algorithm,case,dice\na,c1,0.5\n"b,c1,0.4\nb,c2,0.4\n',
        "line 3: found what is no CSV (unexpected end of data); expected cells separated by ','",
    ),
    "a line break inside a name": (
        'algorithm,case,dice\n"a\nx",c1,0.5\nb,c1,0.4\n',
        "line 2, column algorithm: found 'a\\nx'; expected a name without line breaks and control characters",
    ),
    "a fault after a quoted line break": (
        'algorithm,case,dice,remark\na,c1,0.5,"one\ntwo"\nb,c1,high,\n',
        "line 4, column dice: found 'high'",
    ),
    "a name that paints the terminal": (WIDE.replace("b,c1", "\x1b[31mb,c1"), "found '\\x1b[31mb'; expected a name"),
    "a cell without end": (WIDE + "c" * 200_000 + ",c1,s0,1,1\n", "line 6: found what is no CSV (field larger than"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_place(folder: Path, name: str) -> None:
    text, message = BROKEN[name]
    result = run(folder, text)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("latin-1", "line 4: found the byte 0xfc; expected UTF-8"), ("utf-16", "line 1: found the byte 0xff; expected")],
)
def test_a_file_in_another_encoding_is_refused_with_its_line(folder: Path, encoding: str, message: str) -> None:
    (folder / "scores.csv").write_bytes(WIDE.replace("\nb,", "\nMüller,").encode(encoding))
    result = CliRunner().invoke(rank, [str(folder / "scores.csv")], catch_exceptions=False)
    assert result.exit_code == 1
    assert message in result.output


def test_a_metric_with_stated_bounds_is_held_to_those(folder: Path) -> None:
    (folder / "percent.yaml").write_text("metrics: [{id: dice, bounds: [0, 100]}]\n")
    text = WIDE.replace("0.", "90.")
    assert run(folder, text, "--config", str(folder / "percent.yaml"), "--bootstrap", "0").exit_code == 0
    outside = run(folder, text.replace("90.7", "101"), "--config", str(folder / "percent.yaml"))
    assert "line 4, column dice: found 101; expected a number from 0 to 100" in outside.output


def test_without_matplotlib_there_are_ranks_and_a_word_on_what_to_install(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "evaluator.reports", None)
    result = run(folder, WIDE, "-o", str(folder / "ranks.csv"), "--report", str(folder / "report.html"))
    assert result.exit_code == 1
    assert "expected it for a report: pip install matplotlib" in result.output
    assert (folder / "ranks.csv").exists()


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    for option in ("-o", "--json", "--report"):
        result = run(folder, WIDE, "--bootstrap", "0", option, str(folder / "nowhere" / "out"))
        assert result.exit_code == 1
        assert f"{folder}/nowhere/out: No such file or directory" in result.output


METRICS = ("dice", "precision", "recall", "nsd", "hd95", "assd", "time")


def crowded() -> str:
    """Two algorithms whose long names differ in the middle, seven metrics."""
    head = "algorithm,case," + ",".join(METRICS)
    names = [f"institute-of-medical-image-computing-team-{number}-final-ensemble" for number in (1, 2)]
    lines = [
        ",".join((name, f"c{case}", *("0.5" if name == names[0] else "0.25" for _ in METRICS)))
        for name in names
        for case in range(2)
    ]
    return "\n".join((head, *lines)) + "\n"


@pytest.mark.parametrize("width", [80, 120])
def test_the_board_fits_the_terminal_and_names_what_it_leaves_out(folder: Path, monkeypatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run(folder, crowded(), "--bootstrap", "0").output.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].split()[2] != lines[2].split()[2], "the names are told apart"
    shown = lines[0].split()[5:]
    note = " ".join(lines)
    assert [name for name in METRICS if name not in shown] == [
        name for name in METRICS if f" {name}" in note.partition("not shown")[2]
    ]


def test_a_pipe_gets_everything_on_one_line_each(folder: Path, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    lines = run(folder, crowded(), "--bootstrap", "0").output.splitlines()
    assert lines[0].split()[4:] == ["rank", "set", "score", *METRICS]
    assert "institute-of-medical-image-computing-team-1-final-ensemble" in lines[1]


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
