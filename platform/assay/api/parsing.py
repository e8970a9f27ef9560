"""Read JSON bodies strictly: what Python's reader lets through, PostgreSQL or arithmetic would choke on later."""

import json
import math
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.parser import Parser
from ninja.types import DictStrAny

from assay.accounts.errors import InvalidError

MAX_DEPTH = 64


class StrictParser(Parser):
    """JSON without NaN, infinities in any spelling, NUL characters, duplicate keys, bottomless nesting or endless numbers."""

    def parse_body(self, request: HttpRequest) -> DictStrAny:
        """The body as plain values. An `InvalidError` names what JSON does not have."""
        try:
            document: DictStrAny = json.loads(
                request.body, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite
            )
            _check(document)
        except RecursionError:
            raise _invalid(f"nesting deeper than {MAX_DEPTH}") from None
        except ValueError as error:
            raise _invalid(str(error)[:200]) from None
        return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that appears twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is no JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]}, which is too large")
    return value


def _check(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nesting deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is a ValueError
        if "\0" in value:
            raise ValueError("a text with a NUL character")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key, depth + 1)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _invalid(found: str) -> InvalidError:
    return InvalidError(
        _("The request's body cannot be read."),
        found=found,
        expected=_("one JSON document (RFC 8259)"),
        what_to_do=_("See /api/v1/docs."),
    )
