"""What people already have, and how it runs here: a table made from the tests that bring each thing.

A row exists because a test does. It says so in a marker with literal arguments, which is read as text:

    @pytest.mark.existing_thing("nnU-Net v2: raw data folder", runs="one command", through="import")
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_text import table

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PLACE = "organizers/existing-things.md"
MARKER = "existing_thing"
RUNS = ("unchanged", "one command", "with an edit", "not")
"""The columns, best first."""
THROUGH = {
    "submission": "handed in to a server, run by a node, scored",
    "metric image": "run by a server on its scoring worker",
    "import": "`assay import`, read by the server's own readers",
    "sandbox": "run in the sandbox",
    "none": "",
}
OPENING = """# What you already have

Every row of this table is made from a test. The test rebuilds the thing with the lines of the real one that matter, and brings it
in the way the last column says.

"""
CLOSING = """

*Unchanged*: the archive, image or folder is handed in as it is; the organizers choose the protocol's `resources`. *One command*:
`assay import SOURCE FOLDER` makes a challenge of it, and says what was taken, what was changed and what has no counterpart.
"""


@dataclass(frozen=True, kw_only=True, order=True)
class ExistingThing:
    """One row."""

    name: str
    runs: str
    through: str
    shown_by: str


def existing_things(tests: Path = TESTS) -> list[ExistingThing]:
    """Every row the tests give, by name. ValueError where a marker says something that the table has no place for."""
    return sorted(row for path in sorted(tests.rglob("test_*.py")) for row in _rows_of(path, tests))


def _rows_of(path: Path, tests: Path) -> Iterator[ExistingThing]:
    text = path.read_text(encoding="utf-8")
    if MARKER not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{MARKER}":
                (name,) = [ast.literal_eval(argument) for argument in decorator.args]
                said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
                if said["runs"] not in RUNS or said["through"] not in THROUGH:
                    raise ValueError(
                        f"{path.name}, {node.name}: found {said}, expected one of {RUNS} and of {tuple(THROUGH)}"
                    )
                yield ExistingThing(
                    name=name,
                    runs=said["runs"],
                    through=said["through"],
                    shown_by=f"{path.relative_to(tests).with_suffix('')}::{node.name}",
                )


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    rows = [
        (
            thing.name,
            *("✓" if thing.runs == column else "" for column in RUNS),
            THROUGH[thing.through],
            f"`{thing.shown_by}`",
        )
        for thing in existing_things()
    ]
    yield PLACE, OPENING + table(("what you have", *RUNS, "how it is brought", "shown by"), rows) + CLOSING
