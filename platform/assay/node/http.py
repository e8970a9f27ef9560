"""The node's side of the node API: one method per door, retries where a repeat is harmless, files checked by hash."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from assay.handshake import SERVER_HEADER, client_header, server_of, why_server_is_refused
from assay.leases import LeaseLost
from assay.node.orders import FileOrder, WorkOrder, parse_order

CHUNK_BYTES = 2**20
IDLE_CONNECTION_SECONDS = 60.0
"""A claim after a pause need not shake hands again; servers keep connections for 75 s."""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class NodeApiProblem(Exception):
    """The server refused, or could not be reached. The text is for the operator."""


class UpgradeNeeded(NodeApiProblem):
    """The server and this program are too far apart. The text says in one sentence which of them to upgrade."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """The answer to a heartbeat."""

    is_cancelled: bool
    lease_seconds: float


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Who we are, as the server has it."""

    name: str
    pool: str
    installation: str
    slots: int

    @property
    def owner(self) -> str:
        """Marks our containers: agents that share an engine leave each other's alone."""
        return f"{self.installation}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class UnservedPhase:
    """A phase, such as brains/final, and what a case of it needs of a machine, in words."""

    phase: str
    needs: str


def server_clock_ahead_seconds(url: str, *, transport: httpx.BaseTransport | None = None) -> float | None:
    """How far the server's clock is ahead of ours, to about a second (its answers are dated so); `None` where it does not say."""
    with httpx.Client(transport=transport, timeout=10.0) as http:
        asked_at = time.time()
        try:
            dated = parsedate_to_datetime(http.head(url).headers["Date"])
        except (httpx.HTTPError, KeyError, ValueError):
            return None
        halfway = (asked_at + time.time()) / 2
    return dated.timestamp() + 0.5 - halfway


