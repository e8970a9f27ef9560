"""Whether a document has the form that `schema.json` asks for: yes, no, or not known here.

jsonschema knows the whole standard and says what is wrong in words, and takes a tenth of a second to be imported: as much as scoring a
small folder. Nearly every document is right. So this page answers for the keywords that our schema uses, exactly as the standard
has them. Jsonschema is asked for the words where the answer is no, and for everything where it is not known.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_SCALARS = (str, int, float, bool, type(None))
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_NO_RULES = frozenset({"$schema", "$id", "$defs", "title", "description"})
_REFERENCE = "#/$defs/"


class _Unknown(Exception):
    """Something this page has no exact answer for."""


def has_form(document: Any, schema: Mapping[str, Any]) -> bool | None:
    """Whether the document fits the schema. None where only a complete validator can tell."""
    try:
        return _fits(document, schema, schema)
    except _Unknown:
        return None


def _fits(value: Any, schema: Any, root: Mapping[str, Any]) -> bool:
    if isinstance(schema, bool):
        return schema
    for keyword, rule in schema.items():
        if keyword in _NO_RULES:
            continue
        check = _CHECKS.get(keyword)
        if check is None:
            raise _Unknown(keyword)
        if not check(value, rule, schema, root):
            return False
    return True


def _type(value: Any, rule: Any, _schema: Any, _root: Any) -> bool:
    return any(_TYPES[kind](value) for kind in ([rule] if isinstance(rule, str) else rule))


def _reference(value: Any, rule: Any, _schema: Any, root: Any) -> bool:
    if not rule.startswith(_REFERENCE):
        raise _Unknown(rule)
    return _fits(value, root["$defs"][rule.removeprefix(_REFERENCE)], root)


def _is_same(value: Any, other: Any) -> bool:
    """JSON's equality of plain values: 1 is 1.0 and is not true."""
    if not isinstance(other, _SCALARS):
        raise _Unknown(other)
    if not isinstance(value, _SCALARS) or isinstance(value, bool) != isinstance(other, bool):
        return False
    return bool(value == other)


def _unique(value: Any, rule: Any, _schema: Any, _root: Any) -> bool:
    if not rule or not isinstance(value, list):
        return True
    if not all(type(item) in (int, str) for item in value):
        raise _Unknown(value)
    return len(set(value)) == len(value)


def _properties(value: Any, rule: Any, _schema: Any, root: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(_fits(value[key], inner, root) for key, inner in rule.items() if key in value)


def _other_properties(value: Any, rule: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, dict):
        return True
    named = schema.get("properties", {})
    return all(_fits(inner, rule, root) for key, inner in value.items() if key not in named)


def _items(value: Any, rule: Any, _schema: Any, root: Any) -> bool:
    return not isinstance(value, list) or all(_fits(item, rule, root) for item in value)


def _one_of(value: Any, rule: Any, _schema: Any, root: Any) -> bool:
    return sum(_fits(value, inner, root) for inner in rule) == 1


def _all_of(value: Any, rule: Any, _schema: Any, root: Any) -> bool:
    return all(_fits(value, inner, root) for inner in rule)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _when(kind: str, holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Any, Any], bool]:
    """A rule about values of one kind. Others are none of its business."""
    is_kind = _TYPES[kind]
    return lambda value, rule, _schema, _root: not is_kind(value) or holds(value, rule)


_CHECKS: dict[str, Callable[[Any, Any, Any, Any], bool]] = {
    "type": _type,
    "$ref": _reference,
    "const": lambda value, rule, _schema, _root: _is_same(value, rule),
    "enum": lambda value, rule, _schema, _root: any(_is_same(value, one) for one in rule),
    "properties": _properties,
    "additionalProperties": _other_properties,
    "items": _items,
    "oneOf": _one_of,
    "allOf": _all_of,
    "uniqueItems": _unique,
    "required": _when("object", lambda value, names: all(name in value for name in names)),
    "minProperties": _when("object", lambda value, least: len(value) >= least),
    "maxProperties": _when("object", lambda value, most: len(value) <= most),
    "minItems": _when("array", lambda value, least: len(value) >= least),
    "maxItems": _when("array", lambda value, most: len(value) <= most),
    "minLength": _when("string", lambda value, least: len(value) >= least),
    "maxLength": _when("string", lambda value, most: len(value) <= most),
    "pattern": _when("string", lambda value, pattern: _compiled(pattern).search(value) is not None),
    # turned round, so that not-a-number passes as it does in jsonschema; what follows refuses it
    "minimum": _when("number", lambda value, least: not value < least),
    "maximum": _when("number", lambda value, most: not value > most),
    "exclusiveMinimum": _when("number", lambda value, least: not value <= least),
}
