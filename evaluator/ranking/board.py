"""A ranking that is kept up to date: add or remove one submission of a thousand and rank again, in well under 100 ms.

Ranking a dense table of a thousand algorithms is fast anyway. What would not be is reading a thousand submissions' scores
again, and testing half a million pairs. So a board keeps the table, and what each pair of score rows told a test. Both are
caches only: the result equals `rank_algorithms` on the same rows to the last digit, and a test holds that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluator.ranking.document.config import RankingConfig
from evaluator.ranking.engine import Ranking, rank_prepared
from evaluator.ranking.schemes.prepare import prepare
from evaluator.ranking.statistics.significance import PairMemory
from evaluator.ranking.table import Row, ScoreTable


@dataclass
class Board:
    """Scores and the rules they are ranked by."""

    config: RankingConfig
    table: ScoreTable
    memory: PairMemory = field(default_factory=PairMemory)

    def put(self, rows: Iterable[Row], attributes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Add the rows of new algorithms, or replace all rows of those already there. Raises `TableError`."""
        added = ScoreTable.from_rows(rows, attributes=attributes)
        kept = self.table.only_algorithms(set(self.table.algorithms) - set(added.algorithms)).trimmed()
        self.table = kept.joined(added)

    def remove(self, *algorithms: str) -> None:
        """Take algorithms off the board, and what only they had."""
        if algorithms:
            self.table = self.table.only_algorithms(set(self.table.algorithms) - set(algorithms)).trimmed()

    def rank(self) -> Ranking:
        """The ranking as it stands. Raises `RankingError`."""
        return rank_prepared(self.table, self.config, prepare(self.table, self.config, memory=self.memory))
