"""Holding a lease: heartbeats from a thread of their own, and the two reasons to stop the container.

A node that cannot reach the server for as long as its lease lasts must assume that somebody else has the case run by now, and
stops by itself (it "fences itself"). Elapsed time is read from the monotonic clock, so a stopped and continued process (or a
machine that slept) notices as soon as it wakes up.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from assay.node.http import LeaseGone, NodeApi, NodeApiProblem
from assay.node.orders import WorkOrder

log = logging.getLogger(__name__)


class LeaseGuard:
    """Renews one lease until it is left; says whether the container must stop."""

    def __init__(self, *, api: NodeApi, order: WorkOrder, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._order = order
        self._clock = clock
        self._lease_seconds = order.lease_seconds
        self._renewed_at = clock()
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {order.container_name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def is_lost(self) -> bool:
        """Whether somebody else may hold the case run: nothing may be written any more."""
        if self._clock() - self._renewed_at > self._lease_seconds:
            self._lost.set()
        return self._lost.is_set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the submission is to be cancelled."""
        return self._cancelled.is_set()

    def should_stop(self) -> bool:
        """Whether the container must be killed now: what the runner asks."""
        return self.is_lost or self.is_cancelled

    def _keep(self) -> None:
        while not self._stopped.wait(self._order.heartbeat_seconds) and not self._lost.is_set():
            asked_at = self._clock()
            try:
                beat = self._api.heartbeat(self._order)
            except LeaseGone as error:
                log.warning("lease.lost", extra={"container": self._order.container_name, "why": str(error)})
                self._lost.set()
            except NodeApiProblem as error:
                log.warning("heartbeat.failed", extra={"container": self._order.container_name, "why": str(error)})
            else:
                self._renewed_at, self._lease_seconds = asked_at, beat.lease_seconds
                if beat.is_cancelled:
                    self._cancelled.set()
