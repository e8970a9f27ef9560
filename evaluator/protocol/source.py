"""A protocol's text into a plain document with the line and column of every value, checked against the schema."""

import json
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluator.documents import DocumentError, Pointer, read_document, shown
from evaluator.errors import ProtocolError
from evaluator.protocol.form import has_form

SCHEMA_PATH = Path(__file__).with_name("schema.json")
Marks = dict[Pointer, tuple[int, int]]


def read_source(text: str) -> tuple[dict[str, Any], Marks]:
    """The document in `text` and where each of its values stands, both by path."""
    try:
        document = read_document(text)
    except DocumentError as error:
        raise ProtocolError(
            where=error.where, found=error.found, expected=error.expected, line=error.line, column=error.column
        ) from error
    return document.value, {path: (place.line, place.column) for path, place in document.places.items()}


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
    if has_form(document, _schema()):
        return
    from jsonschema.exceptions import relevance  # takes as long to import as a small folder to score

    _refuse_long_lists(document, marks)
    problems = sorted(_validator().iter_errors(document), key=relevance, reverse=True)
    if problems:
        problem = _most_telling(problems[0])
        path: Pointer = tuple(problem.absolute_path)
        found = shown(problem.instance)
        if problem.validator == "additionalProperties":
            stranger = next(key for key in problem.instance if key not in problem.schema.get("properties", {}))
            path, found = (*path, stranger), f"the key {stranger!r}"
        raise locate(path, marks, found=found, expected=_expected(problem))


def _refuse_long_lists(document: Mapping[str, Any], marks: Marks) -> None:
    """Lists and mappings that are too long, before each of their items is checked."""
    for key, rule in _validator().schema["properties"].items():
        forms = (rule, *rule.get("oneOf", ()))
        most = max(
            (form[name] for form in forms for name in ("maxItems", "maxProperties") if name in form), default=None
        )
        value = document.get(key)
        if most is not None and isinstance(value, dict | list) and len(value) > most:
            raise locate((key,), marks, found=f"{len(value)} entries", expected=f"at most {most}")


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
def _schema() -> Any:
    return json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # see check_schema

    return Draft202012Validator(_schema())


def _expected(problem: Any) -> str:
    match problem.validator, problem.validator_value:
        case "required", names:
            return f"also the key {', '.join(repr(name) for name in names if name not in problem.instance)}"
        case "additionalProperties", _:
            known = sorted(problem.schema.get("properties", {}))
            return f"only the keys {', '.join(known)}"
        case "enum", values:
            return "one of " + ", ".join(shown(value) for value in values)
        case "type", kinds:
            return f"a value of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
        case "pattern", _:
            return "a plain name: letters, digits, '_', '.', '-', and no path outside the folder"
        case "oneOf", _:
            return "one of the forms in the README"
        case validator, value:
            return f"{validator} {shown(value)}"


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
