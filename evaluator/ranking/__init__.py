"""Rankings and their statistics: pure functions of scores and a configuration; NumPy only."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.ranking.analysis import Analysis, analyse
    from evaluator.ranking.board import Board
    from evaluator.ranking.document.config import Adjustment, RankingConfig, Significance
    from evaluator.ranking.document.parse import parse_ranking
    from evaluator.ranking.document.presets import preset_titles
    from evaluator.ranking.document.words import in_words
    from evaluator.ranking.engine import RankEntry, Ranking, rank_algorithms
    from evaluator.ranking.errors import ConfigError, RankingError, TableError
    from evaluator.ranking.planning import Plan, plan_table
    from evaluator.ranking.score_files import read_scores
    from evaluator.ranking.statistics.significance import PairMemory, adjust_family, compare_pairs
    from evaluator.ranking.table import Row, ScoreTable
    from evaluator.ranking.teams import one_per_team
    from evaluator.ranking.work import MOST_STEPS, Size, Work, check_work, replicates_within, work_of

__all__ = [
    "MOST_STEPS",
    "Adjustment",
    "Analysis",
    "Board",
    "ConfigError",
    "PairMemory",
    "Plan",
    "RankEntry",
    "Ranking",
    "RankingConfig",
    "RankingError",
    "Row",
    "ScoreTable",
    "Significance",
    "Size",
    "TableError",
    "Work",
    "adjust_family",
    "analyse",
    "check_work",
    "compare_pairs",
    "in_words",
    "one_per_team",
    "parse_ranking",
    "plan_table",
    "preset_titles",
    "rank_algorithms",
    "read_scores",
    "replicates_within",
    "work_of",
]

_HOMES = {
    "MOST_STEPS": "evaluator.ranking.work",
    "Adjustment": "evaluator.ranking.document.config",
    "Analysis": "evaluator.ranking.analysis",
    "Board": "evaluator.ranking.board",
    "ConfigError": "evaluator.ranking.errors",
    "PairMemory": "evaluator.ranking.statistics.significance",
    "Plan": "evaluator.ranking.planning",
    "RankEntry": "evaluator.ranking.engine",
    "Ranking": "evaluator.ranking.engine",
    "RankingConfig": "evaluator.ranking.document.config",
    "RankingError": "evaluator.ranking.errors",
    "Row": "evaluator.ranking.table",
    "ScoreTable": "evaluator.ranking.table",
    "Significance": "evaluator.ranking.document.config",
    "Size": "evaluator.ranking.work",
    "TableError": "evaluator.ranking.errors",
    "Work": "evaluator.ranking.work",
    "adjust_family": "evaluator.ranking.statistics.significance",
    "analyse": "evaluator.ranking.analysis",
    "check_work": "evaluator.ranking.work",
    "compare_pairs": "evaluator.ranking.statistics.significance",
    "in_words": "evaluator.ranking.document.words",
    "one_per_team": "evaluator.ranking.teams",
    "parse_ranking": "evaluator.ranking.document.parse",
    "plan_table": "evaluator.ranking.planning",
    "preset_titles": "evaluator.ranking.document.presets",
    "rank_algorithms": "evaluator.ranking.engine",
    "read_scores": "evaluator.ranking.score_files",
    "replicates_within": "evaluator.ranking.work",
    "work_of": "evaluator.ranking.work",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: a program that only scores reads the document of a ranking and ranks nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
