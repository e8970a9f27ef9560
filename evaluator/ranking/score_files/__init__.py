"""Tables of scores as people have them, read into one `ScoreTable`."""

from evaluator.ranking.score_files.forms import FORMS
from evaluator.ranking.score_files.reading import ScoreFile, read_scores, read_sheets
from evaluator.ranking.score_files.sheets import ScoresError, Sheet
from evaluator.ranking.score_files.sources import Source, find_sources

__all__ = ["FORMS", "ScoreFile", "ScoresError", "Sheet", "Source", "find_sources", "read_scores", "read_sheets"]
