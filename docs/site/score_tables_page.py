"""Tables of scores that `assay rank` reads: a table made from the tests that read each of them.

The names are the keys of the dictionaries in `tests/evaluator/ranking/test_score_files.py`, read as text: a row exists because a test does.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from markdown_text import table

ROOT = Path(__file__).resolve().parents[2]
TEST = ROOT / "tests" / "evaluator" / "ranking" / "test_score_files.py"
PLACE = "organizers/score-tables.md"
OUTCOMES = {
    "LAYOUTS": ("ranked", "test_a_layout_is_read_without_an_edit"),
    "AGGREGATES": ("ranked, without intervals and tests", "test_aggregates_are_ranked_and_said_to_have_no_intervals"),
    "REFUSED": ("refused, with what to do", "test_what_could_be_ranked_by_accident_is_refused"),
}
"""Dictionary → what becomes of its tables, and the test that shows it."""
FILES = {
    "first sheet of an Excel file": "test_the_first_sheet_of_an_excel_file_is_read",
    "Parquet file": "test_a_parquet_file_is_read",
}
"""Table → the test that reads it and ranks it."""
OPENING = """# Tables of scores

`assay rank TABLE` reads a table as it is. Every row below is made from a test, which writes such a table and ranks it.
`assay rank TABLE --explain` prints how each column of yours was understood.

"""


def score_tables(test: Path = TEST) -> list[tuple[str, str, str]]:
    """Name of the table, outcome, test. ValueError where a dictionary or a test is not there any more."""
    tree = ast.parse(test.read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    rows = []
    for name, (outcome, shown_by) in OUTCOMES.items():
        keys = [str(ast.literal_eval(key)) for key in _dictionary(tree, name).keys if key is not None]
        if shown_by not in functions or not keys:
            raise ValueError(f"{test.name}: found no test {shown_by} or an empty {name}; expected both")
        rows += [(key, outcome, f"`{shown_by}[{key}]`") for key in keys]
    if unknown := set(FILES.values()) - functions:
        raise ValueError(f"{test.name}: found no test {', '.join(sorted(unknown))}")
    return rows + [(name, "ranked", f"`{shown_by}`") for name, shown_by in FILES.items()]


def _dictionary(tree: ast.Module, name: str) -> ast.Dict:
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and isinstance(
            node.value, ast.Dict
        ):
            return node.value
    raise ValueError(f"found no dictionary {name} in the tests of score files; expected one")


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    yield PLACE, OPENING + table(("table", "what becomes of it", "shown by"), score_tables())
