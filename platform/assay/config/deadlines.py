"""A request computes for so long, and only while somebody waits for its answer.

Theory of operation. Python threads cannot be killed, and those of a web server share one processor: a page that computes for a
minute slows every other page down. One watching thread per process looks at each request that is being computed twice a second.
It ends a request, by raising `RequestOver` in its thread, when

* the request used more processor time than ASSAY_REQUEST_SECONDS (reading a body and waiting for the database use none), or
* it only reads (GET, HEAD) and its sender has closed the connection. Such a request is not even begun when it waited in line
  until its sender had gone.

The exception is no `Exception`, so code that survives errors does not survive this one. Transactions roll back on it. It reaches
Python code only: what could be slow in C has limits of its own (`statement_timeout` in the database, sizes of texts and files).
Operations that check whole archives set `environ["assay.takes_long"]` and are left alone.
"""

import ctypes
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.db import connections

log = logging.getLogger("assay.web")
LOOK_SECONDS = 0.5
TAKES_LONG = "assay.takes_long"
READING = frozenset({"GET", "HEAD"})


class RequestOver(BaseException):
    """Raised in a request's thread: stop computing."""


@dataclass(kw_only=True)
class UnderWay:
    """One request that is being computed."""

    thread: int
    environ: dict[str, Any]
    began_cpu_seconds: float
    why: str = ""


class Deadlines:
    """A WSGI application around the real one."""

    def __init__(self, application: Callable[..., Iterable[bytes]], *, limit_seconds: float) -> None:
        self.application, self.limit_seconds = application, limit_seconds
        self.lock = threading.Lock()
        self.under_way: dict[int, UnderWay] = {}
        self.watcher: threading.Thread | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READING and has_gone(environ.get("gunicorn.socket")):
            return answer_nobody(start_response)
        why = "it was ended"
        try:
            with self.watched(environ) as request:
                try:
                    return self.application(environ, start_response)
                finally:
                    why = request.why
        except RequestOver:
            connections.close_all()  # a statement may be half read
            log.warning(
                "request.over", extra={"why": why, "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"]}
            )
            return answer_too_long(start_response)

    @contextmanager
    def watched(self, environ: dict[str, Any]) -> Iterator[UnderWay]:
        """Listed for the watching thread as long as the block lasts. `RequestOver` never comes later."""
        thread = threading.get_ident()
        request = UnderWay(thread=thread, environ=environ, began_cpu_seconds=cpu_seconds(thread))
        with self.lock:
            self.under_way[thread] = request
            if self.watcher is None:  # here and not at the start: threads do not live through a fork
                self.watcher = threading.Thread(target=self.watch, name="deadlines", daemon=True)
                self.watcher.start()
        try:
            yield request
        finally:
            with self.lock:
                self.under_way.pop(thread, None)

    def watch(self) -> None:
        """What the watching thread does."""
        while True:
            time.sleep(LOOK_SECONDS)
            with self.lock:
                for request in self.under_way.values():
                    request.why = self.why_over(request)
                    if request.why:
                        stop(request.thread)

    def why_over(self, request: UnderWay) -> str:
        """Why it shall end. Nothing when it may go on."""
        environ = request.environ
        if environ["REQUEST_METHOD"] in READING and has_gone(environ.get("gunicorn.socket")):
            return "its reader has gone"
        used = cpu_seconds(request.thread) - request.began_cpu_seconds
        if used > self.limit_seconds and TAKES_LONG not in environ:
            return f"it computed for {used:.0f} s"
        return ""


def stop(thread: int) -> None:
    """Raise `RequestOver` in a thread at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(RequestOver))


def cpu_seconds(thread: int) -> float:
    """Processor time a thread of this process has used."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def has_gone(connection: socket.socket | None) -> bool:
    """Whether the other end closed the connection. Bytes that wait to be read are a next request, so it is there."""
    if connection is None:
        return False
    try:
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        return bool(waiting.poll(0)) and connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except (OSError, ValueError):  # reset, or closed on our side
        return True


def answer_too_long(start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A plain answer: whatever makes pages may be what took so long."""
    body = b"This took longer than we let a request compute. Nothing was changed.\n"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]


def answer_nobody(start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An answer that nobody will read."""
    start_response("408 Request Timeout", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]
