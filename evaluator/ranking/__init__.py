"""Rankings and their statistics: pure functions of scores and a configuration; NumPy only."""

from evaluator.ranking.analysis import Analysis, analyse
from evaluator.ranking.board import Board
from evaluator.ranking.document.config import Adjustment, RankingConfig, Significance
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.document.words import in_words
from evaluator.ranking.engine import RankEntry, Ranking, rank_algorithms
from evaluator.ranking.errors import ConfigError, RankingError, TableError
from evaluator.ranking.statistics.significance import PairMemory, adjust_family, compare_pairs
from evaluator.ranking.table import Row, ScoreTable
from evaluator.ranking.teams import one_per_team

__all__ = [
    "Adjustment",
    "Analysis",
    "Board",
    "ConfigError",
    "PairMemory",
    "RankEntry",
    "Ranking",
    "RankingConfig",
    "RankingError",
    "Row",
    "ScoreTable",
    "Significance",
    "TableError",
    "adjust_family",
    "analyse",
    "compare_pairs",
    "in_words",
    "one_per_team",
    "parse_ranking",
    "rank_algorithms",
]
