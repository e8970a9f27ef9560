"""A lease: the right to work on one thing for a limited time, and the one error that says it is gone. No Django here.

Three things are leased, each under a fence (a number that grows with every claim): a case run to a node, an evaluation to a scoring
worker, a site's evaluation to its agent. The holder renews it from a thread (`LeaseRenewal`) while the work goes on.

A holder that could not renew for as long as its lease lasts must assume that somebody else has taken over, and stops by itself.
Elapsed time is read from the monotonic clock, so a process that was frozen, or a machine that slept, notices as soon as it wakes up.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 4


class LeaseLost(Exception):
    """Somebody else holds what was leased, or it has ended: stop, and discard whatever is not stored."""

    code = "lease_lost"
    """How the API names it. A node knows a lost lease by this code and by nothing else."""


def not_leased(what: str, *, fence: int | None = None) -> LeaseLost:
    """The error for `what`, such as "Case run 4ac0…", which the caller does not hold (under this fence)."""
    under = f" under fence {fence}" if fence is not None else ""
    return LeaseLost(f"{what} is not leased to you{under}.")


class LeaseRenewal:
    """Renews one lease from a thread of its own, as a context. A lease that was lost once stays lost.

    `renew` asks for more time and returns for how many seconds the lease holds from then on. It raises LeaseLost when the lease is
    gone. Whatever else it raises is logged, and it is asked again. `every` is the time between two renewals in seconds.
    `on_lost` is called once, from the renewing thread or from the thread that looks, when the lease is found to be lost.
    """

    def __init__(
        self,
        renew: Callable[[], float],
        *,
        lease_seconds: float,
        every: float | None = None,
        on_lost: Callable[[], None] = lambda: None,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renew = renew
        self._lease_seconds = lease_seconds
        self._every = every if every is not None else lease_seconds / RENEWALS_PER_LEASE
        self._on_lost = on_lost
        self._name = name
        self._clock = clock
        self._renewed_at = clock()
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

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
        """Whether somebody else may hold the lease: nothing may be written any more."""
        if not self._lost.is_set() and self._clock() - self._renewed_at > self._lease_seconds:
            self._lose("it was not renewed in time")
        return self._lost.is_set()

    def check(self) -> None:
        """Raise LeaseLost when the lease is lost."""
        if self.is_lost:
            raise LeaseLost(f"The lease of {self._name} is lost.")

    def _keep(self) -> None:
        while not self._stopped.wait(self._every) and not self._lost.is_set():
            asked_at = self._clock()
            try:
                seconds = self._renew()
            except LeaseLost as error:
                self._lose(str(error))
            except Exception as error:  # noqa: BLE001  one renewal may fail in any way; the lease lasts for several
                log.warning(
                    "lease.renewal_failed", extra={"lease": self._name, "why": f"{type(error).__name__}: {error}"}
                )
            else:
                self._renewed_at, self._lease_seconds = asked_at, seconds

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._lost.is_set():
                return
            self._lost.set()
        log.warning("lease.lost", extra={"lease": self._name, "why": why})
        self._on_lost()
