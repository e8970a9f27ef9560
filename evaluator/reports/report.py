"""From a table and its analysis to the report: every figure once, in the page and, if wanted, as files of their own."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluator.protocol import Protocol
from evaluator.ranking.analysis import Analysis
from evaluator.ranking.rank_files import ranks_rows, write_rows
from evaluator.ranking.subgroups import SubgroupAnalysis
from evaluator.ranking.table import ScoreTable
from evaluator.reports import comparisons, figures, page
from evaluator.reports.data import MOST_DRAWN, ReportData, gather
from evaluator.reports.output import inline_svg, pdf, png, settle, svg
from evaluator.reports.paper import MM_PER_INCH, Paper, latex_table, methods_text, table_rows, word_table
from evaluator.reports.sections import TITLES, make_section
from evaluator.reports.theme import PAGE_WIDTH, style

MOST_PANELS = 12
NOT_IN_A_NAME = re.compile(r"[^\w@.-]+")
_SECTIONS = {
    "ranking": "Ranking",
    "stability": "How stable it is",
    "size": "Is the test set big enough?",
    "equal": "Who is practically equal?",
    "metrics": "Metric by metric",
    "tasks": "Do the tasks agree?",
    "subgroups": "Subgroups",
    "missing": "Missing values",
    "checklist": "Reporting checklist",
    "data": "Data",
}

_PICTURES: Sequence[tuple[str, Callable[[ReportData, str], Figure | None], str]] = (
    ("forest", figures.interval_forest, "Aggregates with their intervals."),
    ("boxes", figures.dot_and_box, "Every case as a dot over quartiles, median and whiskers."),
    ("podium", figures.podium, "Places in each case, joined case by case (at most 200 shown), and wins of each place."),
    ("heatmap", figures.heatmap, "How many cases gave each rank."),
    (
        "significance",
        figures.significance_map,
        "Filled: the row is significantly better than the column. In the cells the adjusted p and Cliff's delta.",
    ),
    (
        "critical-difference",
        figures.critical_difference_diagram,
        "Mean ranks; algorithms under one bar are not told apart by the Nemenyi test (Demšar 2006).",
    ),
    ("methods", figures.method_lines, "The rank each usual method would give; crossing lines mean the method decides."),
)


@dataclass(frozen=True)
class _Gallery:
    """Draws each figure once. Keeps files when a folder is given. `is_page` is false where only files are wanted."""

    folder: Path | None
    formats: tuple[str, ...] = ("svg", "png")
    is_page: bool = True

    def show(self, name: str, drawn: Figure | None, caption: str) -> str:
        """The figure for the page, or nothing when there is none to show."""
        if drawn is None:
            return ""
        settle(drawn)
        is_file = self.folder is not None and "svg" in self.formats
        text = svg(drawn) if self.is_page or is_file else ""
        shown = page.figure(inline_svg(text, label=caption), caption) if self.is_page else ""
        if self.folder is not None:
            name = NOT_IN_A_NAME.sub("-", name)
            if is_file:
                (self.folder / f"{name}.svg").write_text(text, "utf-8")
            if "png" in self.formats:
                (self.folder / f"{name}.png").write_bytes(png(drawn))
            if "pdf" in self.formats:
                (self.folder / f"{name}.pdf").write_bytes(pdf(drawn))
        return shown

    def tabulate(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> str:
        """The table for the page, and as a file."""
        if self.folder is not None and rows:
            plain = [
                {name: None if cell != cell else cell for name, cell in zip(header, row, strict=True)} for row in rows
            ]
            write_rows(plain, self.folder / f"{NOT_IN_A_NAME.sub('-', name)}.csv")
        return page.table(header, rows, caption=caption)


def write_report(
    table: ScoreTable,
    analysis: Analysis,
    *,
    html: Path | None = None,
    folder: Path | None = None,
    title: str,
    protocol: Protocol | None = None,
    paper: Paper | None = None,
    version: str = "",
) -> None:
    """Write the page, and figures and tables (CSV, JSON, LaTeX, Word) into a folder. The protocol may ask for sections of its own.

    `paper` says how figures look as files: without it they look as in the page. `version` is the evaluator's, for the methods.
    """
    data = gather(table, analysis, title=title)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if html is not None or paper is None:
        with style():
            text = render(data, _Gallery(folder=folder if paper is None else None), protocol=protocol)
        if html is not None:
            html.write_text(text, "utf-8")
    if folder is not None and paper is not None:
        own = data if paper.top is None else gather(table, analysis, title=title, most=paper.top)
        width = PAGE_WIDTH if paper.width_mm is None else paper.width_mm / MM_PER_INCH
        with style(width=width, font=paper.font, points=paper.points):
            render(own, _Gallery(folder=folder, formats=paper.formats, is_page=False), protocol=protocol)
    if folder is not None:
        header, rows = table_rows(analysis, top=None if paper is None else paper.top)
        (folder / "ranks.tex").write_text(latex_table(header, rows, caption=title), "utf-8")
        word_table(folder / "ranks.docx", header, rows, caption=title)
        (folder / "methods.txt").write_text(methods_text(analysis, cases=table.case_count, version=version), "utf-8")
        write_rows(list(ranks_rows(analysis)), folder / "ranks.csv")
        (folder / "analysis.json").write_text(json.dumps(analysis.to_json(), indent=1) + "\n", "utf-8")


def render(data: ReportData, gallery: _Gallery, *, protocol: Protocol | None = None) -> str:
    """The page. Sections that have nothing to say are left out."""
    makers: dict[str, Callable[[ReportData, _Gallery], list[str]]] = {
        "ranking": lambda d, _: [page.board(d)],
        "stability": _stability,
        "size": lambda d, _: page.plan(d),
        "equal": _equal,
        "metrics": _metrics,
        "tasks": _tasks,
        "subgroups": _subgroups,
        "missing": _missing,
        "checklist": lambda d, _: [page.checklist(d, protocol)],
        "data": lambda d, _: [page.downloads(d)],
    }
    made = {anchor: make(data, gallery) for anchor, make in makers.items()}
    titles = _SECTIONS
    if data.agreement.merged is None:
        titles = {**titles, "tasks": "Do metrics and structures agree?"}
    if protocol is not None:
        own = {
            f"own-{place}": make_section(section, data=data, protocol=protocol, gallery=gallery)
            for place, section in enumerate(protocol.report)
        }
        named = {f"own-{place}": TITLES[section.section] for place, section in enumerate(protocol.report)}
        made, titles = {**made, **own}, {"ranking": titles["ranking"], **named, **titles}
    shown = {anchor: title for anchor, title in titles.items() if made[anchor]}
    body = [page.head(data, shown), *(page.section(anchor, title, *made[anchor]) for anchor, title in shown.items())]
    return page.document(title=data.title, body=body)


def _stability(data: ReportData, gallery: _Gallery) -> list[str]:
    if not data.analysis.bootstrap or len(data.algorithms) < 2:
        return []
    tau, rule = data.analysis.tau, data.analysis.footrule
    quartiles = f"median {page.number(tau.median)}, quartiles {page.number(tau.q25)} to {page.number(tau.q75)}"
    figures_shown = (
        gallery.show(
            "blob",
            figures.blob(data),
            "Ranks under the bootstrap: the area is how often, the cross the median, the line the interval.",
        ),
        gallery.show(
            "tau",
            figures.tau_violin(data),
            f"Agreement of the bootstrap rankings with the ranking of all cases: {quartiles}; undefined in "
            f"{tau.n_undefined}. Mean Spearman footrule {page.number(rule.mean)}.",
        ),
    )
    return [page.gallery(*figures_shown)]


def _equal(data: ReportData, gallery: _Gallery) -> list[str]:
    """Neighbours and pairs with the winner, for every metric with a margin."""
    return [
        gallery.tabulate(
            f"equivalence-{metric}",
            page.EQUIVALENCE,
            page.equivalence(data, metric),
            caption=page.equal_words(data, metric),
        )
        for metric, part in data.analysis.metrics.items()
        if part.equivalence is not None and len(data.analysis.algorithms) > 1
    ]


def _metrics(data: ReportData, gallery: _Gallery, *, prefix: str = "") -> list[str]:
    return [part for metric in data.analysis.metrics for part in _metric(data, gallery, metric, prefix=prefix)]


def _metric(data: ReportData, gallery: _Gallery, metric: str, *, prefix: str) -> Iterator[str]:
    if not data.algorithms:
        return
    yield page.heading(f"{prefix}{metric}")
    yield page.gallery(
        *(
            gallery.show(f"{prefix}{metric}-{name}", draw(data, metric), f"{prefix}{metric}: {caption}")
            for name, draw, caption in _PICTURES
        )
    )


def _tasks(data: ReportData, gallery: _Gallery) -> list[str]:
    agreement = data.agreement
    if len(agreement.tasks) < 2:
        return []
    drawn = agreement.top(MOST_DRAWN)
    pictures = [
        gallery.show("task-ranks", comparisons.task_ranks(drawn), "The rank of each algorithm by each of them."),
        gallery.show(
            "task-dendrogram-average",
            comparisons.dendrogram(agreement),
            "Those that rank the algorithms alike join early.",
        ),
        gallery.show(
            "task-dendrogram-complete",
            comparisons.dendrogram(agreement, complete=True),
            "The same with complete linkage.",
        ),
    ]
    parts = []
    if agreement.merged is not None:
        pictures.insert(0, gallery.show("task-blob", comparisons.task_blob(drawn), "How many tasks gave each rank."))
        order = agreement.merged.ranks.argsort(kind="stable")
        rows = [
            [float(agreement.merged.ranks[i]), agreement.algorithms[i], float(agreement.merged.scores[i])]
            for i in order
        ]
        how = "" if agreement.merged.is_exact else " (the best found, not proven optimal)"
        caption = f"Consensus over the tasks{how}"
        parts.append(gallery.tabulate("consensus", ["rank", "algorithm", "score"], rows, caption=caption))
    parts.append(page.gallery(*pictures))
    return [*parts, *_task_stability(data, gallery), *_each_task(data, gallery)]


def _task_stability(data: ReportData, gallery: _Gallery) -> Iterator[str]:
    """How steady the tasks are, and in which of them an algorithm stands where."""
    tasks = {name: task.analysis for name, task in data.tasks.items() if task.analysis.bootstrap}
    shown = [name for name in data.algorithms if any(name in task.algorithms for task in tasks.values())]
    shown = shown[:MOST_PANELS]
    if not shown:
        return
    pictures = (
        (
            "task-taus",
            comparisons.task_taus({name: task.tau_samples for name, task in tasks.items()}),
            "How steady each task's ranking is under the bootstrap.",
        ),
        (
            "task-blobs",
            comparisons.blobs_by_algorithm(shown, tasks),
            f"The bootstrap ranks of each algorithm (the best {MOST_PANELS} at most) in each task.",
        ),
        (
            "task-frequencies",
            comparisons.frequencies_by_algorithm(shown, tasks),
            "How often each rank was given under the bootstrap; a task fills one unit of height.",
        ),
    )
    for name, drawn, caption in pictures:
        yield gallery.show(name, drawn, caption)


def _each_task(data: ReportData, gallery: _Gallery) -> Iterator[str]:
    """The whole picture of each task, folded away."""
    for name, task in data.tasks.items():
        parts = [page.board(task)]
        if task.analysis.bootstrap and len(task.algorithms) > 1:
            parts.append(gallery.show(f"{name}-blob", figures.blob(task), f"{name}: ranks under the bootstrap."))
        yield page.folded(
            f"{name}, {task.table.case_count} cases", *parts, *_metrics(task, gallery, prefix=f"{name}, ")
        )


def _missing(data: ReportData, gallery: _Gallery) -> list[str]:
    """Which values were not measured, by algorithm, metric and reason."""
    rows = [
        [entry.algorithm, metric, reason, count]
        for entry in data.analysis.ranking.entries
        for metric, reasons in entry.missing.items()
        for reason, count in reasons.items()
    ]
    if not rows:
        return [page.paragraph("Every value was measured.")]
    return [gallery.tabulate("missing", ["algorithm", "metric", "reason", "values"], rows)]


def _subgroups(data: ReportData, gallery: _Gallery) -> list[str]:
    return [part for subgroup in data.subgroups for part in _subgroup(data, gallery, subgroup)]


def _subgroup(data: ReportData, gallery: _Gallery, subgroup: SubgroupAnalysis) -> Iterator[str]:
    yield page.heading(subgroup.attribute)
    if subgroup.dropped:
        left_out = ", ".join(f"{name} ({count})" for name, count in subgroup.dropped.items())
        yield page.paragraph(f"Left out, too few cases: {left_out}.")
    if len(subgroup.boards) < 2:
        return
    if subgroup.winner is not None:
        yield page.paragraph(f"{subgroup.winner.in_words}.")
    ranks = {name: board.ranks() for name, board in subgroup.boards.items()}
    yield gallery.tabulate(
        f"subgroup-{subgroup.attribute}-ranks",
        ["algorithm", *ranks],
        [[name, *(ranks[group].get(name) for group in ranks)] for name in data.analysis.algorithms],
        caption="Rank in each group",
    )
    yield page.gallery(
        *(
            gallery.show(
                f"subgroup-{subgroup.attribute}-{metric}",
                comparisons.subgroup_panel(data, subgroup, metric),
                f"{metric} in each group.",
            )
            for metric in data.analysis.metrics
        )
    )
    rows = [[test.algorithm, test.metric, test.p_overall, *_smallest_pair(test.p_pairs)] for test in subgroup.tests]
    yield gallery.tabulate(
        f"subgroup-{subgroup.attribute}-tests",
        ["algorithm", "metric", "Kruskal–Wallis p", "most different pair", "p (BH)"],
        rows,
        caption="Do the groups differ? Pairs by Mann–Whitney with Benjamini–Hochberg",
    )
    pairs = [[test.algorithm, test.metric, *pair, p] for test in subgroup.tests for pair, p in test.p_pairs.items()]
    folded = gallery.tabulate(
        f"subgroup-{subgroup.attribute}-pairs", ["algorithm", "metric", "group", "other group", "p (BH)"], pairs
    )
    yield page.folded("Every pair of groups", folded)


def _smallest_pair(pairs: Mapping[tuple[str, str], float]) -> tuple[str, float | None]:
    defined = {pair: p for pair, p in pairs.items() if p == p}
    if not defined:
        return "–", None
    pair = min(defined, key=lambda key: defined[key])
    return " / ".join(pair), defined[pair]
