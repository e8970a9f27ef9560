"""The report: one file that needs nothing else, complete, escaped, deterministic, and drawn for everybody's eyes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from evaluator.ranking import ScoreTable, parse_ranking
from evaluator.ranking.analysis import analyse
from evaluator.reports import write_report

SKILL = {"alpha <b>&": 0.9, "beta": 0.85, "gamma": 0.8, "delta": 0.6}
CONFIG = {
    "metrics": ["dice"],
    "missing": {"any": 0},
    "scheme": {"type": "mean_of_ranks", "rank_at": ["case"]},
    "subgroups": [{"attribute": "site", "minimum_cases": 5}],
    "multi_task": {"consensus": "kemeny_linear"},
}


def table(*, algorithms=SKILL, cases=24) -> ScoreTable:
    random = np.random.default_rng(1)
    rows, attributes = [], {}
    for index in range(cases):
        attributes[f"c{index}"] = {"site": "ABC"[index % 3] if index else "D", "task": "xyz"[index % 3]}
        for name, skill in algorithms.items():
            value = None if (name, index) == ("beta", 3) else round(min(1.0, skill + random.normal(0, 0.05)), 3)
            rows.append((name, f"c{index}", "", "dice", value, "" if value is not None else "timeout"))
    return ScoreTable.from_rows(rows, attributes=attributes)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    scores = table()
    analysis = analyse(scores, parse_ranking(CONFIG), bootstrap=60, seed=3)
    write_report(scores, analysis, html=folder / "report.html", folder=folder / "files", title="A <test> challenge")
    return folder


def test_the_page_needs_nothing_from_elsewhere(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "<script" not in text
    fetched = re.findall(r'(?:src|href|xlink:href)="(?!#|data:)([^"]*)"|url\((?!#)([^)]*)\)|@import', text)
    assert fetched == []


def test_every_section_is_there_and_linked(report: Path) -> None:
    text = (report / "report.html").read_text()
    sections = ("ranking", "stability", "metrics", "tasks", "subgroups", "missing", "checklist", "data")
    for anchor in sections:
        assert f'id="{anchor}"' in text
        assert f'href="#{anchor}"' in text
    assert text.count("<figure>") == text.count('role="img" aria-label=') >= 13
    assert "Left out, too few cases: D (1)." in text
    assert "not stated by the organizers" in text
    assert "timeout" in text


def test_names_cannot_break_out_of_the_page(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "alpha <b>" not in text
    assert "alpha &lt;b&gt;&amp;" in text
    assert "A &lt;test&gt; challenge" in text


def test_figures_and_tables_are_files_too(report: Path) -> None:
    files = {path.name for path in (report / "files").iterdir()}
    names = {path.removesuffix(".svg") for path in files if path.endswith(".svg")}
    kinds = ("forest", "boxes", "podium", "heatmap", "significance", "methods")
    assert {f"dice-{kind}" for kind in kinds} | {
        "blob",
        "tau",
        "task-dendrogram-average",
        "subgroup-site-dice",
    } <= names
    assert {f"{name}.png" for name in names} <= files
    for name in names:
        ET.parse(report / "files" / f"{name}.svg")
    assert (report / "files" / "ranks.csv").read_text().startswith("algorithm,rank,score")
    assert json.loads((report / "files" / "analysis.json").read_text())["bootstrap"] == 60


def test_ink_follows_the_page_and_text_stays_text(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "var(--ink)" in text
    assert "#1f2a37" not in text.partition("</style>")[2].lower()
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"<text[^>]*>beta</text>", text)


def test_the_same_scores_give_the_same_page(report: Path, tmp_path: Path) -> None:
    scores = table()
    analysis = analyse(scores, parse_ranking(CONFIG), bootstrap=60, seed=3)
    write_report(scores, analysis, html=tmp_path / "again.html", title="A <test> challenge")
    assert (tmp_path / "again.html").read_text() == (report / "report.html").read_text()


@pytest.mark.parametrize("missing", ["rank_last", "disqualify"])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_boards_of_any_size_have_a_report(tmp_path: Path, count: int, missing: str) -> None:
    algorithms = {f"a{index}": 0.9 - 0.02 * index for index in range(count - 1)} | {"beta": 0.5}
    scores = table(algorithms=algorithms, cases=6)
    config = parse_ranking({"metrics": ["dice"], "missing": {"any": missing}, "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), html=tmp_path / "r.html", title="small")
    assert "Reporting checklist" in (tmp_path / "r.html").read_text()


def test_a_long_board_draws_its_best_and_lists_all(tmp_path: Path) -> None:
    algorithms = {f"a{index}": 0.95 - 0.01 * index for index in range(33)}
    scores = table(algorithms=algorithms, cases=6)
    config = parse_ranking({"metrics": ["dice"], "missing": {"any": 0}, "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), html=tmp_path / "r.html", title="long")
    text = (tmp_path / "r.html").read_text()
    assert "figures show the best 30 of 33 algorithms; tables, all" in text
    assert "<td>a32</td>" in text
    assert not re.search(r"<text[^>]*>a32</text>", text)


def test_the_checklist_says_what_was_run_and_not_what_might_have_been(report: Path) -> None:
    assert "60 bootstrap replicates over cases (seed 3)" in (report / "report.html").read_text()


def test_a_board_of_one_case_claims_no_stability(tmp_path: Path) -> None:
    scores = table(cases=1)
    config = parse_ranking({"metrics": ["dice"], "missing": {"any": 0}, "scheme": "value"})
    write_report(scores, analyse(scores, config), html=tmp_path / "r.html", title="one case")
    text = (tmp_path / "r.html").read_text()
    assert "one case cannot be resampled" in text
    assert "bootstrap replicates." not in text
    assert "claim false: 100" not in text
    assert 'id="stability"' not in text


def test_a_board_of_equal_algorithms_has_a_report(tmp_path: Path) -> None:
    rows = [(name, f"c{i}", "", "dice", 0.5, "") for name in "ab" for i in range(3)]
    scores = ScoreTable.from_rows(rows)
    config = parse_ranking({"metrics": ["dice"], "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), html=tmp_path / "r.html", title="tied")
    assert "a and b share first place" in (tmp_path / "r.html").read_text()


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
def test_a_browser_shows_the_page_in_light_and_dark(report: Path, tmp_path: Path) -> None:
    """The page is painted, and the dark one is dark: judged by the mean brightness of its picture."""
    from PIL import Image

    dark = tmp_path / "dark.html"
    dark.write_text((report / "report.html").read_text().replace("(prefers-color-scheme: dark)", "all"))
    brightness = {}
    for name, page in (("light", report / "report.html"), ("dark", dark)):
        picture = tmp_path / f"{name}.png"
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,4000"]
        subprocess.run(
            [*command, f"--screenshot={picture}", f"file://{page}"], check=True, capture_output=True, timeout=120
        )
        pixels = np.asarray(Image.open(picture).convert("L"), dtype=float)
        brightness[name] = pixels.mean()
        assert len(np.unique(pixels)) > 50, "something is drawn"
    assert brightness["light"] > 200 > 80 > brightness["dark"]
