"""Enough of `/api/v1` to test the client without a server: tus uploads that can be cut off, and canned JSON. Nothing sleeps."""

import base64
import hashlib
import json
from dataclasses import dataclass, field

import httpx
import pytest
from click.testing import CliRunner

from assay.client import http, uploads, watching
from assay.client.cli import main
from assay.handshake import SERVER_HEADER, server_header


@dataclass
class StoredUpload:
    """What the server has of one file."""

    id: str
    purpose: str
    sha256: str
    total_bytes: int
    content: bytearray = field(default_factory=bytearray)


class FakeServer:
    """Answers like Assay does. `cut_after` bytes the connection breaks once, in the middle of a chunk."""

    def __init__(self, *, cut_after: int | None = None) -> None:
        self.uploads: dict[str, StoredUpload] = {}
        self.answers: dict[tuple[str, str], list[tuple[int, object]]] = {}
        self.requests: list[tuple[str, str, object]] = []
        self.cut_after = cut_after
        self.created = 0

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def will_answer(self, method: str, path: str, *documents: object, status: int = 200) -> None:
        """Answer these documents one after the other, the last one again and again."""
        self.answers[method, f"/api/v1/{path}"] = [(status, document) for document in documents]

    def handle(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request)
        answer.headers[SERVER_HEADER] = server_header()
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/api/v1/uploads"):
            return self._uploads(request, path.removeprefix("/api/v1/uploads").strip("/"))
        body = json.loads(request.read()) if request.content else None
        self.requests.append((request.method, path.removeprefix("/api/v1/"), body))
        queue = self.answers.get((request.method, path))
        if queue is None:
            return httpx.Response(404, json={"error": {"code": "not_found", "message": f"{path} does not exist"}})
        status, document = queue.pop(0) if len(queue) > 1 else queue[0]
        return httpx.Response(status, json=document)

    def _uploads(self, request: httpx.Request, upload_id: str) -> httpx.Response:
        if request.method == "GET":
            keys = ("id", "purpose", "sha256", "total_bytes")
            unfinished = [u for u in self.uploads.values() if len(u.content) < u.total_bytes]
            return httpx.Response(200, json=[{key: getattr(u, key) for key in keys} for u in unfinished])
        assert request.headers["Tus-Resumable"] == "1.0.0"
        if request.method == "POST":
            return self._create(request)
        upload = self.uploads[upload_id]
        if request.method == "PATCH":
            return self._append(request, upload)
        return httpx.Response(200, headers={"Upload-Offset": str(len(upload.content))})

    def _create(self, request: httpx.Request) -> httpx.Response:
        pairs = (part.split(" ") for part in request.headers["Upload-Metadata"].split(","))
        metadata = {name: base64.b64decode(value).decode() for name, value in pairs}
        self.created += 1
        upload = StoredUpload(
            id=f"u{self.created}", purpose=metadata["purpose"], sha256=metadata["sha256"],
            total_bytes=int(request.headers["Upload-Length"]),
        )  # fmt: skip
        self.uploads[upload.id] = upload
        return httpx.Response(201, headers={"Location": f"http://server/api/v1/uploads/{upload.id}"})

    def _append(self, request: httpx.Request, upload: StoredUpload) -> httpx.Response:
        assert request.headers["Content-Type"] == "application/offset+octet-stream"
        if int(request.headers["Upload-Offset"]) != len(upload.content):
            return httpx.Response(409, json={"error": {"code": "offset", "message": "another offset was expected"}})
        body = request.read()
        if self.cut_after is not None and len(upload.content) + len(body) > self.cut_after:
            upload.content += body[: self.cut_after - len(upload.content)]
            self.cut_after = None
            raise httpx.ReadError("connection reset", request=request)
        upload.content += body
        if len(upload.content) == upload.total_bytes:
            assert hashlib.sha256(upload.content).hexdigest() == upload.sha256
        return httpx.Response(204, headers={"Upload-Offset": str(len(upload.content))})


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    for module in (http, uploads, watching):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def assay(server, monkeypatch, tmp_path):
    """Run the `assay` command against the fake server with a home of its own."""
    real = httpx.Client
    monkeypatch.setattr(http.httpx, "Client", lambda **options: real(**{**options, "transport": server.transport()}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ASSAY_URL", raising=False)
    monkeypatch.delenv("ASSAY_TOKEN", raising=False)

    def run(*arguments: str, **options):
        return CliRunner().invoke(main, list(arguments), **options)

    return run
