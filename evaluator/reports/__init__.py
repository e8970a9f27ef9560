"""Reports: a ranking and all that can be said about it, as one HTML file and as figures. Needs the `reports` extra."""

from evaluator.reports.report import write_report

__all__ = ["write_report"]