class NodeApi:
    """Speaks for one node, or for a site's agent (`program`). Safe to use from several threads."""

    def __init__(
        self,
        *,
        url: str,
        token: str,
        program: str = "node",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}", **client_header(program)},
            timeout=httpx.Timeout(30.0, read=120.0),
            limits=httpx.Limits(keepalive_expiry=IDLE_CONNECTION_SECONDS),
            transport=transport,
            follow_redirects=False,
        )
        self._program = program
        self._sleep = sleep

    def pause(self, seconds: float) -> None:
        """Wait before asking again."""
        self._sleep(seconds)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def register(self, *, slots: int | None, inventory: Mapping[str, Any]) -> Registration:
        """Say hello. What this node held before goes back in the line."""
        answer = self._json("POST", "/api/v1/node/register", {"slots": slots, "inventory": dict(inventory)})
        return Registration(
            name=answer["name"], pool=answer["pool"], installation=answer["installation"], slots=int(answer["slots"])
        )

    def unserved(self) -> list[UnservedPhase]:
        """Phases of the pool that this node gets no case of, by what it said of itself when it last registered."""
        answer = self._send("GET", "/api/v1/node/unserved", json=None, retries=0).json()
        return [UnservedPhase(phase=str(row["phase"]), needs=str(row["needs"])) for row in answer]

    def claim(
        self,
        *,
        slots: int,
        cached_images: list[str],
        disk_free_bytes: int | None = None,
        free_gpus: int | None = None,
    ) -> WorkOrder | None:
        """The next case run, or None. Says on the way what changes while a node runs.

        `free_gpus`: what needs more is not handed out. None: a batch system gives the GPUs.
        """
        body = {
            "slots": slots,
            "cached_images": cached_images,
            "disk_free_bytes": disk_free_bytes,
            "free_gpus": free_gpus,
        }
        answer = self._send("POST", "/api/v1/node/claim", json=body, retries=0)
        return None if answer.status_code == httpx.codes.NO_CONTENT else parse_order(answer.json())

    def heartbeat(self, order: WorkOrder) -> Beat:
        """Keep the lease. Raises LeaseLost."""
        answer = self._json("POST", "/api/v1/node/heartbeat", _lease(order), retries=0)
        return Beat(is_cancelled=bool(answer["cancel"]), lease_seconds=float(answer["lease_seconds"]))

    def record(self, order: WorkOrder, ending: Mapping[str, Any]) -> None:
        """Say how it ended. Raises LeaseLost."""
        self._json("POST", "/api/v1/node/record", {**_lease(order), **ending})

    def release(self, order: WorkOrder, *, reason: str, counts: bool) -> None:
        """Hand the lease back without a result. Raises LeaseLost."""
        self._json("POST", "/api/v1/node/release", {**_lease(order), "reason": reason, "counts": counts})

    def put_output(self, order: WorkOrder, *, name: str, path: Path) -> None:
        """Send one output file. Raises LeaseLost."""
        address = f"/api/v1/node/case-runs/{order.case_run_id}/outputs/{quote(name)}"
        self._put(address, order=order, content=path)

    def ask_round(self, order: WorkOrder, *, number: int) -> Mapping[str, Any] | None:
        """What a round is to be told; None while that is still being made. Raises LeaseLost."""
        address = f"/api/v1/node/case-runs/{order.case_run_id}/rounds/{number}"
        answer = self._json("POST", address, _lease(order))
        return answer if answer["is_ready"] else None

    def put_log(self, order: WorkOrder, *, log: bytes) -> None:
        """Send the container's log. Raises LeaseLost."""
        self._put(f"/api/v1/node/case-runs/{order.case_run_id}/log", order=order, content=log)

    def fetch(self, file: FileOrder, *, destination: Path) -> None:
        """Download a file, going on where a broken connection stopped, and check it. Raises NodeApiProblem.

        An order without a hash is for a sealed file, whose every chunk is checked when it is opened.
        """
        for pause in (*RETRY_SECONDS, None):
            try:
                self._download(file, destination=destination)
                break
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if pause is None or _is_refusal(error):
                    raise NodeApiProblem(f"{file.path} could not be fetched: {error}") from error
                self._sleep(pause)
        if not file.sha256:
            return
        with destination.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            destination.unlink()
            raise NodeApiProblem(f"{file.path} arrived with sha256 {found}; expected {file.sha256}")

    def _download(self, file: FileOrder, *, destination: Path) -> None:
        have = destination.stat().st_size if destination.exists() else 0
        if have >= file.bytes > 0:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._http.stream("GET", file.url, headers=headers) as answer:
            answer.raise_for_status()
            mode = "ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb"
            with destination.open(mode) as target:
                for piece in answer.iter_bytes(CHUNK_BYTES):
                    target.write(piece)

    def _put(self, address: str, *, order: WorkOrder, content: Path | bytes) -> None:
        for pause in (*RETRY_SECONDS, None):
            try:
                if isinstance(content, Path):
                    with content.open("rb") as stream:
                        answer = self._http.put(address, params={"fence": order.fence}, content=stream)
                else:
                    answer = self._http.put(address, params={"fence": order.fence}, content=content)
            except httpx.TransportError as error:
                answer, problem = None, error
            if answer is not None and answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                self._check(answer)
                return
            if pause is None:
                raise NodeApiProblem(f"PUT {address} failed: {answer.status_code if answer is not None else problem}")
            self._sleep(pause)

    def _json(self, method: str, address: str, body: Mapping[str, Any], *, retries: int = len(RETRY_SECONDS)) -> Any:
        return self._send(method, address, json=body, retries=retries).json()

    def _send(self, method: str, address: str, *, json: Mapping[str, Any] | None, retries: int) -> httpx.Response:
        for pause in (*RETRY_SECONDS[:retries], None):
            try:
                answer = self._http.request(method, address, json=json)
            except httpx.TransportError as error:
                if pause is None:
                    raise NodeApiProblem(f"{method} {address} did not get through: {error!r}") from error
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or pause is None:
                    self._check(answer)
                    return answer
            self._sleep(pause)
        raise AssertionError("the last round returns or raises")

    def _check(self, answer: httpx.Response) -> None:
        """Raise for what is no success, and for a server that is too old for us. Raises LeaseLost, NodeApiProblem."""
        if answer.is_success or SERVER_HEADER in answer.headers:
            server = server_of(answer.headers.get(SERVER_HEADER))
            if sentence := why_server_is_refused(server, program=self._program):
                raise UpgradeNeeded(sentence)
        if answer.is_success:
            return
        code, text = _refusal(answer)
        if code == LeaseLost.code:
            raise LeaseLost(text)
        if answer.status_code == httpx.codes.UPGRADE_REQUIRED:
            raise UpgradeNeeded(text)
        raise NodeApiProblem(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}: {text}")


def _lease(order: WorkOrder) -> dict[str, Any]:
    return {"case_run_id": order.case_run_id, "fence": order.fence}


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR


def _refusal(answer: httpx.Response) -> tuple[str, str]:
    """The server's name for a refusal, and its sentence."""
    try:
        error = answer.json()["error"]
        return str(error.get("code", "")), str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", answer.text[:300]
