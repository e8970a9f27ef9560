"""Arrays and arithmetic: metrics, scoring, ranking, reports. Knows nothing of Django, Docker or the network."""

__version__ = "0.1.0"
