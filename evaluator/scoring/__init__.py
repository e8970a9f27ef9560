"""From the files of a case to its scores, and from the scores of all cases to a summary."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.backends.reference_cache import ReferenceCache
    from evaluator.scoring.case import score_case, telemetry_rows
    from evaluator.scoring.external import MAX_METRICS_BYTES, ExternalScores, MetricsInvalid, parse_metrics
    from evaluator.scoring.gains import gains_of_leaving_out
    from evaluator.scoring.interaction import Prompts, make_prompts, wall_seconds_of
    from evaluator.scoring.self_test import Trial, judge_trials, try_case, try_rows
    from evaluator.scoring.summaries import summarise
    from evaluator.scoring.tables import ROW_MISSING, reference_rows, score_rows, score_table
    from evaluator.scoring.telemetry import lost_to_gaps, measured_of

__all__ = [
    "MAX_METRICS_BYTES",
    "ROW_MISSING",
    "ExternalScores",
    "MetricsInvalid",
    "Prompts",
    "ReferenceCache",
    "Trial",
    "gains_of_leaving_out",
    "judge_trials",
    "lost_to_gaps",
    "make_prompts",
    "measured_of",
    "parse_metrics",
    "reference_rows",
    "score_case",
    "score_rows",
    "score_table",
    "summarise",
    "telemetry_rows",
    "try_case",
    "try_rows",
    "wall_seconds_of",
]

_HOMES = {
    "ReferenceCache": "evaluator.backends.reference_cache",
    "score_case": "evaluator.scoring.case",
    "telemetry_rows": "evaluator.scoring.case",
    "ExternalScores": "evaluator.scoring.external",
    "MAX_METRICS_BYTES": "evaluator.scoring.external",
    "MetricsInvalid": "evaluator.scoring.external",
    "parse_metrics": "evaluator.scoring.external",
    "gains_of_leaving_out": "evaluator.scoring.gains",
    "Prompts": "evaluator.scoring.interaction",
    "make_prompts": "evaluator.scoring.interaction",
    "wall_seconds_of": "evaluator.scoring.interaction",
    "Trial": "evaluator.scoring.self_test",
    "judge_trials": "evaluator.scoring.self_test",
    "try_case": "evaluator.scoring.self_test",
    "try_rows": "evaluator.scoring.self_test",
    "summarise": "evaluator.scoring.summaries",
    "ROW_MISSING": "evaluator.scoring.tables",
    "reference_rows": "evaluator.scoring.tables",
    "score_rows": "evaluator.scoring.tables",
    "score_table": "evaluator.scoring.tables",
    "lost_to_gaps": "evaluator.scoring.telemetry",
    "measured_of": "evaluator.scoring.telemetry",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: a web page that names a reason needs no arithmetic."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
