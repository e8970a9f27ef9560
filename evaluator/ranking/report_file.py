"""A ranking as one JSON file: scores, configuration, versions and everything that was computed.

The file holds what a ranking depends on, so that `assay rank --from report.json` computes and draws it again. Its schema is
`report.schema.json` beside this module.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.ranking.analysis import Analysis
from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.document.writing import ranking_document
from evaluator.ranking.errors import TableError
from evaluator.ranking.subgroups import SubgroupAnalysis, analyse_subgroups
from evaluator.ranking.table import MetricScores, ScoreTable

FORMAT = "assay-ranking/1"
SCHEMA = Path(__file__).with_name("report.schema.json")


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """What a report file says of a ranking, enough to make it again."""

    title: str
    table: ScoreTable
    config: RankingConfig
    bootstrap: int
    seed: int
    warnings: tuple[str, ...]


def report_document(table: ScoreTable, analysis: Analysis, *, title: str, version: str) -> dict[str, Any]:
    """Everything, as plain values. `version` is the evaluator's."""
    config = analysis.ranking.config
    return {
        "format": FORMAT,
        "title": title,
        "versions": {"evaluator": version, "numpy": np.__version__},
        "configuration": ranking_document(config),
        **analysis.to_json(),
        "subgroups": [_subgroup(found) for found in analyse_subgroups(table, config)],
        "scores": _scores(table),
    }


def read_report(path: Path) -> Report:
    """A file that `assay rank --json` wrote. Raises `RankingError`."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TableError(
            f"{path.name}: found no JSON ({error}); expected a file that assay rank --json wrote"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise TableError(f"{path.name}: found the format {found!r}; expected {FORMAT}, as assay rank --json writes it")
    try:
        return Report(
            title=str(document["title"]),
            table=_table(document["scores"]),
            config=parse_ranking(document["configuration"]),
            bootstrap=int(document["bootstrap"]),
            seed=int(document["seed"]),
            warnings=tuple(str(text) for text in document["warnings"]),
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(
            f"{path.name}: found a broken report ({error}); expected what assay rank --json writes"
        ) from error


def _scores(table: ScoreTable) -> dict[str, Any]:
    return {
        "algorithms": list(table.algorithms),
        "cases": list(table.cases),
        "reasons": list(table.reason_names),
        "attributes": {case: dict(pairs) for case, pairs in table.attributes.items()},
        "metrics": {
            name: {
                "structures": list(scores.structures),
                "values": [[[_number(v) for v in row] for row in plane] for plane in scores.values.tolist()],
                "reasons": scores.reasons.tolist(),
                "is_expected": scores.is_expected.tolist(),
            }
            for name, scores in table.metrics.items()
        },
    }


def _table(document: dict[str, Any]) -> ScoreTable:
    algorithms, cases = tuple(document["algorithms"]), tuple(document["cases"])
    metrics = {}
    for name, scores in document["metrics"].items():
        values = np.array(scores["values"], dtype=np.float64).reshape(
            len(algorithms), len(scores["structures"]), len(cases)
        )
        metrics[name] = MetricScores(
            structures=tuple(scores["structures"]),
            values=values,
            reasons=np.array(scores["reasons"], dtype=np.int16).reshape(values.shape),
            is_expected=np.array(scores["is_expected"], dtype=bool).reshape(values.shape[1:]),
        )
    return ScoreTable(
        algorithms=algorithms,
        cases=cases,
        metrics=metrics,
        reason_names=tuple(document["reasons"]),
        attributes=document["attributes"],
    )


def _subgroup(found: SubgroupAnalysis) -> dict[str, Any]:
    return {
        "attribute": found.attribute,
        "groups": {name: list(cases) for name, cases in found.groups.items()},
        "left_out": dict(found.dropped),
        "winner": None
        if found.winner is None
        else {
            "winner": found.winner.winner,
            "runner_up": found.winner.runner_up,
            "ranks": dict(found.winner.ranks),
            "leads": dict(found.winner.leads),
            "p_heterogeneity": _number(found.winner.p_heterogeneity),
            "i_squared": _number(found.winner.i_squared),
        },
        "ranks": {name: dict(board.ranks()) for name, board in found.boards.items()},
        "tests": [
            {
                "algorithm": test.algorithm,
                "metric": test.metric,
                "p": _number(test.p_overall),
                "pairs": [{"groups": list(pair), "p": _number(p)} for pair, p in test.p_pairs.items()],
            }
            for test in found.tests
        ],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
