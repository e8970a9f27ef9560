"""A client as strangers have one: made by openapi-python-client from the committed description of the API, and asked to read answers."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from django.http import HttpResponse

DESCRIPTION = Path(__file__).parent / "api" / "openapi.json"
PACKAGE = "assay_generated"
BASE = "http://testserver"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
OPTIONS = {
    "post_hooks": [],
    "content_type_overrides": {
        "application/x-tar": "application/octet-stream",
        "application/zip": "application/octet-stream",
    },
}
"""Without the overrides it would leave out the answers that are files."""


def generate(folder: Path) -> str:
    """Make the package in this folder and let it be imported. Returns what the generator warned of."""
    options = folder / "options.json"
    options.write_text(json.dumps(OPTIONS))
    asked = ["generate", "--path", str(DESCRIPTION), "--meta", "none", "--config", str(options)]
    asked += ["--output-path", str(folder / PACKAGE)]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("openapi-python-client")), *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    return done.stdout + done.stderr


@dataclass(frozen=True, kw_only=True)
class DescribedOperation:
    """One operation of the description, and how its address is recognised."""

    name: str
    tag: str
    method: str
    address: re.Pattern[str]


def described() -> Iterator[DescribedOperation]:
    """Every operation."""
    for path, methods in json.loads(DESCRIPTION.read_text())["paths"].items():
        for method, operation in methods.items():
            address = re.sub(r"\\{(\w+)\\}", r"[^/]+", re.escape(path)).replace("/outputs/[^/]+", "/outputs/.+")
            yield DescribedOperation(
                name=operation["operationId"],
                tag=operation["tags"][0].replace(" ", "_"),
                method=method.upper(),
                address=re.compile(address),
            )


@dataclass(kw_only=True)
class GeneratedClient:
    """`read`: which operations had an answer with a body, which the package read without losing a word of it."""

    warnings: str
    operations: list[DescribedOperation] = field(default_factory=lambda: list(described()))
    read: set[str] = field(default_factory=set)

    def module(self, name: str) -> ModuleType:
        """A module of the package."""
        return importlib.import_module(f"{PACKAGE}.{name}")

    def connection(self, *, token: str, transport: httpx.BaseTransport) -> Any:
        """The package's own client, signed in."""
        client = self.module("client").AuthenticatedClient(base_url=BASE, token=token)
        return client.set_httpx_client(
            httpx.Client(base_url=BASE, transport=transport, headers={"Authorization": f"Bearer {token}"})
        )

    def look_at(self, answer: HttpResponse) -> None:
        """Read one answer of Django's test client. Fails where the package cannot, or gives back something else than was sent."""
        method, path = answer.request["REQUEST_METHOD"], answer.request["PATH_INFO"]
        found = [one for one in self.operations if one.method == method and one.address.fullmatch(path)]
        if not found or answer.headers.get("content-type", "").partition(";")[0] != "application/json":
            return
        exact = min(found, key=lambda one: one.address.pattern.count("[^/]+"))
        module = self.module(f"api.{exact.tag}.{exact.name}")
        connection = self.module("client").Client(base_url=BASE, raise_on_unexpected_status=True)
        sent = httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))
        found = plain(module._parse_response(client=connection, response=sent))
        assert same_times(found) == same_times(answer.json()), exact.name
        if sent.is_success:
            self.read.add(exact.name)


def plain(parsed: Any) -> Any:
    """What the package read, as JSON again."""
    if isinstance(parsed, list):
        return [plain(one) for one in parsed]
    return parsed.to_dict() if hasattr(parsed, "to_dict") else parsed


def same_times(document: Any) -> Any:
    """The document with every time written in one way: `Z` and `+00:00` are the same."""
    if isinstance(document, dict):
        return {name: same_times(value) for name, value in document.items()}
    if isinstance(document, list):
        return [same_times(value) for value in document]
    is_time = isinstance(document, str) and TIME.fullmatch(document)
    return datetime.fromisoformat(document).isoformat() if is_time else document
