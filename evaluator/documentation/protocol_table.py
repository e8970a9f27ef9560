"""The table of `protocols/README.md`: what each protocol that ships says, from its document, and what was checked, from the tests.

A check stands in the table because a test makes it. Tests say what they compare with in a marker with literal arguments,

    @pytest.mark.checked("flare22@published", what="Dice and NSD on random masks", source="FLARE22_DSC_NSD_Eval.py, step by step")

which is read as text: nothing is imported or run. Several protocols are separated by blanks.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from evaluator.metrics.registry import Direction
from evaluator.protocol import MetricSpec, OutputKind, Protocol, load_named_protocol, named_protocols
from evaluator.protocol.conventions import Situation, Worth
from evaluator.protocol.rules import LabelRule
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.document.words import in_words

TESTS = tuple(Path(__file__).parents[2] / "tests" / room for room in ("evaluator", "published"))
"""Where checks are made: against rules and by hand, and against what published code answered."""
MARKER = "checked"
HEADER = (
    "| protocol | labels | metrics | neither / invented / missed | no output | resources | ranking | report | "
    "defects of the published code | checked |"
)


def rules_rows() -> list[str]:
    """One row per protocol."""
    checks = [check for folder in TESTS for check in read_checks(folder)]
    return [_row(load_named_protocol(name), checks) for name in named_protocols()]


def read_checks(tests: Path) -> Iterator[tuple[str, str]]:
    """Protocol (with its mode) and what a test compares it with, in the order of the files."""
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == MARKER:
                words = {item.arg: ast.literal_eval(item.value) for item in node.keywords}
                for name in ast.literal_eval(node.args[0]).split():
                    yield name, f"{words['what']} ({words['source']})"


def _row(protocol: Protocol, checks: Iterable[tuple[str, str]]) -> str:
    names = (protocol.name, f"{protocol.name}@published")
    cells = (
        f"`{protocol.name}`",
        _labels(protocol),
        ", ".join(_metric(protocol, spec) for spec in _scored(protocol)),
        _worths(protocol, (Situation.BOTH_EMPTY, Situation.REFERENCE_EMPTY, Situation.PREDICTION_EMPTY)),
        _worths(protocol, (Situation.FAILED,)),
        _resources(protocol),
        _ranking(protocol),
        _report(protocol),
        ", ".join(f"`{defect.id}`" for defect in protocol.defects) or "–",
        "; ".join(check for name, check in checks if name in names) or "–",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _report(protocol: Protocol) -> str:
    """Sections of its own, and the attributes of cases it is broken down by."""
    sections = [
        section.section.replace("_", " ") + (f" by {section.by}" if section.by else "") for section in protocol.report
    ]
    by = [f"by {', '.join(protocol.breakdowns)}"] if protocol.breakdowns else []
    return "; ".join([*sections, *by]) or "–"


def _scored(protocol: Protocol) -> list[MetricSpec]:
    """The metrics that have a better end: the others are counts that pooled ones add up."""
    return [spec for spec in protocol.metrics if spec.metric.direction is not Direction.NONE]


def _labels(protocol: Protocol) -> str:
    kinds = {
        OutputKind.LABEL_MAP: "objects of one label map" if protocol.output.instances else "in a label map",
        OutputKind.MASK_PER_STRUCTURE: "in a mask each",
        OutputKind.MULTICHANNEL: "in channels",
        OutputKind.TABLE: "in a table",
        OutputKind.JSON: "in a document",
    }
    if protocol.labels_from_reference is not None:
        rules = {
            LabelRule.PRESENT: "values the reference has",
            LabelRule.TO_MAXIMUM: "values 1 to the reference's largest",
        }
        return rules[protocol.labels_from_reference]
    count = len(protocol.labels)
    return kinds[protocol.output.kind] if count == 1 else f"{count} {kinds[protocol.output.kind]}"


def _metric(protocol: Protocol, spec: MetricSpec) -> str:
    words = [spec.id]
    if spec.metric.needs_tolerance:
        labels = [label for label in protocol.labels if not spec.labels or label.name in spec.labels]
        tolerances = [label.tolerance_mm or 0.0 for label in labels]
        low, high = min(tolerances), max(tolerances)
        words.append(f"at {low:.4g} mm" if low == high else f"at {low:.4g} to {high:.4g} mm")
    defaults = {key: option.default for key, option in spec.metric.options.items()}
    more = [f"{key} {_option(value)}" for key, value in spec.options.items() if value != defaults[key]]
    more += [f"{spec.rounding} digits"] if spec.rounding is not None else []
    return " ".join(words) + (f" ({', '.join(more)})" if more else "")


def _option(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _worths(protocol: Protocol, situations: Sequence[Situation]) -> str:
    """Metrics that are worth the same, together."""
    metrics_of: dict[str, list[str]] = {}
    for spec in _scored(protocol):
        table = protocol.conventions.table
        if spec.id in table[situations[0]] and (len(situations) == 1 or spec.metric.compute):
            worths = " / ".join(_worth(table[situation][spec.id]) for situation in situations)
            metrics_of.setdefault(worths, []).append(spec.id)
    return "; ".join(f"{', '.join(ids)} {worths}" for worths, ids in metrics_of.items()) or "as its counts"


def _worth(worth: Worth) -> str:
    return "undefined" if worth is None else f"{worth:.10g}" if isinstance(worth, float) else str(worth)


def _ranking(protocol: Protocol) -> str:
    return in_words(parse_ranking(protocol.ranking))


def _resources(protocol: Protocol) -> str:
    resources = protocol.resources
    words = [f"one {resources.run_mode} per run", f"{resources.wall_seconds:g} s", f"{resources.memory_mb / 1024:g} GB"]
    if resources.gpus:
        words.append("1 GPU" if resources.gpus == 1 else f"{resources.gpus} GPUs")
    if resources.profile != "default":
        words.append(f"{resources.profile} profile")
    return ", ".join(words)
