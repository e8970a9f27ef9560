"""CPU and GPU slots: which run has which of them, and whether a GPU may be given to anybody at all.

A GPU belongs to one run at a time, by UUID. Before a run it has to be idle. After it, it has to come back idle within a few seconds:
no process computing on it and no more memory in use than before. One that does not is quarantined with the reason, until the
node's program is started again when an operator has looked. A process in uninterruptible sleep, memory that belongs to none, or a
driver that no longer answers would otherwise be the next participant's failure. So would data left in memory. What a process freed,
the driver hands out zeroed to other processes, which the test marked `gpu` checks on real hardware.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from containers.errors import ContainersError
from containers.usage.nvml import GpuFacts, GpuReading, Nvml, NvmlUnavailable, open_nvml

SETTLE_SECONDS = 10.0
LOOK_SECONDS = 0.25
TOLERATED_BYTES = 64 * 2**20
"""Drivers round and keep small caches. A context that is left over is several hundred MiB."""


class NoFreeGpu(ContainersError):
    """Fewer healthy, free GPUs than were asked for."""


@dataclass(frozen=True, kw_only=True)
class SlotState:
    """One GPU as operators see it."""

    uuid: str
    is_taken: bool
    quarantined_because: str = ""


@dataclass(kw_only=True)
class GpuSlots:
    """The GPUs of this node. Safe to use from several threads."""

    uuids: tuple[str, ...]
    open_reader: Callable[[], AbstractContextManager[Nvml]] = open_nvml
    sleep: Callable[[float], None] = time.sleep
    _taken: set[str] = field(default_factory=set)
    _quarantined: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def states(self) -> list[SlotState]:
        """Every slot, in the driver's order."""
        with self._lock:
            return [
                SlotState(uuid=uuid, is_taken=uuid in self._taken, quarantined_because=self._quarantined.get(uuid, ""))
                for uuid in self.uuids
            ]

    def free_count(self) -> int:
        """How many could be taken now."""
        return sum(not state.is_taken and not state.quarantined_because for state in self.states())

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[tuple[str, ...]]:
        """`count` GPUs for the length of a run, checked before and after. Raises `NoFreeGpu` when there are not enough."""
        if not count:
            yield ()
            return
        uuids = self._take(count)
        try:
            baselines = {uuid: self._healthy_reading(uuid) for uuid in uuids}
            if None in baselines.values():
                raise NoFreeGpu(f"{count} GPUs were free, but not all of them are healthy; see the slots' states.")
            try:
                yield uuids
            finally:
                for uuid, baseline in baselines.items():
                    if baseline is not None:
                        self._check_after(uuid, baseline=baseline)
        finally:
            with self._lock:
                self._taken -= set(uuids)

    def _take(self, count: int) -> tuple[str, ...]:
        with self._lock:
            free = [uuid for uuid in self.uuids if uuid not in self._taken and uuid not in self._quarantined]
            if len(free) < count:
                raise NoFreeGpu(f"{len(free)} of {len(self.uuids)} GPUs are free and healthy, {count} are needed.")
            self._taken |= set(free[:count])
            return tuple(free[:count])

    def _healthy_reading(self, uuid: str) -> GpuReading | None:
        reading = self._read(uuid)
        if reading is not None and reading.process_ids:
            self._quarantine(uuid, f"{len(reading.process_ids)} processes compute on it before the run")
            return None
        return reading

    def _check_after(self, uuid: str, *, baseline: GpuReading) -> None:
        """Give the driver some seconds to tear the contexts down, then insist."""
        reading = self._read(uuid)
        for _ in range(int(SETTLE_SECONDS / LOOK_SECONDS)):
            if reading is None or self._is_clean(reading, baseline=baseline):
                return
            self.sleep(LOOK_SECONDS)
            reading = self._read(uuid)
        if reading is not None and not self._is_clean(reading, baseline=baseline):
            surplus_mib = (reading.used_bytes - baseline.used_bytes) >> 20
            self._quarantine(
                uuid,
                f"{len(reading.process_ids)} processes and {surplus_mib} MiB were left {SETTLE_SECONDS:.0f} s after a run",
            )

    @staticmethod
    def _is_clean(reading: GpuReading, *, baseline: GpuReading) -> bool:
        return not reading.process_ids and reading.used_bytes <= baseline.used_bytes + TOLERATED_BYTES

    def _read(self, uuid: str) -> GpuReading | None:
        try:
            with self.open_reader() as nvml:
                return nvml.read(uuid)
        except NvmlUnavailable as error:
            self._quarantine(uuid, f"it does not answer: {error}")
            return None

    def _quarantine(self, uuid: str, reason: str) -> None:
        with self._lock:
            self._quarantined[uuid] = reason


@dataclass(kw_only=True)
class CpuSlots:
    """Which CPUs to pin a run to: those with the fewest runs on them. Sharing is allowed. Runs are only spread."""

    cpu_ids: tuple[int, ...]
    _runs: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[tuple[int, ...]]:
        """As many CPUs as were asked for and there are, for the length of a run."""
        with self._lock:
            chosen = sorted(self.cpu_ids, key=lambda cpu: (self._runs[cpu], cpu))[:count]
            self._runs.update(chosen)
        try:
            yield tuple(sorted(chosen))
        finally:
            with self._lock:
                self._runs.subtract(chosen)


@dataclass(frozen=True, kw_only=True)
class GpuInventory:
    """The driver's version and the GPUs it shows. Empty where there is no driver."""

    driver: str = ""
    gpus: tuple[GpuFacts, ...] = ()


def gpu_inventory() -> GpuInventory:
    """The driver and the GPUs of this host."""
    try:
        with open_nvml() as nvml:
            return GpuInventory(driver=nvml.driver_version(), gpus=tuple(nvml.gpus()))
    except NvmlUnavailable:
        return GpuInventory()


def slots_of_this_host() -> GpuSlots:
    """A slot per GPU the driver shows. None without a driver."""
    return GpuSlots(uuids=tuple(gpu.uuid for gpu in gpu_inventory().gpus))
