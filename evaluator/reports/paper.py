"""What a paper takes: figures at the width and font of its columns, tables for LaTeX and Word, and a paragraph on the methods."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import font_manager

from evaluator.ranking.analysis import Analysis
from evaluator.ranking.document.config import Test
from evaluator.ranking.document.words import in_words
from evaluator.ranking.rank_files import span

MM_PER_INCH = 25.4
FORMATS = ("svg", "png", "pdf")
_WIDTH = re.compile(r"(\d+(?:\.\d+)?)\s*(mm|cm|in)")
_FONT = re.compile(r"(.+?)\s+(\d+(?:\.\d+)?)\s*pt")
_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Paper:
    """How figures are drawn as files. `width_mm` None: as in the page."""

    width_mm: float | None = None
    font: str = "DejaVu Sans"
    points: float = 9.0
    formats: tuple[str, ...] = ("svg", "png")
    top: int | None = None

    @classmethod
    def of(cls, *, width: str | None, font: str | None, formats: str | None, top: int | None) -> "Paper":
        """From the words of a command line: `88mm`, `Helvetica 7pt`, `pdf,svg`. Raises ValueError with what was expected."""
        found = _WIDTH.fullmatch(width.strip()) if width else None
        if width and (found is None or float(found[1]) <= 0):
            raise ValueError(f"--width: found {width!r}; expected a length such as 88mm, 18cm or 3.5in")
        named = _FONT.fullmatch(font.strip()) if font else None
        if font and named is None:
            raise ValueError(f"--font: found {font!r}; expected a name and a size, such as Helvetica 7pt")
        chosen = tuple(part.strip().lower() for part in formats.split(",")) if formats else ("svg", "png")
        unknown = [part for part in chosen if part not in FORMATS]
        if unknown:
            raise ValueError(f"--format: found {', '.join(unknown)}; expected some of {', '.join(FORMATS)}")
        millimetres = {"mm": 1.0, "cm": 10.0, "in": MM_PER_INCH}
        return cls(
            width_mm=float(found[1]) * millimetres[found[2]] if found else None,
            font=named[1] if named else "DejaVu Sans",
            points=float(named[2]) if named else 9.0,
            formats=chosen,
            top=top,
        )

    @property
    def has_font(self) -> bool:
        """Whether this machine has the font. SVG names it all the same; PDF and PNG are drawn with another one."""
        return self.font in {entry.name for entry in font_manager.fontManager.ttflist}


def table_rows(analysis: Analysis, *, top: int | None) -> tuple[list[str], list[list[str]]]:
    """The board as a paper prints it: rank, algorithm, rank set, and each metric with its interval."""
    header = ["Rank", "Algorithm", *(["Rank set"] if analysis.sets else []), *analysis.metrics]
    rows = []
    for entry in [entry for entry in analysis.ranking.entries if entry.rank is not None][:top]:
        index = analysis.algorithms.index(entry.algorithm)
        sets = [] if analysis.sets is None else [span(analysis.sets.low[index], analysis.sets.high[index])]
        cells = []
        for name, part in analysis.metrics.items():
            value, low, high = entry.aggregates.get(name), part.interval.low[index], part.interval.high[index]
            interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite([low, high]).all() else ""
            cells.append("–" if value is None else f"{value:.3f}{interval}")
        rows.append([f"{entry.rank:g}", entry.algorithm, *sets, *cells])
    return header, rows


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """A table for the package booktabs."""
    columns = "rl" + "c" * (len(header) - 2)
    body = " \\\\\n".join(" & ".join(map(_latex, row)) for row in rows)
    return (
        f"\\begin{{table}}\n\\caption{{{_latex(caption)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{' & '.join(map(_latex, header))} \\\\\n\\midrule\n{body} \\\\\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def word_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> None:
    """A Word document with one table. The same table gives the same bytes."""

    def paragraph(text: str, *, is_bold: bool = False) -> str:
        bold = "<w:rPr><w:b/></w:rPr>" if is_bold else ""
        return f'<w:p><w:r>{bold}<w:t xml:space="preserve">{escape(text, quote=False)}</w:t></w:r></w:p>'

    def row(cells: Sequence[str], *, is_bold: bool = False) -> str:
        return "<w:tr>" + "".join(f"<w:tc>{paragraph(cell, is_bold=is_bold)}</w:tc>" for cell in cells) + "</w:tr>"

    lines = "".join(
        f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="auto"/>' for side in ("top", "bottom", "insideH")
    )
    table = (
        f'<w:tbl><w:tblPr><w:tblW w:w="0" w:type="auto"/><w:tblBorders>{lines}</w:tblBorders></w:tblPr>'
        f"<w:tblGrid>{'<w:gridCol/>' * len(header)}</w:tblGrid>{row(header, is_bold=True)}{''.join(map(row, rows))}</w:tbl>"
    )
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    start = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    parts = {
        "[Content_Types].xml": f'{start}<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
        "_rels/.rels": f'{start}<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'{start}<w:document xmlns:w="{main}"><w:body>{paragraph(caption)}{table}'
        "<w:sectPr/></w:body></w:document>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), text)


def methods_text(analysis: Analysis, *, cases: int, version: str) -> str:
    """A paragraph on the methods, with versions (`version` is the evaluator's), and what it cites."""
    config = analysis.ranking.config
    rules = config.significance
    tests = {
        Test.WILCOXON: (
            "Wilcoxon's signed-rank test",
            "Wilcoxon F. Individual comparisons by ranking methods. Biometrics 1 (1945).",
        ),
        Test.T_PAIRED: ("the paired t-test", "Student. The probable error of a mean. Biometrika 6 (1908)."),
        Test.E_VALUE: (
            "a sign test by betting that is valid after every case",
            "Ramdas A. et al. Game-theoretic statistics and safe anytime-valid inference. Stat. Sci. 38 (2023).",
        ),
        Test.PERMUTATION: ("a sign-flip permutation test", "Fisher R. A. The Design of Experiments (1935)."),
        Test.BOOTSTRAP: (
            "a bootstrap test of the difference",
            "Efron B., Tibshirani R. An Introduction to the Bootstrap (1993).",
        ),
    }
    test, source = tests[rules.test]
    sentences = [
        f"{len(analysis.algorithms)} algorithms were ranked on {cases} cases with {f'Assay {version}'.strip()} (NumPy {np.__version__}).",
        in_words(config),
        (
            f"Neighbours in the ranking were compared by {test}, {'one' if rules.is_one_sided else 'two'}-sided at {rules.alpha:g}, "
            "adjusted after Holm over all neighbouring pairs."
        ),
    ]
    cited = [source, "Holm S. A simple sequentially rejective multiple test procedure. Scand. J. Stat. 6 (1979)."]
    if analysis.bootstrap:
        sentences.append(
            f"The ranking was repeated on {analysis.bootstrap} bootstrap samples of the {config.cluster}s (seed {analysis.seed}); mean "
            f"Kendall's tau with the ranking of all was {analysis.tau.mean if analysis.tau.mean is not None else float('nan'):.3f}."
        )
        cited.append(
            "Wiesenfarth M. et al. Methods and open-source toolkit for analyzing and visualizing challenge results. Sci. Rep. 11 (2021)."
        )
    kinds = {part.interval.method for part in analysis.metrics.values()}
    if "studentised bootstrap" in kinds:
        sentences.append("Intervals of metrics are studentised bootstrap intervals.")
        cited.append("Hall P. Theoretical comparison of bootstrap confidence intervals. Ann. Stat. 16 (1988).")
    if "BCa bootstrap" in kinds:
        sentences.append("Intervals of metrics are bias-corrected and accelerated bootstrap intervals.")
        cited.append("Efron B. Better bootstrap confidence intervals. J. Am. Stat. Assoc. 82 (1987).")
    if analysis.sets is not None:
        sentences.append(
            f"Rank sets are simultaneous {analysis.sets.confidence:.0%} confidence sets from the largest studentised difference of "
            "all pairs."
        )
        cited.append("Mogstad M. et al. Inference for ranks. Rev. Econ. Stud. 91 (2024).")
    sentences.append(f"Scores and rules have the SHA-256 {analysis.ranking.input_sha256}.")
    numbered = "\n".join(f"[{number}] {text}" for number, text in enumerate(cited, 1))
    return f"{' '.join(filter(None, sentences))}\n\n{numbered}\n"
