"""The catalogue of attacks, as a table made from the tests that carry them out: `make catalogue`.

A row exists because a test does. Tests say what they show in a marker with literal arguments,

    @pytest.mark.catalogue(17, attack="VOLUME under a read-only root", verdict="neutralised", guard="our configuration")

and hostile programs say it in their `expect.toml`. Both are read as text: nothing is imported or run. The table is written
into `containers/CATALOGUE.md`. A test fails when it is stale or when an item of the catalogue has no row.
"""

import argparse
import ast
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "containers" / "CATALOGUE.md"
BEGIN, END = "<!-- catalogue: written by make catalogue -->", "<!-- catalogue ends -->"
MARKER = "catalogue"

GROUPS = {
    "A. Image intake": range(1, 30),
    "B. Runtime": range(30, 57),
    "C. Disk and logs": range(57, 66),
    "D. Outputs": range(66, 87),
    "E. Leaks and gaming": range(87, 98),
}
"""Numbers never change: other documents quote them. Faults of queue and platform, from 98 on, have a suite of their own."""


@dataclass(frozen=True, kw_only=True, order=True)
class Row:
    """One attack on one item, and the test that carries it out."""

    item: int
    attack: str
    verdict: str
    guard: str
    shown_by: str


def read_rows(*, tests: Path) -> list[Row]:
    """Every row the tests below `tests` give, ordered by item."""
    rows = [row for path in sorted(tests.rglob("test_*.py")) for row in _rows_of_markers(path, tests)]
    rows += [row for path in sorted(tests.rglob("expect.toml")) for row in _rows_of_program(path, tests)]
    return sorted(rows)


def missing_items(rows: list[Row]) -> list[int]:
    """Items of the catalogue that no test claims."""
    claimed = {row.item for row in rows}
    return [item for items in GROUPS.values() for item in items if item not in claimed]


def table(rows: list[Row]) -> str:
    """The rows as Markdown, one table per group."""
    parts = []
    for title, items in GROUPS.items():
        parts += [
            f"## {title}",
            "",
            "| item | attack | what comes of it | guard | shown by |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            if row.item in items:
                cells = (str(row.item), row.attack, row.verdict, row.guard, f"`{row.shown_by}`")
                parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def with_table(*, text: str, rows: list[Row]) -> str:
    """The page's text with a fresh table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"found no place for the table, expected the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{table(rows)}\n{END}{after}"


def _rows_of_markers(path: Path, tests: Path) -> list[Row]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def text(node: ast.expr) -> str:
        return str(constants[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node))

    rows = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == MARKER:
            words = {keyword.arg: text(keyword.value) for keyword in node.keywords if keyword.arg}
            item = int(text(node.args[0]))
            rows.append(Row(item=item, shown_by=str(path.relative_to(tests)), **words))
    return rows


def _rows_of_program(path: Path, tests: Path) -> list[Row]:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    verdict = f"{document['verdict']} ({document['reason']})" if "reason" in document else document["verdict"]
    return [
        Row(
            item=item,
            attack=document["attack"],
            verdict=verdict,
            guard=str(document.get("guard") or document["no_guard"]).replace("_", " "),
            shown_by=str(path.parent.relative_to(tests)),
        )
        for item in document["items"]
    ]


def main() -> int:
    """Write the table, or with --check say whether it is the one the tests give."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail when stale or incomplete")
    is_check = parser.parse_args().check
    rows = read_rows(tests=REPOSITORY / "tests")
    text = PAGE.read_text(encoding="utf-8")
    fresh = with_table(text=text, rows=rows)
    if missing := missing_items(rows):
        sys.stderr.write(f"no test shows item {', '.join(map(str, missing))}\n")
    if is_check:
        return int(bool(missing) or fresh != text)
    PAGE.write_text(fresh, encoding="utf-8")
    return int(bool(missing))


if __name__ == "__main__":
    raise SystemExit(main())
