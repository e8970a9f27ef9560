"""The tables of our READMEs that follow from code, documents and tests.

`python -m evaluator.documentation.readme` writes them, a test compares.

One source for people and programs: what the registry does not say, the README cannot claim.
"""

from pathlib import Path

from evaluator.documentation.protocol_table import HEADER, rules_rows
from evaluator.errors import Reason
from evaluator.metrics.registry import REGISTRY, Metric
from evaluator.protocol import PROTOCOLS_FOLDER, load_named_protocol, named_protocols
from evaluator.protocol.definitions import PRESETS


def metrics_table() -> str:
    """Every metric with unit, range, direction, definition and options."""
    rows = [
        f"| `{metric.name}` | {metric.unit or '–'} | {_range(metric)} | {metric.direction or '–'} | {_cell(metric.definition)} "
        f"| {', '.join(f'`{key}`' for key in metric.options) or '–'} | {metric.source} |"
        for metric in REGISTRY.values()
    ]
    return _table("| metric | unit | range | better | definition | options | source |", rows)


def presets_table() -> str:
    """Every definition preset."""
    rows = [f"| `{preset.name}` | {preset.definition} | {preset.source} |" for preset in PRESETS.values()]
    return _table("| preset | means | source |", rows)


def protocols_table() -> str:
    """Every protocol that ships, with what its organizers have not confirmed."""
    rows = []
    for name in named_protocols():
        protocol = load_named_protocol(name)
        unconfirmed = "; ".join(protocol.document["unconfirmed"]) or "–"
        rows.append(f"| `{name}` | {protocol.title} | {len(protocol.labels)} | {unconfirmed} |")
    return _table("| protocol | challenge | labels | not confirmed by its organizers |", rows)


def reasons_list() -> str:
    """The closed list of why an untrusted volume is refused."""
    return ", ".join(f"`{reason}`" for reason in Reason)


def _cell(text: str) -> str:
    """Text whose bars are not taken for borders."""
    return text.replace("|", "\\|")


def _range(metric: Metric) -> str:
    low = "−∞" if metric.lower is None else f"{metric.lower:g}"
    return f"{low} … {'∞' if metric.upper is None else f'{metric.upper:g}'}"


def _table(header: str, rows: list[str]) -> str:
    rule = "|" + " --- |" * (header.count("|") - 1)
    return "\n".join([header, rule, *rows])


def rules_table() -> str:
    """Every protocol that ships: its rules, and what tests checked against which published source."""
    return _table(HEADER, rules_rows())


SECTIONS = {
    "metrics": metrics_table,
    "presets": presets_table,
    "protocols": protocols_table,
    "reasons": reasons_list,
    "rules": rules_table,
}
ROOM = Path(__file__).parents[1]
PAGES = (ROOM / "README.md", ROOM.parent / "docs" / "reference" / "evaluator.md", PROTOCOLS_FOLDER / "README.md")


def fill(text: str) -> str:
    """The text with every `<!-- NAME -->…<!-- /NAME -->` section of ours that it has written anew."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in text:
            continue
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
