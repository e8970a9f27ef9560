"""Holding a case run: its heartbeats, and the two reasons to stop the container: the lease is lost, or the submission is cancelled."""

import threading
import time
from collections.abc import Callable

from assay.leases import LeaseRenewal
from assay.node.http import NodeApi
from assay.node.orders import WorkOrder


class LeaseGuard(LeaseRenewal):
    """Renews the lease of one case run until it is left. Says whether the container must stop."""

    def __init__(self, *, api: NodeApi, order: WorkOrder, clock: Callable[[], float] = time.monotonic) -> None:
        cancelled = threading.Event()

        def renew() -> float:
            beat = api.heartbeat(order)
            if beat.is_cancelled:
                cancelled.set()
            return beat.lease_seconds

        super().__init__(
            renew,
            lease_seconds=order.lease_seconds,
            every=order.heartbeat_seconds,
            name=order.container_name,
            clock=clock,
        )
        self._cancelled = cancelled

    @property
    def is_cancelled(self) -> bool:
        """Whether the submission is to be cancelled."""
        return self._cancelled.is_set()

    def should_stop(self) -> bool:
        """Whether the container must be killed now: what the runner asks."""
        return self.is_lost or self.is_cancelled
