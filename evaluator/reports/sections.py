"""Sections in the field's own shape. A protocol lists those it wants under `report:`. None is known by a challenge's name.

| section | answers | as in |
| --- | --- | --- |
| `structures` | every structure's mean, and what the run cost | FLARE's organ table |
| `structure_ranks` | ranks structure by structure, their mean, statistical tie groups | SegRap |
| `metric_ranks` | the rank each metric alone would give; `by` splits it by a case attribute | FeTA, in and out of domain |
| `significance` | p of every ordered pair as a map; `by` repeats it, with its subgroups, for each test set | Touchstone |
| `matrix` | algorithms (by what they were trained on) by groups of cases (`by`) | A-Eval |
| `categories` | the mean in every branch of a tree of case attributes (`path`) | GMAI-MMBench |
| `froc` | the share of findings found, by how many answers per case are false (`froc@0.125`, …) | LUNA16, CAMELYON16 |
| `curves` | a metric after each interaction (scores of earlier ones are kept as `dice@0`, `dice@1`, …) | CVPR 2025 interactive |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from matplotlib.figure import Figure

from evaluator.arrays import Floats
from evaluator.protocol import Protocol, ReportSection
from evaluator.ranking.engine import cluster_values, rank_algorithms
from evaluator.ranking.schemes.prepare import Metric, Prepared, prepare
from evaluator.ranking.statistics.significance import compare_pairs
from evaluator.ranking.subgroups import analyse_subgroups
from evaluator.ranking.table import ScoreTable, natural_key
from evaluator.reports import comparisons, page, shapes
from evaluator.reports.counting import (
    aggregates_of,
    aligned_like,
    case_values,
    groups_by,
    mean_over,
    rank_by,
    ranks_within,
    rounds_of,
    tie_groups,
    tree,
)
from evaluator.reports.data import ReportData
from evaluator.reports.figures import metric_label
from evaluator.results import ROUND_MARK


class Gallery(Interface):
    """Where figures go."""

    def show(self, name: str, drawn: Figure | None, caption: str) -> str:
        """The figure for the page."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """What every section works on: the report's data, the protocol it is for, and the section's own settings."""

    data: ReportData
    protocol: Protocol
    section: ReportSection

    @property
    def prepared(self) -> Prepared:
        """The scores with every missing value decided."""
        return self.data.prepared

    @property
    def order(self) -> list[int]:
        """Ranked algorithms, best first, as positions in `prepared`."""
        return [self.prepared.algorithms.index(name) for name in self.data.analysis.algorithms]

    def labels_of(self, metric: Metric) -> list[tuple[str, int]]:
        """The structures of a metric in the protocol's order, with their positions."""
        place = {label.name: number for number, label in enumerate(self.protocol.labels)}
        named = [(name, at) for at, name in enumerate(metric.structures) if name]
        return sorted(named, key=lambda item: place.get(item[0], len(place)))

    def groups(self) -> dict[str, list[str]]:
        """The cases of each value of the section's attribute."""
        return groups_by(self.data.table, self.section.by) if self.section.by else {}


def make_section(section: ReportSection, *, data: ReportData, protocol: Protocol, gallery: Gallery) -> list[str]:
    """The parts of one section. Nothing when the scores have nothing for it."""
    if not data.analysis.algorithms:
        return []
    scene = Scene(data=data, protocol=protocol, section=section)
    return [part for part in MAKERS[section.section](scene, gallery) if part]


def structures(scene: Scene, _: Gallery) -> Iterator[str]:
    """Headline and cost of every algorithm, then one table of structures per metric."""
    metrics = scene.prepared.metrics
    names = list(scene.data.analysis.algorithms)
    ranks = scene.data.analysis.ranking.ranks()
    columns = {name: case_values(metric) for name, metric in metrics.items()}
    rows = [
        [ranks[name], name, *(_mean_and_sd(columns[metric][at]) for metric in metrics)]
        for name, at in zip(names, scene.order, strict=True)
    ]
    header = ["rank", "algorithm", *(_title(scene, name) for name in metrics)]
    yield page.table(
        header, rows, caption="Mean ± standard deviation over the cases; accuracy first, then what the runs cost."
    )
    for name, metric in metrics.items():
        labels = scene.labels_of(metric)
        if len(labels) < 2:
            continue
        means = mean_over(metric.values, axis=2)[scene.order][:, [at for _, at in labels]]
        yield page.heading(f"{_title(scene, name)} of each structure")
        yield heat_table(
            names,
            [label for label, _ in labels],
            means,
            larger_is_better=metric.spec.larger_is_better,
            mean_column=True,
        )


