"""Sample GPUs at 10 Hz in a process of its own, and turn the samples of one run into usage.

    python -m containers.usage.gpu_monitor GPU-uuid...     # one JSON line per sample, until standard input is closed

A process of its own because a sampler that shares an interpreter with a busy one drifts. Timestamps are the machine's monotonic
clock, which parent and child share. Nothing assumes that a tenth of a second passed. Memory is the device's use less its use
before the container was started (the baseline): a GPU belongs to one run at a time, so the rest is the run's, including what the
driver holds for its contexts and does not account to a process.
"""

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from containers.usage.nvml import LIBRARY, open_nvml
from containers.usage.telemetry import LARGEST_GAP_SECONDS, area, largest_gap, stable_maximum, thin_out
from containers.usage_record import Usage

PERIOD_SECONDS = 0.1
FIRST_SAMPLE_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """One look at all GPUs of a run: memory summed, utilisation averaged."""

    at_seconds: float
    used_bytes: int
    utilisation_percent: float


class GpuRecording:
    """The samples of a running monitor. Complete once the context that made it has ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def samples(self) -> list[GpuSample]:
        """Everything recorded so far. A line that is still being written is left out."""
        self._file.seek(0)
        lines = [line for line in self._file.read().split(b"\n")[:-1] if line]
        return [GpuSample(**json.loads(line)) for line in lines]

    def usage(self, *, start: float, end: float, tolerance_bytes: int = 0) -> Usage:
        """The GPU half of a run's usage between two moments of the monotonic clock."""
        samples = self.samples()
        before = [sample.used_bytes for sample in samples if sample.at_seconds <= start]
        baseline = before[-1] if before else 0
        during = [sample for sample in samples if start <= sample.at_seconds <= end]
        seconds = [sample.at_seconds - start for sample in during]
        memory = [float(max(0, sample.used_bytes - baseline)) for sample in during]
        utilisation = [sample.utilisation_percent for sample in during]
        gap = largest_gap(seconds, start=0.0, end=end - start)
        return Usage(
            gpu_baseline_bytes=baseline,
            gpu_peak_memory_bytes=int(max(memory, default=0)),
            gpu_stable_memory_bytes=int(stable_maximum(memory)),
            gpu_memory_area_byte_seconds=round(area(seconds=seconds, values=memory)),
            gpu_memory_area_over_tolerance_byte_seconds=round(
                area(seconds=seconds, values=memory, tolerance=tolerance_bytes)
            ),
            gpu_utilisation_area_percent_seconds=round(area(seconds=seconds, values=utilisation), 3),
            gpu_memory_curve=thin_out(seconds=seconds, values=memory),
            gpu_utilisation_curve=thin_out(seconds=seconds, values=utilisation),
            gpu_sample_count=len(during),
            gpu_largest_gap_seconds=round(gap, 3),
            gpu_is_valid=bool(before) and gap <= LARGEST_GAP_SECONDS,
        )


@contextlib.contextmanager
def record_gpus(uuids: Sequence[str], *, library: str = LIBRARY) -> Iterator[GpuRecording]:
    """A monitor process for as long as the context lasts. Returns once it has taken its first sample."""
    command = [sys.executable, "-m", "containers.usage.gpu_monitor", "--library", library, *uuids]
    with tempfile.TemporaryFile() as file:
        monitor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        try:
            _wait_for_first_sample(monitor, file)
            yield GpuRecording(file)
        finally:
            if monitor.stdin is not None:
                monitor.stdin.close()
            try:
                monitor.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                monitor.kill()
                monitor.wait()


def _wait_for_first_sample(monitor: "subprocess.Popen[bytes]", file: IO[bytes]) -> None:
    """Without one there is no baseline. A monitor that has ended or hangs leaves the run without GPU measurements."""
    give_up_at = time.monotonic() + FIRST_SAMPLE_SECONDS
    while not file.seek(0, 2) and monitor.poll() is None and time.monotonic() < give_up_at:
        time.sleep(0.02)


def sample_until_closed(uuids: Sequence[str], *, library: str) -> None:
    """The monitor's own loop: a sample every period, on a fixed grid so that errors do not add up."""
    with open_nvml(library) as nvml:
        due = time.monotonic()
        while True:
            readings = [nvml.read(uuid) for uuid in uuids]
            sample = {
                "at_seconds": time.monotonic(),
                "used_bytes": sum(reading.used_bytes for reading in readings),
                "utilisation_percent": sum(reading.utilisation_percent for reading in readings) / len(readings),
            }
            sys.stdout.write(json.dumps(sample) + "\n")
            sys.stdout.flush()
            due += PERIOD_SECONDS
            readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))
            if readable:  # closed: the parent has ended or has seen enough
                return


def main() -> None:
    """Parse `[--library NAME] UUID...`."""
    arguments = sys.argv[1:]
    library = LIBRARY
    if arguments[:1] == ["--library"]:
        library, arguments = arguments[1], arguments[2:]
    sample_until_closed(arguments, library=library)


if __name__ == "__main__":
    main()
