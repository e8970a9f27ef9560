"""Rankings and their statistics: pure functions of scores and a configuration; NumPy only."""

from evaluator.ranking.analysis import Analysis, analyse
from evaluator.ranking.board import Board
from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.engine import RankEntry, Ranking, rank_algorithms
from evaluator.ranking.errors import ConfigError, RankingError, TableError
from evaluator.ranking.table import ScoreTable

__all__ = [
    "Analysis",
    "Board",
    "ConfigError",
    "RankEntry",
    "Ranking",
    "RankingConfig",
    "RankingError",
    "ScoreTable",
    "TableError",
    "analyse",
    "parse_ranking",
    "rank_algorithms",
]