def structure_ranks(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """The rank of each structure's mean, metric by metric, the mean of those ranks, and who cannot be told apart."""
    blocks: dict[str, Floats] = {}
    for name, metric in scene.prepared.metrics.items():
        labels = scene.labels_of(metric)
        if not labels:
            continue
        means = mean_over(metric.values, axis=2)[scene.order][:, [at for _, at in labels]]
        blocks[name] = ranks_within(means, larger_is_better=metric.spec.larger_is_better)
        drawn = list(scene.data.algorithms)
        figure = shapes.rank_map(blocks[name][: len(drawn)], drawn, [label for label, _ in labels])
        caption = f"Rank of each structure's mean {_title(scene, name)}; 1 is best."
        yield gallery.show(f"structure-ranks-{name}", figure, caption)
    if blocks:
        yield _mean_rank_table(scene, blocks)


def _mean_rank_table(scene: Scene, blocks: Mapping[str, Floats]) -> str:
    names, final = scene.data.analysis.algorithms, scene.data.analysis.ranking.ranks()
    overall = np.concatenate(list(blocks.values()), axis=1).mean(axis=1)
    columns: dict[str, list[object]] = {
        "rank": [final[name] for name in names],
        "algorithm": list(names),
        **{f"mean rank, {name}": [float(row.mean()) for row in block] for name, block in blocks.items()},
        "mean rank": [float(value) for value in overall],
        "÷ algorithms": [float(value) / len(names) for value in overall],
        "tie group": list(tie_groups(scene.prepared, scene.order)),
    }
    rules = scene.prepared.config.significance
    caption = (
        "Algorithms of one tie group are not significantly worse than its first "
        f"({rules.test.value}, {rules.adjust.value}, α = {rules.alpha:g})."
    )
    return page.table(list(columns), zip(*columns.values(), strict=True), caption=caption)


def metric_ranks(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """The rank by each metric alone and by all, for all cases and for each group of the section's attribute."""
    yield _metric_rank_table(scene, scene.data.table, "All cases; in brackets the rank by that metric alone")
    groups = scene.groups()
    if len(groups) < 2:
        return
    for group, cases in groups.items():
        yield _metric_rank_table(
            scene, scene.data.table.only_cases(cases), f"{scene.section.by}: {group}, {len(cases)} cases"
        )
    tables = {
        group: prepare(scene.data.table.only_cases(cases), scene.prepared.config) for group, cases in groups.items()
    }
    for name in scene.prepared.metrics:
        values = {group: aggregates_of(part, name, scene.data.algorithms) for group, part in tables.items()}
        drawn = shapes.dumbbells(list(scene.data.algorithms), values, label=metric_label(scene.data, name))
        yield gallery.show(f"split-{scene.section.by}-{name}", drawn, f"{_title(scene, name)} by {scene.section.by}.")


def significance(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """Adjusted p of "the row is better than the column", and each test set's subgroups."""
    parts: dict[str, ScoreTable] = {"": scene.data.table}
    groups = scene.groups()
    parts |= {group: scene.data.table.only_cases(cases) for group, cases in groups.items()} if len(groups) > 1 else {}
    for group, table in parts.items():
        if group:
            yield page.heading(f"{scene.section.by}: {group}, {table.case_count} cases")
        yield from _significance_maps(scene, gallery, table, group)
        if group:
            yield from _subgroup_panels(scene, gallery, table, group)


def matrix(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """Algorithms by groups of cases: what carries over to data from elsewhere."""
    groups = scene.groups()
    if not groups:
        yield page.paragraph(f"No case says its {scene.section.by}.")
        return
    names = list(scene.data.algorithms)
    for name, metric in scene.prepared.metrics.items():
        per_case = case_values(metric)[scene.order[: len(names)]]
        at = {case: number for number, case in enumerate(scene.prepared.cases)}
        means = np.stack(
            [mean_over(per_case[:, [at[case] for case in cases]], axis=1) for cases in groups.values()], axis=1
        )
        drawn = shapes.value_matrix(
            means, names, [f"{group}\nn = {len(cases)}" for group, cases in groups.items()],
            larger_is_better=metric.spec.larger_is_better, label=metric_label(scene.data, name),
            framed=[[_is_home(algorithm, group) for group in groups] for algorithm in names],
        )  # fmt: skip
        caption = (
            f"{_title(scene, name)} by {scene.section.by}; framed where the algorithm's name says it was trained there."
        )
        yield gallery.show(f"matrix-{name}", drawn, caption)


def categories(scene: Scene, _: Gallery) -> Iterator[str]:
    """The tree of case attributes, with the mean of every algorithm in every branch."""
    table, path = scene.data.table, scene.section.path
    names = list(scene.data.algorithms)
    for name, metric in scene.prepared.metrics.items():
        per_case = case_values(metric)[scene.order[: len(names)]]
        branches = list(tree(table, path))
        at = {case: number for number, case in enumerate(scene.prepared.cases)}
        means = np.stack([mean_over(per_case[:, [at[case] for case in cases]], axis=1) for _, _, cases in branches])
        labels = [("\u2003" * depth + text, len(cases)) for depth, text, cases in branches]
        yield page.heading(f"{_title(scene, name)} in every branch of {' › '.join(path)}")
        yield heat_table(
            [text for text, _ in labels], names, means, larger_is_better=metric.spec.larger_is_better,
            counts=[count for _, count in labels], first="category",
        )  # fmt: skip


def curves(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """Each metric after each interaction, as the mean over cases and structures. A case that was never played counts its worst."""
    table = scene.data.table
    at = [table.algorithms.index(name) for name in scene.data.algorithms]
    for base, series in rounds_of(table).items():
        last = table.metrics[base].values[at]
        rounds = [aligned_like(table, name, like=base)[at] for name in series]
        spec = next((spec for spec in scene.protocol.metrics if spec.id == base), None)
        worst = spec.metric.worst if spec is not None else None
        if isinstance(worst, float):
            rounds = [np.where(np.isnan(values) & ~np.isnan(last), worst, values) for values in rounds]
        means = np.stack([mean_over(mean_over(values, axis=1), axis=1) for values in rounds], axis=1)
        drawn = shapes.round_curves(means, list(scene.data.algorithms), label=_title(scene, base))
        yield gallery.show(
            f"curves-{base}", drawn, f"{_title(scene, base)} after each interaction; the first answer is 0."
        )


def froc(scene: Scene, gallery: Gallery) -> Iterator[str]:
    """The curve of each algorithm, and its points as a table. A score that was imported has no curve."""
    table, names = scene.data.table, list(scene.data.analysis.algorithms)
    at = [table.algorithms.index(name) for name in names]
    for spec in scene.protocol.metrics:
        found = {
            float(name.partition(ROUND_MARK)[2]): mean_over(mean_over(table.metrics[name].values[at], axis=2), axis=1)
            for name in rounds_of(table).get(spec.id, ())[:-1]
        }
        if "rates" not in spec.metric.options or not found:
            continue
        rates = sorted(found)
        means = np.stack([found[rate] for rate in rates], axis=1)
        drawn = shapes.froc_curves(means[: len(scene.data.algorithms)], list(scene.data.algorithms), rates=rates)
        title = _title(scene, spec.id)
        yield gallery.show(f"froc-{spec.id}", drawn, f"{title} is the mean of these points.")
        header = ["algorithm", *(f"{rate:g}" for rate in rates)]
        rows = [[name, *map(float, row)] for name, row in zip(names, means, strict=True)]
        yield page.table(header, rows, caption="Sensitivity at so many false answers per case.")


MAKERS: Mapping[str, Callable[[Scene, Gallery], Iterator[str]]] = {
    "structures": structures,
    "structure_ranks": structure_ranks,
    "metric_ranks": metric_ranks,
    "significance": significance,
    "matrix": matrix,
    "categories": categories,
    "curves": curves,
    "froc": froc,
}
TITLES = {
    "structures": "Structures and cost",
    "structure_ranks": "Ranks of every structure",
    "metric_ranks": "Ranks by every metric",
    "significance": "Who is better than whom",
    "matrix": "From one data set to another",
    "categories": "By category",
    "curves": "Interaction by interaction",
    "froc": "Findings found and false answers",
}


def heat_table(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Floats,
    *,
    larger_is_better: bool,
    mean_column: bool = False,
    counts: Sequence[int] | None = None,
    first: str = "algorithm",
) -> str:
    """A table of values shaded from the worst to the best there is, the best of each structure bold."""
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    span = (high - low) or 1.0
    shade = (values - low) / span if larger_is_better else (high - values) / span
    per_column = counts is None
    with np.errstate(invalid="ignore"):
        extreme = np.nanmax(shade, axis=0 if per_column else 1, keepdims=True, initial=-1.0)
    body = []
    for at, name in enumerate(rows):
        best = [
            bool(shade[at, column] == np.broadcast_to(extreme, shade.shape)[at, column])
            for column in range(len(columns))
        ]
        cells = [
            page.shaded(values[at, column], shade[at, column], is_best=best[column]) for column in range(len(columns))
        ]
        mean = [page.Number(f"{mean_over(values[at], axis=0):.3f}")] if mean_column else []
        body.append([name, *([counts[at]] if counts is not None else []), *mean, *cells])
    header = [first, *(["cases"] if counts is not None else []), *(["mean"] if mean_column else []), *columns]
    return page.table(header, body, kind="heat")


def _metric_rank_table(scene: Scene, table: ScoreTable, caption: str) -> str:
    config = scene.prepared.config
    part = prepare(table, config)
    ranks = rank_algorithms(table, config).ranks()
    names = sorted(part.algorithms, key=lambda name: (ranks[name] is None, ranks[name] or 0.0, natural_key(name)))
    at = [part.algorithms.index(name) for name in names]
    columns: dict[str, list[object]] = {"rank": [ranks[name] for name in names], "algorithm": list(names)}
    for metric in part.metrics:
        aggregates, alone = aggregates_of(part, metric, names), rank_by(part, metric)[at]
        columns[_title(scene, metric)] = [
            page.with_note(value, f"({place:g})") for value, place in zip(aggregates, alone, strict=True)
        ]
    return page.table(list(columns), zip(*columns.values(), strict=True), caption=caption)


def _significance_maps(scene: Scene, gallery: Gallery, table: ScoreTable, group: str) -> Iterator[str]:
    config = scene.prepared.config
    part = prepare(table, config)
    for name, metric in part.metrics.items():
        aggregates = aggregates_of(part, name, part.algorithms)
        sign = -1.0 if metric.spec.larger_is_better else 1.0
        order = sorted(range(len(part.algorithms)), key=lambda at: (np.isnan(aggregates[at]), sign * aggregates[at]))
        order = order[: len(scene.data.algorithms)]
        values = cluster_values(name, part)[order]
        tests = compare_pairs(
            values, larger_is_better=metric.spec.larger_is_better, rules=config.significance, seed=config.stability.seed
        )
        drawn = shapes.p_map(tests.adjusted, [part.algorithms[at] for at in order], alpha=config.significance.alpha)
        rules = config.significance
        caption = f"{_title(scene, name)}: p that the row is not better than the column ({rules.test.value}, {rules.adjust.value})."
        yield gallery.show("-".join(filter(None, ("p", group, name))), drawn, caption)


def _subgroup_panels(scene: Scene, gallery: Gallery, table: ScoreTable, group: str) -> Iterator[str]:
    for subgroup in analyse_subgroups(table, scene.prepared.config):
        if len(subgroup.boards) < 2 or subgroup.attribute == scene.section.by:
            continue
        for name in scene.prepared.metrics:
            drawn = comparisons.subgroup_panel(scene.data, subgroup, name)
            key = f"panel-{group}-{subgroup.attribute}-{name}"
            yield gallery.show(key, drawn, f"{_title(scene, name)} by {subgroup.attribute} in {group}.")


def _title(scene: Scene, metric: str) -> str:
    spec = next((spec for spec in scene.protocol.metrics if spec.id == metric), None)
    if spec is None:
        return metric
    return f"{spec.metric.title} ({spec.metric.unit})" if spec.metric.unit else spec.metric.title


def _mean_and_sd(values: Floats) -> page.Markup:
    known = values[~np.isnan(values)]
    if not known.size:
        return page.Number("–")
    spread = f" <small>± {page.short_number(float(known.std(ddof=1)))}</small>" if known.size > 1 else ""
    return page.Number(f"{page.number(float(known.mean()))}{spread}")


def _is_home(algorithm: str, group: str) -> bool:
    return group.casefold() in algorithm.casefold()
