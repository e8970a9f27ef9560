"""Figures that compare rankings: tasks, metrics and structures as a tree, and subgroups side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluator.arrays import Floats
from evaluator.ranking.analysis import Analysis
from evaluator.ranking.subgroups import SubgroupAnalysis
from evaluator.ranking.tasks import Agreement, Merge, link
from evaluator.reports.data import ReportData
from evaluator.reports.figures import draw_blobs, draw_violins, metric_label
from evaluator.reports.theme import (
    BLUE,
    PANELS_IN_A_ROW,
    colour_bar,
    columns_for,
    legend,
    name_columns,
    name_rows,
    new_figure,
    rank_axis,
    readable_on,
    row_height,
    short,
    small_multiples,
    stroke,
)


def dendrogram(agreement: Agreement, *, complete: bool = False) -> Figure | None:
    """Which tasks rank the algorithms alike: joined at the distance of their rankings. Needs three tasks."""
    count = len(agreement.tasks)
    if count < 3:
        return None
    merges = link(agreement.distances, complete=complete)
    order = _leaves(merges, count)
    figure, axes = new_figure(height=row_height(count, least=2.0, each=0.2))
    places = {task: (0.0, float(order.index(task))) for task in range(count)}
    for index, merge in enumerate(merges):
        (x1, y1), (x2, y2) = places[merge.first], places[merge.second]
        axes.plot([x1, merge.height, merge.height, x2], [y1, y1, y2, y2], color=BLUE, linewidth=1.8)
        places[count + index] = (merge.height, (y1 + y2) / 2)
    name_rows(axes, [short(agreement.tasks)[task] for task in order])
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * max(1.0, merges[-1].height))
    axes.set_xlabel(f"distance of the rankings (symmetric difference, {'complete' if complete else 'average'} linkage)")
    axes.grid(axis="y", visible=False)
    return figure


def _leaves(merges: tuple[Merge, ...], count: int) -> list[int]:
    """Tasks in the order in which the tree's lines do not cross."""

    def below(node: int) -> list[int]:
        if node < count:
            return [node]
        merge = merges[node - count]
        return below(merge.first) + below(merge.second)

    return below(count + len(merges) - 1)


def task_ranks(agreement: Agreement) -> Figure:
    """Each algorithm's rank in each task."""
    count, tasks = agreement.ranks.shape
    figure, axes = new_figure(height=row_height(count, least=2.4, each=0.22))
    image = axes.imshow(
        agreement.ranks, aspect="auto", cmap="cividis_r", interpolation="nearest", vmin=1, vmax=max(count, 2)
    )
    name_rows(axes, short(agreement.algorithms))
    name_columns(axes, short(agreement.tasks, longest=18), is_aslant=True)
    axes.grid(visible=False)
    if count * tasks <= 400:
        for (row, column), value in np.ndenumerate(agreement.ranks):
            shade = readable_on(image, value)
            axes.text(
                column, row, f"{value:g}", ha="center", va="center", color=shade, fontsize="small", in_layout=False
            )
    colour_bar(axes, image, "rank")
    return figure


def task_blob(agreement: Agreement) -> Figure:
    """In how many tasks each algorithm has each rank: area by number."""
    count = len(agreement.algorithms)
    figure, axes = new_figure(height=row_height(count, least=3.0, each=0.22))
    for index, ranks in enumerate(agreement.ranks):
        places, numbers = np.unique(ranks, return_counts=True)
        sizes = numbers / len(agreement.tasks) * min(420.0, 5200.0 / count)
        axes.scatter(np.full(len(places), index), places, s=sizes, color=BLUE, linewidths=0, zorder=3)
    name_columns(axes, short(agreement.algorithms, longest=16), is_aslant=True)
    rank_axis(axes, count)
    return figure


