"""What the cluster says about our Pods, for all slots of an agent together: listed once, then watched.

A watch says what has changed since a version. It ends all the time, and goes on from the last version it gave. When the server has
forgotten that version (410 Gone), everything is listed again. A Pod that is not in what we have seen may only be too new, so its
absence is asked for by name before it is believed. A server that does not answer says nothing about Pods, which go on without it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from containers.engines.cluster_api import ClusterApi, Document, Gone
from containers.errors import EngineError, EngineUnreachable

log = logging.getLogger(__name__)
SILENCE_SECONDS = 900.0
PAUSE_SECONDS = 2.0


class PodWatch:
    """Pods by name. The watch runs in a thread, from the first question on."""

    def __init__(self, api: ClusterApi, *, selector: str, now: Callable[[], float] = time.monotonic) -> None:
        self.api, self._selector, self._now = api, selector, now
        self._pods: dict[str, Document] = {}
        self._answered_at = now()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.lists = 0
        """How often everything was listed."""

    def pod(self, name: str) -> Document | None:
        """The last that was seen of it. None when the cluster has none of this name. Raises EngineUnreachable after a long silence."""
        self._begin()
        with self._lock:
            found = self._pods.get(name)
            silence = self._now() - self._answered_at
        if silence > SILENCE_SECONDS:
            raise EngineUnreachable(f"The cluster has not answered for {silence:.0f} s.")
        return found if found is not None else self.asked(name)

    def asked(self, name: str) -> Document | None:
        """As it is now, by a question of its own."""
        found = self.api.pod(name)
        with self._lock:
            self._answered_at = self._now()
            if found is None:
                self._pods.pop(name, None)
        if found is not None:
            self.put(found)
        return found

    def put(self, pod: Document) -> None:
        """What the cluster has answered to a call of ours. An older word about the same Pod does not replace a newer one."""
        name = pod["metadata"]["name"]
        with self._lock:
            known = self._pods.get(name)
            if known is None or not is_newer(known, than=pod):
                self._pods[name] = pod

    def forget(self, name: str) -> None:
        """It was removed."""
        with self._lock:
            self._pods.pop(name, None)

    @property
    def key(self) -> tuple[str, str]:
        """Which cluster and which namespace."""
        return self.api.key

    def close(self) -> None:
        """End the thread and its connections."""
        self._closed.set()
        self.api.close()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pods", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        version = ""
        while not self._closed.is_set():
            try:
                version = self._follow(version or self._list())
            except Gone:
                version = ""
            except EngineError as error:
                if self._closed.is_set():
                    return
                log.warning("kubernetes.watch_ended", extra={"why": str(error)})
                version = version if isinstance(error, EngineUnreachable) else ""
                self._closed.wait(PAUSE_SECONDS)

    def _list(self) -> str:
        pods, version = self.api.pods(self._selector)
        with self._lock:
            self.lists += 1
            self._answered_at = self._now()
            self._pods = {pod["metadata"]["name"]: pod for pod in pods}
        return version

    def _follow(self, version: str) -> str:
        """One watch to its end. The version it came to."""
        with contextlib.closing(self.api.watch(self._selector, version=version)) as events:
            for kind, pod in events:
                version = str(pod["metadata"]["resourceVersion"])
                with self._lock:
                    self._answered_at = self._now()
                if kind == "DELETED":
                    self._drop(pod)
                elif kind in {"ADDED", "MODIFIED"}:
                    self.put(pod)
                if self._closed.is_set():
                    break
        with self._lock:
            self._answered_at = self._now()
        return version

    def _drop(self, pod: Document) -> None:
        with self._lock:
            known = self._pods.get(pod["metadata"]["name"])
            if known is not None and known["metadata"]["uid"] == pod["metadata"]["uid"]:
                del self._pods[pod["metadata"]["name"]]


def is_newer(pod: Document, *, than: Document) -> bool:
    """Whether the first is a later version of the same Pod. Versions that are no numbers say nothing."""
    one, other = (str(document["metadata"]["resourceVersion"]) for document in (pod, than))
    same = pod["metadata"]["uid"] == than["metadata"]["uid"]
    return same and one.isdigit() and other.isdigit() and int(one) > int(other)
