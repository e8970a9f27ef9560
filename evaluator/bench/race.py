"""Contenders against each other on one case, turn by turn, so that whatever else the machine does hits all of them alike."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evaluator.bench.contenders import Scores


@dataclass(frozen=True)
class Lap:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Entry:
    """What one contender did on one case."""

    name: str
    laps: tuple[Lap, ...]
    peak_bytes: int
    scores: Scores

    @property
    def seconds(self) -> float:
        """The median run."""
        return statistics.median(lap.seconds for lap in self.laps)

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of the median run: what is left when others keep the machine busy."""
        return statistics.median(lap.cpu_seconds for lap in self.laps)


@dataclass(frozen=True)
class Ratio:
    """How many times faster one contender is than another: median of paired runs, and their spread."""

    median: float
    low: float
    high: float


def paired_ratio(slow: Entry, fast: Entry) -> Ratio:
    """Over runs made in the same turn."""
    ratios = [one.seconds / other.seconds for one, other in zip(slow.laps, fast.laps, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def race(names: Sequence[str], files: tuple[Path, Path], *, labels: Sequence[int], rounds: int) -> dict[str, Entry]:
    """All contenders that can run here, `rounds` turns each."""
    with ExitStack() as stack:
        runners, first = {}, {}
        for name in names:
            runners[name] = stack.enter_context(_runner(name, files, labels))
            first[name] = _read(runners[name])  # its first run is over before the next contender starts
        present = {name: runner for name, runner in runners.items() if "missing" not in first[name]}
        turns = [{name: _run(runner) for name, runner in present.items()} for _ in range(rounds)]
    return {
        name: Entry(
            name=name,
            laps=tuple(Lap(turn[name]["seconds"], turn[name]["cpu_seconds"]) for turn in turns),
            peak_bytes=int(turns[-1][name]["peak_bytes"]),
            scores={int(label): tuple(values) for label, values in first[name]["scores"].items()},
        )
        for name in present
    }


@contextmanager
def _runner(name: str, files: tuple[Path, Path], labels: Sequence[int]) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "evaluator.bench.worker", name, *map(str, files), ",".join(map(str, labels))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runner:
        try:
            yield runner
        finally:
            if runner.stdin:
                runner.stdin.close()


def _run(runner: "subprocess.Popen[str]") -> dict[str, float]:
    if runner.stdin is None:
        raise RuntimeError("a contender lost its input")
    runner.stdin.write("go\n")
    runner.stdin.flush()
    return _read(runner)


def _read(runner: "subprocess.Popen[str]") -> dict:  # type: ignore[type-arg]  # one of the worker's JSON records
    line = runner.stdout.readline() if runner.stdout else ""
    if not line:
        raise RuntimeError(f"a contender stopped with exit code {runner.wait()}: its last words are above")
    return json.loads(line)  # type: ignore[no-any-return]  # as written by the worker
