"""One connection to one server's `/api/v1`: adds the token, turns every failure into a `ClientError`."""

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from assay.client.errors import RefusedError, UnreachableError, UpgradeNeededError
from assay.handshake import SERVER_HEADER, client_header, may_be_too_old, server_of, why_server_is_refused

API = "/api/v1"
PATIENCE = httpx.Timeout(120, connect=30)
PATIENCE_WITH_CHANGES = httpx.Timeout(3600, connect=30)
"""Of requests that are never repeated: a server that checks a large test set, or that is slow, is not one that is away."""
RETRY_SECONDS = (0.5, 1, 2, 4)
"""Pauses between attempts of a request that changes nothing."""
MAY_NOT_BE_KNOWN = (404, 405, 422)
"""What an older server answers to a request that it does not know yet."""


class Connection:
    """Asks and answers in JSON. `token` may be empty for what anybody may see. `program` is what we say we are (`assay/handshake.py`)."""

    def __init__(
        self, *, url: str, token: str = "", program: str = "cli", transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Accept": "application/json", "User-Agent": "assay-client", **client_header(program)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.url = url.rstrip("/")
        self._program = program
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=PATIENCE, transport=transport, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON at this path. Tried again when the network or a busy server was the reason it failed."""
        parameters = {name: value for name, value in query.items() if value is not None}
        for pause in RETRY_SECONDS:
            try:
                return _json(self._send("GET", path, params=parameters))
            except UnreachableError:
                time.sleep(pause)
            except RefusedError as refusal:
                if not refusal.may_pass:
                    raise
                time.sleep(pause)
        return _json(self._send("GET", path, params=parameters))

    def get_bytes(self, path: str) -> bytes:
        """What lies at this path, as it is."""
        return self._send("GET", path).content

    def post(self, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """Send a document. The answer's JSON. Never repeated on its own: it may have arrived."""
        return _json(self._send("POST", path, json=dict(document or {}), timeout=PATIENCE_WITH_CHANGES))

    def put(self, path: str, document: Mapping[str, Any] | list[Any]) -> Any:
        """Put a document. The answer's JSON."""
        body = document if isinstance(document, list) else dict(document)
        return _json(self._send("PUT", path, json=body, timeout=PATIENCE_WITH_CHANGES))

    def delete(self, path: str) -> None:
        """Delete what lies at this path."""
        self._send("DELETE", path, timeout=PATIENCE_WITH_CHANGES)

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str], content: Iterable[bytes] | bytes = b""
    ) -> httpx.Response:
        """One request with headers and a body of its own, for protocols that are not JSON (tus)."""
        return self._send(method, path, headers=dict(headers), content=content)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        address = path if path.startswith(("/", "http")) else f"{API}/{path}"
        try:
            response = self._http.request(method, address, **arguments)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self.url} does not answer",
                found=str(error) or type(error).__name__,
                what_to_do="check the address and the network; `assay login URL` chooses another server",
            ) from error
        server = server_of(response.headers.get(SERVER_HEADER))
        if (response.is_success or SERVER_HEADER in response.headers) and (
            sentence := why_server_is_refused(server, program=self._program)
        ):
            raise UpgradeNeededError(sentence)
        if response.is_success:
            return response
        raise _refusal(response, hint=may_be_too_old(server) if response.status_code in MAY_NOT_BE_KNOWN else "")


def _json(response: httpx.Response) -> Any:
    if response.status_code == httpx.codes.NO_CONTENT or not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        found = response.headers.get("content-type", "no content type")
        raise UnreachableError(
            f"{response.url} is not an Assay server", found=found, expected="application/json",
            what_to_do="check the address given to `assay login`",
        ) from error  # fmt: skip


def sentences(texts: Iterable[str]) -> str:
    """Sentences one after the other, each with its full stop and a capital letter. Empty ones are left out.

    >>> sentences(["join a team", "", "Wait until Monday."])
    'Join a team. Wait until Monday.'
    """
    written = [text.strip() for text in texts if text.strip()]
    return " ".join(f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" for text in written)


def _refusal(response: httpx.Response, *, hint: str) -> RefusedError:
    """The server's own words when it used our error envelope, else its status in ours. `hint` is added to what to do."""
    try:
        error = response.json()["error"]
        texts = {name: str(error.get(name) or "") for name in ("code", "found", "expected", "what_to_do")}
        texts["what_to_do"] = sentences([texts["what_to_do"], hint])
        return RefusedError(str(error["message"]), status=response.status_code, **texts)
    except (ValueError, KeyError, TypeError, AttributeError):
        advice = {
            401: "run `assay login`",
            413: "a proxy in between refuses requests of this size: ask its operator",
        }.get(response.status_code, "if it stays, tell the operator of the server")
        words = f"The server answered {response.status_code} {response.reason_phrase}"
        return RefusedError(words, status=response.status_code, what_to_do=advice)
