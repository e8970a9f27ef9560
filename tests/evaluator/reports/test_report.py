"""The report: one file that needs nothing else, complete, escaped, deterministic, and drawn for everybody's eyes."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser

from chromium import needs_chromium, picture_of, running_chromium
from evaluator.protocol import load_named_protocol
from evaluator.ranking import ScoreTable, parse_ranking
from evaluator.ranking.analysis import analyse
from evaluator.reports import write_report
from evaluator.reports.checklist import items
from evaluator.reports.theme import readable_on

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]  # one process draws the page for all of them

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
    own = ("significance", "methods")  # of a task: the consensus has neither
    assert {f"dice-{kind}" for kind in ("forest", "boxes", "podium", "heatmap")} | {
        f"x-dice-{kind}" for kind in own
    } | {
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
    assert (report / "files" / "missing.csv").read_text() == "algorithm,metric,reason,values\nbeta,dice,timeout,1\n"
    with (report / "files" / "subgroup-site-pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert [(row["group"], row["other group"]) for row in pairs[:3]] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert len(pairs) == 4 * 3
    assert {"consensus.csv", "subgroup-site-ranks.csv", "subgroup-site-tests.csv"} <= files


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


def test_the_checklist_is_filled_from_the_protocol() -> None:
    protocol = load_named_protocol("kits23")
    texts = {item.heading: item.text for item in items(parse_ranking(protocol.ranking), protocol)}
    assert protocol.sha256 in texts["Protocol"]
    assert "tumor (surface tolerance 1.14982 mm)" in texts["Target structures"]
    assert "Structure present, nothing predicted: dice 0, nsd 0" in texts["Empty and failed cases"]
    assert texts["Limits of a run"].startswith("600 s per")
    assert all(fact in texts["Unconfirmed"] for fact in protocol.document["unconfirmed"])


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


def test_long_names_that_begin_alike_are_told_apart_in_every_figure(tmp_path: Path) -> None:
    algorithms = {
        f"department-of-medical-image-computing-{index}-nnunet-final": 0.9 - 0.05 * index for index in range(3)
    }
    scores = table(algorithms=algorithms)
    config = parse_ranking({"metrics": ["dice"], "missing": {"any": 0}, "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), folder=tmp_path, title="long")
    for figure in (
        "blob",
        "dice-forest",
        "dice-boxes",
        "dice-podium",
        "dice-heatmap",
        "dice-significance",
        "dice-methods",
    ):
        shown = {
            text
            for text in re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / f"{figure}.svg").read_text())
            if "…" in text
        }
        assert len(shown) >= 3, figure
        assert {str(index) for index in range(3)} <= set("".join(shown)), figure


@pytest.mark.parametrize("name", ["$\\frac{1$ team", "_baseline", "日本語チーム", "a < b & c", "العربية"])
def test_any_name_is_drawn_as_it_is(tmp_path: Path, name: str) -> None:
    scores = table(algorithms={name: 0.9, "beta": 0.5})
    config = parse_ranking({"metrics": ["dice"], "missing": {"any": 0}, "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), folder=tmp_path, title="names")
    for figure in ("dice-podium", "dice-forest", "dice-methods"):
        shown = ET.parse(tmp_path / f"{figure}.svg").iter("{http://www.w3.org/2000/svg}text")
        assert name in {text.text for text in shown}, figure


def test_every_task_has_its_own_pictures_folded_away(report: Path) -> None:
    text = (report / "report.html").read_text()
    for task in "xyz":
        assert f"<summary>{task}, 8 cases</summary>" in text
        for name in ("boxes", "podium", "heatmap", "significance", "methods", "forest"):
            assert (report / "files" / f"{task}-dice-{name}.svg").exists()
        assert (report / "files" / f"{task}-blob.svg").exists()
    for name in ("task-taus", "task-blobs", "task-frequencies"):
        assert (report / "files" / f"{name}.svg").exists()


def test_penalties_far_away_do_not_flatten_what_was_measured(tmp_path: Path) -> None:
    rows = [
        (name, f"c{case}", "", "hd95", 374.0 if (name, case) == ("a", 0) else 2.0 + case / 10, "")
        for name in "ab"
        for case in range(20)
    ]
    scores = ScoreTable.from_rows(rows)
    config = parse_ranking({"metrics": ["hd95"], "scheme": "value"})
    write_report(scores, analyse(scores, config, bootstrap=10), folder=tmp_path, title="far")
    assert "logarithmic beyond 5" in (tmp_path / "hd95-boxes.svg").read_text()


@pytest.mark.parametrize("colours", ["cividis", "cividis_r", "Blues_r"])
def test_numbers_on_a_coloured_map_have_a_contrast_of_four_and_a_half(colours: str) -> None:
    axes = Figure().add_subplot()
    image = axes.imshow(np.arange(101)[None], cmap=colours)
    for value in range(101):
        shade = {"black": 0.0, "white": 1.0}[readable_on(image, value)]
        red, green, blue, _ = image.to_rgba(np.array([float(value)]))[0]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
        ground = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (max(shade, ground) + 0.05) / (min(shade, ground) + 0.05) >= 4.5, value


FAINT_TEXT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const style = getComputedStyle(node), own = node instanceof SVGElement ? style.fill : style.color;
    if (node instanceof SVGElement && ["rgb(0, 0, 0)", "rgb(255, 255, 255)"].includes(own)) continue; // on a map's own colours
    const [a, b] = [luminance(parse(own)), luminance(ground(node.closest("svg")?.parentElement ?? node))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.push(node.textContent);
  }
  return faint;
}"""
SMALLEST_LETTER = """() => Math.min(...[...document.querySelectorAll("figure svg text")].map((text) => {
  const svg = text.ownerSVGElement;
  return svg.clientWidth ? parseFloat(getComputedStyle(text).fontSize) * svg.clientWidth / svg.viewBox.baseVal.width : 99;
}))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


@pytest.mark.browser
@needs_chromium
class TestInABrowser:
    """The page as people see it."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [390, 1400])
    def test_nothing_sticks_out_and_every_letter_can_be_read(
        self, report: Path, browser: Browser, width: int, scheme: Literal["light", "dark"]
    ) -> None:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(f"file://{report}/report.html")
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(FAINT_TEXT) == []
        assert page.evaluate(SMALLEST_LETTER) > 9
        pixels = np.asarray(Image.open(io.BytesIO(picture_of(page))).convert("L"), dtype=float)
        assert len(np.unique(pixels)) > 50, "something is drawn"
        assert (pixels.mean() > 200) if scheme == "light" else (pixels.mean() < 80)
        page.close()

    def test_figures_follow_the_window(self, report: Path, browser: Browser) -> None:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"file://{report}/report.html")
        widths = []
        for width in (1400, 800, 390):
            page.set_viewport_size({"width": width, "height": 900})
            widths.append(page.evaluate("document.querySelector('figure svg').clientWidth"))
        assert widths[1] > widths[0] > widths[2] > 390, "two stand side by side; the last one scrolls inside its frame"
        page.close()

    @pytest.mark.parametrize(("width", "columns"), [(1280, 2), (800, 1)])
    def test_figures_stand_in_two_columns_where_there_is_room(
        self, report: Path, browser: Browser, width: int, columns: int
    ) -> None:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(f"file://{report}/report.html")
        starts = page.evaluate(
            "[...document.querySelectorAll('h3 + .figures')[0].children].map((each) => each.getBoundingClientRect().left)"
        )
        assert len(set(starts)) == columns
        page.close()

    def test_paper_shows_what_is_folded_in_ink_on_white(self, report: Path, browser: Browser) -> None:
        page = browser.new_page(viewport={"width": 720, "height": 900}, color_scheme="dark")
        page.goto(f"file://{report}/report.html")
        page.emulate_media(media="print", color_scheme="dark")
        assert min(page.evaluate("[...document.querySelectorAll('details')].map((each) => each.offsetHeight)")) > 150
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth") == 720
        page.close()
