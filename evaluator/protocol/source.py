"""YAML text into a plain document, remembering the line and column of every value, and checking it against the schema.

YAML is read more strictly than usual: keys once, no dates, no tags, aliases only as far as they do not blow the document up.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluator.errors import ProtocolError

MAX_SOURCE_BYTES = 1 << 20
MAX_NODES = 50_000
SCHEMA_PATH = Path(__file__).with_name("schema.json")
Pointer = tuple[str | int, ...]
Marks = dict[Pointer, tuple[int, int]]


def read_source(text: str) -> tuple[dict[str, Any], Marks]:
    """The document in `text` and where each of its values stands, both by path."""
    import yaml  # only reading a protocol needs it

    if len(text) > MAX_SOURCE_BYTES:
        raise ProtocolError(where="document", found=f"{len(text)} characters", expected=f"at most {MAX_SOURCE_BYTES}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        raise ProtocolError(
            where="document",
            found=getattr(problem, "problem", None) or "text that is not YAML",
            expected="a YAML mapping",
            line=mark.line + 1 if mark else 0,
            column=mark.column + 1 if mark else 0,
        ) from problem
    builder = _Builder()
    document = builder.build(root, ()) if root is not None else None
    if not isinstance(document, dict):
        raise ProtocolError(
            where="document", found="no mapping at the top", expected="a YAML mapping with `protocol: 1`"
        )
    return document, builder.marks


class _Builder:
    """Builds plain values from YAML nodes, noting where each stood."""

    def __init__(self) -> None:
        self.marks: Marks = {}

    def build(self, node: Any, path: Pointer) -> Any:
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if len(self.marks) > MAX_NODES or len(path) > 60:
            raise self.error(path, found="a document that unfolds without end", expected=f"at most {MAX_NODES} values")
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Pointer) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.id != "scalar" or key in mapping:
                self.marks[path] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
                raise self.error(path, found=f"the key {key!r} again", expected="simple keys, each once")
            mapping[key] = self.build(value_node, (*path, key))
        return mapping

    def _scalar(self, node: Any, path: Pointer) -> Any:
        kind = node.tag.rpartition(":")[2]
        text: str = node.value
        if kind in ("str", "timestamp", "value"):
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("yes", "true", "on")
        try:
            if kind == "int":
                return int(text.replace("_", ""), 0)
            if kind == "float":
                return _finite_float(text)
        except ValueError:
            pass
        raise self.error(path, found=f"{text!r}", expected="text, a finite number, true, false or null")

    def error(self, path: Pointer, *, found: str, expected: str) -> ProtocolError:
        return locate(path, self.marks, found=found, expected=expected)


def _finite_float(text: str) -> float:
    value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def locate(path: Pointer, marks: Mapping[Pointer, tuple[int, int]], *, found: str, expected: str) -> ProtocolError:
    """A ProtocolError at `path`, or at its nearest ancestor that stands in the source."""
    known = path
    while known and known not in marks:
        known = known[:-1]
    line, column = marks.get(known, (0, 0))
    where = ".".join(str(part) for part in path) or "document"
    return ProtocolError(where=where, found=found, expected=expected, line=line, column=column)


def check_schema(document: Mapping[str, Any], marks: Marks) -> None:
    """Raise the most telling ProtocolError when the document does not have the published form."""
    from jsonschema.exceptions import relevance  # 60 ms that `import evaluator` must not cost

    problems = sorted(_validator().iter_errors(document), key=relevance, reverse=True)
    if problems:
        problem = _most_telling(problems[0])
        path: Pointer = tuple(problem.absolute_path)
        found = _found(problem.instance)
        if problem.validator == "additionalProperties":
            stranger = next(key for key in problem.instance if key not in problem.schema.get("properties", {}))
            path, found = (*path, stranger), f"the key {stranger!r}"
        raise locate(path, marks, found=found, expected=_expected(problem))


def _most_telling(problem: Any) -> Any:
    """Of several alternatives that all failed, the complaint of the one that at least has the right type."""
    while problem.context:
        fitting = [
            other for other in problem.context if other.validator not in ("type", "oneOf") or other.relative_path
        ]
        if not fitting:
            return problem
        problem = max(fitting, key=lambda other: len(other.relative_path))
    return problem


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # see check_schema

    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def _found(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _expected(problem: Any) -> str:
    match problem.validator, problem.validator_value:
        case "required", names:
            return f"also the key {', '.join(repr(name) for name in names if name not in problem.instance)}"
        case "additionalProperties", _:
            known = sorted(problem.schema.get("properties", {}))
            return f"only the keys {', '.join(known)}"
        case "enum", values:
            return "one of " + ", ".join(_found(value) for value in values)
        case "type", kinds:
            return f"a value of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
        case "pattern", _:
            return "a plain name: letters, digits, '_', '.', '-', and no path outside the folder"
        case "oneOf", _:
            return "one of the forms in the README"
        case validator, value:
            return f"{validator} {_found(value)}"


def walk(document: Any, path: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    """Every value of a plain document with its path."""
    yield path, document
    children: Iterator[tuple[Hashable, Any]] = iter(())
    if isinstance(document, dict):
        children = iter(document.items())
    elif isinstance(document, list):
        children = iter(enumerate(document))
    for key, child in children:
        yield from walk(child, (*path, key))  # type: ignore[arg-type]  # keys of plain documents are str and int
