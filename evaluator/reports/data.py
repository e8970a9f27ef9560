"""What every figure draws from: scores, ranks and analysis in one record, algorithms best first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluator.arrays import Floats
from evaluator.ranking.analysis import Analysis, analyse
from evaluator.ranking.document.config import Subgroup
from evaluator.ranking.engine import cluster_values
from evaluator.ranking.groups import split
from evaluator.ranking.schemes.prepare import Prepared, prepare
from evaluator.ranking.statistics.ties import rank
from evaluator.ranking.subgroups import SubgroupAnalysis, analyse_subgroups
from evaluator.ranking.table import ScoreTable
from evaluator.ranking.tasks import Agreement, compare_tasks

MOST_DRAWN = 30


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """`values` and `case_ranks` map a metric to algorithm × unit. `table` holds the scores as they came, `prepared`
    the same with every missing value decided.

    Figures show `top`, the best `MOST_DRAWN` algorithms of `analysis`. Tables show all. `tasks` holds the same for each task of
    a challenge that has several.
    """

    title: str
    table: ScoreTable
    prepared: Prepared
    analysis: Analysis
    top: Analysis
    values: Mapping[str, Floats]
    case_ranks: Mapping[str, Floats]
    agreement: Agreement
    tasks: Mapping[str, "ReportData"]
    subgroups: tuple[SubgroupAnalysis, ...]

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that figures show, best first."""
        return self.top.algorithms


def gather(table: ScoreTable, analysis: Analysis, *, title: str, most: int = MOST_DRAWN) -> ReportData:
    """Everything a report needs, computed once. Figures show the best `most`."""
    config = analysis.ranking.config
    prepared = prepare(table, config)
    top = analysis.top(most)
    order = np.array([prepared.algorithms.index(name) for name in top.algorithms], dtype=np.intp)
    values, case_ranks = {}, {}
    for name, metric in prepared.metrics.items():
        every = cluster_values(name, prepared)
        values[name] = every[order]
        case_ranks[name] = rank((-every if metric.spec.larger_is_better else every).T).T[order]
    return ReportData(
        title=title,
        table=table,
        prepared=prepared,
        analysis=analysis,
        top=top,
        values=values,
        case_ranks=case_ranks,
        agreement=compare_tasks(table, config).sorted_by(analysis.algorithms),
        tasks=_tasks(table, analysis),
        subgroups=analyse_subgroups(table, config),
    )


def _tasks(table: ScoreTable, analysis: Analysis) -> dict[str, ReportData]:
    """Each task ranked and examined on its own."""
    config = analysis.ranking.config
    if config.multi_task is None:
        return {}
    groups = split(table, Subgroup(attribute=config.multi_task.by))
    if len(groups) < 2:
        return {}
    own = replace(config, multi_task=None, subgroups=())
    parts = {name: table.only_cases(cases) for name, cases in groups.items()}
    return {
        name: gather(part, analyse(part, own, bootstrap=analysis.bootstrap, seed=analysis.seed), title=name)
        for name, part in parts.items()
    }
