"""Reports: a ranking and all that can be said about it, as one HTML file and as figures. Needs the `reports` extra."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.reports.case_panel import draw_case
    from evaluator.reports.paper import Paper
    from evaluator.reports.report import write_report

__all__ = [
    "Paper",
    "draw_case",
    "write_report",
]

_HOMES = {
    "Paper": "evaluator.reports.paper",
    "draw_case": "evaluator.reports.case_panel",
    "write_report": "evaluator.reports.report",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: only reports need matplotlib."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
