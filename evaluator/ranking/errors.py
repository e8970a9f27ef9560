"""The family tree of what can go wrong in a ranking. Every message says what was found, what was expected and what to
do.
"""


class RankingError(ValueError):
    """A ranking cannot be computed as asked. The root of the family."""


class ConfigError(RankingError):
    """The ranking document says something we do not understand. The message starts with the path of the culprit."""


class TableError(RankingError):
    """The scores contradict themselves or the configuration: duplicates, unknown metrics, one algorithm only."""
