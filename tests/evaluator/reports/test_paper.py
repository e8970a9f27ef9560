"""What a paper takes: figures at the width of its columns, tables for LaTeX and Word, effect sizes and their sources."""

import base64
import io
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from scipy import stats

from evaluator.commands.rank import rank
from evaluator.ranking import ScoreTable, analyse, parse_ranking
from evaluator.ranking.statistics.effects import cliffs_delta, critical_difference, nemenyi_quantile
from evaluator.reports.data import gather
from evaluator.reports.figures import significance_map
from evaluator.reports.output import png, settle, svg, with_palette
from evaluator.reports.paper import Paper, latex_table
from evaluator.reports.theme import new_figure, style

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("count", "published"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_quantile_of_nemenyi_is_that_of_demsars_table(count: int, published: float) -> None:
    assert nemenyi_quantile(count, 0.05) == pytest.approx(published, abs=1.1e-3)
    assert nemenyi_quantile(count, 0.05) == pytest.approx(
        stats.studentized_range.ppf(0.95, count, 1e6) / np.sqrt(2), abs=1e-3
    )


def test_the_critical_difference_is_demsars_example() -> None:
    """Demšar 2006, page 16: four classifiers on 14 data sets, CD = 2.569 √(4 · 5 / 6 · 14) = 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_cliffs_delta_counts_every_pair() -> None:
    random = np.random.default_rng(0)
    values = np.round(random.random((3, 15)), 1)
    values[1, 3] = np.nan
    delta = cliffs_delta(values, larger_is_better=True)
    for i in range(3):
        for j in range(3):
            a, b = values[i][~np.isnan(values[i])], values[j][~np.isnan(values[j])]
            assert delta[i, j] == pytest.approx(np.sign(a[:, None] - b[None]).mean() if i != j else 0)
    assert np.array_equal(cliffs_delta(values, larger_is_better=False), -delta)


def scores(folder: Path, count: int = 5) -> Path:
    random = np.random.default_rng(1)
    names = ["A&B_1", "nn-U <Net>", *(f"team {i}" for i in range(count - 2))]
    rows = [
        f"{name},c{case},{min(1, 0.9 - 0.05 * place + random.normal(0, 0.05)):.4f}"
        for place, name in enumerate(names)
        for case in range(20)
    ]
    (folder / "s.csv").write_text("\n".join(["algorithm,case,dice", *rows, ""]))
    return folder / "s.csv"


def run(*arguments: object):
    return CliRunner().invoke(rank, [*map(str, arguments), "--bootstrap", "20"], catch_exceptions=False)


def test_p_and_effect_of_eight_algorithms_are_legible_in_a_column_of_88_millimetres() -> None:
    random = np.random.default_rng(2)
    values = 0.85 - np.linspace(0, 0.05, 8)[:, None] + random.normal(0, 0.05, 60) + random.normal(0, 0.03, (8, 60))
    table = ScoreTable.from_arrays(
        algorithms=[f"Method {letter}-net" for letter in "ABCDEFGH"],
        cases=[f"c{case}" for case in range(60)],
        metrics={"dice": np.clip(values, 0, 1)},
    )
    config = parse_ranking({"metrics": ["dice"], "scheme": "value"})
    data = gather(table, analyse(table, config, bootstrap=20), title="x")
    with style(width=88 / 25.4, points=7.0):
        figure = significance_map(data, "dice")
        assert figure is not None
        settle(figure)
        axes = figure.axes[0]
        renderer = FigureCanvasAgg(figure).get_renderer()
        written = [text for text in axes.texts if "\n" in text.get_text()]
        assert len(written) == 8 * 7
        cell = 0.88 * abs(axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0])
        for text in written:
            extent = text.get_window_extent(renderer)
            assert text.get_fontsize() >= 5
            assert extent.width <= cell
            assert extent.height <= cell


def test_figures_have_the_width_of_a_column_and_the_formats_asked_for(tmp_path: Path) -> None:
    result = run(
        scores(tmp_path), "--figures", tmp_path / "f", "--width", "88mm", "--font", "DejaVu Sans 7pt", "--format", "pdf,png,svg",
        "--top", 3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "f").iterdir()}
    kinds = ("forest", "boxes", "podium", "significance", "critical-difference")
    assert {f"dice-{kind}.{end}" for kind in kinds for end in ("pdf", "png", "svg")} <= names
    with Image.open(tmp_path / "f" / "dice-forest.png") as image:
        assert image.width / 200 * 25.4 == pytest.approx(88, abs=0.2)
    width = ET.parse(tmp_path / "f" / "dice-forest.svg").getroot().get("width")
    assert float(width.removesuffix("pt")) / 72 * 25.4 == pytest.approx(88, abs=0.2)
    assert (tmp_path / "f" / "dice-forest.pdf").read_bytes().startswith(b"%PDF")
    text = (tmp_path / "f" / "dice-forest.svg").read_text()
    assert "team 0" in text
    assert "team 2" not in text, "the best three only"


def test_tables_and_methods_are_written_for_papers(tmp_path: Path) -> None:
    run(scores(tmp_path), "--figures", tmp_path / "f")
    latex = (tmp_path / "f" / "ranks.tex").read_text()
    assert r"1 & A\&B\_1 & " in latex
    assert latex.count(r"\\") == 6
    with zipfile.ZipFile(tmp_path / "f" / "ranks.docx") as archive:
        assert archive.testzip() is None
        root = ET.fromstring(archive.read("word/document.xml"))
    texts = [node.text for node in root.iter() if node.tag.endswith("}t")]
    assert "nn-U <Net>" in texts
    methods = (tmp_path / "f" / "methods.txt").read_text()
    assert methods.startswith("5 algorithms were ranked on 20 cases with Assay ")
    assert "20 bootstrap samples of the cases" in methods
    assert "[1] Wilcoxon F." in methods


def test_latex_marks_are_escaped() -> None:
    assert r"50\% of \textbackslash{}x \{a\}" in latex_table(
        ["Rank", "Algorithm"], [["1", "50% of \\x {a}"]], caption=""
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--width", "wide"), "--width: found 'wide'; expected a length such as 88mm"),
        (("--font", "Helvetica"), "expected a name and a size, such as Helvetica 7pt"),
        (("--format", "pdf,gif"), "--format: found gif; expected some of svg, png, pdf"),
    ],
)
def test_words_that_say_no_figure_are_refused(tmp_path: Path, options, message: str) -> None:
    result = run(scores(tmp_path), "--figures", tmp_path / "f", *options)
    assert result.exit_code == 2
    assert message in result.output
    assert "without --figures" in run(scores(tmp_path), "--top", 3).output


def test_a_font_that_is_not_here_is_said() -> None:
    assert not Paper.of(width="3.5in", font="No Such Font 7pt", formats=None, top=None).has_font
    assert Paper.of(width="9cm", font=None, formats=None, top=None).width_mm == 90


def test_a_picture_of_dots_has_a_palette_and_is_the_smaller_of_two() -> None:
    with style():
        figure, axes = new_figure(height=2)
        axes.scatter(*np.random.default_rng(0).random((2, 4000)), s=7, alpha=0.4, linewidths=0, rasterized=True)
        (content,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", svg(figure))
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.mode == "P"
        many = io.BytesIO()
        image.convert("RGBA").save(many, "PNG", optimize=True)
    assert len(base64.b64decode(content)) < len(many.getvalue())


def test_a_png_stands_on_white_and_an_svg_on_nothing() -> None:
    with style():
        figure, _ = new_figure()
        picture = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGBA"))
        text = svg(figure)
    assert picture[0, 0].tolist() == [255, 255, 255, 255]
    assert 'id="patch_1"' not in text or "#ffffff" not in text.split('id="axes_1"')[0]


def test_a_picture_of_few_colours_keeps_them_and_one_of_many_comes_close() -> None:
    few = np.zeros((4, 5, 4), dtype=np.uint8)
    few[1:3, 1:4] = [[[200, 10, 30, 255]], [[0, 90, 180, 64]]]
    assert (np.asarray(Image.open(io.BytesIO(with_palette(few))).convert("RGBA"))[1:3, 1:4] == few[1:3, 1:4]).all()
    many = np.random.default_rng(1).integers(0, 256, (40, 40, 4)).astype(np.uint8)
    many[..., 3] = 255
    found = np.asarray(Image.open(io.BytesIO(with_palette(many))).convert("RGBA")).astype(int)
    assert np.abs(found - many).max() < 64
