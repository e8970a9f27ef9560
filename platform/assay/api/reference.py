"""`/api/v1/docs`: the API's reference as one plain page, made from its own description.

Rendered on the server: the usual interactive page loads scripts from elsewhere, which hospitals cannot and our content security
policy does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from assay.api.auth import Nobody

REFUSALS = {
    401: "Nobody is signed in, or the token is not good.",
    403: "You may see it, and not do this with it.",
    404: "It does not exist, or you may not see it.",
    409: "It does not fit what is there by now.",
    413: "The content is too large.",
    422: "The content of the request cannot be used.",
    426: "The client's API level is too low. The message says what to upgrade.",
    429: "A limit is reached. `retry_at` or the header Retry-After say when to try again.",
}
REFUSAL: dict[str, Any] = {
    "title": "Refusal",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "found", "expected", "what_to_do", "whose_fault"],
            "properties": {
                "code": {"type": "string", "description": "For programs. It never changes its meaning."},
                "message": {"type": "string", "description": "For people, in the language of the request."},
                "found": {"type": "string"},
                "expected": {"type": "string"},
                "what_to_do": {"type": "string"},
                "whose_fault": {"type": "string"},
                "line": {"type": ["integer", "null"], "description": "Where a document is at fault, counted from 1."},
                "column": {"type": ["integer", "null"]},
                "retry_at": {"type": "string", "format": "date-time"},
            },
        }
    },
    "example": {
        "error": {
            "code": "limit_reached",
            "message": "Your team has used its submissions of today.",
            "found": "3 submissions",
            "expected": "at most 3 in a day",
            "what_to_do": "Submit again tomorrow.",
            "whose_fault": "participant",
            "retry_at": "2026-12-01T00:00:00+00:00",
        }
    },
}


@dataclass(frozen=True, kw_only=True)
class FieldLine:
    """One parameter or one field of a document."""

    name: str
    kind: str
    is_required: bool


@dataclass(frozen=True, kw_only=True)
class OperationEntry:
    """One operation as the page shows it."""

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[FieldLine, ...]
    body: tuple[FieldLine, ...]
    answers: tuple[tuple[str, str, tuple[FieldLine, ...]], ...]
    is_open: bool


class DescribedAPI(NinjaAPI):
    """An API whose description says in OpenAPI's own way where nobody needs to sign in, by an empty requirement, and how it refuses."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Short, and no two alike: the noun and the verb."""
        view = operation.view_func
        return f"{view.__module__.rpartition('.')[2]}_{view.__name__}"

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        description = super().get_openapi_schema(**options)
        description.get("components", {}).get("securitySchemes", {}).pop(Nobody.__name__, None)
        description.setdefault("components", {}).setdefault("schemas", {})["Refusal"] = REFUSAL
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                asked = operation.get("security", [])
                if {Nobody.__name__: []} in asked:
                    operation["security"] = [way for way in asked if way != {Nobody.__name__: []}] + [{}]
                operation["responses"] |= refusals_of(path, method, operation)
        return description


def refusals_of(path: str, method: str, operation: dict[str, Any]) -> dict[int, Any]:
    """The refusals that an operation can answer with, by status. All have one form."""
    has_person = bool(operation.get("security")) and {} not in operation["security"]
    reads = bool(operation.get("parameters")) or "requestBody" in operation
    is_there = {
        401: True,
        403: bool(operation.get("security")),
        404: "{" in path or has_person,
        409: method != "get",
        413: "requestBody" in operation or method == "patch",
        422: reads or method != "get",
        426: True,
        429: True,
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    return {status: {"description": REFUSALS[status], "content": content} for status, yes in is_there.items() if yes}


class PlainReference(DocsBase):
    """What ninja asks for the page."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:  # noqa: ARG002  ninja's signature
        description = api.get_openapi_schema()
        groups: dict[str, list[OperationEntry]] = {}
        for tag, entry in entries_of(description):
            groups.setdefault(tag, []).append(entry)
        return render(request, "api/reference.html", {"info": description["info"], "groups": sorted(groups.items())})


def entries_of(description: dict[str, Any]) -> Iterator[tuple[str, OperationEntry]]:
    """Every operation with the group it belongs to."""
    schemas = description.get("components", {}).get("schemas", {})
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            yield (
                operation.get("tags", ["other"])[0],
                OperationEntry(
                    method=method.upper(),
                    path=path,
                    summary=operation.get("summary", ""),
                    description=operation.get("description", ""),
                    parameters=tuple(
                        FieldLine(
                            name=p["name"], kind=kind_of(p.get("schema", {})), is_required=p.get("required", False)
                        )
                        for p in operation.get("parameters", [])
                    ),
                    body=fields_of(body, schemas=schemas),
                    answers=tuple(answers_of(operation, schemas=schemas)),
                    is_open={} in operation.get("security", [{}]),
                ),
            )


def answers_of(
    operation: dict[str, Any], *, schemas: dict[str, Any]
) -> Iterator[tuple[str, str, tuple[FieldLine, ...]]]:
    """Status, kind of document, and its fields."""
    for status, answer in operation.get("responses", {}).items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        yield str(status), kind_of(schema) if schema else "", fields_of(schema.get("items", schema), schemas=schemas)


def fields_of(schema: dict[str, Any], *, schemas: dict[str, Any]) -> tuple[FieldLine, ...]:
    """The fields of a document, one level deep. Nothing for what is no object."""
    named = schemas.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    required = set(named.get("required", ()))
    return tuple(
        FieldLine(name=name, kind=kind_of(field), is_required=name in required)
        for name, field in named.get("properties", {}).items()
    )


def kind_of(schema: dict[str, Any]) -> str:
    """A field's kind in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(kind_of(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "anything")
