"""`operators/environment.md`: every variable the product reads, found in the code, with what it means from `environment.yaml`."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml
from markdown_text import code, table

PLACE = "operators/environment.md"
ROOT = Path(__file__).resolve().parents[2]
MEANINGS = Path(__file__).with_name("environment.yaml")
ROOMS = ("platform/assay", "evaluator", "containers", "deploy")
OTHERS = "Not described yet"
NAME = re.compile(r"ASSAY_[A-Z0-9_]*[A-Z0-9]|DATABASE_URL|BROKER_URL")
IN_C = re.compile(r'getenv\("(ASSAY_[A-Z_0-9]+)"\)')
ARITHMETIC: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Add: operator.add,
}
OPENING = """# Environment

Every variable that Assay reads. The list of names is taken from the code when this page is built, so none is missing.
`platform/assay/config/env.py` reads those of the server. Put them into `/etc/assay/environment`, one `NAME=value` per line.

Where the column *unless given* is empty, the variable has no value of its own: the text says what happens then.
"""


def read_variables() -> dict[str, str]:
    """Every variable the product reads, and the default that stands beside it in the code."""
    found: dict[str, str] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_name(node.value):
                    found.setdefault(node.value, "")
                if isinstance(node, ast.Call):
                    words = {item.arg: item.value for item in node.keywords}
                    name = words.get("name")
                    if isinstance(name, ast.Constant) and _is_name(name.value) and "default" in words:
                        found[name.value] = _default(words["default"])
        for path in sorted((ROOT / room).rglob("*.c")):
            found |= dict.fromkeys(IN_C.findall(path.read_text(encoding="utf-8")), "")
    return found


def meanings() -> dict[str, dict[str, str]]:
    """Group → variable → what it means."""
    read: dict[str, dict[str, str]] = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    return read


def pages() -> Iterator[tuple[str, str]]:
    """The one page. A variable that `environment.yaml` lacks is listed at the end. A test asks for its meaning."""
    variables, explained = read_variables(), meanings()
    known = {name for group in explained.values() for name in group}
    rest = dict.fromkeys(sorted(set(variables) - known), "")
    parts = [OPENING]
    for group, names in (explained | ({OTHERS: rest} if rest else {})).items():
        rows = [
            (code(name), " ".join(text.split()), code(variables[name]) if variables.get(name) else "")
            for name, text in names.items()
        ]
        parts += [f"## {group}", table(("variable", "means", "unless given"), rows)]
    yield PLACE, "\n\n".join(parts) + "\n"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _default(node: ast.expr) -> str:
    """A default as an operator would write it. Empty where the code computes it from the machine."""
    try:
        value = _value(node)
    except ValueError:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _value(node: ast.expr) -> object:
    """A literal, or arithmetic with whole numbers such as `60 * 2**30`. Raises `ValueError` for anything else."""
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = _value(node.left), _value(node.right)
        if isinstance(left, int) and isinstance(right, int):
            return ARITHMETIC[type(node.op)](left, right)
    return ast.literal_eval(node)
