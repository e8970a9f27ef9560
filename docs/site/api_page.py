"""`reference/api.md`: every operation of the API, from its committed description."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markdown_text import code, listed, table

PLACE = "reference/api.md"
DESCRIPTION = Path(__file__).resolve().parents[2] / "tests" / "api" / "openapi.json"
OPENING = """# API

The commands and the nodes use this API, and you can use it too. A running Assay shows the same description in a browser at
`/api/v1/docs`, and as a file at `/api/v1/openapi.json`.

**Signing in.** Send `Authorization: Bearer TOKEN`. `assay login` and the page *Account* make tokens. Nodes and sites have tokens of
their own kind.

**Versions.** Every answer has a header such as `Assay-Server: assay/0.1.0; api=2; lowest=1`: the version of the server, its API level,
and the lowest level that it serves. Assay's own programs send `Assay-Client: node/0.1.0; api=2` with every request. A program of a lower
level gets the status 426 and the code `upgrade_needed`, with a sentence that says what to upgrade. Your own programs need not send the
header. [](../operators/upgrade.md) says which versions work together.

**Errors.** Every error has the same form, whatever its status:

```json
{"error": {"code": "…", "message": "…", "found": "…", "expected": "…", "what_to_do": "…", "whose_fault": "participant"}}
```

`code` is for programs and does not change. The sentences are for people and may change.

**A client in your language.** Every answer has a schema, so a generator can make a client. For Python:

```sh
pip install openapi-python-client
openapi-python-client generate --url https://assay.example.org/api/v1/openapi.json --config options.yaml
```

`options.yaml` says that tar and zip answers are files:

```yaml
content_type_overrides: {application/x-tar: application/octet-stream, application/zip: application/octet-stream}
```

`from assay import Client` is the shorter way where it does what you need: it uploads, waits and pages for you. Uploads use tus 1.0, for
which there are clients in many languages.
"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    document = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    sections = [f"## {tag[:1].upper()}{tag[1:]}\n\n" + "\n\n".join(texts) for tag, texts in sorted(by_tag.items())]
    records = [_record(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    yield PLACE, "\n\n".join([OPENING, *sections, "## Records", *records]) + "\n"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"### {method.upper()} {path}", operation.get("description", "").replace("<", "&lt;")]
    rows = [
        (
            code(item["name"]),
            item["in"],
            "yes" if item.get("required") else "no",
            _type(item["schema"]),
            item.get("description", ""),
        )
        for item in operation.get("parameters", ())
    ]
    if rows:
        parts.append(table(("parameter", "in", "required", "type", "says"), rows))
    bodies = operation.get("requestBody", {}).get("content", {})
    parts += [f"Takes {code(kind)}: {_type(content.get('schema', {}))}" for kind, content in bodies.items()]
    answers = [
        f"{status}"
        + "".join(f" with {_type(content.get('schema', {}))}" for content in answer.get("content", {}).values())
        for status, answer in operation["responses"].items()
    ]
    parts.append("Answers " + ", ".join(answers) + ".")
    tokens = sorted({name for choice in operation.get("security", ()) for name in choice})
    parts.append(f"Who: {listed(tokens, nothing='everybody')}.")
    return "\n\n".join(part for part in parts if part)


def _record(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f"(record-{name.lower()})=\n### {name}", schema.get("description", "").replace("<", "&lt;")]
    required = set(schema.get("required", ()))
    rows = [
        (code(key), _type(value), "yes" if key in required else "no", value.get("description", "").replace("<", "&lt;"))
        for key, value in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(table(("field", "type", "always there", "says"), rows))
    if "enum" in schema:
        parts.append(f"One of {listed(schema['enum'])}.")
    return "\n\n".join(part for part in parts if part)


def _type(schema: Mapping[str, Any]) -> str:
    """A type in words, with links to records."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#record-{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_type(choice) for choice in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return listed(schema["enum"])
    return str(schema.get("format") or schema.get("type") or "anything")
