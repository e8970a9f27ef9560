"""`reference/protocol-keys.md`: every key of a protocol document, from its published JSON schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markdown_text import code, listed, table

from evaluator.protocol.source import SCHEMA_PATH

PLACE = "reference/protocol-keys.md"
OPENING = """# Keys of a protocol

Every key of the document that decides a number. The table is written from the schema that the reader uses. Editors can use the same
schema: `assay protocol schema > protocol.schema.json`.

The section `ranking` has its own reader: see [](../organizers/ranking.md).
"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    parts = [OPENING, "## The document", _keys(schema, schema)]
    for name, record in schema["$defs"].items():
        if record.get("properties"):
            parts += [
                f"(schema-{name.lower()})=\n## {_title(name)}",
                record.get("description", ""),
                _keys(record, schema),
            ]
    yield PLACE, "\n\n".join(part for part in parts if part) + "\n"


def _title(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).capitalize()


def _keys(record: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    required = set(record.get("required", ()))
    rows = [
        (
            code(key),
            _type(value, schema),
            "yes" if key in required else "",
            value.get("description", "").replace("<", "&lt;"),
        )
        for key, value in record["properties"].items()
    ]
    return table(("key", "may be", "required", "means"), rows)


def _type(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What may stand here, in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        record = schema["$defs"][name]
        return f"[{_title(name)}](#schema-{name.lower()})" if record.get("properties") else _type(record, schema)
    for key in ("oneOf", "anyOf"):
        if key in value:
            return " or ".join(dict.fromkeys(_type(choice, schema) for choice in value[key]))
    if "allOf" in value:
        return _type(value["allOf"][0], schema)
    if "const" in value:
        return code(value["const"])
    if "enum" in value:
        return listed(value["enum"])
    kinds = value.get("type", "anything")
    words = [_plain(kind, value, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return " or ".join(words)


def _plain(kind: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return f"list of {_type(value.get('items', {}), schema)}"
    if kind == "object":
        inner = value.get("additionalProperties")
        if isinstance(inner, dict) and inner:
            return f"mapping of names to {_type(inner, schema)}"
        return "mapping of " + listed(value["properties"]) if value.get("properties") else "mapping"
    low, high = value.get("minimum", value.get("exclusiveMinimum")), value.get("maximum")
    bounds = (
        ""
        if low is None and high is None
        else f" from {low if low is not None else '−∞'}" + (f" to {high}" if high is not None else "")
    )
    return {"string": "text", "integer": "whole number", "boolean": "`true` or `false`", "null": "nothing"}.get(
        kind, kind
    ) + bounds
