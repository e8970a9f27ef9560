"""Score tables as people write them: every spelling below is the same table, and what could mean two things is refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluator.commands.rank import rank

PLAIN = "algorithm,case,dice,hd95\na,c1,0.9,3\na,c2,0.8,4.5\nb,c1,0.7,5\nb,c2,0.6,6\n"
CONFIG = "metrics: [dice, hd95]\nmissing: {any: rank_last}\n"


def run(folder: Path, text: str, *options: str):
    (folder / "scores.csv").write_text(text, "utf-8")
    options = ("--bootstrap", "0", "-o", str(folder / "ranks.csv"), *options)
    return CliRunner().invoke(rank, [str(folder / "scores.csv"), *options], catch_exceptions=False)


def ranks(folder: Path, text: str, *options: str) -> str:
    result = run(folder, text, *options)
    assert result.exit_code == 0, result.output
    return (folder / "ranks.csv").read_text("utf-8")


@pytest.fixture
def config(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "ranking.yaml").write_text(CONFIG)
    return "--config", str(tmp_path / "ranking.yaml")


@pytest.mark.parametrize(
    "header",
    [
        *("algorithm,case,Dice,HD95", "Model,Subject,DSC,HD95 (mm)", "team,case_id,Dice score,95% HD"),
        *("METHOD,Name,DICE,hd 95", "Username,filename,Dice_Coefficient,Hausdorff Distance 95 [mm]"),
        *("algorithm,image,dice,HD-95", "model,Case ID,Dice Similarity Coefficient,95HD"),
    ],
)
def test_columns_are_read_as_people_spell_them(tmp_path: Path, config: tuple[str, str], header: str) -> None:
    expected = ranks(tmp_path, PLAIN, *config)
    assert ranks(tmp_path, PLAIN.replace("algorithm,case,dice,hd95", header), *config) == expected


def test_the_table_of_most_papers_needs_no_configuration(tmp_path: Path) -> None:
    assert ranks(tmp_path, PLAIN.replace("dice,hd95", "Dice,HD95")) == ranks(tmp_path, PLAIN)


def test_metrics_of_the_long_form_are_read_as_people_spell_them(tmp_path: Path, config: tuple[str, str]) -> None:
    rows = [line.split(",") for line in PLAIN.splitlines()[1:]]
    text = "Model,Case,Metric,Value\n" + "".join(
        f"{name},{case},DSC,{dice}\n{name},{case},HD95 (mm),{hd95}\n" for name, case, dice, hd95 in rows
    )
    assert ranks(tmp_path, text, *config) == ranks(tmp_path, PLAIN, *config)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_decimal_comma_is_read_between_semicolons_and_tabs(tmp_path: Path, separator: str) -> None:
    text = PLAIN.replace(",", separator).replace(".", ",")
    assert ranks(tmp_path, text) == ranks(tmp_path, PLAIN)


@pytest.mark.parametrize("cell", ["", "  ", "NA", "N/A", "#N/A", "<NA>", "-", "nan", "NULL"])
def test_a_missing_value_is_never_a_score(tmp_path: Path, config: tuple[str, str], cell: str) -> None:
    assert "found no value for b / c1 / dice" in run(tmp_path, PLAIN.replace("0.7", cell)).output
    assert ranks(tmp_path, PLAIN.replace("0.7", cell), *config) == ranks(tmp_path, PLAIN.replace("0.7", ""), *config)


@pytest.mark.parametrize("line", ["", "   ", ",,,", " , , , "])
def test_a_blank_line_is_nothing(tmp_path: Path, line: str) -> None:
    assert ranks(tmp_path, PLAIN.replace("b,c1", f"{line}\nb,c1") + f"{line}\n") == ranks(tmp_path, PLAIN)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("model,subject,dice,method", "found columns model and method, which can both be the algorithm"),
        ("algorithm,case,Dice,DSC", "found columns Dice and DSC, which are both dsc; expected one of them"),
        ("algorithm,case,dice,HD95 (voxels)", "found 'HD95 (voxels)'; expected hd95 in mm"),
        ("algorithm,case,Dice (%),hd95", "found 'Dice (%)'; expected dice in no unit, as a share"),
        ("algorithm,case,dcie,remark", "did you mean dice?"),
    ],
)
def test_what_could_mean_two_things_is_refused(tmp_path: Path, header: str, message: str) -> None:
    result = run(tmp_path, PLAIN.replace("algorithm,case,dice,hd95", header))
    assert result.exit_code == 1
    assert message in result.output


def test_a_team_beside_a_method_stays_the_team(tmp_path: Path) -> None:
    text = "Team,Method,Case,Dice\nA,a1,c1,0.9\nB,b1,c1,0.7\n"
    assert "a1,1,1.0" in ranks(tmp_path, text)


def test_how_each_column_was_understood_is_printed_on_request(tmp_path: Path) -> None:
    result = run(tmp_path, PLAIN.replace("algorithm,case,dice,hd95", "Model,Subject,DSC,HD95 (mm)"), "--explain")
    assert "column Model: the algorithm\n" in result.output
    assert "column HD95 (mm): metric hd95, smaller is better, in mm\n" in result.output
    assert "column" not in run(tmp_path, PLAIN).output
