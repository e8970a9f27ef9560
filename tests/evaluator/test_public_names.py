"""What `evaluator` offers to other rooms: a change here is a change of the room's contract."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFERED = {
    "evaluator": {
        "Scores", "__version__", "evaluate", "source_sha256",
    },
    "evaluator.arrays": {
        "Floats", "Index", "Mask",
    },
    "evaluator.documents": {"SHOWN_CHARACTERS", "Document", "DocumentError", "Place", "Pointer", "read_document", "read_json", "shown"},
    "evaluator.disclosure": {
        "SMALLEST_GROUP", "SPREAD_GROUP", "CountProblem", "MetricRelease", "Told", "TooFewCases", "check_counts",
        "release_metric", "release_pooled", "shown_groups",
    },
    "evaluator.errors": {
        "EvaluatorError", "InvalidReference", "InvalidVolume", "ProtocolError", "Reason", "UnavailableBackend",
    },
    "evaluator.results": {
        "ABORTED", "NOT_DEFINED", "NOT_MEASURED", "RESULT_FORMAT", "ROUND_MARK", "SPOILED", "CaseResult", "ScoreRow",
    },
    "evaluator.spreadsheets": {
        "as_written", "harmless", "harmless_row",
    },
    "evaluator.layouts": {
        "Column", "Layout", "LayoutError", "columns_of", "load_layout", "named_layouts", "read_tables", "write_tables",
    },
    "evaluator.metrics": {
        "REGISTRY", "Direction", "Metric", "Scope",
    },
    "evaluator.protocol": {
        "MADE_INPUTS", "PROTOCOLS_FOLDER", "SITUATIONS", "Defect", "InputKind", "InputSpec", "Interaction", "LabelSpec", "MetricImage",
        "MOST_SCORES", "MetricSpec", "Mode", "OutputKind", "OutputSpec", "Protocol", "Release", "ReportSection", "Resources", "Situation",
        "check_work", "given_name", "hash_document", "load_named_protocol", "load_protocol", "named_protocols", "read_protocol",
        "scores_of_a_case", "slug_of", "socket_entry", "worth_words",
    },
    "evaluator.ranking": {
        "MOST_STEPS", "Adjustment", "Analysis", "Board", "ConfigError", "PairMemory", "Plan", "RankEntry", "Ranking",
        "RankingConfig", "RankingError", "Row", "ScoreTable", "Significance", "Size", "TableError", "Work",
        "adjust_family", "analyse", "check_work", "compare_pairs", "in_words", "one_per_team", "parse_ranking",
        "plan_table", "preset_titles", "rank_algorithms", "read_scores", "replicates_within", "work_of",
    },
    "evaluator.reports": {
        "Paper", "draw_case", "write_report",
    },
    "evaluator.scoring": {
        "MAX_METRICS_BYTES", "ROW_MISSING", "ExternalScores", "MetricsInvalid", "Prompts", "ReferenceCache",
        "Trial", "gains_of_leaving_out", "judge_trials", "lost_to_gaps", "make_prompts", "measured_of", "parse_metrics", "reference_rows",
        "score_case", "score_rows", "score_table", "summarise", "telemetry_rows", "try_case",
        "try_rows", "wall_seconds_of",
    },
    "evaluator.volumes": {
        "ADDED", "CANONICAL_SUFFIX", "CASE_COLUMN", "CONFUSED", "DOCUMENT_SUFFIX", "MISSED", "PAIR_VOXELS", "write_error_map", "CanonicalFile", "Cells", "Channels", "ChildLimits", "Grid", "GridMismatch",
        "GridTolerance", "LabelMap", "ReaderLimits", "TableForm", "TableRow", "Volume", "canonicalise",
        "canonicalise_json", "canonicalise_table", "chosen_rows", "delimiter_of", "grids_match", "header_texts", "is_left_behind", "nonfinite_voxels", "read_channels_of", "read_grid", "read_image",
        "read_label_map", "read_table", "spacing_contradiction", "write_as_named", "write_canonical", "write_canonical_channels",
    },
}  # fmt: skip


@pytest.mark.parametrize("module", sorted(OFFERED))
def test_a_public_module_offers_these_names(module):
    imported = importlib.import_module(module)
    assert sorted(imported.__all__) == sorted(OFFERED[module])
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


def test_the_platform_takes_only_what_is_offered():
    taken = [
        (path.relative_to(ROOT).as_posix(), node.module, alias.name)
        for path in (ROOT / "platform").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "evaluator"
        for alias in node.names
    ]
    assert len(taken) > 100
    assert [use for use in taken if use[2] not in OFFERED.get(use[1], set())] == []


def test_what_is_offered_is_used_by_the_platform_or_part_of_the_interface():
    """The list stays short: a package nobody outside imports leaves it."""
    used = {
        node.module
        for path in (ROOT / "platform").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "evaluator"
    }
    assert set(OFFERED) == used


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import evaluator", ("numpy", "evaluator.ranking", "evaluator.reports", "evaluator.protocol", "matplotlib")),
        ("from evaluator.volumes import Grid", ("evaluator.protocol", "evaluator.ranking", "evaluator.scoring")),
        ("from evaluator.scoring import lost_to_gaps", ("numpy", "evaluator.protocol", "evaluator.ranking")),
        ("from evaluator.scoring import score_case", ("evaluator.reports", "matplotlib", "jsonschema")),
        ("import evaluator.reports", ("matplotlib",)),
    ],
)
def test_an_import_brings_only_what_it_needs(statement, absent):
    program = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
