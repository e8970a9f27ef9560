"""One page per protocol that ships: what it scores, how, and what is known about its source. Everything is read from its document."""

from collections.abc import Iterator, Mapping
from typing import Any

from markdown_text import block, code, contents, listed, table

from evaluator.documentation.protocol_table import TESTS, read_checks
from evaluator.metrics.registry import Direction
from evaluator.protocol import PROTOCOLS_FOLDER, MetricSpec, Protocol, load_named_protocol, named_protocols
from evaluator.protocol.conventions import Situation, Worth
from evaluator.ranking.document.parse import parse_ranking
from evaluator.ranking.document.words import describe, in_words

FOLDER = "reference/protocols"
OPENING = """# Protocols

A protocol is one YAML document that holds every rule of a challenge: labels, tolerances, metrics, empty masks, limits and ranking. The
protocols below ship with Assay. Start your own challenge from any of them with `assay challenge new NAME --from PROTOCOL`.

Two modes exist for some of them. The plain name states the rules as they were meant. `NAME@published` does what the organizers'
published code does, with its defects.
"""


def pages() -> Iterator[tuple[str, str]]:
    """The overview and a page per protocol."""
    checks: dict[str, list[str]] = {}
    for folder in TESTS:
        for name, check in read_checks(folder):
            checks.setdefault(name, []).append(check)
    rows = []
    for name in named_protocols():
        protocol = load_named_protocol(name)
        rows.append(
            (
                f"[{name}]({name}.md)",
                protocol.title,
                str(len(protocol.labels)),
                ", ".join(spec.id for spec in _ranked(protocol)),
            )
        )
        yield f"{FOLDER}/{name}.md", _page(protocol, checks)
    yield (
        f"{FOLDER}/index.md",
        OPENING
        + "\n"
        + table(("protocol", "challenge", "labels", "metrics"), rows)
        + "\n\n"
        + contents(*named_protocols())
        + "\n",
    )


def _page(protocol: Protocol, checks: Mapping[str, list[str]]) -> str:
    document = protocol.document
    parts = [
        f"# {protocol.title}",
        block(f"assay challenge new my-challenge --from {protocol.name}\nassay protocol show {protocol.name}", "sh"),
        "## Sources",
        _items(document.get("sources", ())) or "The document names none.",
        "## Files",
        _files(protocol),
        "## Labels",
        _labels(protocol),
        "## Metrics",
        _metrics(protocol),
        "## Empty masks and failed cases",
        _worths(protocol),
        "## Limits",
        _limits(protocol),
        "## Ranking",
        f"{in_words(parse_ranking(protocol.ranking))}.",
        table(
            ("question", "answer"), [(item.heading, item.text) for item in describe(parse_ranking(protocol.ranking))]
        ),
        "## Defects of the published code",
        _defects(protocol),
        "## Not confirmed by the organizers",
        _items(document.get("unconfirmed", ())) or "Nothing: every rule has a source.",
        "## What tests compare",
        _items([check for name in (protocol.name, f"{protocol.name}@published") for check in checks.get(name, ())])
        or "No published source was there to compare with.",
        "## The document",
        block((PROTOCOLS_FOLDER / f"{protocol.name}.yaml").read_text(encoding="utf-8"), "yaml"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ranked(protocol: Protocol) -> list[MetricSpec]:
    """The metrics with a better end. The others are counts."""
    return [spec for spec in protocol.metrics if spec.metric.direction is not Direction.NONE]


def _items(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _files(protocol: Protocol) -> str:
    rows = [
        ("input", code(item.file), str(item.kind), "" if item.required else "may be missing")
        for item in protocol.inputs
    ]
    rows += [
        (
            "output",
            code(item.file),
            str(item.kind).replace("_", " "),
            "every value is one object" if item.instances else "",
        )
        for item in protocol.outputs
    ]
    return table(("", "file", "kind", "remark"), rows)


def _labels(protocol: Protocol) -> str:
    crops = any(label.z_crop != "none" for label in protocol.labels)
    header = ("label", "values or channel", "tolerance, mm", *(("cut to the reference's slices",) if crops else ()))
    rows = []
    for label in protocol.labels:
        place = f"channel {label.channel}" if label.channel is not None else ", ".join(map(str, label.values))
        tolerance = "–" if label.tolerance_mm is None else f"{label.tolerance_mm:g}"
        rows.append((label.name, place or "–", tolerance, *((label.z_crop,) if crops else ())))
    return table(header, rows)


def _metrics(protocol: Protocol) -> str:
    rows = []
    for spec in protocol.metrics:
        changed = [f"{key} {value}" for key, value in spec.options.items() if value != spec.metric.options[key].default]
        rounding = "as computed" if spec.rounding is None else f"{spec.rounding} digits"
        link = f"[{spec.metric.title}](../metrics/{spec.metric.name}.md)"
        rows.append((code(spec.id), link, "; ".join(changed) or "defaults", rounding, ", ".join(spec.labels) or "all"))
    return f"Definitions start from the preset `{protocol.preset}`.\n\n" + table(
        ("id", "metric", "options", "rounding", "labels"), rows
    )


def _worths(protocol: Protocol) -> str:
    worths = protocol.conventions.table
    rows = [
        (code(spec.id), *(_worth(worths[situation].get(spec.id, "–")) for situation in Situation))
        for spec in _ranked(protocol)
    ]
    text = table(("metric", "both empty", "only the reference empty", "only the prediction empty", "case failed"), rows)
    for failure, cells in protocol.conventions.by_failure.items():
        text += (
            f"\n\nAfter `{failure}`: " + ", ".join(f"{metric} {_worth(worth)}" for metric, worth in cells.items()) + "."
        )
    return text


def _worth(worth: Worth) -> str:
    return "undefined" if worth is None else f"{worth:.10g}" if isinstance(worth, float | int) else str(worth)


def _limits(protocol: Protocol) -> str:
    resources = protocol.resources
    rows = [
        ("container", f"one per {resources.run_mode}"),
        ("time", f"{resources.wall_seconds:g} s per {resources.wall_seconds_per}"),
        ("memory", f"{resources.memory_mb} MB"),
        ("processors", str(resources.cpus)),
        ("GPUs", str(resources.gpus)),
        ("output", f"{resources.output_mb} MB"),
        ("when a case fails", str(resources.on_case_failure)),
        ("profile", str(resources.profile)),
    ]
    if resources.command:
        rows.append(("command", listed(resources.command)))
    return table(("limit", "value"), rows)


def _defects(protocol: Protocol) -> str:
    rows = [(code(defect.id), defect.what, defect.source) for defect in protocol.defects]
    return table(("defect", "what the code does", "source"), rows) if rows else "None is known."
