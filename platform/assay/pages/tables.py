"""Tables as files: every table on a page is also CSV and JSON at the same address (`?format=csv`)."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from evaluator.spreadsheets import harmless_row

PAGE = 50
"""How many rows a page of a long table shows."""
FORMATS = ("csv", "json")


def page_number(request: HttpRequest) -> int:
    """Which page of a long table the address asks for, from 1."""
    text = request.GET.get("page", "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 10 else 1


def before_row(request: HttpRequest) -> UUID | None:
    """The row after which a page of a list begins, as the address names it. None for the first page."""
    try:
        return UUID(request.GET.get("before", ""))
    except ValueError:
        return None


def table_file(*, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]], as_format: str) -> HttpResponse:
    """The rows as a download. In CSV, text that a spreadsheet would take for a formula gets a leading apostrophe."""
    if as_format == "json":
        text, kind = json.dumps([dict(zip(header, row, strict=True)) for row in rows], default=str), "application/json"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(harmless_row(header))
        writer.writerows(harmless_row(row) for row in rows)
        text, kind = buffer.getvalue(), "text/csv; charset=utf-8"
    response = HttpResponse(text, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}.{as_format}"'
    return response