def task_taus(taus: Mapping[str, Floats]) -> Figure:
    """Kendall's tau of each task's bootstrap rankings, the steadiest task on top."""
    known = {name: values[~np.isnan(values)] for name, values in taus.items()}
    known = {name: values for name, values in known.items() if values.size}
    names = sorted(known, key=lambda name: -float(np.median(known[name])))
    figure, axes = new_figure(height=row_height(len(names), least=1.7, each=0.3))
    draw_violins(axes, [known[name] for name in names])
    name_rows(axes, short(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("Kendall's tau-b with the task's ranking of all its cases")
    return figure


def blobs_by_algorithm(algorithms: Sequence[str], tasks: Mapping[str, Analysis]) -> Figure:
    """A panel for each algorithm: its bootstrap ranks in each task."""
    figure, panels = small_multiples(len(algorithms), height=1.9)
    lowest = max(len(task.algorithms) for task in tasks.values())
    for place, (algorithm, title, axes) in enumerate(zip(algorithms, short(algorithms), panels, strict=True)):
        samples = _samples_of(algorithm, tasks)
        draw_blobs(axes, np.stack(list(samples.values()), axis=1), confidence=_confidence(tasks), count=16)
        axes.set_title(title, fontsize="medium")
        axes.set_xticks(
            range(len(samples)), short(list(samples), longest=12), rotation=50, ha="right", fontsize="small"
        )
        axes.set_xlim(-0.6, len(samples) - 0.4)
        rank_axis(axes, lowest)
        axes.set_ylabel("rank" if place % PANELS_IN_A_ROW == 0 else "")
    return figure


def frequencies_by_algorithm(algorithms: Sequence[str], tasks: Mapping[str, Analysis]) -> Figure:
    """A panel for each algorithm: how often each task's bootstrap gave it each rank, the tasks one upon the other."""
    figure, panels = small_multiples(len(algorithms), height=1.6)
    longest = max(len(task.algorithms) for task in tasks.values())
    for place, (algorithm, title, axes) in enumerate(zip(algorithms, short(algorithms), panels, strict=True)):
        floor = np.zeros(longest)
        for number, (task, samples) in enumerate(_samples_of(algorithm, tasks).items()):
            shares = np.bincount(np.floor(samples).astype(np.intp) - 1, minlength=longest)[:longest] / len(samples)
            look = stroke(number)
            axes.bar(
                range(1, longest + 1), shares, bottom=floor, width=0.85, color=look.colour, hatch=look.hatch,
                edgecolor="white", linewidth=0, label=task,
            )  # fmt: skip
            floor += shares
        axes.set_title(title, fontsize="medium")
        axes.grid(axis="x", visible=False)
        axes.set_xlim(0.4, longest + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_ylabel("tasks" if place % PANELS_IN_A_ROW == 0 else "")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, short(labels), loc="outside upper center", ncols=columns_for(short(labels)), fontsize="small"
    )
    return figure


def _samples_of(algorithm: str, tasks: Mapping[str, Analysis]) -> dict[str, Floats]:
    """Task → the algorithm's bootstrap ranks in it. Without the tasks that did not rank it."""
    return {
        name: task.rank_samples[:, task.algorithms.index(algorithm)]
        for name, task in tasks.items()
        if algorithm in task.algorithms
    }


def _confidence(tasks: Mapping[str, Analysis]) -> float:
    return next(iter(tasks.values())).confidence


def subgroup_panel(data: ReportData, subgroup: SubgroupAnalysis, metric: str) -> Figure:
    """Each algorithm's aggregate in each group: lines that part show where an algorithm depends on the group."""
    groups = list(subgroup.boards)
    figure, axes = new_figure(height=3.4)
    for index, algorithm in enumerate(data.algorithms):
        values = [_aggregate(subgroup, group, algorithm, metric) for group in groups]
        look = stroke(index)
        axes.plot(
            range(len(groups)), values, marker=look.marker, linestyle=look.line, markersize=4, linewidth=1.3,
            color=look.colour,
        )  # fmt: skip
    names = [f"{text}\nn = {len(subgroup.groups[name])}" for name, text in zip(groups, short(groups), strict=True)]
    axes.set_xticks(range(len(groups)), names)
    axes.margins(x=0.08)
    axes.set_ylabel(metric_label(data, metric).replace(", ", "\n"))
    legend(axes, data.algorithms)
    return figure


def _aggregate(subgroup: SubgroupAnalysis, group: str, algorithm: str, metric: str) -> float:
    entry = next((entry for entry in subgroup.boards[group].entries if entry.algorithm == algorithm), None)
    value = None if entry is None else entry.aggregates.get(metric)
    return float("nan") if value is None else value
